# ruff: noqa: NPY002 - tutorials seed the global generator
import numpy as np
from sklearn.mixture import GaussianMixture

# 300 draws of N(0, 1) and 700 of N(5, 1)
np.random.seed(0)
X = np.concatenate([np.random.normal(0, 1, 300), np.random.normal(5, 1, 700)]).reshape(-1, 1)

gmm = GaussianMixture(n_components=2)
gmm.fit(X)

print("Means:", gmm.means_.flatten())
print("Covariances:", gmm.covariances_.flatten())
print("Weights:", gmm.weights_)
labels = gmm.predict(X)
print("Counts:", np.bincount(labels))
print("Converged:", gmm.converged_, "after", gmm.n_iter_, "iterations")
print("BIC:", round(gmm.bic(X), 6), "AIC:", round(gmm.aic(X), 6))
