"""What all mixture estimators have in common, in terms of a model.

Checks the input, picks source, engine and start, calls the loop, and sets the
fitted attributes. The mathematics is elsewhere.
"""

from __future__ import annotations

import math
import os
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Iterable
from functools import cache
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, DensityMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from emdash.checkpoint import Checkpoint, Keeper, Stage, better
from emdash.em import Fit, Stop
from emdash.engines import engine_for
from emdash.engines.base import Engine
from emdash.engines.memory import MemoryLimit
from emdash.estimators._identity import keeper_for, token_of
from emdash.estimators._run import Run, did_not_converge, how_to_go_on
from emdash.estimators._starts import Start, draw_starts
from emdash.estimators._step import Step
from emdash.models.mixture import Mixture, MixtureParameters, Output
from emdash.progress import Progress
from emdash.sources import open_source
from emdash.sources.array import ArraySource
from emdash.sources.base import Source
from emdash.sources.columns import check_names
from emdash.start import METHODS

__all__ = ["BaseMixture"]

Array = NDArray[np.float64]


class BaseMixture(DensityMixin, BaseEstimator, metaclass=ABCMeta):
    """Base class of the mixture estimators.

    A subclass says which model it fits (:meth:`_model`), what of its start the
    user gave (:meth:`_check_init`, :meth:`_apply_init`) and how parameters
    become attributes and back (:meth:`_set_parameters`, :meth:`_parameters`).
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "reg_covar": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init_params": [StrOptions(set(METHODS))],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "memory_limit": [Interval(Integral, 1, None, closed="left"), str, None],
        "callback": [callable, None],
        "checkpoint": [str, os.PathLike, Checkpoint, None],
    }

    @classmethod
    @cache
    def _get_param_names(cls) -> list[str]:
        # scikit-learn inspects the constructor in every fit, a tenth of the time of a small one
        names: list[str] = super()._get_param_names()
        return names

    def __dask_tokenize__(self) -> Any:
        """Return what Dask tells estimators apart by: all but how long their passes took."""
        return token_of(self)

    @abstractmethod
    def _model(self) -> Mixture[Any]:
        """Return the model with the settings of the constructor."""

    @abstractmethod
    def _check_init(self, d: int) -> dict[str, Array]:
        """Return what the user gave of the start, checked against `d` features."""

    @abstractmethod
    def _apply_init(
        self, given: dict[str, Array], parameters: MixtureParameters[Any] | None
    ) -> MixtureParameters[Any]:
        """Return starting parameters with what the user gave in its place.

        `parameters` is None when everything was given (see :meth:`_is_complete`).
        """

    @abstractmethod
    def _is_complete(self, given: dict[str, Array]) -> bool:
        """Tell whether the user gave the whole start."""

    @abstractmethod
    def _set_parameters(self, parameters: MixtureParameters[Any]) -> None:
        """Set the fitted attributes."""

    @abstractmethod
    def _parameters(self) -> MixtureParameters[Any]:
        """Return the parameters that the fitted attributes hold."""

    def fit(self, X: Any, y: object = None) -> Self:
        """Estimate the parameters with the EM algorithm.

        The model is fitted ``n_init`` times and the fit with the largest
        log-likelihood is kept. With ``warm_start=True`` a second call goes on
        from the parameters of the first.

        Parameters
        ----------
        X : array-like, path, Dask array or iterable of arrays, of shape (n_samples, n_features)
            The rows: an array or data frame in memory, a :class:`numpy.memmap`,
            the path of a file or a list of them, a table of another library, a
            Dask array, or a re-iterable of arrays such as a list of batches. What
            there is, and how to choose columns: :func:`emdash.open_table`.
        y : None
            Ignored, present by convention.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` is not a finite table of numbers with at least as many rows
            as components, naming the row that is wrong; or if a covariance
            collapses, naming the component.
        """
        self._fit(X)
        return self

    def fit_predict(self, X: Any, y: object = None) -> Any:
        """Fit to `X` and return the most probable component of each row.

        Parameters
        ----------
        X : as in :meth:`fit`
        y : None
            Ignored, present by convention.

        Returns
        -------
        labels : ndarray of shape (n_samples,), or a lazy Dask array
            The same as ``fit(X).predict(X)``.
        """
        source = self._fit(X)
        return self._each(source, "labels")

    @_fit_context(prefer_skip_nested_validation=True)
    def _fit(self, X: Any) -> Source:
        resumed = self.warm_start and hasattr(self, "converged_")
        source = self._open(X, reset=not resumed)
        self._check_rows(source)
        engine, model = self._engine(source), self._model()
        stop = Stop(self.tol, self.max_iter)
        progress = Progress(self.verbose, self.verbose_interval, self.callback, stop)
        step = Step(model, engine, source, self.n_components, progress)
        keeper = keeper_for(self, source)
        if source.collection and keeper.path is not None:
            step.learn = keeper.learn
        shape = self.n_components, source.n_features
        state = keeper.read(lambda: model.reference(np.zeros(shape)))
        given = self._check_init(source.n_features)
        starts: Iterable[Start] = (
            [(self._parameters(), None)]
            if resumed
            else draw_starts(self, given, source, engine, model, state)
        )
        run = Run(step, stop, progress, keeper, self.lower_bound_ if resumed else -math.inf)
        try:
            self._finish(*run.best(starts, state))
        except KeyboardInterrupt as interrupt:
            self._interrupt(keeper, interrupt)
            raise
        finally:
            progress.clear()
            keeper.write()
        return source

    def _interrupt(self, keeper: Keeper, interrupt: KeyboardInterrupt) -> None:
        """Keep what an interrupted fit has reached, and say how to go on."""
        if keeper.state is None:
            interrupt.add_note("The fit was interrupted before its first start was found")
            return
        stage = better(keeper.state.best, keeper.state.current)
        self._set_fitted(Fit(stage.parameters, stage.trace), stage)
        interrupt.add_note(how_to_go_on(stage, keeper.path))

    def _set_fitted(self, fit: Fit[MixtureParameters[Any]], stage: Stage) -> None:
        """Set the fitted attributes."""
        self._set_parameters(fit.parameters)
        self.converged_ = fit.converged
        self.n_iter_ = fit.n_iter
        self.lower_bound_ = fit.trace[-1] if fit.trace else -math.inf
        self.lower_bounds_ = fit.trace
        self.history_ = list(stage.history)

    def _finish(self, best: Fit[MixtureParameters[Any]], stage: Stage) -> None:
        """Set the fitted attributes and warn if the loop did not converge."""
        self._set_fitted(best, stage)
        if not best.converged and self.max_iter > 0:
            message = did_not_converge(best, Stop(self.tol, self.max_iter))
            # the line that called fit, through scikit-learn's wrapper
            warnings.warn(message, ConvergenceWarning, stacklevel=5)

    def _engine(self, source: Source) -> Engine:
        """Return what runs passes over the source."""
        return engine_for(source, self.n_threads, MemoryLimit(self.memory_limit))

    def _open(self, X: Any, *, reset: bool) -> Source:
        """Return the source for `X`, with scikit-learn's checks and messages."""
        source = open_source(X)
        if source is None:
            X = validate_data(
                self,
                X,
                reset=reset,
                dtype=[np.float64, np.float32],
                ensure_all_finite=False,  # the kernels look, and know the row
            )
            source = ArraySource(X)
        elif source.n_features == 0:
            raise ValueError(
                "Found array with 0 feature(s) while a minimum of 1 is required "
                f"by {type(self).__name__}."
            )
        elif reset:
            self.n_features_in_ = source.n_features
            self.__dict__.pop("feature_names_in_", None)
            if source.feature_names is not None:
                self.feature_names_in_ = np.array(source.feature_names, dtype=object)
        elif source.n_features != self.n_features_in_:
            raise ValueError(
                f"X has {source.n_features} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )
        check_names(source, getattr(self, "feature_names_in_", None))
        return MemoryLimit(self.memory_limit).cut(source)

    def _check_rows(self, source: Source) -> None:
        """Refuse sources with too few rows, as far as their number is known."""
        n = source.n_rows
        if n is not None and n < 2:
            raise ValueError(
                f"Found array with {n} sample(s) (shape=({n}, {source.n_features})) while a "
                f"minimum of 2 is required by {type(self).__name__}."
            )
        if n is not None and n < self.n_components:
            raise ValueError(
                "Expected n_samples >= n_components but got "
                f"n_components = {self.n_components}, n_samples = {n}: "
                "decrease n_components or give more rows"
            )

    def _each(self, source: Source, output: Output) -> Any:
        task = self._model().rows(self._parameters(), output)
        return self._engine(source).each(task, source)

    def _rows(self, X: Any, output: Output) -> Any:
        check_is_fitted(self)
        return self._each(self._open(X, reset=False), output)

    def predict(self, X: Any) -> Any:
        """Return the most probable component of each row.

        Parameters
        ----------
        X : as in :meth:`fit`

        Returns
        -------
        labels : ndarray of shape (n_samples,), or a lazy Dask array with the row chunks of `X`
        """
        return self._rows(X, "labels")

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each component given each row.

        Parameters
        ----------
        X : as in :meth:`fit`

        Returns
        -------
        r : ndarray of shape (n_samples, n_components), or a lazy Dask array
            Rows sum to one.
        """
        return self._rows(X, "responsibilities")

    def score_samples(self, X: Any) -> Any:
        """Return the log-likelihood of each row.

        Parameters
        ----------
        X : as in :meth:`fit`

        Returns
        -------
        log_likelihood : ndarray of shape (n_samples,), or a lazy Dask array
            Natural logarithm of the density.
        """
        return self._rows(X, "log_likelihood")

    def score(self, X: Any, y: object = None) -> float:
        """Return the mean log-likelihood of the rows.

        Parameters
        ----------
        X : as in :meth:`fit`
        y : None
            Ignored, present by convention.

        Returns
        -------
        log_likelihood : float
            Computed at once, for a Dask array too.
        """
        log_likelihood, n = self._total_score(X)
        return log_likelihood / n

    def _total_score(self, X: Any) -> tuple[float, float]:
        """Return the log-likelihood of all rows and their number."""
        check_is_fitted(self)
        source = self._open(X, reset=False)
        task = self._model().score(self._parameters())
        total = self._engine(source).total(task, source)
        if total.weight == 0:
            raise ValueError(
                f"Found array with 0 sample(s) (shape=(0, {source.n_features})) while a minimum "
                f"of 1 is required by {type(self).__name__}."
            )
        return total.log_likelihood, total.weight

    def aic(self, X: Any) -> float:
        """Return the Akaike information criterion, ``-2 L + 2 p`` [Akaike1974]_; lower is better.

        Parameters
        ----------
        X : as in :meth:`fit`
        """
        log_likelihood, _ = self._total_score(X)
        return -2 * log_likelihood + 2 * self._n_parameters()

    def bic(self, X: Any) -> float:
        """Return the Bayesian information criterion, ``-2 L + p log n`` [Schwarz1978]_.

        Lower is better; ``n`` is the number of rows of `X`.

        Parameters
        ----------
        X : as in :meth:`fit`
        """
        log_likelihood, n = self._total_score(X)
        return -2 * log_likelihood + self._n_parameters() * math.log(n)

    def _n_parameters(self) -> int:
        """Return the number of free parameters."""
        return self._model().count_parameters(*self.means_.shape)

    def sample(self, n_samples: int = 1) -> tuple[Array, NDArray[np.intp]]:
        """Draw rows from the fitted model.

        Parameters
        ----------
        n_samples : int
            Number of rows, at least 1.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Sorted by component.
        y : ndarray of shape (n_samples,)
            Component of each row.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(
                f"Invalid value for 'n_samples': {n_samples}. The sampling requires at least "
                "one sample."
            )
        rng = check_random_state(self.random_state)
        parameters = self._parameters()
        counts = rng.multinomial(n_samples, parameters.weights)
        X = self._model().family.sample(parameters.components, counts, rng)
        return X, np.repeat(np.arange(len(counts)), counts)
