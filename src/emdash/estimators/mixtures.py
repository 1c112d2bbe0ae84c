"""Mixture estimators with the names, defaults and meanings of ``sklearn.mixture``."""

from __future__ import annotations

import os
from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions

from emdash.checkpoint import Checkpoint
from emdash.engines.local import usable_cores
from emdash.estimators._base import FLOAT64, BaseMixture
from emdash.estimators._compatibility import PrivateMethods
from emdash.estimators._exchange import Exchange
from emdash.estimators._given import from_attributes
from emdash.estimators._missing import MissingCells
from emdash.estimators._rounded import exact, set_attributes
from emdash.families.conjugate import check_prior
from emdash.families.covariance import SHAPES
from emdash.families.forms import form_of
from emdash.families.gaussian import Gaussian, GaussianParameters
from emdash.families.shape import CovarianceShape
from emdash.models.mixture import Mixture, MixtureParameters
from emdash.priors import NormalInverseWishart
from emdash.progress import Pass

__all__ = ["GaussianMixture"]

Array = NDArray[np.float64]


class GaussianMixture(MissingCells, Exchange, PrivateMethods):
    """Gaussian mixture, fitted by exact EM to data of any size.

    A drop-in for :class:`sklearn.mixture.GaussianMixture`: the same parameters,
    attributes and methods with the same meanings, and from the same start the
    same answer. Beyond it, `X` may also be a memory map, a ``.npy`` file, a
    re-iterable of arrays or a Dask array: each EM iteration is one pass that
    sums sufficient statistics chunk by chunk, so the answer is that of the
    whole table whatever its size. NaN stands for a value that is missing at random;
    the likelihood is that of what is observed.

    Parameters
    ----------
    n_components : int, default=1
        Number of components, K.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        Own matrix for each component, one matrix for all, own variances of
        each feature, or one variance for each component.
    tol : float, default=1e-3
        Stop when the mean log-likelihood per row (per unit of `sample_weight`) changes by less
        than this.
        The default is scikit-learn's and stops early; 1e-6 is closer to the maximum.
    reg_covar : float, default=1e-6
        Added to the diagonal of the covariances, in the unit of the data squared.
    max_iter : int, default=100
        Largest number of EM iterations; 0 keeps the start.
    n_init : int, default=1
        Number of starts, of which the best fit is kept.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, default='kmeans'
        Where starting responsibilities come from: k-means labels; rows picked
        by k-means++ or at random as means; or random numbers. Data in memory
        are used whole, of larger data, and of those with missing cells, a sample of at most
        65 536 rows.
    weights_init : array-like of shape (n_components,), default=None
        Starting weights; None leaves them to `init_params`.
    means_init : array-like of shape (n_components, n_features), default=None
        Starting means; None leaves them to `init_params`.
    precisions_init : array-like, default=None
        Starting inverse covariances, of the shape of ``precisions_``; None
        leaves them to `init_params`.
    random_state : int, RandomState or None, default=None
        Seed of the start and of :meth:`sample`.
    warm_start : bool, default=False
        Go on from the last fit instead of starting anew.
    verbose : int, default=0
        1 prints a line every `verbose_interval` passes (log-likelihood, its
        change, rows and bytes per second, peak memory, an estimate of the time left), 2 every
        pass. On a terminal and in a notebook a bar shows the pass under way.
    verbose_interval : int, default=10
        Passes between two lines.
    n_threads : int, default=None
        Largest number of threads on this machine; None means all usable cores.
        The answer does not depend on it. Workers of a cluster use the threads
        they were started with.
    memory_limit : int or str, default=None
        Most memory that a call may add to the process: bytes, or a string like "500MB".
        It decides how large chunks are, how many threads hold one at the same time, and
        how large the sample is that the start is made from; answers that do not fit are
        refused. None means three quarters of what is free. Data that are given in memory
        do not count, nor do the workers of a cluster. Chunks of a Dask array are as they were
        made: of those computed on this machine the blocks count, but not what they are computed
        from; one that does not fit is refused.
    callback : callable, default=None
        Called after each pass with an :class:`emdash.Pass`.
    checkpoint : str, path-like or Checkpoint, default=None
        A file that holds how far the fit has come, replaced after every pass (or less often, see
        :class:`emdash.Checkpoint`). If it is there already, :meth:`fit` goes on from it and ends
        bitwise where it would have ended without interruption; if it is complete, :meth:`fit`
        reads it and makes no pass. `tol`, `max_iter` and `n_init` may have changed, to go on
        further, and so may `memory_limit` and `n_threads`; a file of another model or of other
        data is refused.
    arithmetic : {'float64', 'float32'}, default='float64'
        What the EM passes compute in, whatever the type of `X`. 'float32' takes
        about 0.6 of the time for full covariances of at most 16 features; sums of
        many rows and the log-likelihood stay float64, and so do passes that
        would make a covariance wrong by more than about 1e-4 of itself (ill-conditioned
        components, or components 1000 standard deviations apart), other covariance
        types, more features, and the answers of `predict` and its like.
    on_collapse : {'regularize', 'reseed', 'drop', 'raise'}, default='regularize'
        What to do when the M-step leaves a component a covariance that is not positive definite
        to working precision, or less weight than one row has: keep the covariance above a floor of
        1e-6 times the variance of the data; place the component anew at the row that fits worst,
        which costs a pass; go on without it; or stop with an error, as scikit-learn does. It is
        noted in `history_` and told in one warning. See :doc:`/collapse`.
    prior : NormalInverseWishart, default=None
        Prior of means and covariances (:class:`emdash.NormalInverseWishart`). The fit is then the
        mode of the posterior, and what EM raises is log-likelihood plus log-prior. None means
        maximum likelihood. See :doc:`/priors`.
    weight_concentration_prior : float, default=None
        Concentration of a symmetric Dirichlet prior of the mixing weights, at least 1: each
        component starts with so many rows minus one. None means 1, which is no prior.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Mixing weights. This and the following arrays are float32 after a fit to float32 rows,
        else float64; computed, and kept for what goes on from them, is float64.
    means_ : ndarray of shape (n_components, n_features)
        Means.
    covariances_ : ndarray
        Covariances, of shape ``(n_components, n_features, n_features)`` if full,
        ``(n_features, n_features)`` if tied, ``(n_components, n_features)`` if
        diag, ``(n_components,)`` if spherical.
    precisions_ : ndarray
        Inverse covariances, in the same shape.
    precisions_cholesky_ : ndarray
        Upper-triangular ``U`` with ``U U' = precision``; ``1 / sigma`` if diag or spherical.
    converged_ : bool
        Whether the best fit met `tol`.
    n_iter_ : int
        Number of EM iterations of the best fit.
    lower_bound_ : float
        Mean log-likelihood per row (per unit of `sample_weight`) in the last E-step of the best
        fit, that is, of the parameters before the last M-step, as in scikit-learn. With priors
        plus their log-density per row.
    lower_bounds_ : list of float
        The same for every iteration.
    history_ : list of Pass
        What :class:`emdash.Pass` says of every iteration: time, rows, what was left out.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Names of the features, if `X` had any.

    Notes
    -----
    ``weights_``, ``means_``, ``covariances_`` and ``precisions_cholesky_`` may be set or
    edited by hand; one of the last two is enough. A factor may be in either triangle.
    If it disagrees with the covariance, that is used, with a warning that names the component.
    ``precisions_`` is not read. See also :meth:`from_parameters`.

    See Also
    --------
    sklearn.mixture.GaussianMixture : The in-memory estimator this one replaces.

    Examples
    --------
    >>> import numpy as np
    >>> from emdash import GaussianMixture
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> gm = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> gm.means_
    array([[10.,  2.],
           [ 1.,  2.]])
    >>> gm.predict([[0, 0], [12, 3]])
    array([1, 0])

    The same from batches, as they might come from files:

    >>> batches = [X[:1], X[1:]]
    >>> again = GaussianMixture(n_components=2, random_state=0).fit(batches)
    >>> bool(np.allclose(gm.means_, again.means_, rtol=1e-12))
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMixture._parameter_constraints,
        "covariance_type": [StrOptions(set(SHAPES))],
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", None],
        "arithmetic": [StrOptions({"float64", "float32"})],
        "prior": [NormalInverseWishart, None],
        "weight_concentration_prior": [Interval(Real, 1.0, None, closed="left"), None],
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
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_threads: int | None = None,
        memory_limit: int | str | None = None,
        callback: Callable[[Pass], object] | None = None,
        checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
        arithmetic: str = "float64",
        on_collapse: str = "regularize",
        prior: NormalInverseWishart | None = None,
        weight_concentration_prior: float | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_threads = n_threads
        self.memory_limit = memory_limit
        self.callback = callback
        self.checkpoint = checkpoint
        self.arithmetic = arithmetic
        self.on_collapse = on_collapse
        self.prior = prior
        self.weight_concentration_prior = weight_concentration_prior

    @property
    def _shape(self) -> CovarianceShape:
        return SHAPES[self.covariance_type]

    def _model(self) -> Mixture[GaussianParameters]:
        threads = usable_cores() if self.n_threads is None else self.n_threads
        family = Gaussian(self._shape, self.reg_covar, threads, self.arithmetic, self.prior)
        return Mixture(family, concentration=self.weight_concentration_prior or 1.0)

    def _check_init(self, d: int) -> dict[str, Array]:
        K = self.n_components
        if self.prior is not None:
            check_prior(self.prior, form_of(self._shape), d)
        shapes = {
            "weights_init": (K,),
            "means_init": (K, d),
            "precisions_init": self._shape.array_shape(K, d),
        }
        given = {
            name: _check_given(getattr(self, name), name, shape)
            for name, shape in shapes.items()
            if getattr(self, name) is not None
        }
        if "weights_init" in given:
            _check_weights(given["weights_init"])
        if "precisions_init" in given:
            given["factors"] = self._shape.factor_precisions(given.pop("precisions_init"))
        return given

    def _is_complete(self, given: dict[str, Array]) -> bool:
        return len(given) == 3

    def _apply_init(
        self,
        given: dict[str, Array],
        parameters: MixtureParameters[GaussianParameters] | None,
    ) -> MixtureParameters[GaussianParameters]:
        if parameters is not None and not given:
            return parameters
        family = Gaussian(self._shape, self.reg_covar)
        weights = given["weights_init"] if parameters is None else parameters.weights
        weights = given.get("weights_init", weights)
        means = given["means_init"] if parameters is None else parameters.components.means
        means = given.get("means_init", means)
        if "factors" in given:
            components = family.from_factors(weights, means, given["factors"])
        else:
            assert parameters is not None
            components = family.parameters(weights, means, parameters.components.covariances)
        return MixtureParameters(weights, components)

    def _keep(
        self,
        parameters: MixtureParameters[GaussianParameters],
        dtype: np.dtype[Any] = FLOAT64,
    ) -> None:
        components = parameters.components
        attributes = {
            "weights_": parameters.weights,
            "means_": components.means,
            "covariances_": components.covariances,
            "precisions_cholesky_": components.precisions_cholesky,
            "precisions_": self._shape.precisions(components.precisions_cholesky),
        }
        set_attributes(self, attributes, dtype)

    def _parameters(self) -> MixtureParameters[GaussianParameters]:
        given = ("weights_", "means_", "covariances_", "precisions_cholesky_")
        return from_attributes(self._shape, {name: exact(self, name) for name in given})


def _check_given(value: ArrayLike, name: str, shape: tuple[int, ...]) -> Array:
    array = np.asarray(value) if isinstance(value, np.ndarray | list | tuple) else None
    if array is None or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        # scikit-learn's conversions and messages; they take longer than a small fit
        try:
            array = check_array(
                value, dtype=np.float64, ensure_2d=False, allow_nd=True, input_name=name
            )
        except (TypeError, ValueError) as error:
            if name in str(error):
                raise
            raise ValueError(
                f"The parameter '{name}' should be an array of numbers of shape {shape}, but it "
                f"cannot be converted to one ({error})"
            ) from None
    if array.shape != shape:
        raise ValueError(
            f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}"
        )
    return np.array(array, dtype=np.float64)  # a copy: the user may go on changing theirs


def _check_weights(weights: Array) -> None:
    if (weights < 0).any() or (weights > 1).any():
        raise ValueError(
            "The parameter 'weights_init' should be in the range [0, 1], but got max value "
            f"{weights.max():.5f}, min value {weights.min():.5f}"
        )
    if not abs(weights.sum() - 1) <= 1e-6:
        raise ValueError(
            "The parameter 'weights_init' should be normalized, but got "
            f"sum(weights_init) = {weights.sum():.5f}: divide it by its sum"
        )
