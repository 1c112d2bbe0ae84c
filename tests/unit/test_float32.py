"""``arithmetic="float32"``: when it is used, and that the answer is that of float64."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA

from emdash import GaussianMixture
from emdash.chunk import Chunk
from emdash.families.covariance import SHAPES
from emdash.families.gaussian import Gaussian
from emdash.families.single import MOST_FEATURES, TOLERATED, prediction
from emdash.models.mixture import Mixture, MixtureParameters


def clusters(K=3, d=3, *, condition=1.0, apart=0.0, seed=0):
    """Return overlapping clusters as (weights, means, covariances), and rows of them."""
    rng = np.random.default_rng(seed)
    means = 2 * rng.normal(size=(K, d))
    means[0, 0] += apart
    axes = np.linalg.qr(rng.normal(size=(K, d, d)))[0] * condition ** (-np.arange(d) / 2 / (d - 1))
    rows = [
        mean + rng.normal(size=(2000, d)) @ axis.T for mean, axis in zip(means, axes, strict=True)
    ]
    return (np.full(K, 1 / K), means, axes @ axes.transpose(0, 2, 1)), np.vstack(rows)


def one_pass(start, X, arithmetic, shape="full"):
    """Return what a pass ran in, its statistics and the next parameters."""
    weights, means, covariances = start
    if shape == "tied":
        covariances = covariances[0]
    elif shape != "full":
        covariances = np.ones(SHAPES[shape].array_shape(*means.shape))
    model = Mixture(Gaussian(SHAPES[shape], arithmetic=arithmetic))
    parameters = MixtureParameters(weights, model.family.parameters(weights, means, covariances))
    task = model.task(parameters)
    statistics = task(Chunk(X, 0, 0), 1)
    about = model.nearer(statistics, parameters)
    return task.kernel.arithmetic, statistics, about, model.maximize(statistics, parameters)


def errors(got, exact):
    """Return the largest errors of means and covariances in units of the exact ones."""
    whiten = np.linalg.inv(np.linalg.cholesky(exact.covariances))
    off = whiten @ (got.covariances - exact.covariances) @ whiten.transpose(0, 2, 1)
    return abs(whiten @ (got.means - exact.means)[:, :, None]).max(), abs(off).max()


@pytest.mark.parametrize("apart", [0.0, 30.0, 900.0])
@pytest.mark.parametrize("condition", [1.0, 30.0, 500.0])
@pytest.mark.parametrize("d", [2, 7, 16])
def test_errors_are_as_predicted(d, condition, apart):
    start, X = clusters(4, d, condition=condition, apart=apart)
    ran_in, _, about, got = one_pass(start, X, "float32")
    _, _, _, exact = one_pass(start, X, "float64")
    factors = SHAPES["full"].factor(start[2])
    predicted = prediction(start[1], factors, start[0] @ start[1]).error
    assert (ran_in == "float32") == (predicted <= TOLERATED)
    assert about is None
    worst = max(errors(got.components, exact.components))
    assert worst <= 1.5 * predicted if ran_in == "float32" else worst == 0


@pytest.mark.parametrize(
    ("ran_in", "case"),
    [
        ("float32", {}),
        ("float32", {"d": MOST_FEATURES}),
        ("float64", {"d": MOST_FEATURES + 1}),
        ("float64", {"condition": 1e6}),
        ("float32", {"apart": 1e3}),
        ("float64", {"apart": 1e5}),
    ],
    ids=str,
)
def test_what_a_pass_runs_in(ran_in, case):
    start, X = clusters(**case)
    assert one_pass(start, X, "float32")[0] == ran_in
    assert one_pass(start, X, "float64")[0] == "float64"


@pytest.mark.parametrize("shape", ["tied", "diag", "spherical"])
def test_other_shapes_run_in_float64(shape):
    start, X = clusters()
    ran_in, statistics, _, _ = one_pass(start, X, "float32", shape)
    assert ran_in == "float64"
    assert (statistics.buffer == one_pass(start, X, "float64", shape)[1].buffer).all()


def test_the_unit_of_every_feature_is_free():
    (weights, means, covariances), X = clusters()
    unit = np.array([1e-30, 1.0, 1e25])
    plain = one_pass((weights, means, covariances), X, "float32")
    start = (weights, means * unit, covariances * np.outer(unit, unit))
    ran_in, statistics, _, _ = one_pass(start, X * unit, "float32")
    assert ran_in == plain[0] == "float32"
    np.testing.assert_allclose(statistics.F / unit, plain[1].F, rtol=1e-5, atol=1e-2)  # of 2000


def test_components_of_very_different_scales_run_in_float64():
    means, factors = np.zeros((2, 2)), np.stack([np.eye(2), 1e14 * np.eye(2)])
    assert prediction(means, factors, np.zeros(2)).error == np.inf


def test_sums_that_a_float32_pass_spoilt_are_taken_again():
    """A start much wider than the clusters: tame before the pass, not after it."""
    weights, means = np.array([0.5, 0.5]), np.array([[-1.0, 0.0], [1.0, 0.0]])
    rng = np.random.default_rng(0)
    slanted = rng.normal(size=(3000, 1)) + 1e-4 * rng.normal(size=(3000, 2))
    start = (weights, means, np.stack([np.eye(2)] * 2))
    ran_in, _, about, _ = one_pass(start, slanted, "float32")
    assert ran_in == "float32"
    assert about is not None
    fits = [
        GaussianMixture(2, means_init=means, weights_init=weights, max_iter=3, tol=1e-12)
        .set_params(precisions_init=start[2], arithmetic=arithmetic, reg_covar=0)
        .set_params(n_threads=1)
        for arithmetic in ("float32", "float64")
    ]
    with pytest.warns(Warning, match="did not converge"):
        single, exact = (fit.fit(slanted) for fit in fits)
    whiten = np.linalg.inv(np.linalg.cholesky(exact.covariances_))
    off = whiten @ (single.covariances_ - exact.covariances_) @ whiten.transpose(0, 2, 1)
    assert abs(off).max() < 3 * TOLERATED


DATA = {
    "iris": lambda: load_iris().data,
    "wine": lambda: load_wine().data,
    "digits": lambda: PCA(16, random_state=0).fit_transform(load_digits().data),
    "breast cancer": lambda: load_breast_cancer().data[:, :10],  # radius, perimeter and area
}


@pytest.mark.parametrize(
    ("name", "K"), [("iris", 3), ("wine", 3), ("digits", 10), ("breast cancer", 2)]
)
def test_whole_fits_end_at_the_answer_of_float64(name, K):
    X = DATA[name]()
    single, exact = (
        GaussianMixture(K, random_state=0, arithmetic=arithmetic).fit(X)
        for arithmetic in ("float32", "float64")
    )
    assert single.n_iter_ == exact.n_iter_
    whiten = np.linalg.inv(np.linalg.cholesky(exact.covariances_))
    off = whiten @ (single.covariances_ - exact.covariances_) @ whiten.transpose(0, 2, 1)
    moved = whiten @ (single.means_ - exact.means_)[:, :, None]
    assert max(abs(off).max(), abs(moved).max()) < 3e-6
    # so ill-conditioned that every pass ran in float64
    assert (single.means_ == exact.means_).all() == (name == "breast cancer")
    assert abs(single.lower_bound_ - exact.lower_bound_) < 1e-6
    assert (single.predict(X) == exact.predict(X)).all()


def test_other_values_are_refused():
    with pytest.raises(ValueError, match="'arithmetic' parameter of GaussianMixture must be a str"):
        GaussianMixture(arithmetic="float16").fit(np.zeros((3, 2)))
