"""k-means kernels against plain NumPy: nearest points, margins, sums by label, potentials."""

import pickle

import numpy as np
import pytest
import twins
from kernel_calls import KERNELS, SHAPES, statistics

from emdash._kernels import expect
from emdash._kernels.nearest import PotentialKernel, settle


def example(n=1_000, d=4, K=5, seed=0):
    rng = np.random.default_rng([seed, n, d, K])
    return rng.normal(size=(n, d)), rng.normal(size=(K, d))


def fresh(X, K):
    """Labels and margins before the first look."""
    return np.zeros(len(X), dtype=np.intp), np.full(len(X), -np.inf)


def run(X, points, labels, margins, used=None, center=None, least=0.0, relative=0.0, absolute=0.0):
    K, d = points.shape
    changes = np.full(1 + K + K * d, np.nan)
    used = np.zeros(K) if used is None else used
    center = np.zeros(d) if center is None else center
    kind = {"least": least, "relative": relative, "absolute": absolute}
    settle(X, points, used, labels, margins, center, changes, **kind)
    return changes[0], changes[1 : 1 + K], changes[1 + K :].reshape(K, d)


def distances(X, points):
    return np.sqrt(((X[:, None] - points) ** 2).sum(axis=2))


@pytest.mark.parametrize("n", [1, 23, 240, 241, 1_000])
@pytest.mark.parametrize(("d", "K"), [(1, 2), (4, 5), (10, 10), (17, 3), (40, 13)])
def test_first_look_is_the_definition(isa, n, d, K):
    X, points = example(n, d, K)
    labels, margins = fresh(X, K)
    center = points.mean(axis=0)
    undecided, N, F = run(X, points, labels, margins, center=center)
    D = distances(X, points)
    np.testing.assert_array_equal(labels, D.argmin(axis=1))
    ordered = np.sort(D, axis=1)
    np.testing.assert_allclose(margins, ordered[:, 1] - ordered[:, 0], rtol=1e-9, atol=1e-13)
    one_hot = np.eye(K)[labels]
    N[0] += n  # all began with label 0
    F[0] += (X - center).sum(axis=0)
    np.testing.assert_allclose(N, one_hot.sum(axis=0))
    np.testing.assert_allclose(F, one_hot.T @ (X - center), atol=1e-12 * n)
    assert undecided == 0


def test_one_point_is_nearest_for_ever(isa):
    X, points = example(100, 3, 1)
    labels, margins = fresh(X, 1)
    assert run(X, points, labels, margins, absolute=1.0, relative=1.0)[0] == 0
    assert (margins > 1e50).all()


def test_rows_with_margin_left_are_not_read(isa):
    X, points = example(600, 3, 4)
    labels, margins = fresh(X, 4)
    run(X, points, labels, margins)
    before, used = margins.copy(), np.full(4, 0.3)
    spare = margins - 0.3 > 0.1
    assert 100 < spare.sum() < 500
    X[spare] = np.nan
    moved = points + 0.1
    kept = labels.copy()
    _, N, F = run(X, moved, labels, margins, used=used, least=0.1)
    np.testing.assert_array_equal(labels[spare], kept[spare])
    np.testing.assert_array_equal(margins[spare], before[spare] - 0.3)
    D = distances(X[~spare], moved)
    np.testing.assert_array_equal(labels[~spare], D.argmin(axis=1))
    assert (labels != kept).any()
    change = np.eye(4)[labels[~spare]] - np.eye(4)[kept[~spare]]
    np.testing.assert_array_equal(N, change.sum(axis=0))
    np.testing.assert_allclose(F, change.T @ X[~spare], atol=1e-12)


def test_margins_are_used_by_label(isa):
    X, points = example(300, 3, 4)
    labels, margins = fresh(X, 4)
    run(X, points, labels, margins)
    before, used = margins.copy(), np.array([1e-9, 2e-9, 3e-9, 4e-9])
    run(X, points, labels, margins, used=used)
    left = before - used[labels]
    np.testing.assert_array_equal(margins[left > 0], left[left > 0])


@pytest.mark.parametrize("row", [0, 239, 240, 999])
def test_rows_that_rounding_could_decide_are_reported(isa, row):
    X, points = example()
    points[3] = points[1] + 0.01
    labels, margins = fresh(X, 5)
    X = points[0] + 1e-3 * X
    assert run(X, points, labels, margins, absolute=1e-9)[0] == 0
    X[row] = (points[1] + points[3]) / 2  # as near to one as to the other
    for kind in ({"absolute": 1e-9}, {"relative": 1e-6}):
        labels, margins = fresh(X, 5)
        assert run(X, points, labels, margins, **kind)[0] == 1
    X[row] = points[1] + 0.4 * (points[3] - points[1])
    labels, margins = fresh(X, 5)
    assert run(X, points, labels, margins, absolute=1e-9, relative=1e-6)[0] == 0


@pytest.mark.parametrize(
    "view",
    [
        np.asfortranarray,
        lambda X: np.repeat(X, 3, axis=0)[::3],
        lambda X: X[::-1].copy()[::-1],
        lambda X: np.frombuffer(b"." + X.tobytes(), np.uint8)[1:].view(float).reshape(X.shape),
    ],
    ids=["Fortran", "every third", "backwards", "misaligned and read-only"],
)
def test_any_layout(view):
    X, points = example()
    labels, margins = fresh(X, 5)
    expected = run(X, points, labels, margins)
    again, margins = fresh(X, 5)
    found = run(view(X), points, again, margins)
    np.testing.assert_array_equal(again, labels)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("step", [1, 3])
def test_float32_rows_are_the_same_numbers(step):
    X, points = example()
    single = np.repeat(X.astype(np.float32), step, axis=0)[::step]
    results = []
    for rows in (single, single.astype(np.float64)):
        labels, margins = fresh(X, 5)
        results.append((labels, margins, *run(rows, points, labels, margins)))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_settle_refuses_what_does_not_fit():
    X, points = example()
    labels, margins = fresh(X, 5)
    with pytest.raises(ValueError, match="X has 3 features, points 4"):
        run(X[:, :3], points, labels, margins)
    with pytest.raises(ValueError, match="labels must be contiguous and aligned with 1000"):
        run(X, points, labels[:-1], margins)
    with pytest.raises(ValueError, match="margins must be contiguous"):
        run(X, points, labels, np.zeros(2_000)[::2])
    with pytest.raises(ValueError, match="used must be contiguous and aligned with 5"):
        run(X, points, labels, margins, used=np.zeros(4))
    with pytest.raises(ValueError, match=r"points must have shape \(K, d\)"):
        run(X, points[:0], labels, margins)
    with pytest.raises(TypeError, match="float64 or float32"):
        run(X.astype(np.intp), points, labels, margins)
    for wrong in (5, -1):
        labels[700] = wrong
        with pytest.raises(ValueError, match=rf"labels\[700\] is {wrong}, but there are 5 points"):
            run(X, points, labels, margins)


# --- k-means++ --------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 25, 5_000])
@pytest.mark.parametrize(("d", "K"), [(1, 1), (10, 4), (40, 13)])
def test_potential_is_the_definition(isa, n, d, K):
    X, points = example(n, d, K)
    closest = np.random.default_rng(1).uniform(0, 2 * d, n)
    kernel = PotentialKernel(points)
    expected = np.minimum(closest[:, None], distances(X, points) ** 2).sum(axis=0)
    found = statistics(kernel, X, closest)
    np.testing.assert_allclose(found[2:], expected, rtol=1e-12)
    again = statistics(pickle.loads(pickle.dumps(kernel)), X, closest, n_threads=3)
    np.testing.assert_array_equal(again, found)


# --- sums of given labels ---------------------------------------------------------------------


def of_labels(kernel, X, labels, weights=None, n_threads=1):
    out = np.full(kernel.statistics_size, np.nan)
    assert expect.accumulate(kernel, X, weights, out, n_threads, labels=labels) == -1
    return out


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("d", "K"), [(1, 1), (3, 4), (14, 6), (20, 5)])
@pytest.mark.parametrize("shape", SHAPES)
def test_sums_of_labels_are_those_of_certain_responsibilities(isa, shape, d, K, weighted):
    rng = np.random.default_rng([d, K])
    parameters = twins.random_parameters(shape, K, d, rng)
    X = twins.random_rows(parameters, 700, rng)
    labels = rng.integers(K, size=700)
    weights = rng.uniform(0.5, 2, 700) if weighted else None
    found = of_labels(KERNELS[shape](*parameters), X, labels, weights)
    expected, scale = twins.accumulate(shape, X, parameters, weights, labels)
    assert found[0] == expected[0] == 0
    np.testing.assert_array_less(abs(found - expected), 1e-13 * scale + 1e-300)


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_of_labels_are_the_same_bits_on_any_number_of_threads(shape):
    rng = np.random.default_rng(0)
    parameters = twins.random_parameters(shape, 5, 6, rng)
    X = twins.random_rows(parameters, 60_000, rng)
    labels, kernel = rng.integers(5, size=60_000), KERNELS[shape](*parameters)
    one = of_labels(kernel, X, labels)
    for n_threads in (2, 3, 5):
        np.testing.assert_array_equal(of_labels(kernel, X, labels, n_threads=n_threads), one)
    np.testing.assert_array_equal(of_labels(kernel, X, np.repeat(labels, 2)[::2]), one)


def test_labels_must_fit():
    rng = np.random.default_rng(0)
    parameters = twins.random_parameters("diag", 3, 2, rng)
    kernel, X = KERNELS["diag"](*parameters), np.zeros((50, 2))
    labels = np.zeros(50, dtype=np.intp)
    with pytest.raises(ValueError, match="labels has 49 elements, X 50 rows"):
        of_labels(kernel, X, labels[1:])
    with pytest.raises(TypeError, match="labels must be intp"):
        of_labels(kernel, X, labels.astype(np.int16))
    misaligned = np.frombuffer(bytes(1 + labels.nbytes), np.uint8)[1:].view(np.intp)
    with pytest.raises(ValueError, match="labels must be aligned"):
        of_labels(kernel, X, misaligned)
    for wrong in (3, -1):
        labels[7] = wrong
        with pytest.raises(ValueError, match=rf"labels\[7\] is {wrong}, but there are 3 comp"):
            of_labels(kernel, X, labels)
