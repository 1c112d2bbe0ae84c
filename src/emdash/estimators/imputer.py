"""A transformer that fills missing cells in, for those who look for one among scikit-learn's."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, _fit_context
from sklearn.utils.validation import check_is_fitted

from emdash.estimators.mixtures import GaussianMixture

__all__ = ["GMMImputer"]

SETTINGS = (
    *("n_components", "covariance_type", "tol", "reg_covar", "max_iter", "n_init"),
    *("init_params", "random_state", "n_threads", "memory_limit"),
)
"""Parameters that are the mixture's, with its meanings and defaults."""


class GMMImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fill missing cells in with their means given the rest of the row, from a Gaussian mixture.

    The mixture is fitted to all that is observed in all rows by exact EM; no row is left out and
    nothing is filled in before the fit. :meth:`transform` is
    :meth:`GaussianMixture.impute <emdash.GaussianMixture.impute>` of the
    fitted mixture, ``mixture_``, which can do more: draw the missing cells
    (:meth:`~emdash.GaussianMixture.sample_missing`), say how likely a row is, choose
    `n_components` by :meth:`~emdash.GaussianMixture.bic`.

    Parameters
    ----------
    n_components : int, default=1
        Number of components. One makes it a linear regression on what is observed.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        As for :class:`GaussianMixture`. With 'diag' and 'spherical', features are related through
        the components only.
    tol : float, default=1e-3
        Stop when the mean log-likelihood per row changes by less than this.
    reg_covar : float, default=1e-6
        Added to the diagonal of the covariances, in the unit of the data squared.
    max_iter : int, default=100
        Largest number of EM iterations.
    n_init : int, default=1
        Number of starts, of which the best fit is kept.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, default='kmeans'
        Where the start comes from.
    random_state : int, RandomState or None, default=None
        Seed of the start.
    n_threads : int, default=None
        Largest number of threads on this machine; None means all usable cores.
    memory_limit : int or str, default=None
        Most memory that a call may add to the process, such as "500MB".

    Attributes
    ----------
    mixture_ : GaussianMixture
        Fitted. To keep the imputer in a file, save this with :func:`emdash.save`.
    n_iter_ : int
        Number of EM iterations.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Names of the features, if `X` had any.

    See Also
    --------
    sklearn.impute.IterativeImputer : A regression for each feature in turn.

    Examples
    --------
    >>> import numpy as np
    >>> from emdash import GMMImputer
    >>> X = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.1], [3.0, 5.9], [1.5, np.nan]])
    >>> GMMImputer(reg_covar=0).fit_transform(X)[-1].round(3)
    array([1.5, 3. ])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        name: GaussianMixture._parameter_constraints[name] for name in SETTINGS
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        random_state: int | np.random.RandomState | None = None,
        n_threads: int | None = None,
        memory_limit: int | str | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.random_state = random_state
        self.n_threads = n_threads
        self.memory_limit = memory_limit

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: object = None, sample_weight: Any = None) -> Self:
        """Fit the mixture.

        Parameters
        ----------
        X : as in :meth:`GaussianMixture.fit <emdash.GaussianMixture.fit>`
            NaN where a value is missing.
        y : None
            Ignored, present by convention.
        sample_weight : as in :meth:`GaussianMixture.fit <emdash.GaussianMixture.fit>`

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            If `X` holds infinity, naming the row, or a column without any value, naming it.
        """
        settings = {name: getattr(self, name) for name in SETTINGS}
        self.mixture_ = GaussianMixture(**settings).fit(X, sample_weight=sample_weight)
        self.n_iter_ = self.mixture_.n_iter_
        self.n_features_in_ = self.mixture_.n_features_in_
        self.__dict__.pop("feature_names_in_", None)
        if hasattr(self.mixture_, "feature_names_in_"):
            self.feature_names_in_ = self.mixture_.feature_names_in_
        return self

    def transform(self, X: Any) -> Any:
        """Return the rows with their missing cells filled in.

        Parameters
        ----------
        X : as in :meth:`fit`

        Returns
        -------
        filled : ndarray of shape (n_samples, n_features), float64
            Observed cells are what they were. A Dask array gives a lazy one; data frames in memory
            become arrays as with scikit-learn's transformers, unless ``set_output`` says otherwise.

        Raises
        ------
        ValueError
            If `X` holds infinity, naming the row.
        """
        check_is_fitted(self)
        filled = self.mixture_.impute(X)
        in_memory = hasattr(filled, "to_numpy") and not hasattr(filled, "dask")
        return filled.to_numpy() if in_memory else filled
