"""Offsets, units and axes of the rows change the answer as they must, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from number_fits import ARRAYS, INITS, OFFSET, differences, fitted, settings

from emdash import GaussianMixture


@pytest.mark.parametrize("init", INITS)
def test_moving_the_rows_moves_the_means_and_nothing_else(rows, init, covariance_type):
    assert (rows + OFFSET - OFFSET == rows).all()
    arguments = settings(covariance_type, init)
    expected, found = (fitted(X, **arguments) for X in (rows, rows + OFFSET))
    assert found.n_iter_ == expected.n_iter_
    assert max(differences(found, expected, move=OFFSET)) < 1e-7  # 1e8 is known to 1.5e-8


@pytest.mark.parametrize("power", [-27, 27])
@pytest.mark.parametrize("init", INITS)
def test_a_common_unit_changes_no_digit(rows, init, power, covariance_type):
    scale = 2.0**power
    expected = fitted(rows, **settings(covariance_type, init))
    found = fitted(rows * scale, **settings(covariance_type, init, reg_covar=1e-6 * scale**2))
    assert found.n_iter_ == expected.n_iter_
    assert max(differences(found, expected, scale=scale)) < 1e-11


SCALES = np.array([2.0**-27, 1.0, 2.0**27])  # 7.5e-9 to 1.3e8


@pytest.mark.parametrize("init", [*INITS, "given"])
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
def test_units_of_features_are_free(rows, init, covariance_type):
    """In the same table, and with an offset of 1e8 in each unit.

    Distances see the third feature only, but it tells the clusters apart: from other starts
    the fits end the same. Where rows are the means, `reg_covar` is their first covariance.
    """
    reg_covar = 1e-25 if init in ("k-means++", "random_from_data") else 0
    arguments = settings(covariance_type, "random" if init == "given" else init)
    arguments |= {"reg_covar": reg_covar, "tol": 1e-13, "max_iter": 5000}
    scaled = dict(arguments)
    if init == "given":
        means = np.array([[1.0, 0, 0], [5, 5, -4], [-6, 5, 5]])
        arguments["means_init"], scaled["means_init"] = means, (means + OFFSET) * SCALES
        eye = np.eye(3)
        unit = {"full": np.stack([eye] * 3), "tied": eye, "diag": np.ones((3, 3))}[covariance_type]
        by = SCALES**-2.0 if covariance_type == "diag" else np.outer(1 / SCALES, 1 / SCALES)
        arguments["precisions_init"], scaled["precisions_init"] = unit, unit * by
    expected, found = fitted(rows, **arguments), fitted((rows + OFFSET) * SCALES, **scaled)
    order = [np.argsort(fit.weights_) for fit in (expected, found)]
    for fit, where in zip((expected, found), order, strict=True):
        for name in ARRAYS:
            value = getattr(fit, name)
            if covariance_type != "tied" or name in ("weights_", "means_"):
                setattr(fit, name, value[where])
    if init in ("random", "given"):  # the start is the same: so is every step
        assert found.n_iter_ == pytest.approx(expected.n_iter_, abs=2)
        np.testing.assert_allclose(
            np.array(found.lower_bounds_[:9]) + np.log(SCALES).sum(),
            expected.lower_bounds_[:9],
            rtol=1e-7,
        )
    assert max(differences(found, expected, move=OFFSET * SCALES, scale=np.diag(SCALES))) < 1e-5


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_any_axes_will_do(rows, covariance_type):
    """Affine equivariance, of features that are mixed and have units from 1e-8 to 1e8."""
    A = np.diag([1e-8, 1.0, 1e8]) @ np.array([[1.0, 0.5, -0.3], [0.2, 1.0, 0.4], [-0.6, 0.1, 1.0]])
    arguments = settings(covariance_type, "random", reg_covar=0, tol=1e-13, max_iter=5000)
    expected, found = (fitted(X, **arguments) for X in (rows, rows @ A.T))
    assert max(differences(found, expected, scale=A)) < 1e-5
    jacobian = np.linalg.slogdet(A)[1]
    assert found.lower_bound_ + jacobian == pytest.approx(expected.lower_bound_, abs=1e-9)


def test_drawn_rows_have_the_scales_of_every_feature(rows):
    for covariance_type in ("full", "tied"):
        arguments = settings(covariance_type, "random", reg_covar=0)
        draws, expected = (fitted(X, **arguments).sample(2000)[0] for X in (rows * SCALES, rows))
        np.testing.assert_allclose(draws.std(axis=0), expected.std(axis=0) * SCALES, rtol=0.1)


@pytest.mark.parametrize("init", ["k-means++", "random_from_data"])
def test_starts_that_are_rows_need_reg_covar(rows, init, covariance_type):
    """Their first covariances are `reg_covar`, as in scikit-learn: there is no free scale."""
    with pytest.raises(ValueError, match="increase reg_covar"):
        GaussianMixture(**settings(covariance_type, init, reg_covar=0), on_collapse="raise").fit(
            rows
        )
