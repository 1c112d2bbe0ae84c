"""The normal-inverse-Wishart prior at work: the mode of the posterior, and the prior's density.

One formula for all forms of a covariance. A form has its own number of squared deviations per row
and variance (``unit``: d where one variance stands for d features, else 1) and its own exponent of
the inverse-Wishart or inverse-gamma density (``base``). Letters are those of ``docs/formulas.md``.

Must never know: rows, mixing weights, loops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.families.forms import Form
from emdash.priors import NormalInverseWishart

__all__ = ["Conjugate", "check_prior", "settled"]

Array = NDArray[np.float64]


def check_prior(prior: NormalInverseWishart, form: Form, d: int) -> None:
    """Refuse a prior that does not fit `d` features and this form of covariance.

    Raises
    ------
    ValueError
        Naming the argument.
    """
    lowest = -form.base(d)
    _number(prior.mean_precision_prior, "mean_precision_prior", 0.0)
    if prior.degrees_of_freedom_prior is not None:
        _number(prior.degrees_of_freedom_prior, "degrees_of_freedom_prior", lowest)
    if prior.mean_prior is not None:
        _array(prior.mean_prior, "mean_prior", (d,))
    if prior.covariance_prior is not None:
        scale = _array(prior.covariance_prior, "covariance_prior", form.shape(d))
        symmetric = scale.ndim < 2 or np.allclose(scale, scale.T)
        if not symmetric or form.smallest(scale) < -1e-12 * np.abs(scale).max():
            raise ValueError(
                "covariance_prior of the prior should be symmetric with eigenvalues of at least 0, "
                f"but its smallest is {form.smallest(scale):.3g}"
            )


def _number(value: Any, name: str, least: float) -> None:
    if not (np.ndim(value) == 0 and np.isfinite(value) and value >= least):
        raise ValueError(f"{name} of the prior should be a number of at least {least:g}: {value!r}")


def _array(value: Any, name: str, shape: tuple[int, ...]) -> Array:
    array = np.asarray(value, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(
            f"{name} of the prior should be finite and have the shape {shape} for this "
            f"covariance_type, got shape {array.shape}"
        )
    return array


def settled(
    prior: NormalInverseWishart, form: Form, N: Array, means: Array, covariances: Array
) -> NormalInverseWishart:
    """Return the prior with what was left to the data taken from these.

    Parameters
    ----------
    prior : NormalInverseWishart
    form : Form
    N, means, covariances
        As for :meth:`Form.total`; all components together are the data.
    """
    if prior.is_complete:
        return prior
    K, d = means.shape
    mean, total = form.total(N, means, covariances)
    dof, scale = prior.degrees_of_freedom_prior, prior.covariance_prior
    return NormalInverseWishart(
        mean if prior.mean_prior is None else prior.mean_prior,
        prior.mean_precision_prior,
        d + 2.0 if dof is None else dof,
        total / K ** (2 / d) if scale is None else scale,
    )


@dataclass(frozen=True)
class Conjugate:
    """A complete prior of components of one form.

    Attributes
    ----------
    prior : NormalInverseWishart
        With nothing left to the data.
    form : Form
    """

    prior: NormalInverseWishart
    form: Form

    @property
    def _values(self) -> tuple[Array, float, float, Array]:
        """Return m, kappa, nu and Psi."""
        p = self.prior
        assert p.mean_prior is not None
        assert p.degrees_of_freedom_prior is not None
        assert p.covariance_prior is not None
        return (
            np.asarray(p.mean_prior, dtype=np.float64),
            float(p.mean_precision_prior),
            float(p.degrees_of_freedom_prior),
            np.asarray(p.covariance_prior, dtype=np.float64),
        )

    def mode(self, N: Array, means: Array, covariances: Array) -> tuple[Array, Array]:
        """Return means and covariances at the mode of the posterior.

        Parameters
        ----------
        N : (K,)
            Weights of the components.
        means, covariances
            Those of maximum likelihood.
        """
        m, kappa, nu, Psi = self._values
        K, d = means.shape
        unit, on_means = self.form.unit(d), float(kappa > 0)
        away = means - m
        both = np.maximum(N + kappa, np.finfo(np.float64).tiny)
        drawn = means - (kappa / both)[:, None] * away
        between = _times(kappa * N / both, self.form.products(away))
        exponent = nu + self.form.base(d)
        if self.form.shared:
            scatter = Psi + unit * (N.sum() * covariances + between.sum(axis=0))
            return drawn, np.asarray(scatter / (exponent + unit * (N.sum() + K * on_means)))
        scatter = Psi + unit * (_times(N, covariances) + between)
        counts = np.maximum(exponent + unit * (N + on_means), np.finfo(np.float64).tiny)
        return drawn, _times(1 / counts, scatter)

    def log_density(self, means: Array, factors: Array) -> float:
        """Return the logarithm of the prior density without its constants.

        Parameters
        ----------
        means : (K, d)
        factors : as ``precisions_cholesky`` of the parameters
        """
        m, kappa, nu, Psi = self._values
        d = means.shape[1]
        unit, on_means = self.form.unit(d), float(kappa > 0)
        each = self.form.each(factors)
        exponent = nu + self.form.base(d)
        result = 0.0
        for U in each:  # the covariances
            result += exponent * self.form.log_determinant(U) - 0.5 * self.form.trace(U, Psi)
        for k, mean in enumerate(means):
            U = each[0 if self.form.shared else k]
            result += on_means * unit * self.form.log_determinant(U)
            result -= 0.5 * kappa * self.form.square(U, mean - m)
        return float(result)


def _times(numbers: Array, each: Array) -> Array:
    """Return arrays, one per component, times a number each."""
    return np.asarray(numbers.reshape(-1, *(1,) * (each.ndim - 1)) * each)
