"""Whether float32 arithmetic is good enough for these parameters, and how rows enter it.

The prediction looks at every factor, so it costs ``K d**3`` multiply-adds before
each pass. The study behind it is in ``docs/float32.md``.

Must never know: mixing weights, rows, kernels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_FEATURES", "TOLERATED", "Single", "single_precision"]

Array = NDArray[np.float64]

ROUNDING = 2.0**-24
"""Relative error of one rounding to float32."""

TOLERATED = 1e-4
"""Predicted error of a covariance, in units of the covariance, beyond which float64 is used."""

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


def single_precision(means: Array, factors: Array, center: Array) -> Single | None:
    """Return how to run a pass in float32, or None if float64 is needed.

    In units of a component's own standard deviations the rounding of ``x - center``
    is that of their distance, and a whitened coordinate ``sum_j w_j (x - mean)_j``
    loses what cancels in it. With ``s`` the standard deviations of the features,
    ``a = sum_j |w_j| s_j`` (1 if nothing cancels; its square is at most ``d`` times
    the condition number of the correlations) and ``g = sum_j |w_j| |mean - center|_j``,
    the prediction is ``2**-24 (a**2 + g)``, the largest over all components and
    coordinates. Measured errors are 0.001 to 0.9 of it.

    Parameters
    ----------
    means : (K, d)
    factors : (K, d, d)
        Upper-triangular ``U`` with ``U U' =`` precision.
    center : (d,)
        Subtracted from the rows in float64.

    Returns
    -------
    Single or None
        None if the predicted error is above :data:`TOLERATED`, if the features
        of different components have very different scales, or if there are more
        than :data:`MOST_FEATURES` features.

    Examples
    --------
    >>> import numpy as np
    >>> from emdash.families.single import single_precision
    >>> means, unit = np.array([[-1.0, 0.0], [1.0, 0.0]]), np.stack([np.eye(2)] * 2)
    >>> single_precision(means, unit, np.zeros(2)).error
    1.1920928955078125e-07
    >>> single_precision(means, unit * [1.0, 1e6], np.zeros(2)).error  # scales do not matter
    1.1920928955078125e-07
    >>> single_precision(1e5 * means, unit, np.zeros(2)) is None
    True
    """
    if means.shape[1] > MOST_FEATURES:
        return None
    with np.errstate(all="ignore"):  # whatever overflows is not tolerated
        sigma = np.sqrt((np.linalg.inv(factors) ** 2).sum(axis=1))
        size = np.abs(factors).swapaxes(1, 2)
        cancelled = (size @ sigma[:, :, None]).max()
        away = (size @ np.abs(means - center)[:, :, None]).max()
        error = float(ROUNDING * (cancelled**2 + away))
        unit = 2.0 ** -np.round(np.log2(sigma).mean(axis=0))
        scales = sigma * unit
    if not (error <= TOLERATED and scales.max() <= SCALES and scales.min() >= 1 / SCALES):
        return None
    return Single(unit, error, TOLERATED / float(ROUNDING * cancelled))
