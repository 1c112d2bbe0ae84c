"""k-means is scikit-learn's: the same labels, centres and draws, whatever the data look like."""

import numpy as np
import pytest
from sklearn import datasets
from sklearn.cluster import KMeans

from emdash import kmeans


def gaussians(n, d, K, spread, seed=0):
    rng = np.random.default_rng([seed, n, d, K])
    centres = spread * rng.normal(size=(K, d))
    return centres[rng.integers(K, size=n)] + rng.normal(size=(n, d))


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape)


CONTINUOUS = {
    "overlapping": lambda: (gaussians(100_000, 10, 10, 0.5), 10),
    "moderate": lambda: (gaussians(5_000, 3, 8, 2.0), 8),
    "separated": lambda: (gaussians(5_000, 5, 6, 30.0), 6),
    "far away": lambda: (gaussians(5_000, 4, 5, 2.0) + 1e4, 5),
    "unlike scales": lambda: (normal(1_000, 3) * [1e-6, 1.0, 1e6], 6),
    "heavy tails": lambda: (np.random.default_rng(0).standard_cauchy((3_000, 3)), 5),
    "one cluster": lambda: (normal(500, 3), 1),
    "one feature": lambda: (normal(2_000, 1), 5),
    "wide": lambda: (normal(300, 100), 7),
    "wine": lambda: (datasets.load_wine().data, 3),
}
OTHERS = {
    "iris": lambda: (datasets.load_iris().data, 3),
    "digits": lambda: (datasets.load_digits().data, 10),
    "grid": lambda: (np.random.default_rng(0).integers(0, 5, (3_000, 2)).astype(float), 4),
    "as many clusters as rows": lambda: (normal(6, 2), 6),
    "few different rows": lambda: (np.repeat(normal(3, 2), 20, axis=0), 5),
    "all rows equal": lambda: (np.ones((50, 2)), 3),
    "too far away": lambda: (gaussians(1_000, 4, 5, 2.0) + 1e13, 5),
    "huge": lambda: (normal(200, 2) * 1e160, 3),
}


@pytest.fixture
def asked(monkeypatch):
    """How often scikit-learn was asked."""
    calls = []
    theirs = kmeans.by_scikit_learn
    monkeypatch.setattr(
        kmeans, "by_scikit_learn", lambda *a: calls.append(type(a[2])) or theirs(*a)
    )
    return calls


def check(X, K, seed, n_threads=1):
    ours, theirs = np.random.RandomState(seed), np.random.RandomState(seed)
    expected = KMeans(K, n_init=1, random_state=theirs).fit(X)
    centres, labels = kmeans.k_means(X, K, ours, n_threads)
    np.testing.assert_array_equal(labels, expected.labels_)
    size = np.abs(X - X.mean(axis=0)).max() + 1e-6 * np.abs(X).max()
    np.testing.assert_allclose(centres, expected.cluster_centers_, rtol=0, atol=1e-9 * size)
    assert ours.uniform() == theirs.uniform()


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_data_are_clustered_here_as_scikit_learn_does(name, asked):
    X, K = CONTINUOUS[name]()
    for seed in range(1 if len(X) > 50_000 else 3):
        check(X, K, seed)
    assert not asked


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.filterwarnings("ignore:overflow|invalid value:RuntimeWarning")
@pytest.mark.parametrize("name", OTHERS)
def test_where_rounding_could_decide_scikit_learn_does(name, asked):
    X, K = OTHERS[name]()
    for seed in range(4):
        check(X, K, seed)
    assert asked


def test_layouts_and_read_only_rows():
    X = gaussians(3_000, 4, 5, 2.0)
    X.flags.writeable = False
    before = X.copy()
    for rows in (X, np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2]):
        check(rows, 5, 0)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("name", ["moderate", "far away", "one feature"])
def test_float32_rows_are_clustered_as_the_same_numbers_in_float64(name, asked):
    X, K = CONTINUOUS[name]()
    single = X.astype(np.float32)
    answers = [
        kmeans.k_means(rows, K, np.random.RandomState(0), 2)
        for rows in (single, np.asfortranarray(single), single.astype(np.float64))
    ]
    for found in answers[:2]:
        for a, b in zip(found, answers[2], strict=True):
            np.testing.assert_array_equal(a, b)
    assert not asked


@pytest.mark.parametrize("n_threads", [2, 5])
def test_the_same_bits_on_any_number_of_threads(n_threads):
    X = gaussians(3 * kmeans.BLOCK_ROWS + 17, 3, 6, 1.0)
    results = [kmeans.k_means(X, 6, np.random.RandomState(0), n) for n in (1, n_threads)]
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_most_iterations_are_scikit_learns(monkeypatch, asked):
    X = gaussians(20_000, 6, 8, 0.3)
    expected = KMeans(8, n_init=1, random_state=0, max_iter=7).fit(X)
    assert expected.n_iter_ == 7  # not enough
    monkeypatch.setattr(kmeans, "MAX_ITER", 7)
    _, labels = kmeans.k_means(X, 8, np.random.RandomState(0), 1)
    np.testing.assert_array_equal(labels, expected.labels_)
    assert KMeans().max_iter == 300
    assert KMeans().tol == kmeans.TOLERANCE
    assert not asked


# --- what makes it undecided -------------------------------------------------------------------


def plus_plus(X, K, draws):
    """k-means++ with chosen draws: the first row, then uniform numbers."""

    class Draws(np.random.RandomState):
        def choice(self, n, p):
            return draws[0]

        def uniform(self, size):
            return np.broadcast_to(draws[1], size)

    return kmeans.plus_plus(X, K, kmeans.measure(X, 1), Draws(0), 1)


def test_a_draw_on_the_border_between_two_rows():
    X = np.array([[0.0], [1.0], [2.0], [3.0]])  # squared distances to row 0 add up to 1, 5, 14
    np.testing.assert_array_equal(plus_plus(X, 2, (0, 4.9 / 14)), [[0.0], [2.0]])
    np.testing.assert_array_equal(plus_plus(X, 2, (0, 5.1 / 14)), [[0.0], [3.0]])
    with pytest.raises(kmeans.Undecided):
        plus_plus(X, 2, (0, 5 / 14))
    with pytest.raises(kmeans.Undecided):
        plus_plus(X, 2, (0, 0.0))


def test_two_candidates_that_gain_the_same():
    X = np.array([[0.0], [1.0], [-1.0], [5.0], [-5.0]])
    with pytest.raises(kmeans.Undecided):
        plus_plus(X, 2, (0, [0.2, 0.6]))  # rows 3 and 4
    twice = np.vstack([X, [[5.0]]])  # rows 3 and 5 are the same point
    np.testing.assert_array_equal(plus_plus(twice, 2, (0, [0.2, 0.9])), [[0.0], [5.0]])


def rest(X, seeds):
    seeds = np.asarray(seeds, dtype=float)
    return kmeans.lloyd(X, seeds, kmeans.measure(X, 1), 1)


def test_a_row_half_way_between_two_centres():
    X = np.array([[0.0], [1.0], [3.0], [4.0], [2.0]])
    with pytest.raises(kmeans.Undecided):
        rest(X, [[0.0], [4.0]])
    np.testing.assert_array_equal(rest(X, [[0.0], [4.5]])[1], [0, 0, 1, 1, 0])


def test_an_empty_cluster():
    X = normal(100, 2)
    with pytest.raises(kmeans.Undecided):
        rest(X, [[0.0, 0.1], [50.0, 50.0]])


@pytest.mark.parametrize("share", [1 - 1e-9, 1.0, 1 + 1e-9])
def test_centres_that_stop_within_rounding_of_the_tolerance(share, monkeypatch):
    X = gaussians(1_000, 2, 3, 1.0)
    seeds, scale = X[:3], kmeans.measure(X, 1)
    nearest = ((X[:, None] - seeds) ** 2).sum(axis=2).argmin(axis=1)
    means = np.array([X[nearest == k].mean(axis=0) for k in range(3)])
    moved = ((means - seeds) ** 2).sum()
    monkeypatch.setattr(kmeans, "TOLERANCE", share * moved / (scale.variance / 2))
    with pytest.raises(kmeans.Undecided):
        rest(X, seeds)
    monkeypatch.setattr(kmeans, "TOLERANCE", 1.01 * moved / (scale.variance / 2))
    np.testing.assert_allclose(rest(X, seeds)[0], means)


def test_rows_are_looked_at_again_only_when_centres_have_come_near(monkeypatch):
    """Counted as rows whose margin is up: most of the work of k-means is not done."""
    X = gaussians(50_000, 10, 10, 1.0)
    looked = []
    settle = kmeans.Clusters.settle

    def spy(self, centres, moves, run):
        others = np.array([np.delete(moves, k).max() for k in range(self.K)])
        looked.append((self.margins <= (moves + others)[self.labels]).mean())
        settle(self, centres, moves, run)

    monkeypatch.setattr(kmeans.Clusters, "settle", spy)
    kmeans.k_means(X, 10, np.random.RandomState(0), 1)
    assert looked[0] == 1
    assert len(looked) > 10
    assert looked[-1] < 0.1
    assert np.mean(looked) < 0.5
