"""Arbitrary tables: values, then a type, then a layout in memory, then what they come in."""

import decimal
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse as sp
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

# ------------------------------------------------------------------ values

LARGEST, SMALLEST = np.finfo(float).max, np.finfo(float).tiny
EXTREMES = [0.0, -0.0, 1.0, 5e-324, 1e-310, SMALLEST, 1e-160, 1e-8, 1e8, 1e16, 1e150, 1e160, 1e300]
EXTREMES += [-1.0, -1e150, LARGEST, -LARGEST]
NOT_FINITE = [np.nan, np.inf, -np.inf, -np.nan]


def clusters(draw, shape):
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    scale = 10.0 ** draw(st.sampled_from([0, 0, 0, 0, -3, 3, -8, 8, -150, 150, -300, 300]))
    offset = draw(st.sampled_from([0, 0, 0, 0, 1e4, 1e8, -1e16, 1e300]))
    return (
        scale
        * (
            rng.normal(size=shape)
            + 5 * rng.integers(0, 3, size=shape[:1] + (1,) * (len(shape) - 1))
        )
        + offset
    )


def grid(draw, shape):
    """Few distinct values: duplicated rows, constant columns, identical columns."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return rng.integers(0, draw(st.integers(1, 3)), size=shape).astype(float)


def extremes(draw, shape):
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    few = draw(st.lists(st.sampled_from(EXTREMES), min_size=1, max_size=4))
    return rng.choice(few, size=shape)


def anything(draw, shape):
    return draw(hnp.arrays(np.float64, shape, elements=st.floats(), fill=st.floats()))


def values(draw, shape):
    if len(shape) != 2 or np.prod(shape) > 60:
        kinds = [clusters, grid]
    else:
        kinds = [clusters, clusters, grid, extremes, anything]
    with np.errstate(all="ignore"):
        array = draw(st.sampled_from(kinds))(draw, shape)
    array = np.asarray(array, dtype=float)
    if array.size and draw(st.integers(0, 5)) == 0:
        array = array.copy()
        spoiled = st.integers(0, array.size - 1)
        for cell in draw(st.lists(spoiled, min_size=1, max_size=3)):
            array.reshape(-1)[cell] = draw(st.sampled_from(NOT_FINITE))
    return array


def shapes(draw, d):
    if draw(st.integers(0, 11)) == 0:
        return draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    n = draw(st.one_of(st.integers(0, 12), st.integers(13, 40), st.sampled_from([300, 700])))
    return n, draw(st.sampled_from([1, 2, 3, 4, 7, 0, 12, 30])) if d is None else d


# ------------------------------------------------------------------ types

REAL = ["f8", "f4", "f2", "g", "i1", "i8", "u1", "u8", "i4", "?"]
OTHER = ["c8", "c16", "U", "S", "M8[s]", "m8[ns]", "V8", "i4,f8"]


def floats_as_objects(array):
    return array.astype(object)


def objects_without_floats(array):
    mixed = [None, "word", decimal.Decimal("1.5"), [1, 2], 1 + 1j, np.datetime64("2000-01-01"), 2]
    return np.resize(np.array([*mixed, float], dtype=object), array.shape)


def numbers_in_text(array):
    return np.where(np.isfinite(array), "1.5", "")


def beyond_float64(array):
    return array.astype(np.longdouble) * np.longdouble(10) ** 4000


CONVERSIONS = [floats_as_objects, objects_without_floats, numbers_in_text, beyond_float64]


def typed(draw, array):
    kind = draw(st.sampled_from(["float64"] * 12 + ["real"] * 6 + ["other", "objects"]))
    with np.errstate(all="ignore"):
        if kind == "real":
            return array.astype(draw(st.sampled_from(REAL)))
        if kind == "objects":
            return draw(st.sampled_from(CONVERSIONS))(array)
        if kind == "other":
            dtype = np.dtype(draw(st.sampled_from(OTHER)))
            if dtype.kind in "V":
                return np.zeros(array.shape, dtype)
            return array.astype("i8").astype(dtype) if dtype.kind in "mM" else array.astype(dtype)
    return array


# ------------------------------------------------------------------ layouts


def misaligned(array):
    raw = np.empty(array.nbytes + 1, np.uint8)
    view = raw[1:].view() if array.size == 0 else raw[1:][: array.nbytes]
    result = np.ndarray(array.shape, array.dtype, view.data) if array.size else array
    result[...] = array
    return result


def spread(array):
    wide = np.zeros(tuple(3 * side for side in array.shape), array.dtype)
    view = wide[(..., *(slice(None, None, 3) for _ in array.shape))]
    view[...] = array
    return view


def read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


def swapped(array):
    return array.astype(array.dtype.newbyteorder()) if array.dtype.kind not in "VO" else array


def masked(array):
    return np.ma.masked_array(array, np.resize([False, False, False, True], array.shape))


LAYOUTS = {
    "C": lambda array: array,
    "Fortran": np.asfortranarray,
    "backwards": lambda array: array[(..., *(slice(None, None, -1) for _ in array.shape))],
    "spread": spread,
    "one row repeated": lambda array: (
        np.broadcast_to(array[:1], array.shape) if array.ndim else array
    ),
    "misaligned": lambda array: array if array.dtype.hasobject else misaligned(array),
    "swapped": swapped,
    "read-only": read_only,
    "masked": masked,
    "nothing masked": np.ma.masked_array,
    "matrix": lambda array: array.view(np.matrix) if array.ndim == 2 else array,
}

# ------------------------------------------------------------------ containers


def lengths(draw, n):
    """Cut n rows into runs, some of them empty."""
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=4)))
    return tuple(int(length) for length in np.diff([0, *cuts, n]))


class Batches:
    """A re-iterable of arrays."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def split(draw, array):
    return np.split(array, np.cumsum(lengths(draw, len(array)))[:-1])


def dask_array(draw, array):
    rows = lengths(draw, len(array))
    if draw(st.booleans()):  # not with columns in chunks, where Dask loses chunks without columns
        X = da.from_array(np.array(array), chunks=(rows, -1))
        return X[da.from_array(np.ones(len(array), bool), chunks=(rows,))]
    columns = lengths(draw, array.shape[1]) if draw(st.booleans()) else array.shape[1:]
    return da.from_array(np.array(array), chunks=(rows, columns))


def uneven_batches(draw, array):
    return [*split(draw, array), array[:, : draw(st.integers(0, array.shape[1]))]]


def frame(draw, array):
    names = draw(st.sampled_from([None, [f"x{j}" for j in range(array.shape[1])]]))
    return pd.DataFrame(np.array(array), columns=names)


CONTAINERS = {
    "lists": lambda draw, array, folder: array.tolist(),
    "tuples": lambda draw, array, folder: tuple(array.tolist()),
    "frame": lambda draw, array, folder: frame(draw, array),
    "frame of NA": lambda draw, array, folder: frame(draw, array).convert_dtypes(),
    "polars": lambda draw, array, folder: pl.DataFrame(
        {f"x{j}": column for j, column in enumerate(array.T.tolist())}, strict=False
    ),
    "sparse": lambda draw, array, folder: sp.csr_array(np.array(array, dtype=float)),
    "list of batches": lambda draw, array, folder: split(draw, array),
    "iterable": lambda draw, array, folder: Batches(split(draw, array)),
    "function": lambda draw, array, folder: Batches(split(draw, array)).__iter__,
    "generator": lambda draw, array, folder: (batch for batch in split(draw, array)),
    "uneven batches": lambda draw, array, folder: uneven_batches(draw, array),
    "dask": lambda draw, array, folder: dask_array(draw, array),
    "file": lambda draw, array, folder: in_file(array, folder),
    "files": lambda draw, array, folder: [in_file(array, folder), in_file(array, folder)],
    "memory map": lambda draw, array, folder: np.load(in_file(array, folder), mmap_mode="r"),
}
MATRICES = {"frame", "frame of NA", "polars", "sparse", "uneven batches", "dask"}
"""Those that cannot be made of anything but two dimensions."""


def in_file(array, folder):
    path = Path(folder) / "X.npy"
    np.save(path, np.asarray(array), allow_pickle=array.dtype.hasobject)
    return path


NO_TABLES = [None, 0, 1.5, "", "nowhere.npy", b"bytes", {}, {"x": [1.0]}, [], [[]], [[], []], ()]
NO_TABLES += [object(), object, set(), {1.0}, range(3), lambda: None, lambda: 1, [None], [[None]]]
NO_TABLES += [[[1.0], [2.0, 3.0]], [1.0, [2.0]], ["a", "b"], [["a"], ["b"]], [{"x": 1.0}], iter([])]
NO_TABLES += [
    Path("nowhere"),
    Path(),
    [""],
    [Path("nowhere"), 1],
    "*.npy",
    "\0",
    slice(3),
    Ellipsis,
]
NO_TABLES += [np.nan, True, 1j, [[1j]], [[True]], pd.Series([1.0]), pl.Series([1.0]), da.zeros(())]
NO_TABLES += [[np.zeros((2, 2)), None], [np.zeros((2, 2)), np.zeros(2)], [[[1.0]]], print]


@st.composite
def tables(draw, folder, d=None):
    """Draw what might be given as `X`, most often with `d` columns."""
    if draw(st.integers(0, 24)) == 0:
        return draw(st.sampled_from(NO_TABLES))
    array = typed(draw, values(draw, shapes(draw, d if draw(st.integers(0, 9)) else None)))
    layout = draw(st.sampled_from(["C"] * 10 + list(LAYOUTS)))
    array = LAYOUTS[layout](array)
    container = draw(st.sampled_from(["array"] * 12 + list(CONTAINERS)))
    note(f"{layout}, {container}: {array!r}")
    container = "file" if container == "memory map" and array.dtype.hasobject else container
    matrix = array.ndim == 2 and array.dtype.kind in "fiub" and not array.dtype.itemsize > 8
    if container == "array" or array.ndim == 0 or (container in MATRICES and not matrix):
        return array
    return CONTAINERS[container](draw, array, folder)
