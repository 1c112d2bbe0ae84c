"""Write decimal_em.json: EM in fifty-digit decimal arithmetic, with nothing but Python.

    python make_decimal_em.py

An independent check on a tiny table: no NumPy, no Cholesky factors, no
log-sum-exp, no sufficient statistics - densities by the textbook formula with
the inverse and determinant of a 2 x 2 matrix, covariances about the new means.
"""

from __future__ import annotations

import json
from decimal import Decimal, getcontext
from pathlib import Path

getcontext().prec = 50
PI = Decimal("3.14159265358979323846264338327950288419716939937510582")
ROWS = [
    ("0.125", "1.5"),
    ("0.75", "1.25"),
    ("-0.5", "2.25"),
    ("1.0", "0.5"),
    ("0.25", "2.0"),
    ("2.5", "3.75"),
    ("3.0", "2.5"),
    ("3.5", "4.25"),
    ("2.75", "3.0"),
    ("4.0", "3.5"),
    ("1.75", "2.5"),
    ("1.5", "1.75"),
]
WEIGHTS = ("0.625", "0.375")
MEANS = (("0.5", "1.0"), ("3.0", "4.0"))
REG_COVAR = "0.0625"
STEPS = 30


def mean_log_likelihood_and_responsibilities(x, weights, means, covariances):
    total, r = Decimal(0), []
    for row in x:
        joint = []
        for weight, mean, (a, b, c) in zip(weights, means, covariances, strict=True):
            determinant = a * c - b * b
            u, v = row[0] - mean[0], row[1] - mean[1]
            quadratic = (c * u * u - 2 * b * u * v + a * v * v) / determinant
            density = (-quadratic / 2).exp() / (2 * PI * determinant.sqrt())
            joint.append(weight * density)
        total += sum(joint).ln()
        r.append([value / sum(joint) for value in joint])
    return total / len(x), r


def maximize(x, r, covariance_type):
    n, N = Decimal(len(x)), [sum(row[k] for row in r) for k in (0, 1)]
    means, scatters = [], []
    for k in (0, 1):
        mean = [sum(p[k] * row[j] for p, row in zip(r, x, strict=True)) / N[k] for j in (0, 1)]
        centred = [(p[k], row[0] - mean[0], row[1] - mean[1]) for p, row in zip(r, x, strict=True)]
        means.append(mean)
        scatters.append(
            (
                sum(p * u * u for p, u, v in centred),
                sum(p * u * v for p, u, v in centred),
                sum(p * v * v for p, u, v in centred),
            )
        )
    reg, zero = Decimal(REG_COVAR), Decimal(0)
    if covariance_type == "tied":
        pooled = [(s + t) / n for s, t in zip(*scatters, strict=True)]
        covariances = [(pooled[0] + reg, pooled[1], pooled[2] + reg)] * 2
    else:
        covariances = []
        for k, (a, b, c) in enumerate(scatters):
            a, b, c = a / N[k], b / N[k], c / N[k]
            if covariance_type == "diag":
                b = zero
            elif covariance_type == "spherical":
                a, b, c = (a + c) / 2, zero, (a + c) / 2
            covariances.append((a + reg, b, c + reg))
    return [value / n for value in N], means, covariances


def run(covariance_type):
    x = [[Decimal(value) for value in row] for row in ROWS]
    weights = [Decimal(value) for value in WEIGHTS]
    means = [[Decimal(value) for value in row] for row in MEANS]
    covariances = [(Decimal(1), Decimal(0), Decimal(1))] * 2
    trace = []
    for _ in range(STEPS):
        value, r = mean_log_likelihood_and_responsibilities(x, weights, means, covariances)
        trace.append(value)
        weights, means, covariances = maximize(x, r, covariance_type)

    def digits(values):
        return [f"{value:.30f}" for value in values]

    return {
        "trace": digits(trace),
        "weights": digits(weights),
        "means": [digits(row) for row in means],
        "covariances": [digits(row) for row in covariances],  # (xx, xy, yy) of each component
    }


if __name__ == "__main__":
    answers = {
        "rows": ROWS,
        "weights_init": WEIGHTS,
        "means_init": MEANS,
        "reg_covar": REG_COVAR,
        **{name: run(name) for name in ("full", "tied", "diag", "spherical")},
    }
    path = Path(__file__).parent / "decimal_em.json"
    path.write_text(json.dumps(answers, indent=1) + "\n")
