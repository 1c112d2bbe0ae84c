"""Weights that are useless, do not fit the rows, or were changed are refused with their place."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from weighted_tables import TABLE, K, assert_same, frame, in_file, lazy, unknown

import emdash
from emdash import GaussianMixture

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def with_value(w, value, row=123):
    w = w.copy()
    w[row] = value
    return w


@pytest.mark.parametrize("kind", ["array", "dask", "column", "dask and array"])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, -np.inf])
def test_bad_values_are_named(X, w, tmp_path, kind, value):
    weights = with_value(w, value)
    if kind == "column":
        data, weights = in_file(X, weights, tmp_path / "x.parquet"), "w"
    else:
        data = lazy(X) if kind.startswith("dask") else X
        weights = lazy(weights) if kind == "dask" else weights
    fit = GaussianMixture(K, random_state=0).fit(X)
    for method in (fit.score, fit.bic, fit.fit):
        with pytest.raises(ValueError, match=f"sample_weight is {value} in row 123"):
            method(data, sample_weight=weights)


@pytest.mark.parametrize("wrap", [np.asarray, lazy])
def test_useless_weights_are_refused(X, w, wrap):
    data = wrap(X)
    fit = GaussianMixture(K, random_state=0).fit(X)
    zeros, one = np.zeros(len(X)), with_value(np.zeros(len(X)), 1.0)
    with pytest.raises(ValueError, match="n_components = 2 rows with a weight above zero"):
        fit.fit(data, sample_weight=wrap(zeros))
    with pytest.raises(ValueError, match="n_components = 2 rows with a weight above zero"):
        fit.fit(data, sample_weight=wrap(one))
    with pytest.raises(ValueError, match="none with an observed value and a weight above zero"):
        fit.score(data, sample_weight=wrap(zeros))
    message = "n_components = 1, n_samples = 1 with an observed value and a weight above zero"
    with pytest.raises(ValueError, match=message):
        GaussianMixture().fit(data, sample_weight=wrap(one))
    for scale, word in ((1e-310, "small"), (1e300, "large")):
        with pytest.raises(ValueError, match=f"too {word} to compute with: divide it"):
            GaussianMixture(random_state=0).fit(data, sample_weight=wrap(scale * w))


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones(349), ValueError, r"has shape \(349,\), but X has 350 rows"),
        (np.ones((350, 1)), ValueError, r"has shape \(350, 1\).*shape \(350,\)"),
        (2.0, ValueError, r"has shape \(\), but X has 350 rows"),
        (["a"] * 350, ValueError, "does not hold real numbers"),
        ([{}] * 350, ValueError, "does not hold numbers only"),
        (np.ones(350) * 1j, ValueError, "Complex"),
        (np.ma.masked_less(np.arange(350), 3), ValueError, "masked"),
        (da.ones(350), TypeError, "lazy Dask collection, but X is not"),
        ("w", ValueError, "columns of X have no names"),
    ],
)
def test_what_is_no_weights_is_refused(X, weights, error, message):
    with pytest.raises(error, match=message):
        GaussianMixture(K).fit(X, sample_weight=weights)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda w: lazy(w[1:]), "has 349 elements, but X 350 rows"),
        (lambda w: lazy(w)[:, None], r"has shape \(350, 1\)"),
        (lambda w: lazy(w).astype(complex), "Complex"),
        (lambda w: w[1:], r"has shape \(349,\), but X has 350 rows"),
    ],
)
def test_dask_weights_that_do_not_fit_are_refused(X, w, weights, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(K).fit(lazy(X), sample_weight=weights(w))


def test_chunks_of_unknown_lengths_must_agree(X, w):
    model = GaussianMixture(K, random_state=0)
    with pytest.raises(ValueError, match=r"call X\.compute_chunk_sizes"):
        model.fit(unknown(X), sample_weight=w)
    with pytest.raises(ValueError, match="has 11 chunks, X 9"):
        model.fit(unknown(X), sample_weight=lazy(w, 33))
    shifted = da.concatenate([lazy(w)[1:], lazy(w)[:1]]).rechunk({0: (39, *[40] * 7, 31)})
    with pytest.raises(ValueError, match=r"chunk 0 of sample_weight has shape \(39,\), .* 40 rows"):
        model.fit(unknown(X), sample_weight=shifted)


def test_columns_that_are_not_there_are_named(X, w, tmp_path):
    path = in_file(X, w, tmp_path / "x.parquet")
    for data in (frame(X, w), path, emdash.open_table(path, TABLE)):
        with pytest.raises(ValueError, match="X has no column 'weight'; it has"):
            GaussianMixture(K).fit(data, sample_weight="weight")
    with pytest.raises(ValueError, match="leaves no feature"):
        GaussianMixture(K).fit(emdash.open_table(path, ["w"]), sample_weight="w")


# --- weights and rows that changed --------------------------------------------------------------


class Shrinking:
    """Leaves out the last row of every block from the fifth pass on."""

    calls = 0

    def __call__(self, block):
        self.calls += 1
        return block if self.calls <= 4 * 9 else block[:-1]


def test_rows_that_change_between_passes_are_told(X, w):
    """Also if only their number changes, or only their weight."""
    zeros = w.copy()
    zeros[39::40] = zeros[-1] = 0
    shrinking = Shrinking()
    table = lazy(np.column_stack([X, zeros])).map_blocks(
        lambda block: shrinking(block),
        dtype=float,
        chunks=((np.nan,) * 9, (4,)),
        meta=np.empty((0, 4)),
    )
    with pytest.raises(ValueError, match="pass 3 read 341 rows, the pass before 350"):
        GaussianMixture(K, tol=0.0, random_state=0).fit(table[:, :3], sample_weight=table[:, 3])
    assert shrinking.calls == 5 * 9  # what rows and weights are made of is made once per pass

    class Changing:
        passes = 0

        def __iter__(self):
            self.passes += 1
            yield from np.array_split(X if self.passes < 5 else X[:-1], 3)

    with pytest.raises(ValueError, match=r"X (changed between passes|yielded 349 rows)"):
        GaussianMixture(K, tol=0.0).fit(Changing(), sample_weight=w)

    class Moody:
        """A column whose values are others each time it is looked at."""

        passes = 0

        def __call__(self, block):
            self.passes += 1
            return block + 1e-6 * self.passes

    moody = lazy(w).map_blocks(Moody(), dtype=float)
    with pytest.raises(ValueError, match=r"pass 2 read 564\.\d+ units of weight"):
        GaussianMixture(K, tol=0.0, random_state=0).fit(lazy(X), sample_weight=moody)


@pytest.mark.parametrize("kind", ["array", "dask", "column"])
def test_checkpoint_of_other_weights_is_refused(X, w, tmp_path, kind):
    def fit(weights, max_iter=3):
        data = X
        if weights is not None and kind == "column":
            data, weights = frame(X, weights), "w"
            data.to_csv(tmp_path / "x.csv", index=False, float_format="%.17g")
            data = tmp_path / "x.csv"
        elif kind == "dask":
            data, weights = lazy(X), None if weights is None else lazy(weights)
        path = tmp_path / "fit.npz"
        model = GaussianMixture(K, random_state=0, tol=0.0, max_iter=max_iter, checkpoint=path)
        return model.fit(data, sample_weight=weights)

    fit(w)
    went_on = fit(w, max_iter=6)
    other = w.copy()
    other[[0, 1]] = w[[1, 0]]  # of the same sum
    assert other[0] != w[0]
    with pytest.raises(ValueError, match="checkpoint of other data"):
        fit(other, max_iter=9)
    with pytest.raises(ValueError, match="checkpoint of other data: weights"):
        fit(None, max_iter=9)
    straight = GaussianMixture(K, random_state=0, tol=0.0, max_iter=6).fit(X, sample_weight=w)
    assert_same(went_on, straight, rtol=1e-12)
