"""Missing values through the model: passes, fits, answers per row; without the estimator."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emdash._kernels.expect import accumulate, posterior
from emdash.chunk import Chunk
from emdash.em import Stop, em
from emdash.engines.local import LocalEngine
from emdash.families.base import Family
from emdash.families.covariance import SHAPES
from emdash.families.gaussian import Gaussian
from emdash.models.mixture import Mixture, MixtureParameters
from emdash.sources.array import ArraySource
from emdash.sources.batches import BatchesSource

ENGINE = LocalEngine(1)


def model(covariance_type, **settings):
    return Mixture(Gaussian(SHAPES[covariance_type], **settings))


def as_shaped(covariance_type, covariances):
    """Covariances (K, d, d) in a shape's own arrays."""
    diagonals = np.diagonal(covariances, axis1=1, axis2=2)
    return {
        "full": covariances,
        "tied": covariances.mean(axis=0),
        "diag": diagonals,
        "spherical": diagonals.mean(axis=1),
    }[covariance_type]


def parameters_of(mixture, weights, means, covariances):
    shaped = as_shaped(mixture.family.shape.name, np.asarray(covariances))
    components = mixture.family.parameters(np.asarray(weights), np.asarray(means), shaped)
    return MixtureParameters(np.asarray(weights), components)


def example(covariance_type="full", K=3, d=4, n=600, hidden=0.2, seed=0):
    """A model, parameters near the truth, rows with holes and a few with nothing observed."""
    rng = np.random.default_rng([seed, d])
    means = 3 * rng.normal(size=(K, d))
    roots = np.eye(d) + 0.3 * rng.normal(size=(K, d, d))
    X = means[rng.integers(K, size=n)] + rng.normal(size=(n, d)) @ roots[0].T
    X[rng.random(X.shape) < hidden] = np.nan
    X[[3, n - 1]] = np.nan
    mixture = model(covariance_type)
    covariances = roots @ roots.transpose(0, 2, 1)
    return mixture, parameters_of(mixture, np.full(K, 1 / K), means + 0.2, covariances), X


def total(mixture, parameters, source, engine=ENGINE):
    return engine.total(mixture.task(parameters), source)


def one_pass(mixture, parameters, X, weights=None):
    return mixture.task(parameters)(Chunk(X, 0, 0, weights), 1)


def fit(mixture, start, X, tolerance=1e-13, max_iter=20_000):
    source = ArraySource(X)

    def step(parameters):
        statistics = total(mixture, parameters, source)
        return (
            mixture.maximize(statistics, parameters),
            mixture.objective(statistics, parameters),
        )

    return em(step, start, Stop(tolerance, max_iter))


def log_likelihood(mixture, parameters, X):
    return ENGINE.total(mixture.score(parameters), ArraySource(X)).log_likelihood


def assert_close(a, b, rtol):
    np.testing.assert_allclose(a.sums, b.sums, rtol=rtol, atol=rtol * abs(b.sums).max())


TYPES = tuple(SHAPES)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_without_holes_every_bit_is_the_complete_answer(covariance_type):
    mixture, parameters, X = example(covariance_type, hidden=0.0)
    X = X[~np.isnan(X).any(axis=1)]
    source = ArraySource(X)
    task = mixture.task(parameters)
    sums = np.empty(task.kernel.statistics_size)
    accumulate(task.kernel, X, None, sums, 1)  # which knows nothing of missing cells
    assert (ENGINE.total(task, source).sums == sums).all()
    for output in ("labels", "log_likelihood", "responsibilities", "log_densities"):
        question = mixture.rows(parameters, output)
        answers = np.empty((len(X), *question.row_shape), question.dtype)
        posterior(task.kernel, X, 1, **{output: answers})
        assert (ENGINE.each(question, source) == answers).all()
        if output == "log_likelihood":
            score = ENGINE.total(mixture.score(parameters), source)
            assert score.log_likelihood == answers.sum()
    assert (ENGINE.each(mixture.impute(parameters, 4), source) == X).all()


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_chunks_and_threads(covariance_type, dtype):
    mixture, parameters, X = example(covariance_type, n=9_000, hidden=0.05)
    X = X.astype(dtype)
    whole = total(mixture, parameters, ArraySource(X))
    assert (total(mixture, parameters, ArraySource(X), LocalEngine(2)).sums == whole.sums).all()
    for pieces in (2, 7, 3_000):
        batches = BatchesSource(np.array_split(X, pieces))
        assert_close(total(mixture, parameters, batches), whole, 1e-10)
    fortran = ArraySource(np.asfortranarray(X))
    assert (total(mixture, parameters, fortran).sums == whole.sums).all()


def test_tasks_travel():
    """Pickled tasks answer alike, and do not carry what a worker can make itself."""
    mixture, parameters, X = example()
    task = mixture.task(parameters)
    before = pickle.dumps(task)
    assert b"MissingKernel" not in before
    chunk = Chunk(X, 0, 0)
    answer = task(chunk, 1)
    assert b"MissingKernel" not in pickle.dumps(task)
    assert (pickle.loads(before)(chunk, 1).sums == answer.sums).all()


def test_the_pass_is_cut_in_blocks(monkeypatch):
    """Blocks of a chunk bound what is copied; the sums do not depend on them beyond rounding."""
    mixture, parameters, X = example(n=2_000)
    whole = one_pass(mixture, parameters, X)
    filled = mixture.impute(parameters, 4)(Chunk(X, 0, 0), 1)
    r = mixture.rows(parameters, "responsibilities")(Chunk(X, 0, 0), 1)
    monkeypatch.setattr("emdash.models.incomplete.BLOCK_BYTES", 100 * 8 * 4)
    assert_close(one_pass(mixture, parameters, X), whole, 1e-11)
    assert (mixture.impute(parameters, 4)(Chunk(X, 0, 0), 1) == filled).all()
    assert (mixture.rows(parameters, "responsibilities")(Chunk(X, 0, 0), 1) == r).all()


@pytest.mark.parametrize("covariance_type", TYPES)
def test_rows_with_nothing_observed_are_as_if_they_were_not_there(covariance_type):
    mixture, parameters, X = example(covariance_type)
    empty = np.isnan(X).all(axis=1)
    assert empty.sum() >= 2
    with_them, without = (one_pass(mixture, parameters, rows) for rows in (X, X[~empty]))
    assert_close(with_them, without, 1e-12)
    assert with_them.weight == without.weight == (~empty).sum()
    source = ArraySource(X)
    score = ENGINE.total(mixture.score(parameters), source)
    assert score.weight == with_them.weight
    assert score.log_likelihood == pytest.approx(with_them.log_likelihood, rel=1e-12)
    assert (ENGINE.each(mixture.rows(parameters, "log_likelihood"), source)[empty] == 0).all()
    r = ENGINE.each(mixture.rows(parameters, "responsibilities"), source)[empty]
    np.testing.assert_allclose(r, np.tile(parameters.weights, (len(r), 1)), rtol=1e-14)
    only = one_pass(mixture, parameters, X[empty])
    assert (only.sums == 0).all()


@pytest.mark.parametrize("covariance_type", TYPES)
def test_weights_and_holes(covariance_type):
    mixture, parameters, X = example(covariance_type)
    counts = np.random.default_rng(1).integers(0, 3, size=len(X))
    weighted = one_pass(mixture, parameters, X, counts.astype(float))
    assert_close(weighted, one_pass(mixture, parameters, np.repeat(X, counts, axis=0)), 1e-10)
    kept = counts > 0
    absent = one_pass(mixture, parameters, X[kept], counts[kept].astype(float))
    assert_close(weighted, absent, 1e-10)


def test_start_far_from_the_data():
    """The sums of such a pass are taken again about nearer means; the M-step is the same."""
    mixture, _, X = example("full", K=1, n=400)
    common = np.eye(4) + 1e10  # what is missing follows what is seen, however far that is
    far = parameters_of(mixture, [1.0], np.full((1, 4), 1e7), common[None])
    near = parameters_of(mixture, [1.0], np.nanmean(X, axis=0)[None], common[None])
    statistics = one_pass(mixture, far, X)
    about = mixture.nearer(statistics, far)
    assert about is not None
    again = mixture.task_about(far, about)(Chunk(X, 0, 0), 1)
    assert again.weight == statistics.weight
    assert again.log_likelihood == pytest.approx(statistics.log_likelihood, rel=1e-12)
    ours = mixture.maximize(again, about).components.covariances
    wanted = mixture.maximize(mixture.task_about(far, near)(Chunk(X, 0, 0), 1), near)
    # what is filled in is exact to the rounding of 1e7, 2e-9
    np.testing.assert_allclose(ours, wanted.components.covariances, rtol=0, atol=1e-8)
    with np.errstate(invalid="ignore"):
        spoilt = mixture.family.shape.covariances(
            statistics.N, statistics.F, statistics.S, far.components.means, None
        )
    assert abs(spoilt - ours).max() > 1e-4


def test_one_component_monotone_pattern_is_two_regressions():
    """x always seen, y sometimes: the maximum is the regression of y on x [Anderson1957]_."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=200)
    y = 1.0 + 0.8 * x + 0.5 * rng.normal(size=200)
    seen = rng.random(200) < 1 / (1 + np.exp(-x))  # depends on x: missing at random
    X = np.column_stack([x, np.where(seen, y, np.nan)])
    beta, alpha = np.polyfit(x[seen], y[seen], 1)
    residual = np.mean((y[seen] - alpha - beta * x[seen]) ** 2)
    mean = [x.mean(), alpha + beta * x.mean()]
    covariance = np.array([[x.var(), beta * x.var()], [0, residual + beta**2 * x.var()]])
    covariance[1, 0] = covariance[0, 1]
    mixture = model("full")
    found = fit(mixture, parameters_of(mixture, [1.0], [[0, 0]], np.eye(2)[None]), X, 1e-15)
    np.testing.assert_allclose(found.parameters.components.means[0], mean, rtol=1e-6)
    np.testing.assert_allclose(found.parameters.components.covariances[0], covariance, rtol=1e-6)
    for columns in ([0, 1], [1, 0]):  # and swapping the columns swaps the answer
        start = parameters_of(mixture, [1.0], [[0, 0]], np.eye(2)[None])
        again = fit(mixture, start, X[:, columns], 1e-15)
        ours = again.parameters.components.means[0, columns]
        np.testing.assert_allclose(ours, mean, rtol=1e-6)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_the_objective_never_falls_and_ends_where_its_gradient_is_zero(covariance_type):
    mixture, start, X = example(covariance_type, K=2, d=3, n=150, hidden=0.3)
    found = fit(mixture, start, X)
    assert found.converged
    assert np.diff(found.trace).min() > -1e-12 * abs(found.trace[0])
    best = found.parameters
    means, covariances = best.components.means, best.components.covariances
    rng = np.random.default_rng(3)

    def slope(change):
        """Derivative of the log-likelihood per row along a change of the parameters, at h = 0."""
        h = 1e-4
        values = [log_likelihood(mixture, change(sign * h), X) for sign in (-1, 1)]
        return (values[1] - values[0]) / (2 * h * len(X))

    def moved(h, weights=0.0, means_by=0.0, scale=0.0):
        w = best.weights * np.exp(h * weights)
        components = mixture.family.parameters(
            w, means + h * means_by, covariances * (1 + h * scale)
        )
        return MixtureParameters(w / w.sum(), components)

    for _ in range(4):
        w, m = rng.normal(size=2), rng.normal(size=means.shape)
        scale = rng.normal(size=(len(covariances), *[1] * (covariances.ndim - 1)))
        if covariance_type == "tied":
            scale = rng.normal()
        assert abs(slope(lambda h, w=w: moved(h, weights=w))) < 2e-6
        assert abs(slope(lambda h, m=m: moved(h, means_by=m))) < 2e-6
        assert abs(slope(lambda h, s=scale: moved(h, scale=s))) < 2e-6
    away = slope(lambda h: moved(h + 0.1, means_by=np.ones(means.shape)))
    assert abs(away) > 1e-3  # the test would see a gradient


def test_imputation_and_draws():
    mixture, parameters, X = example(n=300)
    source = ArraySource(X)
    filled = ENGINE.each(mixture.impute(parameters, 4), source)
    seen = ~np.isnan(X)
    assert (filled[seen] == X[seen]).all()
    r = ENGINE.each(mixture.rows(parameters, "responsibilities"), source)
    for i in (0, 1, 3):  # one of them with nothing observed
        kept, given = np.flatnonzero(~seen[i]), np.flatnonzero(seen[i])
        if not len(given):
            wanted = parameters.weights @ parameters.components.means
            np.testing.assert_allclose(filled[i], wanted, rtol=1e-12)
        elif len(kept):
            rest = mixture.conditional(parameters, kept, given, X[i, given])
            np.testing.assert_allclose(rest.weights, r[i], rtol=1e-10, atol=1e-12)
            wanted = rest.weights @ rest.components.means
            np.testing.assert_allclose(filled[i, kept], wanted, rtol=1e-10)
    draws = ENGINE.each(mixture.sample_missing(parameters, 4, 3, seed=5), source)
    assert draws.shape == (300, 3 * 4)
    tables = draws.reshape(300, 3, 4)
    for draw in range(3):
        assert (tables[:, draw][seen] == X[seen]).all()
    holes = np.isnan(X).any(axis=1)
    assert (tables[holes, 0] != tables[holes, 1]).any(axis=1).all()
    task = mixture.sample_missing(parameters, 4, 3, seed=5)
    for pieces in (5, 300):  # the same whatever the chunks and threads
        again = LocalEngine(2).each(task, BatchesSource(np.array_split(X, pieces)))
        assert (again == draws).all()
    other = ENGINE.each(mixture.sample_missing(parameters, 4, 3, seed=6), source)
    assert (other[holes] != draws[holes]).any()
    assert (ENGINE.each(pickle.loads(pickle.dumps(task)), source) == draws).all()


def test_draws_have_the_mean_and_covariance_of_the_posterior():
    mixture, parameters, _ = example("full", d=3)
    n = 20_000
    row = np.array([0.5, np.nan, np.nan])
    X = np.tile(row, (n, 1))
    draws = ENGINE.each(mixture.sample_missing(parameters, 3, 1, 0), ArraySource(X))[:, 1:]
    rest = mixture.conditional(parameters, np.array([1, 2]), np.array([0]), row[:1])
    mean = rest.weights @ rest.components.means
    spread = rest.components.means - mean
    covariance = np.tensordot(
        rest.weights, rest.components.covariances + spread[:, :, None] * spread[:, None], 1
    )
    size = np.sqrt(np.diag(covariance))
    assert (abs(draws.mean(axis=0) - mean) < 5 * size / np.sqrt(n)).all()
    assert (abs(np.cov(draws.T) - covariance) < 5 * np.sqrt(2 / n) * np.outer(size, size)).all()


@pytest.mark.parametrize("covariance_type", TYPES)
def test_marginal_times_conditional_is_the_joint_density(covariance_type):
    mixture, parameters, _ = example(covariance_type, d=5)
    rng = np.random.default_rng(4)
    kept, given = np.array([3, 0]), np.array([1, 4, 2])
    x = rng.normal(size=5)

    def density(p, values):
        return mixture.rows(p, "log_likelihood")(Chunk(values[None], 0, 0), 1)[0]

    marginal = density(mixture.marginal(parameters, given), x[given])
    rest = mixture.conditional(parameters, kept, given, x[given])
    assert rest.weights.sum() == pytest.approx(1, abs=1e-12)
    joint = density(parameters, x)
    assert marginal + density(rest, x[kept]) == pytest.approx(joint, rel=1e-11)
    holes = x.copy()
    holes[kept] = np.nan
    assert density(parameters, holes) == pytest.approx(marginal, rel=1e-12)


def test_what_is_refused_is_told_in_words():
    mixture, parameters, X = example()
    X[10, 1], X[11, 0] = np.inf, -np.inf
    X[10, 0] = np.nan
    tasks = [
        mixture.task(parameters),
        mixture.score(parameters),
        mixture.rows(parameters, "labels"),
        mixture.impute(parameters, 4),
        mixture.sample_missing(parameters, 4, 2, 0),
    ]
    for task in tasks:
        with pytest.raises(ValueError, match="infinity in row 10, column 1"):
            task(Chunk(X, 0, 0), 1)
    with pytest.raises(ValueError, match="count the rows"):
        tasks[-1](Chunk(X[:5], 2, None), 1)
    with pytest.raises(TypeError, match="no kernel for rows with missing"):
        Family.bind_missing(mixture.family, None, None, None)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(1, 60),
    st.floats(0, 1),
    st.sampled_from(TYPES),
    st.integers(0, 2**32 - 1),
)
def test_any_holes_give_finite_sums(d, K, n, hidden, covariance_type, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4)
    X[rng.random(X.shape) < hidden] = np.nan
    mixture = model(covariance_type)
    means = rng.normal(size=(K, d))
    parameters = parameters_of(mixture, np.full(K, 1 / K), means, np.tile(np.eye(d), (K, 1, 1)))
    statistics = one_pass(mixture, parameters, X)
    assert np.isfinite(statistics.sums).all()
    observed = (~np.isnan(X)).any(axis=1).sum()
    assert statistics.weight == observed
    assert statistics.N.sum() == pytest.approx(observed, rel=1e-9)
    filled = mixture.impute(parameters, d)(Chunk(X, 0, 0), 1)
    assert np.isfinite(filled).all()
