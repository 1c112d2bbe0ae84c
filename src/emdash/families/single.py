"""Whether float32 arithmetic is good enough for these parameters, and how rows enter it.

The prediction looks at every factor, so it costs ``K d**3`` multiply-adds before
each pass. The study behind it is in ``docs/float32.md``.

Must never know: mixing weights, rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_FEATURES", "TOLERATED", "Single", "holds", "prediction", "single_precision"]

Array = NDArray[np.float64]

ROUNDING = 2.0**-24
"""Relative error of one rounding to float32."""

TOLERATED = 1e-4
"""Largest predicted error of a covariance, in units of the covariance, of a pass in float32."""

SLACK = 10.0
"""A covariance may be so many times less well determined after a pass than was predicted before:
it changes a little in every iteration, and predictions of what cancels are five times too large."""

MOST_FEATURES = 16
"""Features that the float32 kernel takes; with more, rounding is the least of the costs."""

SCALES = 2.0**20
"""Standard deviations of one feature may differ by this; float32 then has room for squares."""


@dataclass(frozen=True)
class Single:
    """How rows enter float32 arithmetic, and what it costs in digits.

    Attributes
    ----------
    unit : (d,)
        Powers of two that bring ``x - center`` near one.
    error : float
        Predicted error of the covariances, in units of the covariance.
    reach : float
        Squared distance of a row to its nearest component, in bits, beyond
        which its densities would be less exact than the covariances.
    """

    unit: Array
    error: float
    reach: float

    def bind(self, log_offsets: Array, means: Array, factors: Array, center: Array) -> Any:
        """Return the compiled kernel of full covariance with these parameters."""
        from emdash._kernels.single import SingleKernel

        return SingleKernel(log_offsets, means, factors, center, self.unit, self.reach)


def prediction(means: Array, factors: Array, center: Array) -> Single:
    """Return how rows enter float32 arithmetic and the error to be expected, whatever it is.

    In units of a component's own standard deviations the rounding of ``x - center``
    is that of their distance, and a whitened coordinate ``sum_j w_j (x - mean)_j``
    loses what cancels in it. With ``s`` the standard deviations of the features,
    ``a = sum_j |w_j| s_j`` (1 if nothing cancels; its square is at most ``d`` times
    the condition number of the correlations) and ``g = sum_j |w_j| |mean - center|_j``,
    the prediction is ``2**-24 (a**2 + g)``, the largest over all components and
    coordinates; infinite if the features of different components have very
    different scales.

    Parameters
    ----------
    means : (K, d)
    factors : (K, d, d)
        Upper-triangular ``U`` with ``U U' =`` precision.
    center : (d,)
        Subtracted from the rows in float64.

    Examples
    --------
    >>> import numpy as np
    >>> from emdash.families.single import prediction
    >>> means, factors = np.array([[-1.0, 0.0], [1.0, 0.0]]), np.stack([np.eye(2)] * 2)
    >>> prediction(means, factors, np.zeros(2)).error
    1.1920928955078125e-07
    >>> prediction(1e4 * means, factors, np.zeros(2)).error
    0.0005961060523986816
    """
    with np.errstate(all="ignore"):  # whatever overflows is not tolerated
        sigma = np.sqrt((np.linalg.inv(factors) ** 2).sum(axis=1))
        size = np.abs(factors).swapaxes(1, 2)
        cancelled = (size @ sigma[:, :, None]).max()
        away = (size @ np.abs(means - center)[:, :, None]).max()
        unit = 2.0 ** -np.round(np.log2(sigma).mean(axis=0))
        scales = sigma * unit
        error = float(ROUNDING * (cancelled**2 + away))
    if not (np.isfinite(error) and scales.max() <= SCALES and scales.min() >= 1 / SCALES):
        error = math.inf
    return Single(unit, error, TOLERATED / float(ROUNDING * cancelled))


def single_precision(means: Array, factors: Array, center: Array) -> Single | None:
    """Return how to run a pass in float32, or None if float64 is needed.

    None if the predicted error is above :data:`TOLERATED` or there are more than
    :data:`MOST_FEATURES` features. Parameters are those of :func:`prediction`.
    """
    if means.shape[1] > MOST_FEATURES:
        return None
    single = prediction(means, factors, center)
    return single if single.error <= TOLERATED else None


def holds(covariances: Array, shift: Array) -> bool:
    """Return whether sums in float32 determine the covariances that came of them.

    Parameters
    ----------
    covariances : (K, d, d)
        What a pass made, regularised.
    shift : (K, d)
        Distance of the new means from those that the sums were taken about.
    """
    squares = np.diagonal(covariances, axis1=1, axis2=2) + shift**2
    try:
        whiten = np.abs(np.linalg.inv(np.linalg.cholesky(covariances)))
    except np.linalg.LinAlgError:
        return False
    cancelled = whiten @ np.sqrt(squares)[:, :, None]
    return bool(ROUNDING * (cancelled**2).max(initial=0.0) <= SLACK * TOLERATED)
