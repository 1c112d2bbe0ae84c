"""Prior distributions of components, as settings: what they do to an M-step is elsewhere.

Must never know: data, statistics, covariance types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["NormalInverseWishart"]


@dataclass(frozen=True, eq=False)
class NormalInverseWishart:
    """Conjugate prior of the means and covariances of Gaussian components.

    The mean of a component is normal about `mean_prior` with its covariance divided by
    `mean_precision_prior`; the covariance is inverse-Wishart with `degrees_of_freedom_prior` and
    the scale matrix `covariance_prior`; inverse-gamma where it consists of variances. All
    components have the same prior. The fit is the mode of the posterior. Names are those of
    :class:`sklearn.mixture.BayesianGaussianMixture`, defaults and formulas those of
    [FraleyRaftery2007]_ and mclust's ``priorControl()``, of which `mean_precision_prior` is the
    ``shrinkage``.

    Parameters
    ----------
    mean_prior : array-like of shape (n_features,), default=None
        Where means are drawn to, in the unit of the data; None for the mean of the data.
    mean_precision_prior : float, default=0.01
        How strongly, in rows; 0 leaves the means alone.
    degrees_of_freedom_prior : float, default=None
        How strongly covariances are drawn to theirs; None for ``n_features + 2``. Negative values
        down to ``-(n_features + 1)`` (-2 for diag and spherical) undo the density's own
        exponent: there, with `mean_precision_prior` and `covariance_prior` of zero, the fit is
        that of maximum likelihood.
    covariance_prior : array-like, default=None
        Scale matrix in the unit of the data squared: of shape (n_features, n_features) for full
        and tied, (n_features,) for diag, a number for spherical. None for the covariance of the
        data (with divisor n) in that form, divided by ``n_components ** (2 / n_features)``.

    See Also
    --------
    emdash.GaussianMixture : Takes it as its `prior`.

    Examples
    --------
    One row per component, which has no maximum of the likelihood:

    >>> import numpy as np
    >>> from emdash import GaussianMixture, NormalInverseWishart
    >>> X = np.array([[0.0], [1.0], [10.0]])
    >>> fit = GaussianMixture(3, prior=NormalInverseWishart(), reg_covar=0, random_state=0).fit(X)
    >>> bool((fit.covariances_ > 0.1).all())
    True
    """

    mean_prior: ArrayLike | None = None
    mean_precision_prior: float = 0.01
    degrees_of_freedom_prior: float | None = None
    covariance_prior: ArrayLike | None = None

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to the data."""
        return all(getattr(self, field.name) is not None for field in fields(self))

    def plain(self) -> dict[str, Any]:
        """Return the parameters as values of JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {n: None if v is None else np.asarray(v, float).tolist() for n, v in values.items()}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> NormalInverseWishart:
        """Return the prior that :meth:`plain` returned the parameters of."""
        return cls(**plain)
