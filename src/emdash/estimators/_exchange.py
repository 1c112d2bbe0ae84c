"""Mixtures that were not fitted here: made of given parameters, or of scikit-learn's estimator.

Must never know: rows, how a fit is run.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from copy import copy, deepcopy
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emdash.checkpoint import Stage
from emdash.em import Fit
from emdash.estimators._base import BaseMixture
from emdash.estimators._given import as_means, covariance_type_of, from_arguments
from emdash.families.shape import CovarianceShape

if TYPE_CHECKING:
    import sklearn.mixture

__all__ = ["Exchange"]

ATTRIBUTES = (
    *("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"),
    *("converged_", "n_iter_", "lower_bound_", "lower_bounds_"),
    *("n_features_in_", "feature_names_in_"),
)
"""The fitted attributes that emdash and scikit-learn have in common."""


class Exchange(BaseMixture):
    """Parameters from elsewhere, and to scikit-learn and back."""

    @property
    @abstractmethod
    def _shape(self) -> CovarianceShape:
        """The shape of the covariances."""

    @classmethod
    def from_parameters(
        cls,
        weights: ArrayLike,
        means: ArrayLike,
        *,
        covariances: ArrayLike | None = None,
        precisions: ArrayLike | None = None,
        covariance_type: str | None = None,
        feature_names: Sequence[str] | None = None,
        **settings: Any,
    ) -> Self:
        """Return a fitted estimator with given parameters, without data.

        It predicts, scores, draws rows, can be saved, and with ``warm_start=True`` a fit goes on
        from it: it is what a fit leaves that starts there and makes no iteration.

        Parameters
        ----------
        weights : array-like of shape (n_components,)
            Mixing weights, 0 or more. They sum to 1, to within 1e-6, and are then divided by
            their sum.
        means : array-like of shape (n_components, n_features)
            In the unit of the data.
        covariances : array-like, default=None
            In the unit of the data squared; a shape that ``covariances_`` has. Either these or
            `precisions` are given.
        precisions : array-like, default=None
            Inverse covariances, of the same shapes.
        covariance_type : {'full', 'tied', 'diag', 'spherical'}, default=None
            None tells it from the shape of the covariances or precisions. With as many components
            as features that of 'tied' and 'diag' is the same, and it has to be given.
        feature_names : sequence of str, default=None
            One name for each column of `means`; they become ``feature_names_in_``.
        **settings
            Other parameters of the constructor, such as `n_threads` or `random_state`.

        Returns
        -------
        estimator
            Fitted: ``n_iter_`` is 0, ``converged_`` is False, ``lower_bound_`` is minus infinity.
            Its arrays are float64 and its own.

        Raises
        ------
        ValueError
            If they make no mixture, naming the argument, the shape expected or the component, and
            what to try.

        Examples
        --------
        >>> from emdash import GaussianMixture
        >>> gm = GaussianMixture.from_parameters(
        ...     [0.25, 0.75], [[0.0, 0.0], [5.0, 5.0]], covariances=[1.0, 4.0], random_state=0
        ... )
        >>> gm.covariance_type
        'spherical'
        >>> gm.predict([[1, 1], [6, 3]])
        array([0, 1])
        >>> X, y = gm.sample(100)
        >>> X.shape
        (100, 2)
        """
        if (covariances is None) == (precisions is None):
            both = "neither" if covariances is None else "both"
            raise ValueError(f"give either covariances or precisions, but got {both}")
        name = "precisions" if covariances is None else "covariances"
        value = precisions if covariances is None else covariances
        means = as_means(means)
        K, d = means.shape
        if settings.setdefault("n_components", K) != K:
            raise ValueError(
                f"n_components is {settings['n_components']}, but means has {K} row(s): leave "
                "n_components out"
            )
        if covariance_type is None:
            covariance_type = covariance_type_of(name, value, K, d)
        estimator = cls(covariance_type=covariance_type, **settings)
        estimator._validate_params()
        parameters = from_arguments(estimator._shape, weights, means, {name: value})
        estimator._set_fitted(Fit(parameters), Stage(parameters))
        estimator.n_features_in_ = d
        if feature_names is not None:
            estimator.feature_names_in_ = _names(feature_names, d)
        return estimator

    def to_sklearn(self) -> sklearn.mixture.GaussianMixture:
        """Return scikit-learn's own estimator with the same settings and parameters.

        For code that asks for its type, such as converters to other formats. It has copies of
        the parameters of the constructor that both have and of the fitted attributes; what only
        emdash has (`n_threads`, `callback`, ``history_`` and so on) is left out. One that is not
        fitted becomes one that is not fitted.

        Returns
        -------
        estimator : sklearn.mixture.GaussianMixture
            Its answers are the same up to rounding.

        Examples
        --------
        >>> from emdash import GaussianMixture
        >>> X = [[1.0], [2.0], [8.0], [9.0]]
        >>> gm = GaussianMixture(2, random_state=0).fit(X)
        >>> type(gm.to_sklearn()).__module__
        'sklearn.mixture._gaussian_mixture'
        >>> bool((gm.to_sklearn().predict(X) == gm.predict(X)).all())
        True
        """
        from sklearn.mixture import GaussianMixture

        settings = self.get_params(deep=False)
        theirs = GaussianMixture()
        theirs.set_params(**{name: deepcopy(settings[name]) for name in theirs.get_params()})
        if hasattr(self, "means_"):
            complete = copy(self)  # of attributes set by hand some may be missing
            complete._keep(self._parameters())
            _give(complete, theirs)
        return theirs

    @classmethod
    def from_sklearn(cls, estimator: sklearn.mixture.GaussianMixture) -> Self:
        """Return an emdash estimator with the settings and parameters of scikit-learn's.

        It has copies of the parameters of the constructor and of the fitted attributes. Parameters
        that emdash does not know, of a later scikit-learn or of a subclass, are left out, and there
        is no ``history_``. One that is not fitted becomes one that is not fitted.

        Parameters
        ----------
        estimator : sklearn.mixture.GaussianMixture

        Returns
        -------
        estimator
            Its answers are the same up to rounding; with ``warm_start=True`` it goes on from there.

        Raises
        ------
        TypeError
            If `estimator` is something else. A `BayesianGaussianMixture`, too: its densities are
            not those of a mixture with its weights, means and covariances.

        Examples
        --------
        >>> from emdash import GaussianMixture
        >>> from sklearn.mixture import GaussianMixture as Theirs
        >>> X = [[1.0], [2.0], [8.0], [9.0]]
        >>> theirs = Theirs(2, random_state=0).fit(X)
        >>> ours = GaussianMixture.from_sklearn(theirs)
        >>> bool((ours.predict(X) == theirs.predict(X)).all())
        True
        """
        from sklearn.mixture import GaussianMixture

        if not isinstance(estimator, GaussianMixture):
            raise TypeError(
                "estimator should be a sklearn.mixture.GaussianMixture, but got "
                f"{type(estimator).__module__}.{type(estimator).__name__}; parameters of another "
                "model can be given to from_parameters"
            )
        settings = estimator.get_params(deep=False)
        known = settings.keys() & set(cls._get_param_names())
        ours = cls(**{name: deepcopy(settings[name]) for name in known})
        _give(estimator, ours)
        if hasattr(ours, "means_"):
            ours._keep(ours._parameters())
        return ours


def _give(one: Any, other: Any) -> None:
    """Copy the fitted attributes that `one` has to `other`."""
    for name in ATTRIBUTES:
        if hasattr(one, name):
            setattr(other, name, deepcopy(getattr(one, name)))


def _names(names: Sequence[str], d: int) -> NDArray[np.object_]:
    found = list(names)
    if len(found) != d or not all(isinstance(name, str) for name in found):
        raise ValueError(
            f"feature_names should be {d} string(s), one for each column of means, but got {found}"
        )
    return np.array(found, dtype=object)
