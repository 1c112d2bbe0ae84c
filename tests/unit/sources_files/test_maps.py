"""Memory maps whose file is written to, cut short or removed between two passes."""

import os
import pickle
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
from stored_files import START, D

from emdash import GaussianMixture
from emdash.sources.array import MemmapSource

CUT = """
import os, sys
import numpy as np
from emdash import GaussianMixture
for mode, path in zip(("r", "r+"), sys.argv[1:]):
    def cut(progress):
        if progress.number == 2:
            os.truncate(path, 1000)
    X = np.load(path, mmap_mode=mode)[::2]
    for model in (GaussianMixture(tol=0.0, callback=cut), GaussianMixture()):
        try:
            model.fit(X)
        except ValueError as error:
            print(error)
"""


@pytest.fixture
def path(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    return tmp_path / "X.npy"


def test_a_file_cut_short_between_passes_is_an_error_and_not_the_end(tmp_path):
    """In a process of its own, since the system would kill it."""
    paths = [tmp_path / "read.npy", tmp_path / "written.npy"]
    for path in paths:
        np.save(path, np.random.default_rng(0).normal(size=(2000, D)))
    size = paths[0].stat().st_size
    done = subprocess.run(
        [sys.executable, "-c", CUT, *paths], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    how = f"was cut short: 1000 bytes, but it was mapped with {size}. Write it again, and fit when"
    assert [line.split(" it is complete")[0] for line in done.stdout.splitlines()] == [
        f"X changed between passes: {paths[0]} was replaced or written to after it was opened. "
        "Fit again when",
        *(f"{path} {how}" for path in (paths[0], paths[1], paths[1])),
    ]


def rewritten(path, X):
    np.save(path, X + 1)


def replaced(path, X):
    np.save(path.with_name("new.npy"), X + 1)
    path.with_name("new.npy").rename(path)


def grown(path, X):
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("change", [rewritten, replaced, grown])
@pytest.mark.parametrize("mode", ["r", "c"])
def test_a_map_that_cannot_write_is_compared_with_its_file(mode, change, path, X):
    def at_the_second_pass(progress):
        if progress.number == 2:
            time.sleep(0.02)  # a file's time advances in steps of some milliseconds
            change(path, X)

    mapped = np.load(path, mmap_mode=mode)
    with pytest.raises(ValueError, match=r"X changed between passes: .*X\.npy was"):
        GaussianMixture(tol=0.0, callback=at_the_second_pass, **START).fit(mapped[3:])


def test_what_changes_no_row_is_no_change(path, X):
    """Time of a map that can write; own changes of a private one; a file without a name."""

    def touch(progress):
        os.utime(path, ns=(progress.number, progress.number))

    writable = np.load(path, mmap_mode="r+")
    expected = GaussianMixture(**START).fit(X).means_
    found = GaussianMixture(callback=touch, **START).fit(writable).means_
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    private = np.load(path, mmap_mode="c")
    private[0] += 1
    GaussianMixture(**START).fit(private)
    mapped = np.load(path, mmap_mode="r")
    gone = GaussianMixture(callback=lambda progress: path.unlink(missing_ok=True), **START)
    np.testing.assert_allclose(gone.fit(mapped).means_, expected, rtol=1e-12)
    GaussianMixture(**START).fit(mapped)
    with tempfile.TemporaryFile() as file:
        file.write(X.tobytes())
        file.flush()
        GaussianMixture(**START).fit(np.memmap(file, X.dtype, "r", shape=X.shape))


def test_another_process_compares_with_the_file_as_it_was_here(path, X):
    text = pickle.dumps(MemmapSource(np.load(path, mmap_mode="r")))
    next(pickle.loads(text).chunks())
    os.utime(path, ns=(1, 1))
    with pytest.raises(ValueError, match="X changed between passes"):
        next(pickle.loads(text).chunks())
    text = pickle.dumps(MemmapSource(np.load(path, mmap_mode="r+")))
    os.utime(path, ns=(2, 2))
    next(pickle.loads(text).chunks())
