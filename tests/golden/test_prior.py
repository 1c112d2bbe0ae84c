"""Modes of posteriors against SciPy's, which was given the densities only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from emdash import GaussianMixture, NormalInverseWishart

GOLDEN = json.loads((Path(__file__).parent / "prior.json").read_text())


def shaped(covariance_type, covariances):
    diagonals = np.diagonal(covariances, axis1=1, axis2=2)
    return {
        "full": covariances,
        "tied": covariances[0],
        "diag": diagonals,
        "spherical": diagonals[:, 0],
    }[covariance_type]


def inverse(covariance_type, covariances):
    matrices = covariance_type in ("full", "tied")
    return np.linalg.inv(covariances) if matrices else 1 / covariances


@pytest.mark.filterwarnings("ignore:Best performing initialization")
@pytest.mark.parametrize(
    "case",
    GOLDEN,
    ids=lambda c: f"{c['data']}-{c['covariance_type']}-{c['n_components']}-{c['prior']}",
)
def test_em_ends_where_direct_maximisation_does(case, datasets, relative_error):
    """From a start near it: from afar the two may climb different hills."""
    X, kind = datasets[case["data"]], case["covariance_type"]
    start, mode = ({n: np.array(v) for n, v in case[name].items()} for name in ("start", "mode"))
    given = case["prior"] != "default"  # else SciPy's script wrote down what we find in the data
    prior = NormalInverseWishart(*case["values"]) if given else NormalInverseWishart()

    def fit(weights, means, covariances, max_iter):
        return GaussianMixture(
            case["n_components"],
            covariance_type=kind,
            prior=prior,
            weight_concentration_prior=case["concentration"],
            weights_init=weights,
            means_init=means,
            precisions_init=inverse(kind, shaped(kind, covariances)),
            reg_covar=0.0,
            tol=1e-14,
            max_iter=max_iter,
        ).fit(X)

    near = 0.9 * mode["weights"] + 0.1 / len(mode["weights"])
    found = fit(near, mode["means"] + 0.05 * X.std(axis=0), 1.3 * mode["covariances"], 5000)
    assert relative_error(found.weights_, mode["weights"]) < 1e-5
    assert relative_error(found.means_, mode["means"]) < 1e-5
    assert relative_error(found.covariances_, shaped(kind, mode["covariances"])) < 1e-5
    # SciPy's densities have constants that ours leave out: the difference of two points has none
    low = fit(start["weights"], start["means"], start["covariances"], 1).lower_bound_
    assert len(X) * (found.lower_bound_ - low) == pytest.approx(case["gain"], rel=1e-8)
