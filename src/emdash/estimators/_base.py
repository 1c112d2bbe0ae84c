"""How every mixture estimator is fitted, in terms of a model.

Checks the input, picks source, engine and start, calls the loop, and sets the
fitted attributes. The mathematics is elsewhere.
"""

from __future__ import annotations

import math
import os
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions

from emdash.checkpoint import Checkpoint, Keeper, Stage, better
from emdash.collapse import POLICIES, in_words, left_of
from emdash.em import Fit, Stop
from emdash.estimators._fitted import FittedMixture
from emdash.estimators._identity import keeper_for
from emdash.estimators._input import unchanged_if_it_fails
from emdash.estimators._run import Run, did_not_converge, how_to_go_on
from emdash.estimators._starts import Start, draw_starts
from emdash.estimators._step import Step
from emdash.models.mixture import Mixture, MixtureParameters
from emdash.progress import Pass, Progress
from emdash.sources.base import Source
from emdash.start import METHODS

__all__ = ["BaseMixture"]

Array = NDArray[np.float64]
FLOAT64 = np.dtype(np.float64)


class BaseMixture(FittedMixture):
    """Base class of the mixture estimators.

    A subclass says, besides what :class:`FittedMixture` asks for, what of its
    start the user gave (:meth:`_check_init`, :meth:`_apply_init`) and how
    parameters become attributes (:meth:`_keep`).
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **FittedMixture._parameter_constraints,
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "reg_covar": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init_params": [StrOptions(set(METHODS))],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
        "on_collapse": [StrOptions(set(POLICIES))],
        "callback": [callable, None],
        "checkpoint": [str, os.PathLike, Checkpoint, None],
    }

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
    def _keep(self, parameters: MixtureParameters[Any], dtype: np.dtype[Any] = FLOAT64) -> None:
        """Set the fitted attributes, for rows of this type."""

    def fit(self, X: Any, y: object = None, sample_weight: Any = None) -> Self:
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
            there is, and how to choose columns: :func:`emdash.open_table`. NaN stands for
            a value that is missing at random.
        y : None
            Ignored, present by convention.
        sample_weight : array-like of shape (n_samples,), Dask array or str, default=None
            How much each row counts, from zero on: 2 is the row twice, 0 is the row left out.
            For a Dask array `X` preferably a Dask array with its chunks; for a table with names
            also the name of a column, which is then no feature. The scale of the weights changes
            no parameter. None means 1.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` holds infinity, naming the row; if a column has no observed value, naming it; if
            fewer rows than components have one; if a weight is negative or not finite, naming its
            row; or if a covariance collapses with ``on_collapse="raise"``, naming the component.
        """
        with unchanged_if_it_fails(self):
            self._fit(X, sample_weight)
        return self

    def fit_predict(self, X: Any, y: object = None, sample_weight: Any = None) -> Any:
        """Fit to `X` and return the most probable component of each row.

        Parameters
        ----------
        X : as in :meth:`fit`
        y : None
            Ignored, present by convention.
        sample_weight : as in :meth:`fit`

        Returns
        -------
        labels : ndarray of shape (n_samples,), or a lazy Dask array
            The same as ``fit(X).predict(X)``; of rows without weight, too.
        """
        with unchanged_if_it_fails(self):
            source = self._fit(X, sample_weight)
        return self._each(source, "labels")

    @_fit_context(prefer_skip_nested_validation=True)
    def _fit(self, X: Any, sample_weight: Any) -> Source:
        resumed = self.warm_start and hasattr(self, "converged_")
        source = self._open(X, sample_weight, reset=not resumed)
        self._check_rows(source)
        engine, model = self._engine(source), self._model()
        stop = Stop(self.tol, self.max_iter)
        progress = Progress(self.verbose, self.verbose_interval, self.callback, stop)
        policy = POLICIES[self.on_collapse]
        step = Step(model, engine, source, self.n_components, progress, policy)
        given = self._check_init(source.n_features)
        keeper = keeper_for(self, source)
        if source.collection and keeper.path is not None:
            step.learn = keeper.learn
        state = keeper.read(lambda history: self._reference(model, source, history))
        starts: Iterable[Start] = (
            [(self._parameters(), None)]
            if resumed
            else draw_starts(self, given, source, engine, model, state)
        )
        run = Run(step, stop, progress, keeper, self.lower_bound_ if resumed else -math.inf)
        try:
            best = run.best(starts, state)
            if state is not None and step.learn is not None and not keeper.same_graph:
                step.recognize()
            self._finish(*best, source.dtype)
        except KeyboardInterrupt as interrupt:
            self._interrupt(keeper, interrupt, source.dtype)
            raise
        finally:
            progress.clear()
            keeper.write()
        return source

    def _reference(
        self, model: Mixture[Any], source: Source, history: Sequence[Pass]
    ) -> MixtureParameters[Any]:
        """Return any parameters of the shapes that they have after these passes."""
        K = left_of(self.n_components, history)
        return model.reference(np.zeros((K, source.n_features)))

    def _interrupt(
        self, keeper: Keeper, interrupt: KeyboardInterrupt, dtype: np.dtype[Any]
    ) -> None:
        """Keep what an interrupted fit has reached, and say how to go on."""
        if keeper.state is None:
            interrupt.add_note("The fit was interrupted before its first start was found")
            return
        stage = better(keeper.state.best, keeper.state.current)
        self._set_fitted(Fit(stage.parameters, stage.trace), stage, dtype)
        interrupt.add_note(how_to_go_on(stage, keeper.path))

    def _set_fitted(
        self, fit: Fit[MixtureParameters[Any]], stage: Stage, dtype: np.dtype[Any] = FLOAT64
    ) -> None:
        """Set the fitted attributes."""
        self._keep(fit.parameters, dtype)
        self.converged_ = fit.converged
        self.n_iter_ = fit.n_iter
        self.lower_bound_ = fit.trace[-1] if fit.trace else -math.inf
        self.lower_bounds_ = fit.trace
        self.history_ = list(stage.history)

    def _finish(
        self, best: Fit[MixtureParameters[Any]], stage: Stage, dtype: np.dtype[Any]
    ) -> None:
        """Set the fitted attributes and warn of collapse, and if the loop did not converge."""
        self._set_fitted(best, stage, dtype)
        collapsed = in_words(stage.history, self.n_components)
        if collapsed:
            warnings.warn(collapsed, ConvergenceWarning, stacklevel=5)
        if not best.converged and self.max_iter > 0:
            message = did_not_converge(best, Stop(self.tol, self.max_iter))
            # the line that called fit, through scikit-learn's wrapper
            warnings.warn(message, ConvergenceWarning, stacklevel=5)

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
