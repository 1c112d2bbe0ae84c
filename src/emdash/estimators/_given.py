"""Parameters that somebody gave instead of a fit: do they make a mixture, and which one.

They come as arguments of ``from_parameters`` or as attributes set by hand; the errors call them
by the name they were given under. Letters are those of ``docs/formulas.md``.

Must never know: rows, sources, engines, the loop.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError

from emdash.families.agreement import belong_together, disagreeing, has_matrices
from emdash.families.covariance import SHAPES
from emdash.families.factors import where
from emdash.families.forms import form_of
from emdash.families.gaussian import GaussianParameters
from emdash.families.shape import CovarianceShape
from emdash.models.mixture import MixtureParameters

__all__ = ["as_means", "covariance_type_of", "from_arguments", "from_attributes"]

Array = NDArray[np.float64]
Parameters = MixtureParameters[GaussianParameters]

ONE = 1e-6
"""How far from one the sum of the weights may be, as for ``weights_init``."""

ROUNDED = 1e-12
"""How far it may be because float64 was rounded; weights further off are divided by their sum."""


def from_arguments(
    shape: CovarianceShape, weights: Any, means: Any, given: Mapping[str, Any]
) -> Parameters:
    """Return the mixture that arguments describe, in arrays of its own.

    Parameters
    ----------
    shape : CovarianceShape
    weights : array-like of shape (K,)
    means : array-like of shape (K, d)
    given : dict
        One array-like of shape ``shape.array_shape(K, d)`` under its name, ``"covariances"``
        or ``"precisions"``.

    Raises
    ------
    ValueError
        If they make no mixture, naming the argument and the component.
    """
    means = as_means(means).copy()
    weights = _weights(weights, "weights", len(means)).copy()
    ((name, value),) = given.items()
    array = _symmetric(_array(value, name, shape.array_shape(*means.shape)), name, shape)
    if name == "covariances":
        covariances, factors = array, _factored(array, name, shape, shape.factor)
    else:
        factors = _factored(array, name, shape, shape.factor_precisions)
        covariances = _covariances_of(factors, name, shape)
    with np.errstate(over="ignore", invalid="ignore"):
        _check_inverse(shape.precisions(factors), name)
    center = shape.center(weights, means, factors)
    return MixtureParameters(weights, GaussianParameters(means, covariances, factors, center))


def from_attributes(shape: CovarianceShape, attributes: Mapping[str, Any]) -> Parameters:
    """Return the mixture that the attributes of an estimator describe.

    Covariances or factors are enough. If both are there and disagree, the covariances win, with
    a warning: they are what people edit, and what they look at.

    Parameters
    ----------
    shape : CovarianceShape
    attributes : dict
        `weights_`, `means_`, and one of `covariances_` and `precisions_cholesky_`, or both.

    Raises
    ------
    NotFittedError
        If one is missing.
    ValueError
        If they make no mixture, naming the attribute and the component.
    """
    for name in ("weights_", "means_"):
        if attributes.get(name) is None:
            raise NotFittedError(f"a mixture needs {name}: fit it, or set the attribute")
    means = as_means(attributes["means_"], "means_")
    weights = _weights(attributes["weights_"], "weights_", len(means))
    given = [attributes.get(name) for name in ("covariances_", "precisions_cholesky_")]
    expected = shape.array_shape(*means.shape)
    covariances = None if given[0] is None else _shaped(given[0], "covariances_", expected)
    factors = None if given[1] is None else _shaped(given[1], "precisions_cholesky_", expected)
    if covariances is None or factors is None or not belong_together(shape, covariances, factors):
        eps = max(_eps(value) for value in given)
        covariances, factors = _reconciled(shape, covariances, factors, eps)
    center = shape.center(weights, means, factors)
    components = GaussianParameters(means, covariances, factors, center)
    return MixtureParameters(weights, components)


def _reconciled(
    shape: CovarianceShape, covariances: Array | None, factors: Array | None, eps: float
) -> tuple[Array, Array]:
    """Return covariances and upper-triangular factors that belong together, of one or both."""
    if factors is not None:
        _check_finite(factors, "precisions_cholesky_")
    if covariances is None:
        if factors is None:
            raise NotFittedError(
                "a mixture needs covariances_ or precisions_cholesky_ besides weights_ and "
                "means_: set one of them"
            )
        factors = _upper(factors, shape)
        _check_squares(factors, shape)
        return _covariances_of(factors, "precisions_cholesky_", shape), factors
    _check_finite(covariances, "covariances_")
    if factors is not None:
        off = disagreeing(shape, covariances, factors, eps)
        if len(off) == 0:
            _check_squares(factors, shape)
            return covariances, _upper(factors, shape)
        if has_matrices(shape):  # the transpose of a factor means no harm
            turned = np.swapaxes(factors, -1, -2)
            off = np.intersect1d(off, disagreeing(shape, covariances, turned, eps))
    covariances = _symmetric(covariances, "covariances_", shape)
    own = _factored(covariances, "covariances_", shape, shape.factor)
    with np.errstate(over="ignore", invalid="ignore"):
        _check_inverse(shape.precisions(own), "covariances_")
    if factors is not None and len(off) > 0:
        _warn(shape, off)
    return covariances, own


def covariance_type_of(name: str, value: Any, K: int, d: int) -> str:
    """Return the covariance type whose arrays have the shape of this one.

    Raises
    ------
    ValueError
        If there is none, or more than one.
    """
    given = _numbers(value, name).shape
    shapes = {each.name: each.array_shape(K, d) for each in SHAPES.values()}
    found = [each for each, shape in shapes.items() if shape == given]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"{name} of shape {given} may be {' or '.join(found)} with {K} component(s) "
            f"and {d} feature(s): say which by covariance_type"
        )
    expected = ", ".join(f"{shape} if {each}" for each, shape in shapes.items())
    raise ValueError(f"{name} should have the shape {expected}, but got {given}")


def _array(value: Any, name: str, shape: tuple[int, ...]) -> Array:
    array = _shaped(value, name, shape)
    _check_finite(array, name)
    return array


def _shaped(value: Any, name: str, shape: tuple[int, ...]) -> Array:
    array = _numbers(value, name)
    if array.shape != shape:
        raise ValueError(f"{name} should have the shape {shape}, but got {array.shape}")
    return array


def _numbers(value: Any, name: str) -> Array:
    """Return numbers as float64, without a copy if they are."""
    try:
        array = np.asarray(value)
        if array.dtype == np.float64:
            return array
        if array.dtype.kind not in "fiubO":
            raise TypeError(f"dtype {array.dtype}")
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} should be an array of real numbers ({error})") from None


def _check_finite(array: Array, name: str) -> None:
    if not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{name}[{', '.join(map(str, place))}] is {array[place]}: "
            "parameters of a mixture are finite"
        )


def as_means(value: Any, name: str = "means") -> Array:
    """Return means as float64, without a copy if they are; refuse what are none."""
    means = _numbers(value, name)
    _check_finite(means, name)
    if means.ndim != 2 or 0 in means.shape:
        raise ValueError(
            f"{name} should have the shape (n_components, n_features), but got {means.shape}: "
            "give one row for each component"
        )
    return means


def _weights(value: Any, name: str, K: int) -> Array:
    weights = _shaped(value, name, (K,))
    if not weights.min() >= 0:
        _check_finite(weights, name)
        k = int(np.argmin(weights))
        raise ValueError(f"{name} of component {k} is {weights[k]:.6g}: weights are 0 or more")
    total = float(weights.sum())
    if abs(total - 1) <= ROUNDED:
        return weights
    if not abs(total - 1) <= ONE:
        raise ValueError(
            f"{name} should sum to 1, to within {ONE:g}, but their sum is {total:.9g}: "
            "divide them by it"
        )
    return np.asarray(weights / total)


def _covariances_of(factors: Array, name: str, shape: CovarianceShape) -> Array:
    """Return the covariances that have these factors, which were given or made of what was."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        try:
            covariances = shape.covariances_of(factors)
        except np.linalg.LinAlgError:
            covariances = np.array(np.inf)
    _check_inverse(covariances, name)
    return covariances


def _check_squares(factors: Array, shape: CovarianceShape) -> Array:
    """Return the precisions with these factors, which were set by hand."""
    with np.errstate(over="ignore", invalid="ignore"):
        precisions = shape.precisions(factors)
    if not np.isfinite(precisions).all():
        raise ValueError("the squares of precisions_cholesky_ overflow: scale the features")
    return precisions


def _check_inverse(inverse: Array, name: str) -> None:
    if not np.isfinite(inverse).all():
        raise ValueError(f"the inverse of {name} overflows: scale the features")


def _component(shape: CovarianceShape, k: int) -> str:
    return where(None if form_of(shape).shared else k)


def _smallest(shape: CovarianceShape) -> str:
    return "eigenvalue" if has_matrices(shape) else "entry"


def _symmetric(array: Array, name: str, shape: CovarianceShape) -> Array:
    """Return a copy, exactly symmetric; refuse what is not nearly so."""
    if not has_matrices(shape):
        return array.copy()
    turned = np.swapaxes(array, -1, -2)
    with np.errstate(invalid="ignore"):  # of a negative variance: that is refused later
        sigma = np.sqrt(np.diagonal(array, axis1=-2, axis2=-1))
    off = np.abs(array - turned) > 1e-5 * sigma[..., :, None] * sigma[..., None, :]
    if off.any():
        *k, i, j = (int(index) for index in np.argwhere(off)[0])
        first, second = array[(*k, i, j)], array[(*k, j, i)]
        raise ValueError(
            f"{name} of {_component(shape, k[0] if k else 0)} is not symmetric: [{i}, {j}] is "
            f"{first:.6g} and [{j}, {i}] is {second:.6g}; (A + A.T) / 2 is"
        )
    return np.asarray(0.5 * array + 0.5 * turned)


def _factored(
    array: Array, name: str, shape: CovarianceShape, factor: Callable[[Array], Array]
) -> Array:
    """Return the factors, or say which component is not positive definite."""
    try:
        return factor(array)
    except ValueError:
        k, smallest = _least_positive(array, shape)
    raise ValueError(
        f"{name} of {_component(shape, k)} is not positive definite to working precision: its "
        f"smallest {_smallest(shape)} is {smallest:.3g}; was "
        "something else given, such as standard deviations or an inverse? Else add a small "
        "number to the diagonal"
    ) from None


def _least_positive(array: Array, shape: CovarianceShape) -> tuple[int, float]:
    """Return the component that is furthest from positive definite, and its smallest eigenvalue."""
    if has_matrices(shape):
        d = array.shape[-1]
        eigenvalues = np.linalg.eigvalsh(array.reshape(-1, d, d))
    else:
        eigenvalues = np.sort(array.reshape(len(array), -1), axis=1)
    largest = np.abs(eigenvalues).max(axis=1)
    k = int(np.argmin(eigenvalues[:, 0] / np.where(largest > 0, largest, 1)))
    return k, float(eigenvalues[k, 0])


def _upper(factors: Array, shape: CovarianceShape) -> Array:
    """Return the upper-triangular factors of the same precisions, with a positive diagonal."""
    try:
        upper = shape.upper(factors)
        if has_matrices(shape) or (upper > 0).all():
            return upper
    except ValueError:
        pass
    k, smallest = _least_positive(_check_squares(factors, shape), shape)
    raise ValueError(
        f"precisions_cholesky_ of {_component(shape, k)} is singular: the smallest "
        f"{_smallest(shape)} of its precision U U' is {smallest:.3g}; set covariances_ instead"
    )


def _eps(value: Any) -> float:
    """Return the relative rounding error of numbers as they were set."""
    dtype = np.asarray(value).dtype
    return float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)


def _warn(shape: CovarianceShape, off: NDArray[np.intp]) -> None:
    others = f" (and of {len(off) - 1} more)" if len(off) > 1 else ""
    warnings.warn(
        f"covariances_ and precisions_cholesky_ of {_component(shape, int(off[0]))}{others} "
        "disagree; the covariances are used. To use the factors, delete covariances_; to be rid "
        "of this warning, delete precisions_cholesky_",
        UserWarning,
        stacklevel=2,
    )
