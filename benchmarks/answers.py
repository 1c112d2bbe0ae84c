"""What a fitted model answers for rows, beside scikit-learn: predict, predict_proba, score_samples.

Public estimators with the same parameters, asked in turn in one process, one thread, the
answers' arrays included; medians. A time counts only if the answers are the same.

    python benchmarks/answers.py [--quick] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

if __name__ == "__main__":  # a script sees its own folder, but this is a package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.data import clusters, draw
from benchmarks.rivals import Disagreement
from emdash import GaussianMixture

__all__ = ["CASES", "QUESTIONS", "beside", "main"]

QUESTIONS = ("predict", "predict_proba", "score_samples")

CASES = ((10, 10, 1_000_000, 20), (64, 64, 50_000, 4))
"""d, K, rows, and the wanted ratio of scikit-learn's time to emdash's."""


def beside(d: int, K: int, n: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the CPU seconds of scikit-learn and of emdash by question, medians of `rounds`.

    Parameters
    ----------
    d, K, n : int
        Features, components (full covariance, neighbours 3 sigma apart), rows.
    rounds : int
        How often each is asked, in turn.

    Raises
    ------
    Disagreement
        If labels differ, or responsibilities or log-likelihoods by more than 1e-9.
    """
    from threadpoolctl import threadpool_limits

    truth = clusters(d, K)
    X, start = draw(truth, n), truth.nearby()
    ours = GaussianMixture.from_parameters(
        start.weights, start.means, covariances=start.covariances, n_threads=1
    )
    models = (ours.to_sklearn(), ours)
    found = {}
    with threadpool_limits(1):
        for question in QUESTIONS:
            theirs, mine = (getattr(model, question)(X) for model in models)
            if not np.allclose(mine, theirs, rtol=0, atol=1e-9):
                raise Disagreement(f"{question}, ({d},{K}): not the same answer")
            del theirs, mine
            samples: tuple[list[float], list[float]] = ([], [])
            for _ in range(rounds):
                for model, times in zip(models, samples, strict=True):
                    begin = time.process_time()
                    getattr(model, question)(X)
                    times.append(time.process_time() - begin)
            found[question] = (statistics.median(samples[0]), statistics.median(samples[1]))
    return found


def lines(rounds: int, quick: bool) -> Iterator[str]:
    """Yield the lines of the table as they are measured, in Markdown."""
    head = ("case", "n", "question", "scikit-learn CPU s", "emdash CPU s", "ratio", "target")
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for d, K, rows, target in CASES:
        n = rows // 50 if quick else rows
        for question, (theirs, ours) in beside(d, K, n, rounds).items():
            cells = (f"full ({d},{K}) mod", f"{n:.0e}", question, f"{theirs:.4g}", f"{ours:.4g}")
            yield "| " + " | ".join((*cells, f"{theirs / ours:.1f}", f"{target}")) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rows: shows that it runs")
    parser.add_argument("--rounds", type=int, default=5, help="of each (default 5)")
    given = parser.parse_args(arguments)
    for line in lines(given.rounds, given.quick):
        print(line, flush=True)


if __name__ == "__main__":
    main()
