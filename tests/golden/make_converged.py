"""Write converged.json: maxima of the likelihood as scikit-learn finds them at tol=1e-13.

pip install scikit-learn==1.9.1 && python make_converged.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture

HERE = Path(__file__).parent
CASES = (
    ("faithful", "tied", 3),
    ("faithful", "full", 2),
    ("faithful", "diag", 2),
    ("faithful", "spherical", 2),
    ("iris", "full", 2),
    ("iris", "full", 3),
    ("iris", "tied", 3),
    ("iris", "diag", 3),
)

if __name__ == "__main__":
    data = {
        "faithful": np.loadtxt(HERE / "faithful.csv", delimiter=",", skiprows=1),
        "iris": load_iris().data,
    }
    answers = []
    for name, covariance_type, n_components in CASES:
        X = data[name]
        fit = GaussianMixture(
            n_components,
            covariance_type=covariance_type,
            random_state=0,
            tol=1e-13,
            max_iter=100_000,
            reg_covar=0,
        ).fit(X)
        order = np.argsort(fit.weights_)
        answers.append(
            {
                "data": name,
                "covariance_type": covariance_type,
                "n_components": n_components,
                "log_likelihood": fit.score(X) * len(X),
                "bic": fit.bic(X),
                "aic": fit.aic(X),
                "weights": fit.weights_[order].tolist(),
                "means": fit.means_[order].tolist(),
            }
        )
    (HERE / "converged.json").write_text(json.dumps(answers, indent=1) + "\n")
