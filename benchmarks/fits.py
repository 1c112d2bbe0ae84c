"""Whole fits with the public estimator, start included, on real and generated data.

Beside scikit-learn's from the same random state, with the parts they are made of:

    python benchmarks/fits.py [--quick] [--threads 1 2] [--overlaps well mod all]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

if __name__ == "__main__":  # a script sees its own folder, but this is a package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.data import QUICK, SEPARATIONS, clusters, draw, size
from emdash import GaussianMixture, kmeans
from emdash.estimators import _run, _starts

__all__ = ["Default", "Disagreement", "Start", "Tiny", "WholeFit", "beside", "main"]

TYPES = ("full", "spherical") if QUICK else ("full", "tied", "diag", "spherical")
COMPONENTS = {"iris": 3, "digits": 10, "china": 8, "generated": 10}


def dataset(name: str) -> NDArray[Any]:
    """Return iris (150 x 4), digits (1797 x 64), the pixels of china.jpg or a million rows x 10."""
    from sklearn import datasets

    if name == "generated":
        return draw(clusters(10, 10), size(1_000_000))
    if name == "china":
        pixels = datasets.load_sample_image("china.jpg").reshape(-1, 3)
        return pixels[:: len(pixels) // size(len(pixels))] / 255.0
    return np.asarray(getattr(datasets, f"load_{name}")().data)


class Default:
    """The fit a user gets with the default settings: k-means start, EM until it stops.

    Catches a slower start, a slower pass, and (by the count) a change of the answer: the
    number of iterations must be that of scikit-learn from the same random state.
    """

    params = (tuple(COMPONENTS), TYPES)
    param_names = ("data", "covariance")
    timeout = 300

    def setup(self, name: str, covariance: str) -> None:
        self.X = dataset(name)
        self.estimator = GaussianMixture(
            COMPONENTS[name], covariance_type=covariance, max_iter=500, random_state=0
        )

    def time_fit(self, name: str, covariance: str) -> None:
        """Fit."""
        self.estimator.fit(self.X)

    def track_iterations(self, name: str, covariance: str) -> int:
        """Fit and return how many iterations it took."""
        return int(self.estimator.fit(self.X).n_iter_)

    track_iterations.unit = "iterations"  # type: ignore[attr-defined]


class Start:
    """The start alone (``max_iter=0``) by each method.

    Catches a start that reads or copies more than it must.
    """

    params = (("kmeans", "k-means++", "random", "random_from_data"),)
    param_names = ("init_params",)

    def setup(self, method: str) -> None:
        self.X = draw(clusters(10, 10), size(300_000))
        self.estimator = GaussianMixture(10, init_params=method, max_iter=0, random_state=0)

    def time_start(self, method: str) -> None:
        """Find starting parameters for 10 components in 300 000 rows."""
        self.estimator.fit(self.X)


class Tiny:
    """200 rows, 2 features, 2 components and a given start.

    Catches overhead that no large fit shows: checks, imports, threads started for nothing.
    """

    def setup(self) -> None:
        truth = clusters(2, 2)
        start = truth.nearby()
        self.X = draw(truth, 200)
        self.estimator = GaussianMixture(
            2,
            weights_init=start.weights,
            means_init=start.means,
            precisions_init=np.linalg.inv(start.covariances),
        )

    def time_fit(self) -> None:
        """Fit."""
        self.estimator.fit(self.X)

    def time_predict(self) -> None:
        """Fit and label the rows."""
        self.estimator.fit_predict(self.X)


class Disagreement(Exception):
    """The two fits are not the same, so their times say nothing."""


PARTS: dict[str, tuple[Any, str]] = {
    "k-means++": (kmeans, "plus_plus"),
    "Lloyd": (kmeans, "lloyd"),
    "start": (_starts, "start_from"),
    "passes": (_run, "em"),
}
"""Where the parts of a fit happen; "start" holds the two before it, "passes" the M-steps too."""


@contextmanager
def parts_timed() -> Iterator[dict[str, float]]:
    """Yield a table that fills with the CPU seconds of every part of the fits inside."""
    spent = dict.fromkeys(PARTS, 0.0)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **keywords: Any) -> Any:
            begin = time.process_time()
            try:
                return function(*arguments, **keywords)
            finally:
                spent[name] += time.process_time() - begin

        return wrapper

    patches = [
        mock.patch.object(module, name, timed(part, getattr(module, name)))
        for part, (module, name) in PARTS.items()
    ]
    for patch in patches:
        patch.start()
    try:
        yield spent
    finally:
        for patch in patches:
            patch.stop()


def beside(overlap: str, n_threads: int, rows: int, rounds: int = 1) -> dict[str, float]:
    """Return the seconds of default fits of 10 clusters in 10 dimensions.

    Parameters
    ----------
    overlap : {"well", "mod", "all"}
        Key of :data:`benchmarks.data.SEPARATIONS`.
    n_threads : int
        Threads of both sides.
    rows : int
        Number of rows.
    rounds : int
        Fits of each, interleaved, with random states 0, 1, ...; the medians are returned.

    Returns
    -------
    seconds : dict
        Wall time and CPU time of both, then CPU time of the parts of emdash's.

    Raises
    ------
    Disagreement
        If the numbers of iterations or the means are not the same.
    """
    from sklearn.mixture import GaussianMixture as Theirs
    from threadpoolctl import threadpool_limits

    X = draw(clusters(10, 10, overlap), rows)
    samples = []
    for seed in range(rounds):
        found: dict[str, float] = {}
        theirs, ours = Theirs(10, random_state=seed), GaussianMixture(10, random_state=seed)
        ours.set_params(n_threads=n_threads)
        with threadpool_limits(n_threads), parts_timed() as spent:
            for name, model in (("scikit-learn", theirs), ("emdash", ours)):
                begin = time.perf_counter(), time.process_time()
                model.fit(X)
                found[name] = time.perf_counter() - begin[0]
                found[f"{name} CPU"] = time.process_time() - begin[1]
        if ours.n_iter_ != theirs.n_iter_ or not np.allclose(ours.means_, theirs.means_, 0, 1e-6):
            raise Disagreement(f"{overlap}, random_state={seed}: not the same fit")
        samples.append({**found, **spent, "iterations": float(ours.n_iter_)})
    return {name: statistics.median(one[name] for one in samples) for name in samples[0]}


class WholeFit:
    """A default fit as a share of scikit-learn's CPU time, which cancels the speed of the machine.

    Catches a loss of speed in the start or the passes, and an answer that is no longer
    scikit-learn's.
    """

    params = (list(SEPARATIONS), [1, 2])
    param_names = ("overlap", "threads")
    timeout = 600

    def track_share(self, overlap: str, n_threads: int) -> float:
        """Fit with both and return emdash's time divided by scikit-learn's."""
        times = beside(overlap, n_threads, size(200_000))
        return times["emdash CPU"] / times["scikit-learn CPU"]

    track_share.unit = "of scikit-learn's CPU time"  # type: ignore[attr-defined]


def lines(overlaps: Sequence[str], threads: Sequence[int], rows: int, rounds: int) -> Iterator[str]:
    """Yield the lines of the table as they are measured, in Markdown."""
    head = ["data", "n", "threads"]
    head += [
        f"{name} {s}" for s in ("s", "CPU s") for name in ("scikit-learn", "emdash", "ratio of")
    ]
    head += [*(f"{part} CPU s" for part in PARTS), "iterations"]
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for n_threads in threads:
        for overlap in overlaps:
            times = beside(overlap, n_threads, rows, rounds)
            cells = [overlap, f"{rows:.0e}", str(n_threads)]
            for kind in ("", " CPU"):
                theirs, ours = times[f"scikit-learn{kind}"], times[f"emdash{kind}"]
                cells += [f"{theirs:.3g}", f"{ours:.3g}", f"{theirs / ours:.1f}"]
            cells += [f"{times[part]:.3g}" for part in PARTS]
            yield "| " + " | ".join([*cells, f"{times['iterations']:.0f}"]) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rows: shows that it runs")
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=1, help="fits of each (default 1)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument(
        "--overlaps", nargs="+", default=[*SEPARATIONS], choices=[*SEPARATIONS], metavar="NAME"
    )
    given = parser.parse_args(arguments)
    rows = 5_000 if given.quick else given.rows
    for line in lines(given.overlaps, given.threads, rows, given.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
