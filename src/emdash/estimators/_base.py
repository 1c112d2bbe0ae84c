"""How every mixture estimator is fitted, in terms of a model.

Checks the input, picks source, engine and start, calls the loop, and sets the
fitted attributes. The mathematics is elsewhere.
"""

from __future__ import annotations

import math
import os
import warnings
from abc import abstractmethod
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions

from emdash.checkpoint import Checkpoint, Keeper, Stage, better
from emdash.em import Fit, Stop
from emdash.estimators._fitted import FittedMixture
from emdash.estimators._identity import keeper_for
from emdash.estimators._input import unchanged_if_it_fails
from emdash.estimators._run import Run, did_not_converge, how_to_go_on
from emdash.estimators._starts import Start, draw_starts
from emdash.estimators._step import Step
from emdash.models.mixture import MixtureParameters
from emdash.progress import Progress
from emdash.sources.base import Source
from emdash.start import METHODS

__all__ = ["BaseMixture"]

Array = NDArray[np.float64]


class BaseMixture(FittedMixture):
    """Base class of the mixture estimators.

    A subclass says, besides what :class:`FittedMixture` asks for, what of its
    start the user gave (:meth:`_check_init`, :meth:`_apply_init`) and how
    parameters become attributes (:meth:`_set_parameters`).
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
    def _set_parameters(self, parameters: MixtureParameters[Any]) -> None:
        """Set the fitted attributes."""

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
        with unchanged_if_it_fails(self):
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
        with unchanged_if_it_fails(self):
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
        given = self._check_init(source.n_features)
        keeper = keeper_for(self, source)
        if source.collection and keeper.path is not None:
            step.learn = keeper.learn
        shape = self.n_components, source.n_features
        state = keeper.read(lambda: model.reference(np.zeros(shape)))
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
