"""What a fitted mixture answers about rows: components, densities, criteria, new rows.

Opens the input with scikit-learn's checks; the mathematics is elsewhere.
"""

from __future__ import annotations

import math
from abc import ABCMeta, abstractmethod
from functools import cache, lru_cache
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted

from emdash.engines import engine_for
from emdash.engines.base import Engine
from emdash.engines.memory import MemoryLimit
from emdash.estimators._identity import token_of
from emdash.estimators._input import validate_data
from emdash.models.mixture import Mixture, MixtureParameters
from emdash.models.passes import Output
from emdash.sources import open_source
from emdash.sources.array import ArraySource
from emdash.sources.base import Source
from emdash.sources.columns import check_names
from emdash.sources.weighted import WeightedSource, check_total, split_column
from emdash.start import count_rows

__all__ = ["FittedMixture"]

Array = NDArray[np.float64]

PLAIN = (bool, int, float, str, type(None))
"""Types of parameters that cannot change: a value that was valid once is valid again."""


@lru_cache(maxsize=128)
def _check_plain(cls: Any, settings: tuple[tuple[str, type, Any], ...]) -> None:
    """Check parameters with scikit-learn's rules; a type counts, since ``True == 1``."""
    values = {name: value for name, _, value in settings}
    validate_parameter_constraints(cls._parameter_constraints, values, caller_name=cls.__name__)


class FittedMixture(DensityMixin, BaseEstimator, metaclass=ABCMeta):
    """What every mixture estimator can do once it is fitted.

    A subclass says which model it is (:meth:`_model`) and which parameters its
    attributes hold (:meth:`_parameters`).
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "n_threads": [Interval(Integral, 1, 2**31 - 1, closed="both"), None],
        "memory_limit": [Interval(Integral, 1, None, closed="left"), str, None],
    }

    n_components: int
    random_state: int | np.random.RandomState | None
    n_threads: int | None
    memory_limit: int | str | None
    means_: Array

    @classmethod
    @cache
    def _get_param_names(cls) -> list[str]:
        # scikit-learn inspects the constructor in every fit, a tenth of the time of a small one
        names: list[str] = super()._get_param_names()
        return names

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _validate_params(self) -> None:
        # scikit-learn takes a tenth of the time of a small fit to look at every parameter
        settings = self.get_params(deep=False)
        plain = tuple((n, type(v), v) for n, v in settings.items() if type(v) in PLAIN)
        _check_plain(type(self), plain)
        others = {n: v for n, v in settings.items() if type(v) not in PLAIN}
        validate_parameter_constraints(
            self._parameter_constraints, others, caller_name=type(self).__name__
        )

    def __dask_tokenize__(self) -> Any:
        """Return what Dask tells estimators apart by: all but how long their passes took."""
        return token_of(self)

    @abstractmethod
    def _model(self) -> Mixture[Any]:
        """Return the model with the settings of the constructor."""

    @abstractmethod
    def _parameters(self) -> MixtureParameters[Any]:
        """Return the parameters that the fitted attributes hold."""

    def __sklearn_is_fitted__(self) -> bool:
        # scikit-learn takes the number of columns, which is known before the fit, for a fit
        return hasattr(self, "means_")

    def _engine(self, source: Source) -> Engine:
        """Return what runs passes over the source."""
        return engine_for(source, self.n_threads, MemoryLimit(self.memory_limit))

    @property
    def _n_features(self) -> int:
        """Number of features, also of a model whose attributes were set by hand."""
        if not hasattr(self, "n_features_in_"):
            self._parameters()  # refuses what makes no model
            return int(np.shape(self.means_)[1])
        return int(self.n_features_in_)

    def _open(self, X: Any, sample_weight: Any = None, *, reset: bool) -> Source:
        """Return the source for `X`, with scikit-learn's checks and messages."""
        if isinstance(sample_weight, str):
            X, sample_weight = split_column(X, sample_weight)
        source = open_source(X)
        if source is None:
            X = validate_data(
                self,
                X,
                reset=reset,
                dtype=[np.float64, np.float32],
                ensure_all_finite=False,  # NaN is data; the kernels know the row of infinity
            )
            source = ArraySource(X, getattr(self, "feature_names_in_", None))
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
        if not reset and source.n_features != self._n_features:
            raise ValueError(
                f"X has {source.n_features} features, but {type(self).__name__} is expecting "
                f"{self._n_features} features as input."
            )
        check_names(source, getattr(self, "feature_names_in_", None))
        source = MemoryLimit(self.memory_limit).cut(source)
        return source if sample_weight is None else self._weighted(source, sample_weight)

    def _weighted(self, source: Source, sample_weight: Any) -> Source:
        """Return the source with weights, an array or a Dask collection."""
        if source.collection:
            return source.weighted(sample_weight)  # type: ignore[attr-defined, no-any-return]
        return WeightedSource(count_rows(source, self._engine(source)), sample_weight)

    def _each(
        self,
        source: Source,
        output: Output,
        parameters: MixtureParameters[Any] | None = None,
    ) -> Any:
        parameters = self._parameters() if parameters is None else parameters
        single = np.asarray(self.means_).dtype == source.dtype == np.float32
        task = self._model().rows(parameters, output, np.float32 if single else np.float64)
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
            Rows sum to one. Where nothing is observed they are the mixing weights. float32 if rows
            and fitted attributes are float32, else float64.
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
            Natural logarithm of the density of the observed features; 0 if there are none. float32
            if rows and fitted attributes are float32, else float64.
        """
        return self._rows(X, "log_likelihood")

    def score(self, X: Any, y: object = None, sample_weight: Any = None) -> float:
        """Return the mean log-likelihood of the rows with an observed value.

        Parameters
        ----------
        X : as in :meth:`fit`
        y : None
            Ignored, present by convention.
        sample_weight : as in :meth:`fit`

        Returns
        -------
        log_likelihood : float
            Computed at once, for a Dask array too. With weights ``sum(w l) / sum(w)``.
        """
        log_likelihood, n = self._total_score(X, sample_weight)
        return log_likelihood / n

    def _total_score(self, X: Any, sample_weight: Any) -> tuple[float, float]:
        """Return the log-likelihood of all rows and their total weight."""
        check_is_fitted(self)
        source = self._open(X, sample_weight, reset=False)
        task = self._model().score(self._parameters())
        total = self._engine(source).total(task, source)
        check_total(total.weight, total.n_used)
        if total.weight == 0 and total.n_rows > 0:
            weight = "" if sample_weight is None else " and a weight above zero"
            raise ValueError(
                f"X has {total.n_rows:.0f} row(s), but none with an observed value{weight}: leave "
                "such rows out"
            )
        if total.weight == 0:
            raise ValueError(
                f"Found array with 0 sample(s) (shape=(0, {source.n_features})) while a minimum "
                f"of 1 is required by {type(self).__name__}."
            )
        return total.log_likelihood, total.weight

    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """Return the Akaike information criterion, ``-2 L + 2 p`` [Akaike1974]_; lower is better.

        Weights multiply the rows' terms of ``L``: meaningful if they count rows.

        Parameters
        ----------
        X : as in :meth:`fit`
        sample_weight : as in :meth:`fit`
        """
        log_likelihood, _ = self._total_score(X, sample_weight)
        return -2 * log_likelihood + 2 * self._n_parameters()

    def bic(self, X: Any, sample_weight: Any = None) -> float:
        """Return the Bayesian information criterion, ``-2 L + p log n`` [Schwarz1978]_.

        Lower is better; ``n`` is the number of rows of `X` with an observed value, with weights
        their sum. That is right only if weights are frequencies, how often each row occurred. Other
        weights have no number of rows in them: scaled to a sum of their effective number,
        ``sum(w)**2 / sum(w**2)`` [Kish1965]_, they give a rough guide.

        Parameters
        ----------
        X : as in :meth:`fit`
        sample_weight : as in :meth:`fit`
        """
        log_likelihood, n = self._total_score(X, sample_weight)
        return -2 * log_likelihood + self._n_parameters() * math.log(n)

    def _n_parameters(self) -> int:
        """Return the number of free parameters."""
        return self._model().count_parameters(*np.shape(self.means_))

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
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(
                f"Invalid value for 'n_samples': {n_samples!r}. The sampling requires at least "
                "one sample: give a positive integer."
            )
        rng = check_random_state(self.random_state)
        parameters = self._parameters()
        counts = rng.multinomial(n_samples, parameters.weights)
        X = self._model().family.sample(parameters.components, counts, rng)
        return X, np.repeat(np.arange(len(counts)), counts)
