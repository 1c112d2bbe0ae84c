"""The parts of a rescue, each alone: what is singular, the best above a floor, the worst rows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import emdash
from emdash import GaussianMixture
from emdash.chunk import Chunk
from emdash.collapse import Worst
from emdash.engines.base import fold
from emdash.families.covariance import SHAPES
from emdash.families.forms import form_of


@pytest.mark.parametrize(("deviation", "singular"), [(8e-8, True), (1e-7, False)])
def test_a_width_below_the_rounding_of_the_data_is_none(deviation, singular, covariance_type):
    """At 1e8, four roundings are 8.9e-8; the quick looks agree with the thorough one."""
    form, means = form_of(SHAPES[covariance_type]), np.array([[1e8, 0.0]])
    variances = np.array([deviation, deviation]) ** 2
    matrices = {"full": np.diag(variances)[None], "tied": np.diag(variances)}
    others = {"diag": variances[None], "spherical": variances[:1]}
    covariances = {**matrices, **others}[covariance_type]
    with np.errstate(divide="ignore"):
        factors = np.where(covariances > 0, covariances**-0.5, 0.0)
    assert form.is_singular(form.each(covariances)[0], means[0]) is singular
    assert form.are_sound(covariances, factors, means) is not singular
    assert form.clear_of(deviation**2, covariances, means) is not singular
    assert not form.clear_of(0.0, covariances, means)


def test_features_that_leave_nothing_of_another_are_singular():
    """In any unit: the correlations count."""
    form, unit = form_of(SHAPES["full"]), np.array([1e-9, 1e9])
    for correlation, singular in ((1 - 1e-15, True), (1 - 1e-13, False)):
        matrix = np.array([[1.0, correlation], [correlation, 1.0]]) * unit * unit[:, None]
        assert form.is_singular(matrix, np.zeros(2)) is singular
        factor = np.linalg.inv(np.linalg.cholesky(matrix)).T
        assert form.are_sound(matrix[None], factor[None], np.zeros((1, 2))) is not singular


@pytest.mark.parametrize("whole", ["tied", "spherical"])
def test_a_shape_of_ones_own_has_a_form_and_a_prior(whole):
    """Variances, or one variance, that all components share: as the K = 1 of others."""
    from emdash.families.conjugate import Conjugate, settled

    class Own:
        def array_shape(self, K, d):
            return (d,) if whole == "tied" else ()

    own, alone = form_of(Own()), form_of(SHAPES["diag" if whole == "tied" else "spherical"])
    X = np.random.default_rng(0).normal(size=(20, 3)) * [1, 2, 3]
    N, means = np.array([20.0]), X.mean(axis=0)[None]
    variances = X.var(axis=0) if whole == "tied" else X.var(axis=0).mean()
    prior = settled(emdash.NormalInverseWishart(np.zeros(3), 2.0), own, N, means, variances)
    drawn, found = Conjugate(prior, own).mode(N, means, variances)
    expected = Conjugate(prior, alone).mode(N, means, np.array([variances]))
    np.testing.assert_allclose(drawn, expected[0], rtol=1e-12)
    np.testing.assert_allclose(found, expected[1][0], rtol=1e-12)
    assert own.are_sound(found, found**-0.5, means)
    assert own.total(N, means, found)[1].shape == np.shape(variances)


def test_raised_is_the_best_covariance_above_the_floor():
    """Against a search over all covariances above it: the likelihood of a normal sample."""
    from scipy.optimize import minimize

    form, rng = form_of(SHAPES["full"]), np.random.default_rng(0)
    floor = np.array([0.5, 2.0])
    S = np.cov(rng.normal(size=(50, 2)) @ [[1.0, 1.0], [0.0, 0.1]], rowvar=False)

    def loss(covariance):
        return np.linalg.slogdet(covariance)[1] + np.trace(np.linalg.solve(covariance, S))

    def above(p):
        L = np.array([[p[0], 0.0], [p[1], p[2]]])
        return np.diag(floor) + L @ L.T

    best = min(
        (minimize(lambda p: loss(above(p)), rng.normal(size=3), tol=1e-14) for _ in range(5)),
        key=lambda result: result.fun,
    )
    raised = form.raised(S, floor)
    np.testing.assert_allclose(raised, above(best.x), atol=1e-4)
    assert loss(raised) <= best.fun + 1e-12


def test_worst_rows_do_not_depend_on_chunks():
    """Distinct, of equals the first; without weight they do not count."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 6, size=(200, 2)).astype(float)
    X[17] = np.nan
    weights = np.ones(200)
    weights[np.linalg.norm(X, axis=1) > 6.5] = 0
    model = GaussianMixture(1).fit(X[weights > 0][20:])
    model = model._model(), model._parameters()
    mixture = model[0]
    mixture.missing = True
    task = Worst(mixture.rows(model[1], "log_likelihood"), 5)

    def over(sizes):
        cuts = np.cumsum([0, *sizes])
        return fold(
            task(Chunk(X[a:b], i, None, weights[a:b]), 1) for i, (a, b) in enumerate(pairwise(cuts))
        )

    whole = over([200])
    values = task.score(Chunk(X, 0, 0), 1)
    values[weights == 0] = values[17] = np.inf
    expected = []
    for i in np.lexsort((np.arange(200), values)):
        if not any((X[i] == row).all() for row in expected):
            expected.append(X[i])
    assert len(whole.rows()) == 5
    np.testing.assert_array_equal(whole.rows(), expected[:5])
    for sizes in ([1] * 200, [30, 0, 170], [67, 66, 67]):
        np.testing.assert_array_equal(over(sizes).rows(), whole.rows())
