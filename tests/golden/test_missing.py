"""Maxima of the observed-data likelihood against SciPy's, which was given the definition only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from emdash.em import Stop, em
from emdash.engines.local import LocalEngine
from emdash.families.covariance import SHAPES
from emdash.families.gaussian import Gaussian
from emdash.models.mixture import Mixture, MixtureParameters
from emdash.sources.array import ArraySource

GOLDEN = json.loads((Path(__file__).parent / "missing.json").read_text())


def shaped(covariance_type, covariances):
    diagonals = np.diagonal(covariances, axis1=1, axis2=2)
    return {
        "full": covariances,
        "tied": covariances[0],
        "diag": diagonals,
        "spherical": diagonals[:, 0],
    }[covariance_type]


@pytest.mark.parametrize(
    "case",
    GOLDEN["answers"],
    ids=lambda c: f"{c['data']}-{c['covariance_type']}-{c['n_components']}",
)
def test_em_ends_where_direct_maximisation_does(case):
    X = np.array(GOLDEN["data"][case["data"]], dtype=float)
    assert np.isnan(X).any()
    covariance_type, K = case["covariance_type"], case["n_components"]
    mixture = Mixture(Gaussian(SHAPES[covariance_type]))
    means = np.array(case["start"]["means"])
    covariances = shaped(covariance_type, np.array(case["start"]["covariances"]))
    weights = np.full(K, 1 / K)
    start = MixtureParameters(weights, mixture.family.parameters(weights, means, covariances))
    engine, source = LocalEngine(1), ArraySource(X)

    def step(parameters):
        statistics = engine.total(mixture.task(parameters), source)
        return (
            mixture.maximize(statistics, parameters),
            mixture.objective(statistics, parameters),
        )

    fit = em(step, start, Stop(1e-13, 20_000))
    found = fit.parameters
    log_likelihood = engine.total(mixture.score(found), source).log_likelihood
    assert fit.converged
    assert log_likelihood == pytest.approx(case["log_likelihood"], abs=1e-6)
    np.testing.assert_allclose(found.weights, case["weights"], atol=1e-4)
    np.testing.assert_allclose(found.components.means, case["means"], atol=2e-4)
    np.testing.assert_allclose(
        found.components.covariances,
        shaped(covariance_type, np.array(case["covariances"])),
        atol=5e-4,
    )
