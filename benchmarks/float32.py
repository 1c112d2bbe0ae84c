"""What float32 costs and gains, in rows and in arithmetic: the numbers of docs/float32.md.

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

if __name__ == "__main__":  # a script sees its own folder, but this is a package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.data import Array, Truth, clusters, draw, size
from emdash._kernels.expect import accumulate
from emdash._kernels.single import SingleKernel
from emdash.families.covariance import SHAPES
from emdash.families.gaussian import Gaussian
from emdash.families.single import TOLERATED, prediction
from emdash.models.mixture import Mixture, MixtureParameters
from emdash.statistics import Layout, Statistics

__all__ = ["Step", "errors", "main"]

ROWS = (("full", 10, 10, 300_000), ("full", 64, 64, 6_000), ("diag", 10, 10, 300_000))
ARITHMETIC = ((1, 4, 1_000_000), (2, 8, 500_000), (4, 16, 300_000), (8, 8, 300_000))
ARITHMETIC += ((10, 10, 300_000), (16, 32, 200_000))


def model(covariance_type: str = "full", arithmetic: str = "float64") -> Mixture[Any]:
    """Return a mixture without regularisation."""
    return Mixture(Gaussian(SHAPES[covariance_type], arithmetic=arithmetic))


def parameters(start: Truth, covariance_type: str = "full") -> MixtureParameters[Any]:
    """Return these parameters, factored."""
    family = model(covariance_type).family
    return MixtureParameters(
        start.weights,
        family.parameters(start.weights, start.means, start.shaped(covariance_type)),
    )


@dataclass(frozen=True)
class Step:
    """What an iteration makes of its start: N (K,), parameters, mean log-likelihood."""

    N: Array
    means: Array
    covariances: Array
    log_likelihood: float

    @classmethod
    def of(cls, kernel: Any, X: Array, start: MixtureParameters[Any]) -> Step:
        """Return one iteration of full covariance with a bound kernel."""
        layout = Layout(model().family.fields(start.components))
        sums = Statistics.zeros(layout)
        accumulate(kernel, X, None, sums.sums, 1)
        new = model().maximize(sums, start).components
        return cls(sums.N, new.means, new.covariances, sums.log_likelihood / len(X))

    def errors(self, exact: Step) -> tuple[float, ...]:
        """Return the largest differences; means and covariances in the exact ones' own units."""
        whiten = np.linalg.inv(np.linalg.cholesky(exact.covariances))
        off = whiten @ (self.covariances - exact.covariances) @ whiten.transpose(0, 2, 1)
        moved = whiten @ (self.means - exact.means)[:, :, None]
        return (
            float(np.abs(self.N / exact.N - 1).max()),
            float(np.abs(moved).max()),
            float(np.abs(off).max()),
            float(abs(self.log_likelihood - exact.log_likelihood)),
        )


def conditioned(truth: Truth, condition: float) -> Truth:
    """Return clusters whose covariances have this condition number, turned at random."""
    K, d = truth.means.shape
    axes = np.linalg.qr(np.random.default_rng(3).standard_normal((K, d, d)))[0]
    scaled = axes * condition ** -np.linspace(0, 1, d)
    return replace(truth, covariances=scaled @ axes.transpose(0, 2, 1))


def apart(truth: Truth, distance: float) -> Truth:
    """Return the clusters in two groups."""
    means = truth.means.copy()
    means[: len(means) // 2, 0] += distance
    return replace(truth, means=means)


def data() -> Iterator[tuple[str, Truth]]:
    """Yield clusters at an origin far away, ill-conditioned, and far from each other."""
    truth = clusters(10, 10)
    for offset in (0.0, 1e5):
        yield f"{offset:g} sigma from the origin", replace(truth, means=truth.means + offset)
    yield "features of scales 1 to 1e-9", scaled(truth)
    for condition in (1e2, 1e3, 1e4, 1e6, 1e8):
        yield f"condition {condition:.0e}", conditioned(truth, condition)
    for distance in (1e2, 1e3, 1e4, 1e5):
        yield f"two groups, {distance:g} sigma apart", apart(truth, distance)


def scaled(truth: Truth) -> Truth:
    """Return the clusters with features in units of their own."""
    unit = 10.0 ** -np.arange(truth.means.shape[1])
    return replace(
        truth, means=truth.means * unit, covariances=truth.covariances * np.outer(unit, unit)
    )


def compared(truth: Truth, n: int) -> tuple[str, float, tuple[float, ...]]:
    """Return what a pass runs in, its predicted error, and float32's errors if it were forced."""
    X = draw(truth, n)
    roots = np.linalg.cholesky(truth.covariances)
    noise = np.random.default_rng(1).standard_normal((*truth.means.shape, 1))
    start = parameters(replace(truth, means=truth.means + 0.03 * (roots @ noise)[:, :, 0]))
    components = start.components
    exact = model().task(start).kernel
    chosen = model(arithmetic="float32").task(start).kernel.arithmetic
    center = components.center
    single = prediction(components.means, components.precisions_cholesky, center)
    forced = SingleKernel(*exact.__reduce__()[1], center, single.unit, np.inf)
    wrong = Step.of(forced, X, start).errors(Step.of(exact, X, start))
    return chosen, single.error, wrong


def errors() -> Iterator[str]:
    """Yield the table of errors, relative to float64 arithmetic on the same rows."""
    head = ("data", "predicted", "runs in", "N", "means", "covariances", "log-likelihood")
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for name, truth in data():
        chosen, predicted, wrong = compared(truth, size(100_000))
        yield (
            " | ".join((f"| {name}", f"{predicted:.0e}", chosen, *(f"{x:.0e}" for x in wrong)))
            + " |"
        )


def study() -> Iterator[str]:
    """Yield how the errors of means and covariances compare with the prediction."""
    ratios, worst = [], 0.0
    for d, K in ((2, 3), (4, 4), (10, 10)):
        for overlap in ("mod", "all"):
            for condition in (1.0, 1e1, 1e2, 1e3, 1e4, 1e6):
                for distance in (0.0, 1e2, 1e3, 1e4):
                    truth = apart(conditioned(clusters(d, K, overlap), condition), distance)
                    for n in (1_000, 30_000):
                        chosen, predicted, wrong = compared(truth, size(n))
                        ratios.append(max(wrong[1:3]) / predicted)
                        if chosen == "float32":
                            worst = max(worst, wrong[1], wrong[2])
    yield f"{len(ratios)} cases: largest error of means and covariances over the prediction "
    yield f"{min(ratios):.1g} to {max(ratios):.2g}, median {np.median(ratios):.1g};"
    yield f"largest where float32 is used (predicted at most {TOLERATED:g}): {worst:.1e}"


def timed(kernels: Sequence[tuple[Any, Array]], rounds: int) -> list[float]:
    """Return the shortest CPU time of a pass, microseconds per row, taken in turns."""
    best = [np.inf] * len(kernels)
    for _ in range(rounds):
        for number, (kernel, X) in enumerate(kernels):
            sums = np.empty(kernel.statistics_size)
            begin = time.thread_time()
            accumulate(kernel, X, None, sums, 1)
            best[number] = min(best[number], 1e6 * (time.thread_time() - begin) / len(X))
    return best


def times(rounds: int) -> Iterator[str]:
    """Yield the CPU time of a pass over float32 rows beside float64 ones."""
    yield "| case | float64 rows, us per row | float32 rows | ratio |"
    yield "|---|---|---|---|"
    for covariance_type, d, K, n in ROWS:
        truth = clusters(d, K, covariance_type=covariance_type)
        X = draw(truth, size(n))
        kernel = model(covariance_type).task(parameters(truth.nearby(), covariance_type)).kernel
        both = timed([(kernel, X), (kernel, X.astype(np.float32))], rounds)
        yield f"| {covariance_type} ({d}, {K}) | {both[0]:.4f} | {both[1]:.4f} | " + (
            f"{both[1] / both[0]:.2f} |"
        )


def gains(rounds: int) -> Iterator[str]:
    """Yield the CPU time of a pass in float32 arithmetic beside float64."""
    yield "| full (d, K) | data | float64, us per row | float32 | ratio | float32 rows: ratio |"
    yield "|---|---|---|---|---|---|"
    for d, K, n in ARITHMETIC:
        for overlap in ("mod", "well") if d >= 12 else ("mod",):
            truth = clusters(d, K, overlap)
            X, start = draw(truth, size(n)), parameters(truth.nearby())
            Y = X.astype(np.float32)
            double, single = (
                model(arithmetic=a).task(start).kernel for a in ("float64", "float32")
            )
            t = timed([(double, X), (single, X), (double, Y), (single, Y)], rounds)
            yield f"| ({d}, {K}) | {overlap} | {t[0]:.4f} | {t[1]:.4f} | " + (
                f"{t[1] / t[0]:.2f} | {t[3] / t[2]:.2f} |"
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="of which the shortest counts")
    given = parser.parse_args(arguments)
    for part in (times(given.rounds), gains(given.rounds), errors(), study()):
        for line in (*part, ""):
            print(line, flush=True)


if __name__ == "__main__":
    main()
