"""What one component's covariance looks like: a matrix, variances, one variance.

For what happens beside the M-step and not in it - the covariance of all rows together, a floor
under a covariance, the posterior of a prior - where the sums have long been taken. Letters are
those of ``docs/formulas.md``.

Must never know: rows, sums of a pass, how components are factored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from emdash.families.moments import EPS
from emdash.families.shape import CovarianceShape

__all__ = ["Form", "form_of"]

Array = NDArray[np.float64]

SMALLEST = 1e-290
"""No variance is smaller: its inverse, and quotients of it, are numbers then."""


class Form(ABC):
    """The form of one component's covariance: implement these methods for a covariance type.

    Parameters
    ----------
    shared : bool
        Whether all components have the same covariance.
    """

    def __init__(self, shared: bool = False) -> None:
        self.shared = shared

    def each(self, covariances: Array) -> list[Array]:
        """Return the covariances one by one; one, if they share it."""
        return [covariances] if self.shared else list(covariances)

    def stacked(self, each: list[Array]) -> Array:
        """Return the array that :meth:`each` took apart."""
        return each[0] if self.shared else np.stack(each)

    @abstractmethod
    def products(self, x: Array) -> Array:
        """Return what ``x x'`` adds to the covariance of a component, of each row of `x` (K, d)."""

    @abstractmethod
    def shape(self, d: int) -> tuple[int, ...]:
        """Return the shape of one covariance."""

    @abstractmethod
    def base(self, d: int) -> float:
        """Return twice the exponent of ``1 / |covariance|`` in a prior of no degrees of freedom.

        ``d + 1`` for the inverse Wishart of matrices, 2 for the inverse gamma of variances.
        """

    def unit(self, d: int) -> float:
        """Return how many squared deviations a row adds to a variance."""
        return 1.0

    @abstractmethod
    def log_determinant(self, factor: Array) -> float:
        """Return ``log |U|`` of one factor of a precision, over the variances that it has."""

    @abstractmethod
    def trace(self, factor: Array, scale: Array) -> float:
        """Return the trace of a scale matrix of this form times the precision."""

    @abstractmethod
    def square(self, factor: Array, x: Array) -> float:
        """Return ``x' precision x``."""

    @abstractmethod
    def variances(self, covariance: Array, d: int) -> Array:
        """Return the variance of each feature, shape (d,), in one covariance."""

    @abstractmethod
    def smallest(self, covariance: Array) -> float:
        """Return the smallest eigenvalue of one covariance."""

    @abstractmethod
    def raised(self, covariance: Array, floor: Array) -> Array:
        """Return one covariance, kept where it is at least ``diag(floor)`` and else raised to it.

        That is the covariance of largest likelihood among those that are at least
        ``diag(floor)`` [Ingrassia2004]_.

        Parameters
        ----------
        covariance : one covariance
        floor : (d,)
            A variance for each feature, positive.
        """

    def is_singular(self, covariance: Array, mean: Array) -> bool:
        """Tell whether one covariance is not positive definite to working precision.

        That is, whether a variance is not larger than the rounding of a value at the mean, or a
        feature is a linear combination of others.
        """
        return not bool((self.variances(covariance, len(mean)) > resolution(mean)).all())

    def are_sound(self, covariances: Array, factors: Array, means: Array) -> bool:
        """Tell quickly, by their factors, that no covariance is singular in this sense.

        Parameters
        ----------
        covariances, factors : as in the parameters of a Gaussian
        means : (K, d)
        """
        return bool((self.all_variances(covariances) > resolution(means)).all())

    def clear_of(self, reg_covar: float, covariances: Array, means: Array) -> bool:
        """Tell still more quickly: what was added to variances that were not negative will do."""
        largest = float(np.maximum.reduce(covariances, axis=None))
        farthest = float(np.maximum.reduce(np.abs(means), axis=None))
        step = 4 * EPS * farthest
        return reg_covar > max(working_precision(means.shape[1]) * largest, step * step)

    def all_variances(self, covariances: Array) -> Array:
        """Return what can be compared with (K, d): the variances of all components."""
        return covariances

    def total(self, N: Array, means: Array, covariances: Array) -> tuple[Array, Array]:
        """Return mean and covariance of all rows together.

        Parameters
        ----------
        N : (K,)
            Weights of the components, in any unit.
        means : (K, d)
        covariances : as the M-step finds them
            With divisor N and nothing added.

        Returns
        -------
        mean : (d,)
        covariance : one covariance
        """
        p = N / N.sum()
        mean = p @ means
        between = np.tensordot(p, self.products(means - mean), 1)
        within = covariances if self.shared else np.tensordot(p, covariances, 1)
        return mean, np.asarray(within + between)

    def scale(self, mean: Array, covariance: Array) -> Array:
        """Return the squared unit of each feature, shape (d,), always positive.

        Its variance in the data; in a column that is constant, the square of the constant or one.
        """
        variances = self.variances(covariance, len(mean))
        square = np.where(mean == 0, 1.0, mean**2)
        return np.where(variances > resolution(mean), variances, square)


class Matrix(Form):
    """A matrix, (d, d)."""

    def shape(self, d: int) -> tuple[int, ...]:
        return (d, d)

    def base(self, d: int) -> float:
        return d + 1.0

    def log_determinant(self, factor: Array) -> float:
        return float(np.log(np.diagonal(factor)).sum())

    def trace(self, factor: Array, scale: Array) -> float:
        return float((factor * (scale @ factor)).sum())

    def square(self, factor: Array, x: Array) -> float:
        return float(((x @ factor) ** 2).sum())

    def products(self, x: Array) -> Array:
        return x[:, :, None] * x[:, None, :]

    def variances(self, covariance: Array, d: int) -> Array:
        return np.diagonal(covariance)

    def smallest(self, covariance: Array) -> float:
        return float(np.linalg.eigvalsh(covariance)[0])

    def is_singular(self, covariance: Array, mean: Array) -> bool:
        if super().is_singular(covariance, mean):
            return True
        s = np.sqrt(np.diagonal(covariance))
        correlation = covariance / s / s[:, None]
        return bool(np.linalg.eigvalsh(correlation)[0] <= working_precision(len(s)))

    def all_variances(self, covariances: Array) -> Array:
        return np.asarray(np.diagonal(covariances, axis1=-2, axis2=-1))

    def are_sound(self, covariances: Array, factors: Array, means: Array) -> bool:
        if not super().are_sound(covariances, factors, means):
            return False
        # 1 / U_jj**2 is what the features before j leave of its variance
        left = self.all_variances(covariances) * self.all_variances(factors) ** 2
        return bool(left.max() < 1 / working_precision(means.shape[1]))

    def raised(self, covariance: Array, floor: Array) -> Array:
        s = np.sqrt(floor)
        values, vectors = np.linalg.eigh(covariance / s / s[:, None])
        if values[0] >= 1:
            return covariance
        vectors *= s[:, None]
        raised = (vectors * np.maximum(values, 1.0)) @ vectors.T
        return np.asarray((raised + raised.T) / 2)


class Variances(Form):
    """A variance for each feature, (d,)."""

    def shape(self, d: int) -> tuple[int, ...]:
        return (d,)

    def base(self, d: int) -> float:
        return 2.0

    def log_determinant(self, factor: Array) -> float:
        return float(np.log(factor).sum())

    def trace(self, factor: Array, scale: Array) -> float:
        return float((factor**2 * scale).sum())

    def square(self, factor: Array, x: Array) -> float:
        return float(((x * factor) ** 2).sum())

    def products(self, x: Array) -> Array:
        return np.asarray(x**2)

    def variances(self, covariance: Array, d: int) -> Array:
        return covariance

    def smallest(self, covariance: Array) -> float:
        return float(np.min(covariance))

    def raised(self, covariance: Array, floor: Array) -> Array:
        return np.maximum(covariance, floor)


class Variance(Variances):
    """One variance for all features, ()."""

    def shape(self, d: int) -> tuple[int, ...]:
        return ()

    def unit(self, d: int) -> float:
        return float(d)

    def products(self, x: Array) -> Array:
        return np.asarray((x**2).mean(axis=1))

    def variances(self, covariance: Array, d: int) -> Array:
        return np.broadcast_to(covariance, (d,))

    def raised(self, covariance: Array, floor: Array) -> Array:
        return np.asarray(np.maximum(covariance, floor.mean()))

    def all_variances(self, covariances: Array) -> Array:
        return covariances[..., None]


def resolution(means: Array) -> Array:
    """Return the variance that is only the rounding of values at these means."""
    with np.errstate(over="ignore", under="ignore"):
        return np.maximum((4 * EPS * means) ** 2, SMALLEST)


def working_precision(d: int) -> float:
    """Return the part of a variance that rounding leaves when nothing should be left."""
    return 8 * d * EPS


K, d = 2, 3
FORMS: dict[tuple[int, ...], Form] = {
    (K, d, d): Matrix(),
    (d, d): Matrix(shared=True),
    (K, d): Variances(),
    (d,): Variances(shared=True),
    (K,): Variance(),
    (): Variance(shared=True),
}
"""The registry: shape of the covariances of two components with three features to their form."""


def form_of(shape: CovarianceShape) -> Form:
    """Return the form of the covariances of any shape, one's own included."""
    return FORMS[shape.array_shape(K, d)]
