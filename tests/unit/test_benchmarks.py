"""The benchmark suite: every benchmark runs, and measures what it says it measures."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SUITE = ("kernels", "passes", "fits", "cluster", "rivals")
ONCE = {"number": 1, "repeat": 1, "rounds": 1, "warmup_time": 0.0}  # as `asv run --quick`


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Every module of the suite, imported for small data, and the benchmarks asv finds in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMDASH_BENCH_QUICK", "1")
        patch.syspath_prepend(ROOT)
        patch.chdir(tmp_path_factory.mktemp("asv"))  # `setup_cache` writes here
        from asv_runner.discovery import disc_benchmarks

        found = list(disc_benchmarks(str(ROOT / "benchmarks")))
        modules = {
            name.partition(".")[2]: module
            for name, module in sys.modules.items()
            if name.startswith("benchmarks.")
        }
        close = modules["cluster"].close
        patch.setattr(modules["cluster"], "close", lambda: None)  # one cluster for all
        yield SimpleNamespace(found=found, **modules)
        close()
        for name in modules:
            del sys.modules[f"benchmarks.{name}"]
        del sys.modules["benchmarks"]


def run_all(benchmark: Any) -> list[Any]:
    """Run a benchmark once with each of its parameters and return what it measured."""
    for name, value in ONCE.items():  # attributes of a benchmark's class are asv's settings
        setattr(benchmark.func.__self__, name, value)
    cache = benchmark.do_setup_cache()
    if cache is not None:
        benchmark.set_cache(cache)
    values = []
    for index in range(math.prod(map(len, benchmark.params))):
        if benchmark.params:
            benchmark.set_param_idx(index)
        if not benchmark.do_setup():  # true means skipped
            values.append(benchmark.do_run())
            benchmark.do_teardown()
    return values


@pytest.mark.parametrize("module", SUITE)
def test_every_benchmark_runs(suite: SimpleNamespace, module: str) -> None:
    mine = [benchmark for benchmark in suite.found if benchmark.name.startswith(f"{module}.")]
    assert mine
    for benchmark in mine:
        values = run_all(benchmark)
        assert values, benchmark.name
        if benchmark.type in ("track", "peakmemory"):
            assert np.isfinite(values).all(), benchmark.name


def test_ceilings_are_printed(suite: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    suite.passes.main(["--rows", "4000", "--components", "2", "100", "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[2:]] == [
        [kind, cache, K]
        for kind in suite.passes.FILES
        for cache in suite.passes.CACHES
        for K in ("2", "100")
    ]
    c = suite.passes.Ceilings(1.0, 2.0, 2.5, 1.0, 4.0, 5.0)
    assert (c.share, c.possible, c.cpu_share) == (0.8, 0.8, 0.8)


def test_asv_finds_benchmarks_in_the_suite_only(suite: SimpleNamespace) -> None:
    assert {benchmark.name.partition(".")[0] for benchmark in suite.found} == set(SUITE)


def test_every_benchmark_says_which_regression_it_catches(suite: SimpleNamespace) -> None:
    for benchmark in suite.found:
        assert benchmark.func.__doc__, benchmark.name
        assert "Catches" in (type(benchmark.func.__self__).__doc__ or ""), benchmark.name


def test_asv_has_its_settings_and_git_ignores_its_results(suite: SimpleNamespace) -> None:
    from asv.config import Config

    conf = Config.load(str(ROOT / "benchmarks" / "asv.conf.json"))
    folder = ROOT / "benchmarks"
    assert (folder / conf.repo).resolve() == ROOT
    assert (folder / conf.benchmark_dir).resolve() == folder
    assert ".asv/" in (ROOT / ".gitignore").read_text().split()
    assert {Path(p).parts[0] for p in (conf.env_dir, conf.results_dir, conf.html_dir)} == {".asv"}


@pytest.mark.parametrize("overlap", ["well", "mod", "all"])
@pytest.mark.parametrize(("d", "K"), [(1, 4), (2, 8), (12, 5)])
def test_clusters_are_as_far_apart_as_they_say(
    suite: SimpleNamespace, d: int, K: int, overlap: str
) -> None:
    data = suite.data
    truth = data.clusters(d, K, overlap)
    gaps = [
        min(np.linalg.norm(a - b) for j, b in enumerate(truth.means) if i != j)
        for i, a in enumerate(truth.means)
    ]
    assert np.mean(gaps) == pytest.approx(data.SEPARATIONS[overlap], rel=1e-12)
    assert np.trace(truth.covariances, axis1=1, axis2=2) == pytest.approx(d, rel=1e-12)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_clusters_have_the_covariances_of_their_type(
    suite: SimpleNamespace, covariance_type: str
) -> None:
    d, K = 4, 3
    truth = suite.data.clusters(d, K, covariance_type=covariance_type)
    assert (np.linalg.eigvalsh(truth.covariances) > 0).all()
    shaped = truth.shaped(covariance_type)
    whole = {
        "full": shaped,
        "tied": np.array([shaped] * K),
        "diag": np.array([np.diag(s) for s in shaped]) if shaped.ndim == 2 else None,
        "spherical": np.array([s * np.eye(d) for s in shaped]),
    }[covariance_type]
    np.testing.assert_allclose(truth.covariances, whole, rtol=1e-12, atol=1e-12)


def test_rows_come_from_the_seed_and_the_mixture(suite: SimpleNamespace) -> None:
    truth = suite.data.clusters(3, 2, "well")
    X = suite.data.draw(truth, 4000, np.float32, seed=7)
    assert X.dtype == np.float32
    assert not X.flags.writeable
    np.testing.assert_array_equal(X, suite.data.draw(truth, 4000, np.float32, seed=7))
    assert (suite.data.draw(truth, 4000, np.float32, seed=8) != X).any()
    nearest = np.linalg.norm(X[:, None] - truth.means, axis=2).argmin(axis=1)
    for k in range(2):  # 25 standard deviations apart: labels are certain
        mine = X[nearest == k]
        assert len(mine) / len(X) == pytest.approx(truth.weights[k], abs=0.05)
        np.testing.assert_allclose(np.cov(mine.T), truth.covariances[k], atol=0.15)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_the_iteration_is_that_of_the_estimator(
    suite: SimpleNamespace, covariance_type: str
) -> None:
    from sklearn.exceptions import ConvergenceWarning

    from emdash import GaussianMixture

    truth = suite.data.clusters(3, 4, covariance_type=covariance_type)
    X = suite.data.draw(truth, 500)
    start = truth.nearby()
    covariances = start.shaped(covariance_type)
    estimator = GaussianMixture(
        4,
        covariance_type=covariance_type,
        reg_covar=0.0,
        max_iter=1,
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=(
            np.linalg.inv(covariances) if covariance_type in ("full", "tied") else 1 / covariances
        ),
    )
    with pytest.warns(ConvergenceWarning):
        estimator.fit(X)
    iteration = suite.iteration.Iteration(X, start, covariance_type)
    assert iteration() == pytest.approx(estimator.lower_bound_, rel=1e-12)
    result = iteration.result
    np.testing.assert_allclose(result.weights, estimator.weights_, rtol=1e-11)
    np.testing.assert_allclose(result.components.means, estimator.means_, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(
        result.components.covariances, estimator.covariances_, rtol=1e-10, atol=1e-11
    )


def test_kernels_are_bound_to_an_instruction_set_and_later_ones_are_not(
    suite: SimpleNamespace,
) -> None:
    from emdash._kernels import threads

    truth = suite.data.clusters(10, 10)
    iteration = suite.iteration.Iteration(suite.data.draw(truth, 2000), truth.nearby())
    (chunk,) = iteration.source.chunks()
    before = threads.isa()
    sums = {isa: suite.kernels.bound(iteration, isa)(chunk, 1) for isa in threads.available_isas()}
    assert threads.isa() == before
    # the same numbers to rounding, in another order of addition
    assert len({one.buffer.tobytes() for one in sums.values()}) == len(sums)
    for one in sums.values():
        np.testing.assert_allclose(one.buffer, sums[before].buffer, rtol=1e-9, atol=1e-9)


def test_the_naive_engine_gives_the_same_answer(suite: SimpleNamespace) -> None:
    import dask.array

    truth = suite.data.clusters(3, 4)
    array = dask.array.from_array(np.array(suite.data.draw(truth, 1000)), chunks=(130, 3))
    naive, ours = (
        suite.iteration.Iteration(array, truth.nearby(), engine=engine)
        for engine in (suite.naive.NaiveEngine(), None)
    )
    assert naive() == pytest.approx(ours(), rel=1e-13)
    np.testing.assert_allclose(
        naive.result.components.covariances,
        ours.result.components.covariances,
        rtol=1e-11,
        atol=1e-13,
    )


def test_tasks_of_a_pass_do_not_grow_with_the_chunks_but_naive_ones_do(
    suite: SimpleNamespace,
) -> None:
    tasks = {}
    for engine in suite.cluster.ENGINES:
        for n_chunks in (32, 64):
            benchmark = suite.cluster.Tasks()
            benchmark.setup(engine, n_chunks)
            tasks[engine, n_chunks] = benchmark.track_tasks(engine, n_chunks)
    assert tasks["emdash", 32] == tasks["emdash", 64] <= 12
    assert tasks["naive", 32] >= 32
    assert tasks["naive", 64] >= 64


def test_rivals_refuses_to_time_a_wrong_answer(
    suite: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals = suite.rivals
    case = rivals.Case("full", 2, 3, 1000)
    times = rivals.compare(case, 1, rounds=1, quick=True)
    assert set(times) == {"emdash", "scikit-learn"}
    assert all(timing.wall > 0 for timing in times.values())

    right = rivals.Emdash.answer

    def wrong(self: Any) -> Any:
        weights, means, covariances = right(self)
        return weights, means, covariances + 1e-8

    monkeypatch.setattr(rivals.Emdash, "answer", wrong)
    with pytest.raises(rivals.Disagreement, match="differs by"):
        rivals.compare(case, 1, rounds=1, quick=True)


@pytest.mark.parametrize("question", ["predict", "predict_proba", "score_samples"])
def test_answers_refuses_to_time_a_wrong_answer(
    suite: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    estimator = suite.answers.GaussianMixture
    right = getattr(estimator, question)
    monkeypatch.setattr(estimator, question, lambda self, X: right(self, X)[::-1])
    with pytest.raises(suite.answers.Disagreement, match=question):
        suite.answers.beside(2, 3, 1000, 1)


def test_rivals_says_what_is_wrong_with_a_rival_and_goes_on(suite: SimpleNamespace) -> None:
    class Broken(suite.systems.Emdash):
        name = "broken"

        def iterate(self) -> None:
            raise RuntimeError("no convergence\nmore about it")

    class Biased(suite.systems.Emdash):
        name = "biased"

        def answer(self) -> Any:
            weights, means, covariances = super().answer()
            return weights, means * 1.5, covariances

    case = suite.rivals.Case("diag", 2, 3, 1000)
    times = suite.rivals.compare(case, 1, (Broken, Biased), rounds=1, quick=True)
    assert times["broken"] == "no convergence"
    assert times["biased"] == "differs by 5e-01"
    assert times["scikit-learn"].wall > 0


def test_a_system_that_is_not_there_is_skipped_with_a_word(suite: SimpleNamespace) -> None:
    class Absent(suite.systems.Emdash):
        module = "no_such_package.inner"
        covariance_types = ("full",)

    assert suite.systems.why_not(Absent, "full", "float64") == "not installed"
    assert suite.systems.why_not(Absent, "tied", "float64") == "no tied float64"
    assert suite.systems.why_not(suite.systems.Emdash, "tied", "float64") is None


def test_fits_refuses_to_time_another_answer(
    suite: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = suite.fits
    times = fits.beside("well", 1, 2_000)
    assert times["k-means++"] > 0
    assert times["Lloyd"] > 0
    assert times["k-means++"] + times["Lloyd"] <= times["start"]
    assert times["start"] + times["passes"] <= times["emdash CPU"]
    fit = fits.GaussianMixture.fit

    def wrong(self: Any, X: Any) -> Any:
        fit(self, X).means_ += 0.1
        return self

    monkeypatch.setattr(fits.GaussianMixture, "fit", wrong)
    with pytest.raises(fits.Disagreement, match="not the same fit"):
        fits.beside("well", 1, 2_000)


@pytest.mark.parametrize(
    ("covariance_type", "counted", "scatter", "multiply_adds"),
    [
        ("full", 10, False, 2 * 10 * (55 + 10)),
        ("full", 1.5, False, (10 + 1.5) * (55 + 10)),
        ("diag", 10, False, 4 * 100),
        ("spherical", 10, False, 2 * 100 + 10),
        ("tied", 10, False, 55 + 2 * 100),
        ("tied", 10, True, 2 * 55 + 2 * 100),
        ("diag", 1.5, False, 2 * (10 + 1.5) * 10),
        ("tied", 1.5, False, 55 + (10 + 1.5) * 10),
    ],
)
def test_roofline_counts_useful_work(
    suite: SimpleNamespace, covariance_type: str, counted: float, scatter: bool, multiply_adds: int
) -> None:
    roofline = suite.roofline
    work = roofline.work(covariance_type, 10, 10, 4, counted, scatter)
    assert (work.multiply_adds, work.exponentials, work.bytes) == (multiply_adds, 10, 40)
    seconds = multiply_adds / 4e9 + 10 / 1e9
    assert work.floor(roofline.Peaks(4e9, 1e9, 1e12)) == pytest.approx(seconds)
    assert work.floor(roofline.Peaks(4e9, 1e9, 1e6)) == pytest.approx(40e-6)


def test_the_overhead_of_a_cluster_is_shown_side_by_side(suite: SimpleNamespace) -> None:
    head, _, four, twelve, slope = suite.cluster.side_by_side([4, 12])
    assert head.count("emdash") == head.count("naive") == 2
    for line, name in ((four, "4"), (twelve, "12"), (slope, "µs per further chunk")):
        cells = line.strip("| ").split(" | ")
        assert cells[0] == name
        assert len(cells) == 5


def test_array_expressions_give_the_same_answer(suite: SimpleNamespace) -> None:
    import dask.array

    truth = suite.data.clusters(3, 4)
    array = dask.array.from_array(np.array(suite.data.draw(truth, 1000)), chunks=(130, 3))
    iteration = suite.iteration.Iteration(array, truth.nearby())
    iteration()
    start = truth.nearby()
    found = suite.naive.expectation_maximization(
        array, start.weights, start.means, start.covariances
    )
    ours = iteration.result
    expected = ours.weights, ours.components.means, ours.components.covariances
    for theirs, mine in zip(found, expected, strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-9, atol=1e-11)


def test_systems_that_cannot_take_part_say_why(
    suite: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = suite.scale
    one = {"seconds": 1.0, "cpu": 2.0, "answer": [[0.5, 0.5]]}
    other = {**one, "answer": [[0.6, 0.4]]}
    answers = {"Emdash": one, "DaskArray": other, "ScikitLearn": "No module named 'sklearn'"}
    monkeypatch.setattr(scale, "run_apart", lambda name, _: (answers[name], 1_000_000))
    _, _, ours, dask_array, sklearn = scale.table(scale.compare([*answers], []))
    assert ours.endswith("| 1 | 2 | 1.0, 1.0 | 1 |")
    assert dask_array.endswith("| differs by 2e-01 | | | |")
    assert sklearn == "| scikit-learn | No module named 'sklearn' | | | |"
