"""What a mixture says about single cells: missing ones filled in or drawn, some features alone.

The mathematics is in the model; here are the tables that go in and come out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from emdash.checkpoint import Stage
from emdash.em import Fit
from emdash.estimators._base import BaseMixture
from emdash.models.mixture import MixtureParameters
from emdash.sources.base import is_lazy
from emdash.sources.columns import is_frame
from emdash.start import count_rows

__all__ = ["MissingCells"]

Array = NDArray[np.float64]
Features = NDArray[np.intp]

OF_ALL_FEATURES = (
    *("weights_init", "means_init", "precisions_init"),
    *("prior", "callback", "checkpoint"),
)
"""Parameters of the constructor that mean nothing for some of the features."""


class MissingCells(BaseMixture):
    """What fitted mixtures of features that can be left out do besides all others."""

    def impute(self, X: Any) -> Any:
        """Return the rows with each missing cell (NaN) replaced by its posterior mean.

        That is its expectation given what is observed in the row [Little2002]_: the best guess in
        squared error. It has less variance than the cell itself; where that matters - standard
        errors, a model that is fitted to the result - use :meth:`sample_missing`.

        Parameters
        ----------
        X : as in :meth:`fit`

        Returns
        -------
        filled : ndarray of shape (n_samples, n_features), float64
            Observed cells are what they were. A pandas or polars data frame gives one with the same
            index and columns, a Dask array or data frame a lazy one with the row chunks of `X`.

        Raises
        ------
        ValueError
            If `X` holds infinity, naming the row.

        Examples
        --------
        >>> import numpy as np
        >>> from emdash import GaussianMixture
        >>> X = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.1], [3.0, 5.9]])
        >>> gm = GaussianMixture(1, reg_covar=0).fit(X)
        >>> gm.impute([[1.5, np.nan]])
        array([[1.5, 3. ]])
        """
        check_is_fitted(self)
        source = self._open(X, reset=False)
        task = self._model().impute(self._parameters(), source.n_features)
        return _like(X, self._engine(source).each(task, source))

    def sample_missing(
        self,
        X: Any,
        n_draws: int = 1,
        random_state: int | np.random.RandomState | None = None,
    ) -> Any:
        """Draw each missing cell (NaN) from its posterior given what is observed in the row.

        Missing cells of one row are drawn together, so the draws have the correlations of the
        data. Several tables of draws are a multiple imputation [Little2002]_: what differs between
        them is what is not known. The parameters of the mixture are taken as known.

        Parameters
        ----------
        X : as in :meth:`fit`
        n_draws : int, default=1
            Number of tables, at least 1.
        random_state : int, RandomState or None, default=None
            Seed of the draws; None means the `random_state` of the estimator. The same seed gives
            the same draws, whatever the chunks, threads and machines.

        Returns
        -------
        draws : ndarray of shape (n_draws, n_samples, n_features), or a lazy Dask array
            Tables that are filled in. Observed cells are what they were.

        Raises
        ------
        ValueError
            If `X` holds infinity, naming the row, or if `n_draws` is not at least 1.

        Examples
        --------
        >>> import numpy as np
        >>> from emdash import GaussianMixture
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> X[:5, 1] = np.nan
        >>> gm = GaussianMixture(1).fit(X)
        >>> draws = gm.sample_missing(X, n_draws=10, random_state=0)
        >>> draws.shape
        (10, 200, 2)
        >>> bool(np.isfinite(draws).all()), bool((draws[:, 5:] == X[5:]).all())
        (True, True)
        """
        check_is_fitted(self)
        if not isinstance(n_draws, Integral) or n_draws < 1:
            raise ValueError(f"n_draws={n_draws!r}, but the number of tables is at least 1")
        rng = _generator(self.random_state if random_state is None else random_state)
        seed = int(rng.randint(0, 2**64, dtype=np.uint64))
        source = self._open(X, reset=False)
        engine = self._engine(source)
        source = count_rows(source, engine)  # a draw belongs to the number of its row
        d = source.n_features
        task = self._model().sample_missing(self._parameters(), d, int(n_draws), seed)
        answers = engine.each(task, source)
        if not is_lazy(answers):
            return _tables(answers, int(n_draws))
        blocks = getattr(answers, "values", answers)  # of a data frame
        return blocks.map_blocks(
            _tables,
            int(n_draws),
            new_axis=0,
            chunks=((int(n_draws),), blocks.chunks[0], (d,)),
            dtype=np.float64,
            meta=np.empty((0, 0, 0)),
        )

    def marginal(self, features: Sequence[str] | Sequence[int]) -> Self:
        """Return the mixture of some of the features, whatever the others are.

        Parameters
        ----------
        features : sequence of str or of int
            Names, if the estimator was fitted to a table that has them, or column numbers from 0;
            in the order that the answer shall have.

        Returns
        -------
        marginal : GaussianMixture
            Fitted, with the names of its features if there are any. As many components, with the
            same weights; no iterations of its own.

        Raises
        ------
        ValueError
            If there is no such feature, or one is named twice.

        Examples
        --------
        >>> import numpy as np
        >>> from emdash import GaussianMixture
        >>> X = np.array([[1, 2, 0], [1, 4, 1], [1, 0, 2], [9, 2, 0], [9, 4, 1], [9, 0, 2.0]])
        >>> gm = GaussianMixture(2, random_state=0).fit(X)
        >>> gm.marginal([2, 0]).means_
        array([[1., 9.],
               [1., 1.]])
        """
        check_is_fitted(self)
        kept = self._numbers(features, "features")
        return self._of_features(self._model().marginal(self._parameters(), kept), kept)

    def conditional(self, given: Mapping[str, float] | Mapping[int, float]) -> Self:
        """Return the mixture of the other features where some have given values.

        Its weights are the posterior probabilities of the components, its means the regressions on
        the values given, its covariances what these leave over: a Gaussian mixture regression of
        the other features, with its whole distribution.

        Parameters
        ----------
        given : mapping of str or int to float
            Name or column number of a feature to its value; not all features.

        Returns
        -------
        conditional : GaussianMixture
            Fitted, of the features that are not given, in their order and with their names.

        Raises
        ------
        ValueError
            If there is no such feature, a value is not finite, or none or all are given.

        Examples
        --------
        >>> import numpy as np
        >>> from emdash import GaussianMixture
        >>> X = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.1], [3.0, 5.9]])
        >>> gm = GaussianMixture(1, reg_covar=0).fit(X)
        >>> gm.conditional({0: 1.5}).means_
        array([[3.]])
        """
        check_is_fitted(self)
        if not isinstance(given, Mapping):
            raise TypeError(f"given={given!r}: expected a mapping such as {{0: 1.5}}")
        numbers = self._numbers(list(given), "given")
        kept = np.setdiff1d(np.arange(self.n_features_in_), numbers)
        if len(kept) == 0:
            raise ValueError(
                f"given has values of all {self.n_features_in_} features: leave out those that "
                "you want to know about"
            )
        values = np.array([_finite(feature, value) for feature, value in given.items()])
        parameters = self._model().conditional(self._parameters(), kept, numbers, values)
        return self._of_features(parameters, kept)

    def _numbers(self, features: Any, name: str) -> Features:
        """Return column numbers for names or numbers of features."""
        if isinstance(features, str) or len(features) == 0:
            raise ValueError(f"{name}={features!r}: give a list with at least one feature")
        d, names = self.n_features_in_, list(getattr(self, "feature_names_in_", ()))
        numbers = []
        for feature in features:
            if isinstance(feature, Integral) and not isinstance(feature, bool | np.bool_):
                number = int(feature) if 0 <= int(feature) < d else None
            else:
                number = names.index(feature) if feature in names else None
            if number is None:
                has = f"the numbers 0 to {d - 1}" + (f" and the names {names}" if names else "")
                raise ValueError(f"{name} has {feature!r}, but the features have {has}")
            if number in numbers:
                raise ValueError(f"{name} has the feature {feature!r} twice")
            numbers.append(number)
        return np.array(numbers, dtype=np.intp)

    def _of_features(self, parameters: MixtureParameters[Any], kept: Features) -> Self:
        """Return a fitted estimator with these parameters and the names of the features `kept`."""
        settings = {**self.get_params(deep=False), **dict.fromkeys(OF_ALL_FEATURES)}
        part = type(self)(**settings)
        part._set_fitted(Fit(parameters), Stage(parameters), np.asarray(self.means_).dtype)
        part.n_features_in_ = len(kept)
        if hasattr(self, "feature_names_in_"):
            part.feature_names_in_ = self.feature_names_in_[kept]
        return part


def _generator(random_state: Any) -> np.random.RandomState:
    try:
        rng: np.random.RandomState = check_random_state(random_state)
    except ValueError as error:
        raise ValueError(
            f"random_state={random_state!r} is no seed: give an int from 0 to 2**32 - 1, a "
            f"numpy.random.RandomState or None ({error})"
        ) from None
    return rng


def _finite(feature: Any, value: Any) -> float:
    """Return the value of a feature that is given, as a number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise ValueError(
            f"given[{feature!r}] is {value!r}, not a finite number: leave out what is not known"
        )
    return number


def _tables(draws: Array, n_draws: int) -> Array:
    """Return the draws of each row, one after the other in it, as tables (n_draws, n, d)."""
    return draws.reshape(len(draws), n_draws, draws.shape[1] // n_draws).transpose(1, 0, 2)


def _like(X: Any, rows: Any) -> Any:
    """Return the rows as the kind of table that `X` is."""
    if is_lazy(X):
        named = hasattr(X, "columns") and hasattr(rows, "rename")
        return rows.rename(columns=dict(enumerate(X.columns))) if named else rows
    if not is_frame(X):
        return rows
    if hasattr(X, "index"):  # pandas
        return type(X)(rows, index=X.index, columns=X.columns)
    return type(X)(rows, schema=list(X.columns))
