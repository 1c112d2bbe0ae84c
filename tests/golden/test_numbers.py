"""Numbers from other programs; the scripts that made them lie beside them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from emdash import GaussianMixture

HERE = Path(__file__).parent
DECIMAL = json.loads((HERE / "decimal_em.json").read_text())
CONVERGED = json.loads((HERE / "converged.json").read_text())


def numbers(nested):
    return np.array(nested, dtype=object).astype(float)


def test_equals_decimal_arithmetic(covariance_type):
    """Thirty steps against fifty-digit arithmetic: nothing but rounding in between."""
    expected = DECIMAL[covariance_type]
    precisions = {"full": [np.eye(2)] * 2, "tied": np.eye(2), "diag": np.ones((2, 2))}
    estimator = GaussianMixture(
        2,
        covariance_type=covariance_type,
        weights_init=numbers(DECIMAL["weights_init"]),
        means_init=numbers(DECIMAL["means_init"]),
        precisions_init=precisions.get(covariance_type, [1.0, 1.0]),
        reg_covar=float(DECIMAL["reg_covar"]),
        max_iter=len(expected["trace"]),
        tol=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # rounding may or may not stop it
        fit = estimator.fit(numbers(DECIMAL["rows"]))
    steps = fit.n_iter_
    assert steps > 20
    np.testing.assert_allclose(fit.lower_bounds_, numbers(expected["trace"])[:steps], rtol=1e-13)
    np.testing.assert_allclose(fit.weights_, numbers(expected["weights"]), rtol=1e-12)
    np.testing.assert_allclose(fit.means_, numbers(expected["means"]), rtol=1e-12)
    matrices = numbers(expected["covariances"])[:, [[0, 1], [1, 2]]]
    found = {
        "full": matrices,
        "tied": matrices[0],
        "diag": np.diagonal(matrices, axis1=1, axis2=2),
        "spherical": matrices[:, 0, 0],
    }[covariance_type]
    np.testing.assert_allclose(fit.covariances_, found, rtol=1e-12, atol=1e-14)


def name_of(answer):
    return f"{answer['data']}-{answer['covariance_type']}-{answer['n_components']}"


@pytest.mark.parametrize("answer", CONVERGED, ids=name_of)
def test_converges_to_the_maximum_that_scikit_learn_finds(answer, datasets):
    X = datasets[answer["data"]]
    fit = GaussianMixture(
        answer["n_components"],
        covariance_type=answer["covariance_type"],
        random_state=0,
        tol=1e-13,
        max_iter=100_000,
        reg_covar=0,
    ).fit(X)
    assert fit.score(X) * len(X) == pytest.approx(answer["log_likelihood"], rel=1e-11)
    assert fit.bic(X) == pytest.approx(answer["bic"], rel=1e-11)
    assert fit.aic(X) == pytest.approx(answer["aic"], rel=1e-11)
    order = np.argsort(fit.weights_)
    # the likelihood is flat at its maximum: parameters are known to about half its digits
    np.testing.assert_allclose(fit.weights_[order], answer["weights"], rtol=1e-5)
    np.testing.assert_allclose(fit.means_[order], answer["means"], rtol=1e-5)


def test_faithful_as_published_for_mclust(faithful):
    """EEE with three components, as mclust 6.0.0 prints it for this table.

    Log-likelihood -1126.326, 11 parameters, BIC -2314.316 in mclust's sign. It
    stops at a relative change of 1e-5; the maximum is -1126.3159.
    """
    fit = GaussianMixture(
        3, covariance_type="tied", random_state=0, tol=1e-10, max_iter=10_000, reg_covar=0
    ).fit(faithful)
    log_likelihood = fit.score(faithful) * 272
    assert log_likelihood >= -1126.3262
    assert log_likelihood == pytest.approx(-1126.3159, abs=1e-4)
    bic_at_published = fit.bic(faithful) + 2 * (log_likelihood - -1126.326)
    assert bic_at_published == pytest.approx(2314.316, abs=1.5e-3)  # of rounded numbers
    parameters = (fit.bic(faithful) + 2 * log_likelihood) / np.log(272)
    assert parameters == pytest.approx(11, abs=1e-9)


@pytest.mark.parametrize(("n_components", "published"), [(2, -214.3547), (3, -180.1855)])
def test_iris_as_published(iris, n_components, published):
    fit = GaussianMixture(
        n_components, random_state=0, tol=1e-10, max_iter=10_000, reg_covar=0
    ).fit(iris)
    assert fit.score(iris) * 150 == pytest.approx(published, abs=1e-4)
