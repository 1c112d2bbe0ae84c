"""The private methods of scikit-learn's ``GaussianMixture`` that other code calls.

scikit-learn does not promise them, but many programs call them: to run EM step by step, to adapt
a model, to get at the log-density of each component. They have the names, arguments and results
of scikit-learn 1.9 and are made of what the public methods are made of; nothing here computes a
density or a covariance. `fit` does not call them: a subclass that overrides them changes nothing.

Must never know: how a family computes, how a fit is run.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array

from emdash.engines.local import usable_cores
from emdash.estimators._base import BaseMixture
from emdash.families.moments import per_row
from emdash.models.mixture import MixtureParameters
from emdash.start import start_from

__all__ = ["PrivateMethods"]

Array = NDArray[np.float64]


class PrivateMethods(BaseMixture):
    """What programs written for scikit-learn call of its mixtures, beyond the public methods.

    `xp`, the array library, is there for the signature: rows are NumPy arrays or what
    :meth:`fit` takes, answers are NumPy arrays, or lazy Dask arrays where `X` is one.
    """

    weights_: Array
    covariances_: Array
    precisions_cholesky_: Array

    def _estimate_log_prob(self, X: Any, xp: object = None) -> Any:
        """Return the log-density of each row under each component, (n, K), without weights."""
        parameters = self._parameters()
        one = np.ones_like(parameters.weights)
        return self._log_densities(X, replace(parameters, weights=one))

    def _estimate_log_weights(self, xp: object = None) -> Array:
        """Return the logarithms of the weights, (K,)."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self._parameters().weights))

    def _estimate_weighted_log_prob(self, X: Any, xp: object = None) -> Any:
        """Return log-weight plus log-density of each row under each component, (n, K)."""
        return self._log_densities(X, self._parameters())

    def _estimate_log_prob_resp(self, X: Any, xp: object = None) -> tuple[Any, Any]:
        """Return the log-likelihood of each row, (n,), and its log-responsibilities, (n, K)."""
        log_likelihood = self.score_samples(X)
        return log_likelihood, self._estimate_weighted_log_prob(X) - log_likelihood[:, None]

    def _e_step(self, X: Any, xp: object = None) -> tuple[Any, Any]:
        """Return the mean log-likelihood per row, and the log-responsibilities, (n, K)."""
        log_likelihood, log_resp = self._estimate_log_prob_resp(X)
        return log_likelihood.mean(), log_resp

    def _m_step(self, X: ArrayLike, log_resp: ArrayLike, xp: object = None) -> None:
        """Set the parameters to those of rows with these log-responsibilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            In memory; any number of rows.
        log_resp : array-like of shape (n_samples, n_components)
            Natural logarithms; -inf where a component has no part in a row.
        """
        given = check_array(X, dtype=[np.float64, np.float32])
        x, r = given.astype(np.float64), np.exp(np.asarray(log_resp, dtype=np.float64))
        if r.ndim != 2 or len(r) != len(x) or not np.isfinite(r).all():
            raise ValueError(
                f"log_resp should be finite or -inf and have one row for each of the {len(x)} rows "
                f"of X and one column for each component, but got shape {r.shape}"
            )
        model = self._model()
        # the second moments are taken about the new means: nothing cancels
        about = model.reference(per_row(r.T @ x, r.sum(axis=0)))
        self._keep(model.maximize(model.statistics(x, r, about), about), given.dtype)

    def _initialize_parameters(self, X: ArrayLike, random_state: Any, xp: object = None) -> None:
        """Set the parameters to those that a fit to `X` would start from.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            In memory; taken whole.
        random_state : RandomState
            Advanced, unless the whole start was given.
        """
        x = check_array(X, dtype=[np.float64, np.float32])
        given, start = self._check_init(x.shape[1]), None
        if not self._is_complete(given):
            threads = self.n_threads or usable_cores()
            settings = int(self.n_components), self.init_params, random_state, threads
            start = start_from(x, self._model(), *settings)
        self._keep(self._apply_init(given, start), x.dtype)

    def _get_parameters(self) -> tuple[Array, Array, Array, Array]:
        """Return weights, means, covariances and Cholesky factors of the precisions."""
        complete = copy(self)  # of attributes set by hand some may be missing
        complete._keep(self._parameters(), np.asarray(self.means_).dtype)
        return (
            complete.weights_,
            complete.means_,
            complete.covariances_,
            complete.precisions_cholesky_,
        )

    def _set_parameters(self, params: tuple[Any, Any, Any, Any], xp: object = None) -> None:
        """Set what :meth:`_get_parameters` returned, and the precisions."""
        self.weights_, self.means_, self.covariances_, self.precisions_cholesky_ = params
        self._keep(self._parameters(), np.asarray(self.means_).dtype)

    def _log_densities(self, X: Any, parameters: MixtureParameters[Any]) -> Any:
        return self._each(self._open(X, reset=False), "log_densities", parameters)
