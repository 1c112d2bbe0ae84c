"""What float32 rows cost, and what float32 arithmetic would lose: the numbers of docs/float32.md.

The second part is a simulation in NumPy: rows minus a centre, densities, responsibilities
and products in float32, sums over blocks of rows added up in float64.

    python benchmarks/float32.py      # EMDASH_BENCH_QUICK=1: few rows, shows that it runs
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

if __name__ == "__main__":  # a script sees its own folder, but this is a package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.data import Array, Truth, clusters, draw, size
from benchmarks.iteration import Iteration
from emdash._kernels.expect import accumulate

__all__ = ["Step", "main", "step"]

BLOCK = 2048
"""Rows whose sums are formed in the type of the arithmetic."""

TIMED = (("full", 10, 10, 300_000), ("full", 64, 64, 6_000), ("diag", 10, 10, 300_000))


@dataclass(frozen=True)
class Step:
    """What an iteration makes of its start: N (K,), covariances, mean log-likelihood, r (n, K)."""

    N: Array
    covariances: Array
    log_likelihood: float
    responsibilities: NDArray[Any]

    def errors(self, exact: Step) -> str:
        """Return the largest differences; covariances in the exact ones' own units."""
        whiten = np.linalg.inv(np.linalg.cholesky(exact.covariances))
        off = whiten @ (self.covariances - exact.covariances) @ whiten.transpose(0, 2, 1)
        return " | ".join(
            f"{value:.0e}"
            for value in (
                np.abs(self.N / exact.N - 1).max(),
                np.abs(off).max(),
                abs(self.log_likelihood - exact.log_likelihood),
                np.abs(self.responsibilities - exact.responsibilities).max(),
            )
        )


def step(X: Array, start: Truth, dtype: type, center: Array) -> Step:
    """Return one iteration of full covariance with the arithmetic of a type.

    Parameters
    ----------
    X : (n, d)
    start : Truth
    dtype : float64 or float32
    center : (d,)
        Subtracted in float64 before anything is rounded.
    """
    K, d = start.means.shape
    upper = np.linalg.inv(np.linalg.cholesky(start.covariances)).transpose(0, 2, 1)
    diagonals = np.diagonal(upper, axis1=1, axis2=2)
    offsets = np.log(start.weights) + np.log(diagonals).sum(1) - d / 2 * np.log(2 * np.pi)
    means, upper, offsets = ((a.astype(dtype)) for a in (start.means - center, upper, offsets))
    N, F, S, total, blocks = np.zeros(K), np.zeros((K, d)), np.zeros((K, d, d)), 0.0, []
    for first in range(0, len(X), BLOCK):
        x = (X[first : first + BLOCK] - center).astype(dtype)
        dx = [x - mean for mean in means]
        q = np.stack([((dx[k] @ upper[k]) ** 2).sum(axis=1) for k in range(K)], axis=1)
        logs = offsets - q / dtype(2)
        largest = logs.max(axis=1, keepdims=True)
        r = np.exp(logs - largest)
        scale = r.sum(axis=1, keepdims=True)
        r /= scale
        total += float((largest + np.log(scale)).sum(dtype=np.float64))
        blocks.append(r)
        for k in range(K):
            weighted = r[:, k, None] * dx[k]
            N[k] += r[:, k].sum()
            F[k] += weighted.sum(axis=0)
            S[k] += weighted.T @ dx[k]
    shift = F / N[:, None]
    covariances = S / N[:, None, None] - shift[:, :, None] * shift[:, None]
    return Step(N, covariances, total / len(X), np.concatenate(blocks))


def data(d: int = 10, K: int = 10) -> Iterator[tuple[str, Truth]]:
    """Yield clusters at an origin far away, ill-conditioned, and far from each other."""
    truth = clusters(d, K)
    for offset in (0.0, 1e3, 1e5):
        yield f"{offset:g} sigma from the origin", replace(truth, means=truth.means + offset)
    for condition in (1e2, 1e4, 1e6, 1e8):
        axes = np.linalg.qr(np.random.default_rng(3).standard_normal((K, d, d)))[0]
        scaled = axes * condition ** -np.linspace(0, 1, d)
        covariances = scaled @ axes.transpose(0, 2, 1)
        yield f"condition {condition:.0e}", replace(truth, covariances=covariances)
    for distance in (1e3, 1e5):
        means = truth.means.copy()
        means[: K // 2, 0] += distance
        yield f"two groups, {distance:g} sigma apart", replace(truth, means=means)


def errors() -> Iterator[str]:
    """Yield the table of errors, relative to float64 arithmetic on the same rows."""
    head = ("data", "N", "covariances", "log-likelihood", "responsibilities")
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for name, truth in data():
        rows = draw(truth, size(100_000))
        X = rows.astype(np.float32).astype(np.float64)
        roots = np.linalg.cholesky(truth.covariances)
        noise = np.random.default_rng(1).standard_normal((len(roots), X.shape[1], 1))
        start = replace(truth, means=truth.means + 0.03 * (roots @ noise)[:, :, 0])
        zero, center = np.zeros(X.shape[1]), X.mean(axis=0)
        exact = step(X, start, np.float64, zero)
        yield f"| {name} | {step(X, start, np.float32, center).errors(exact)} |"
        if "origin" in name:
            plain = step(X, start, np.float32, zero)
            yield f"| the same without a centre | {plain.errors(exact)} |"
        yield f"| only the rows rounded | {exact.errors(step(rows, start, np.float64, zero))} |"


def times(rounds: int) -> Iterator[str]:
    """Yield the CPU time of a pass over float32 rows beside float64 ones, interleaved."""
    yield "| case | float64 us/row | float32 us/row | ratio |"
    yield "|---|---|---|---|"
    for covariance_type, d, K, n in TIMED:
        truth = clusters(d, K, covariance_type=covariance_type)
        rows = draw(truth, size(n))
        task_of = Iteration(rows, truth.nearby(), covariance_type, 1)
        task = task_of.model.task(task_of.parameters)
        sums = np.empty(task.kernel.statistics_size)
        best = [np.inf, np.inf]
        for _ in range(rounds):
            for number, X in enumerate((rows, rows.astype(np.float32))):
                begin = time.process_time()
                accumulate(task.kernel, X, None, sums, 1)
                best[number] = min(best[number], 1e6 * (time.process_time() - begin) / len(X))
        name = f"{covariance_type} ({d},{K})"
        yield f"| {name} | {best[0]:.4f} | {best[1]:.4f} | {best[1] / best[0]:.2f} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="of which the shortest counts")
    given = parser.parse_args(arguments)
    for line in (*times(given.rounds), "", *errors()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
