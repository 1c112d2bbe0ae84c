"""Covariances that are not positive definite to working precision: which, and a floor under them.

Must never know: mixing weights, rows, what is done about it.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emdash.families.factors import ill_defined
from emdash.families.forms import SMALLEST, Form

__all__ = ["FLOOR", "Collapse", "floor_of", "floored", "narrowest", "singular_components"]

Array = NDArray[np.float64]

FLOOR = 1e-6
"""Smallest variance of a component that is kept from collapsing, relative to that of the data.

On standardised data the same as the default of ``reg_covar``."""

RANGE = SMALLEST, 1 / SMALLEST
"""What a floor may be: quotients of variances by it are numbers then."""


class Collapse(ValueError):
    """The M-step found covariances that are not positive definite to working precision.

    Its text is the one for users who want the fit to stop there.

    Attributes
    ----------
    statistics : Statistics
        The sums of the M-step.
    about : record
        The components they were taken about.
    smallest : dict of int or None to float
        Smallest eigenvalue, in the unit of the data squared, of the covariance of each component
        that is singular; None stands for a covariance that all components share.
    """

    def __init__(self, statistics: Any, about: Any, smallest: dict[int | None, float]) -> None:
        self.statistics, self.about, self.smallest = statistics, about, smallest
        super().__init__(_message(statistics, smallest))


def _message(statistics: Any, smallest: dict[int | None, float]) -> str:
    row = statistics.weight / statistics.n_used
    details = {
        k: f"its smallest eigenvalue is {value:.3g}"
        + ("" if k is None else f", its weight {statistics.N[k] / row:.4g} rows")
        for k, value in smallest.items()
    }
    return (
        f"{ill_defined(details)}; or let the fit go on: on_collapse='regularize', 'reseed' or "
        "'drop', or a prior."
    )


def singular_components(form: Form, means: Array, covariances: Array) -> dict[int | None, float]:
    """Return the smallest eigenvalue of each singular covariance, as :class:`Collapse` has it.

    Parameters
    ----------
    form : Form
    means : (K, d)
    covariances : as the parameters of a Gaussian have them
        Finite.
    """
    each = form.each(covariances)
    at = [np.abs(means).max(axis=0)] if form.shared else list(means)
    return {
        None if form.shared else k: form.smallest(covariance)
        for k, (covariance, mean) in enumerate(zip(each, at, strict=True))
        if form.is_singular(covariance, mean)
    }


def narrowest(form: Form, covariances: Array) -> dict[int | None, float]:
    """Return the covariance with the smallest eigenvalue of all, in the same way."""
    smallest = [form.smallest(covariance) for covariance in form.each(covariances)]
    k = int(np.argmin(smallest))
    return {None if form.shared else k: smallest[k]}


def floor_of(form: Form, mean: Array, covariance: Array) -> Array:
    """Return the floor relative to the data's own variance, one variance for each feature, (d,).

    Parameters
    ----------
    form : Form
    mean : (d,)
        Of all rows.
    covariance : one covariance
        Of all rows.

    Raises
    ------
    ValueError
        If it is beyond what float64 can compute with, naming the column.
    """
    floor = FLOOR * form.scale(mean, covariance)
    good = (floor >= RANGE[0]) & (floor <= RANGE[1])
    if not good.all():
        column = int(np.argmin(good))
        raise ValueError(
            f"A covariance collapsed, and its floor, {FLOOR:g} times the variance of the data, is "
            f"{floor[column]:.3g} in column {column}, beyond what float64 can compute with: scale "
            "the input data"
        )
    return np.asarray(floor)


def floored(form: Form, covariances: Array, which: Set[int | None], floor: Array) -> Array:
    """Return the covariances with some raised to a floor.

    Parameters
    ----------
    form : Form
    covariances : as the parameters of a Gaussian have them
    which : set of (int or None)
        Which of them, as in :class:`Collapse`.
    floor : (d,)
        As of :func:`floor_of`.
    """
    each = form.each(covariances)
    for k in range(len(each)):
        if (None if form.shared else k) in which:
            each[k] = form.raised(each[k], floor)
    return form.stacked(each)
