"""``memory_limit`` is a promise: kept by fit and predict where the system would not give more.

A process of its own, with everything imported and every pool started, is forbidden to
allocate more than the limit on top of what it holds, then works on files eight times as
large.
"""

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet
import pytest
import zarr

from emdash import GaussianMixture
from emdash.engines import memory
from emdash.engines.local import LocalEngine
from emdash.engines.memory import FRACTION, MemoryLimit, available, parse
from emdash.sources import open_source
from emdash.sources.array import ArraySource
from emdash.start import SAMPLE_ROWS, starting_rows

UNDER_A_LIMIT = """
import gc, json, resource, sys, threading, warnings
import numpy as np
from click.testing import CliRunner
import emdash
from emdash.cli import main

warnings.simplefilter("ignore")
threading.stack_size(1 << 20)  # the address space of a stack counts whole
limit, kind, big, small, folder = int(sys.argv[1]), *sys.argv[2:]
model_file = f"{folder}/model.npz"


def command(*args):
    done = CliRunner().invoke(main, [str(arg) for arg in args])
    assert done.exit_code == 0, done.output + repr(done.exception)


def fit(path):
    model = emdash.GaussianMixture(5, max_iter=2, tol=0.0, n_threads=2, random_state=0,
                                   memory_limit=limit)
    emdash.save(model.fit(path), model_file)
    return model


def predict(path, *options):
    command("predict", model_file, path, "-o", f"{folder}/answers.{kind}", *options,
            "--memory-limit", str(limit), "--threads", "2")


def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) * 1024


def peak(call, *args):
    # resident memory, of which only that of the process itself grows here
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    answer = call(*args)
    return answer, status("VmHWM") - before


fit(small), predict(small), predict(small, "--proba")
gc.collect()
if kind == "npy":  # to write answers zarr has threads, whose address space counts, used or not
    most = status("VmData") + limit
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        np.ones(limit // 8 + 100_000)
    except MemoryError:
        pass
    else:
        raise AssertionError("the limit is not enforced")
model, peak_fit = peak(fit, big)
peaks = [peak_fit, peak(predict, big)[1], peak(predict, big, "--proba")[1]]
refused = ""
try:
    model.predict_proba(big)
except MemoryError as error:
    refused = str(error)
print(json.dumps({"weights": model.weights_.tolist(), "refused": refused, "peaks": peaks}))
"""

FIT_A_FILE = """
import gc, json, sys, warnings
import pyarrow.dataset
import emdash

warnings.simplefilter("ignore")
limit, kind, big, small = int(sys.argv[1]), *sys.argv[2:]


def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) * 1024


def fit(path):
    table = pyarrow.dataset.dataset(path) if kind == "dataset" else path
    gm = emdash.GaussianMixture(5, max_iter=2, tol=0.0, n_threads=2, random_state=0,
                                memory_limit=limit)
    return gm.fit(table)


fit(small)
gc.collect()
before = status("VmRSS")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
n_rows = fit(big).history_[-1].n_rows
print(json.dumps([n_rows, status("VmHWM") - before]))
"""

LIMIT = 20_000_000
D = 8


def rows(n):
    rng = np.random.default_rng(0)
    block = rng.normal(size=(50_000, D)) + 4.0 * rng.integers(0, 5, size=(50_000, 1))
    return np.resize(block, (n, D))


def write(kind, path, X):
    if kind == "npy":
        np.save(path, X)
        return
    array = zarr.open_array(str(path), mode="w", shape=X.shape, chunks=(20_000, D), dtype=X.dtype)
    array[:] = X


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts private memory")


@linux
@pytest.mark.parametrize("kind", ["npy", "zarr"])
def test_the_promise_is_kept_under_an_enforced_limit(kind, tmp_path):
    X = rows(2_550_000)
    assert X.nbytes > 8 * LIMIT
    paths = [tmp_path / f"{name}.{kind}" for name in ("big", "small")]
    for path, table in zip(paths, (X, X[:150_000]), strict=True):
        write(kind, path, table)
    code = [sys.executable, "-c", UNDER_A_LIMIT, str(LIMIT), kind, *map(str, paths), str(tmp_path)]
    # what is freed goes back at once, or it would come on top of the limit
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "262144"}
    run = subprocess.run(code, capture_output=True, text=True, env=env, timeout=600)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert max(found["peaks"]) < LIMIT, found["peaks"]
    assert sum(found["weights"]) == pytest.approx(1)
    assert "emdash predict MODEL DATA -o FILE" in found["refused"]
    answers = open_source(tmp_path / f"answers.{kind}")
    assert (answers.n_rows, answers.n_features) == (len(X), 5)


def in_hdf5(path, X):
    with h5py.File(path.partition("::")[0], "w") as file:
        file.create_dataset("X", data=X, chunks=(5_000, D), compression="gzip", compression_opts=1)


def in_shards(path, X):
    array = zarr.create_array(
        path, shape=X.shape, dtype=X.dtype, chunks=(1_000, D), shards=(10_000, D)
    )
    array[:] = X


def columns(X):
    return pa.table({str(j): column for j, column in enumerate(X.T)})


def in_parquet(path, X):
    pa.parquet.write_table(columns(X), path, row_group_size=20_000)


def in_arrow(path, X):
    pa.feather.write_feather(columns(X), path, chunksize=10_000)


def in_csv(path, X):
    with open(path, "wb") as file:
        block = "".join("{},{},{},{},{},{},{},{}\n".format(*row) for row in X[:50_000].round(3))
        for _ in range(len(X) // 50_000):
            file.write(block.encode())


FILES = {
    "hdf5": ("{}.h5::X", in_hdf5, 8_000_000),
    "shards": ("{}.zarr", in_shards, 8_000_000),
    "arrow": ("{}.arrow", in_arrow, 8_000_000),
    "csv": ("{}.csv", in_csv, 6_000_000),
    "parquet": ("{}.parquet", in_parquet, 22_000_000),
    "dataset": ("{}.parquet", in_parquet, 22_000_000),
}
"""Name, how to write it, limit: of Parquet Arrow keeps 16 MB, however small the groups."""


@linux
@pytest.mark.parametrize("kind", FILES)
def test_the_promise_is_kept_for_every_format(kind, tmp_path):
    """With the settings of the C library that everybody has, of files 8 times the limit."""
    name, write, limit = FILES[kind]
    n = -(-8 * limit // (8 * D) // 50_000) * 50_000
    paths = [name.format(tmp_path / size) for size in ("big", "small")]
    for path, length in zip(paths, (n, 100_000), strict=True):
        write(path, rows(length))
    code = [sys.executable, "-c", FIT_A_FILE, str(limit), kind, *paths]
    run = subprocess.run(code, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    n_rows, peak = json.loads(run.stdout)
    assert n_rows == n
    assert peak < limit


# ------------------------------------------------------------------ amounts


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (1, 1),
        (400_000_000, 400_000_000),
        ("500MB", 500_000_000),
        ("500 mb", 500_000_000),
        ("1.5G", 1_500_000_000),
        ("2GiB", 2 << 30),
        ("64KiB", 65_536),
        ("12345", 12_345),
    ],
)
def test_amounts_of_memory(given, expected):
    assert parse(given) == expected


@pytest.mark.parametrize("given", ["", "much", "MB", "-5MB", "1.2.3MB", "5 PB", "0", "5e400"])
def test_what_is_no_amount_of_memory(given):
    with pytest.raises(ValueError, match=r"memory_limit=.* is no amount .*'500MB'"):
        GaussianMixture(1, memory_limit=given).fit(np.eye(3))


def test_the_default_is_a_fraction_of_what_is_free(monkeypatch):
    assert 0 < available() < 1 << 50
    monkeypatch.setattr(memory, "available", lambda: 1000)
    assert MemoryLimit(None).bytes == FRACTION * 1000
    assert MemoryLimit("1MB").bytes == 1_000_000


def test_a_container_may_have_less_than_the_machine(tmp_path, monkeypatch):
    most, used = tmp_path / "max", tmp_path / "current"
    monkeypatch.setattr(memory, "CGROUPS", ((str(most), str(used)),))
    free = available()
    most.write_text("5000000\n")
    used.write_text("1000000\n")
    assert available() == 4_000_000
    most.write_text("max\n")
    assert available() > free / 2  # whatever else runs meanwhile


# ------------------------------------------------------------------ what follows from the limit


class Task:
    """Counts rows; its sums take so much memory."""

    def __init__(self, sums=0):
        self.memory = sums

    def __call__(self, chunk, n_threads):
        return len(chunk)


@pytest.fixture
def stored(tmp_path):
    """One table of 64 000 bytes in files whose pieces are small, and large."""
    X = np.arange(8000.0).reshape(1000, 8)
    np.save(tmp_path / "X.npy", X)
    for name, how in {
        "small": {"chunks": (20, 8)},
        "large": {"chunks": (1000, 8)},
        "shards": {"chunks": (20, 8), "shards": (1000, 8)},
    }.items():
        array = zarr.create_array(tmp_path / f"{name}.zarr", shape=X.shape, dtype=X.dtype, **how)
        array[:] = X
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file.create_dataset("large", data=X, chunks=(1000, 8))
    table = pa.table({str(j): column for j, column in enumerate(X.T)})
    pa.parquet.write_table(table, tmp_path / "small.parquet", row_group_size=20)
    pa.parquet.write_table(table, tmp_path / "large.parquet")
    return X, lambda name: open_source(str(tmp_path / name))


@pytest.mark.parametrize("name", ["X.npy", "small.zarr", "shards.zarr", "small.parquet"])
def test_chunks_shrink_to_the_limit_and_hold_the_same_rows(name, stored, monkeypatch):
    monkeypatch.setattr("emdash.sources.parquet.ParquetSource.kept", 0)  # more than the limit
    X, opened = stored
    source = MemoryLimit(16_000).cut(opened(name))
    assert source.n_chunks > 10
    assert source.chunk_memory <= 8_000
    chunks = list(source.chunks())
    assert max(chunk.rows.nbytes for chunk in chunks) <= source.chunk_memory
    np.testing.assert_array_equal(np.concatenate([chunk.rows for chunk in chunks]), X)
    assert MemoryLimit("1GB").cut(opened(name)).n_chunks == opened(name).n_chunks


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("large.zarr", "fewer rows per chunk or shard"),
        ("X.h5::large", "smaller chunks"),
        ("large.parquet", "smaller row_group_size"),
    ],
)
def test_what_is_stored_in_too_large_pieces_is_refused(name, advice, stored):
    _, opened = stored
    model = GaussianMixture(1, memory_limit=30_000)
    with pytest.raises(MemoryError, match=rf"1000 rows.*takes .* MB.*0\.03 MB.*{advice}"):
        model.fit(opened(name))


def test_a_batch_that_is_too_large_is_refused_unless_it_is_there_anyway(stored):
    X, _ = stored
    model = GaussianMixture(1, memory_limit=30_000_000)
    model.fit([X]).set_params(memory_limit=30_000)
    with pytest.raises(MemoryError, match=r"batch 0 of X takes 0\.064 MB.*smaller batches"):
        model.fit(lambda: iter([X]))
    assert MemoryLimit(30_000).cut(open_source([X])).held


def test_threads_share_the_limit(stored):
    """As many chunks and sums at the same time as fit, whatever number of threads is wanted."""
    source = MemoryLimit(16_000).cut(stored[1]("X.npy"))
    one = source.chunk_memory + 3_000
    for limit, threads in ((one, 1), (2 * one, 2), (5 * one + 1, 5), (100 * one, 8)):
        assert MemoryLimit(limit).threads(source, Task(3_000), 8) == threads
    with pytest.raises(MemoryError, match=r"one chunk of X .* sums of the model .*components"):
        MemoryLimit(one - 1).threads(source, Task(3_000), 8)
    engine = LocalEngine(2, MemoryLimit(one - 1))
    with pytest.raises(MemoryError, match="sums of the model"):
        engine.total(Task(3_000), source)


def test_bits_do_not_depend_on_threads_under_a_limit(stored, given):
    fits = [
        GaussianMixture(2, n_threads=n, memory_limit="100kB", **given).fit(stored[1]("X.npy"))
        for n in (1, 2, 5)
    ]
    assert len({fit.covariances_.tobytes() for fit in fits}) == 1
    assert fits[0].n_iter_ > 2
    unlimited = GaussianMixture(2, **given).fit(stored[1]("X.npy"))
    np.testing.assert_allclose(fits[0].covariances_, unlimited.covariances_, rtol=1e-10)
    assert fits[0].n_iter_ == unlimited.n_iter_


@pytest.fixture
def given():
    """A start for the table above, of diagonal covariances: their sums take few bytes."""
    return {
        "covariance_type": "spherical",
        "weights_init": [0.5, 0.5],
        "means_init": [[2000.0] * 8, [6000.0] * 8],
        "precisions_init": [1e-6, 1e-6],
    }


def test_the_sample_of_the_start_fits(stored):
    """Explicit limits decide its size; what happens to be free never does."""
    X, opened = stored
    for source in (opened("X.npy"), ArraySource(X)):
        engine, seed = LocalEngine(1), np.random.RandomState(0)
        assert len(starting_rows(source, engine, 2, seed, None)) == 1000
        assert len(starting_rows(source, engine, 2, seed, 64_000)) == 1000
        sample = starting_rows(source, engine, 2, seed, 64 * 250).rows
        assert sample.shape == (250, 8)
        assert len(np.unique(sample[:, 0])) == 250
        assert len(starting_rows(source, engine, 2, seed, 1)) == 200  # 100 per component
    assert MemoryLimit(None).sample_bytes is None
    assert MemoryLimit("400MB").sample_bytes >= 8 * 10 * SAMPLE_ROWS


def test_answers_that_do_not_fit_are_refused(stored, given):
    X, opened = stored
    model = GaussianMixture(2, **given).fit(X).set_params(memory_limit="10kB")
    batches = np.array_split(X, 10)
    for data in (X, opened("X.npy"), batches, lambda: iter(batches)):
        with pytest.raises(MemoryError, match=r"0\.01.* MB.*emdash predict MODEL DATA -o FILE"):
            model.predict_proba(data)
        assert len(model.predict(data)) == 1000
