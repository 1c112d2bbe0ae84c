# ruff: noqa: NPY002 - tutorials seed the global generator
import matplotlib.pyplot as plt
import numpy as np
from sklearn.mixture import GaussianMixture

# draws of N(2, 4) and N(9, 2)
np.random.seed(0)
X = np.concatenate([np.random.normal(2, 4, 1000), np.random.normal(9, 2, 1000)])
X = X.reshape(-1, 1)

gmm = GaussianMixture(n_components=2, max_iter=1000, tol=1e-6, random_state=0)
gmm.fit(X)
print("Means:", gmm.means_.ravel())
print("Variances:", gmm.covariances_.ravel())
print("Weights:", gmm.weights_)

x = np.linspace(-12, 18, 1000).reshape(-1, 1)
density = np.exp(gmm.score_samples(x))
print("Area under the density:", round(density.sum() * (x[1, 0] - x[0, 0]), 6))

plt.hist(X[:, 0], bins=60, density=True, alpha=0.4)
plt.plot(x, density, label="mixture")
for k in range(2):
    mean, sigma = gmm.means_[k, 0], np.sqrt(gmm.covariances_[k, 0, 0])
    component = np.exp(-0.5 * ((x - mean) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    plt.plot(x, gmm.weights_[k] * component, "--", label=f"component {k}")
plt.legend()
plt.xlabel("x")
plt.ylabel("density")
plt.show()
