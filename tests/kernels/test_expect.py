"""The loop around the kernels: layouts, threads, bad rows, outputs, errors; no densities."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
import twins
from kernel_calls import KERNELS, SHAPES, posterior, statistics

from emdash._kernels import expect, threads


def example(shape="full", K=3, d=4, n=700, seed=0):
    rng = np.random.default_rng(seed)
    parameters = twins.random_parameters(shape, K, d, rng)
    return KERNELS[shape](*parameters), twins.random_rows(parameters, n, rng)


def misaligned(X):
    """The same numbers, one byte off."""
    raw = np.zeros(X.nbytes + 1, dtype=np.uint8)
    view = raw[1:].view(X.dtype).reshape(X.shape)
    view[...] = X
    assert not view.flags.aligned
    return view


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def strided(X, steps):
    """The same numbers as a view of a larger array, with these steps (may be negative)."""
    n, d = X.shape
    base = np.full((n * abs(steps[0]) + 3, d * abs(steps[1]) + 2), np.nan, dtype=X.dtype)
    view = base[: n * abs(steps[0]) : abs(steps[0]), : d * abs(steps[1]) : abs(steps[1])]
    view = view[:: np.sign(steps[0]), :: np.sign(steps[1])]
    view[...] = X
    return view


LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "misaligned": misaligned,
    "read-only": read_only,
    "misaligned Fortran": lambda X: misaligned(np.ascontiguousarray(X.T)).T,
    **{
        f"steps {s}": lambda X, s=s: strided(X, s)
        for s in [(2, 1), (1, 3), (-1, 1), (1, -1), (-2, -2), (3, 2)]
    },
    "Fortran backwards": lambda X: np.asfortranarray(X[::-1])[::-1],
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("d", [1, 3, 4, 9, 10, 13, 19])
def test_every_layout_gives_the_same_bits(layout, dtype, d, isa):
    for n in (1, 2, 129, 700):
        kernel, X = example(d=d, n=n)
        X = X.astype(dtype)
        wanted = statistics(kernel, X.astype(np.float64))
        view = LAYOUTS[layout](X)
        before = view.copy()
        assert (statistics(kernel, view) == wanted).all()
        for value, other in zip(
            posterior(kernel, view), posterior(kernel, X.astype(np.float64)), strict=True
        ):
            assert (value == other).all()
        assert (view == before).all()


def test_repeated_row_by_stride_zero():
    kernel, X = example(n=1)
    wanted = statistics(kernel, np.repeat(X, 50, axis=0))
    assert (statistics(kernel, np.broadcast_to(X, (50, 4))) == wanted).all()


def test_weights_of_any_stride():
    kernel, X = example()
    w = np.random.default_rng(1).random(len(X))
    wanted = statistics(kernel, X, w)
    for view in (np.repeat(w, 3)[::3], w[::-1].copy()[::-1], read_only(w), misaligned(w)):
        assert (statistics(kernel, X, view) == wanted).all()


@pytest.mark.parametrize(("K", "d", "n"), [(4, 3, 30000), (10, 16, 9000), (3, 40, 5000)])
@pytest.mark.parametrize("shape", SHAPES)
def test_threads_change_no_bit(shape, K, d, n, isa):
    kernel, X = example(shape, K, d, n)
    weights = np.random.default_rng(1).random(n)
    for w in (None, weights):
        one = statistics(kernel, X, w)
        for n_threads in (2, 3, 8):
            assert (statistics(kernel, X, w, n_threads) == one).all()
    one = posterior(kernel, X)
    for n_threads in (2, 3, 8):
        for a, b in zip(posterior(kernel, X, n_threads), one, strict=True):
            assert (a == b).all()


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 9, 20])
def test_first_bad_row_is_reported(d, dtype, order, isa):
    n = 12000
    kernel, X = example(K=8, d=d, n=n)
    X = np.asarray(X, dtype=dtype, order=order)
    out, responsibilities = np.empty(kernel.statistics_size), np.empty((n, 8))
    cases = [[0], [n - 1], [8000, 4321, 11000], [130, 131], [4200, 9000]]
    for number, rows in enumerate(cases):
        Y = X.copy(order="K")
        Y[rows, [r % d for r in rows]] = (np.nan, np.inf, -np.inf)[number % 3]
        for n_threads in (1, 3):
            assert expect.accumulate(kernel, Y, None, out, n_threads) == min(rows)
            found = expect.posterior(kernel, Y, n_threads, responsibilities=responsibilities)
            assert found == min(rows)
        assert expect.accumulate(kernel, Y[::-1], None, out, 2) == n - 1 - max(rows)
    assert expect.accumulate(kernel, X, None, out, 2) == -1


@pytest.mark.parametrize("d", [3, 20])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_rows(shape, d):
    kernel, X = example(shape, d=d)
    assert (statistics(kernel, X[:0], n_threads=4) == 0).all()
    assert (statistics(kernel, X[:0].astype(np.float32), np.empty(0)) == 0).all()
    assert posterior(kernel, X[:0])[0].shape == (0, 3)


def test_each_output_alone_and_into_views():
    kernel, X = example(K=5)
    n = len(X)
    names = "log_densities", "log_likelihood", "responsibilities", "labels"
    wanted = dict(zip(names, posterior(kernel, X), strict=True))
    for name, value in wanted.items():
        shape = (2 * n, 3 * value.shape[1]) if value.ndim == 2 else (2 * n,)
        large = np.full(shape, 77, dtype=value.dtype)
        view = large[::2, ::3] if value.ndim == 2 else large[::2]
        fortran = np.asfortranarray(np.empty_like(value))
        for target in (np.empty_like(value), fortran, view, view[::-1]):
            assert expect.posterior(kernel, X, 1, **{name: target}) == -1
            assert (target == value).all()
        assert (large == 77).sum() == large.size - value.size
    assert expect.posterior(kernel, X, 1) == -1


def test_the_first_component_wins_a_tie(isa):
    kernel = KERNELS["full"](np.zeros(4), np.zeros((4, 2)), np.stack([np.eye(2)] * 4))
    X = np.random.default_rng(0).normal(size=(100, 2))
    assert (posterior(kernel, X)[3] == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_are_copies_and_pickle(shape):
    rng = np.random.default_rng(0)
    parameters = twins.random_parameters(shape, 3, 5, rng)
    X = twins.random_rows(parameters, 100, rng)
    kernel = KERNELS[shape](*parameters)
    wanted = statistics(kernel, X)
    assert (kernel.n_components, kernel.n_features, kernel.statistics_size) == (3, 5, len(wanted))
    for twin in (pickle.loads(pickle.dumps(kernel)), copy.copy(kernel), copy.deepcopy(kernel)):
        assert (statistics(twin, X) == wanted).all()
    for view in (np.asfortranarray, lambda a: a[::-1].copy()[::-1], read_only):
        assert (statistics(KERNELS[shape](*map(view, parameters)), X) == wanted).all()
    for array in parameters:
        array += 1
    assert (statistics(kernel, X) == wanted).all()
    with pytest.raises(AttributeError):
        kernel.n_components = 4


def test_wrong_arguments_are_refused():
    kernel, X = example()
    out = np.empty(kernel.statistics_size)
    with pytest.raises(ValueError, match="X has 3 features, the kernel 4"):
        expect.accumulate(kernel, X[:, :3], None, out, 1)
    with pytest.raises(ValueError, match="2 dimensions"):
        expect.accumulate(kernel, X[0], None, out, 1)
    for dtype in (np.int64, np.complex128, np.float16, ">f8"):
        with pytest.raises(TypeError, match="float64 or float32"):
            expect.accumulate(kernel, X.astype(dtype), None, out, 1)
    with pytest.raises(ValueError, match="weights has 3 elements"):
        expect.accumulate(kernel, X, np.ones(3), out, 1)
    with pytest.raises(TypeError, match="weights must be float64"):
        expect.accumulate(kernel, X, np.ones(len(X), dtype=int), out, 1)
    for wrong in (out[:-1], np.empty(2 * len(out))[::2], misaligned(out)):
        with pytest.raises(ValueError, match="out must be contiguous"):
            expect.accumulate(kernel, X, None, wrong, 1)
    with pytest.raises(ValueError, match="read-only"):
        expect.accumulate(kernel, X, None, read_only(out), 1)
    with pytest.raises(ValueError, match="n_threads"):
        expect.accumulate(kernel, X, None, out, 0)
    with pytest.raises(TypeError):
        expect.accumulate(None, X, None, out, 1)
    with pytest.raises(ValueError, match="responsibilities must have shape"):
        expect.posterior(kernel, X, 1, responsibilities=np.empty((len(X), 2)))
    with pytest.raises(TypeError, match="labels must be intp"):
        expect.posterior(kernel, X, 1, labels=np.empty(len(X)))
    with pytest.raises(ValueError, match="must have shape"):
        KERNELS["full"](np.zeros(3), np.zeros((3, 2)), np.zeros((3, 2, 1)))


@pytest.mark.parametrize("shape", SHAPES)
def test_memory_does_not_grow_with_the_rows(shape):
    peaks = []
    for n in (300_000, 600_000):
        kernel, X = example(shape, n=n)
        out, labels = np.empty(kernel.statistics_size), np.empty(n, dtype=np.intp)
        tracemalloc.start()
        expect.accumulate(kernel, X, None, out, 2)
        expect.posterior(kernel, X, 2, labels=labels)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] > 10_000  # the kernels' scratch is seen at all
    assert peaks[1] == pytest.approx(peaks[0], rel=0.02)
    assert peaks[1] < 2_000_000


def test_isas_agree():
    kernels = {}
    before = threads.isa()
    for name in threads.available_isas():
        threads._select_isa(name)
        kernels[name], X = example(K=6, d=12)
    threads._select_isa(before)
    wanted = statistics(kernels["scalar"], X)
    for kernel in kernels.values():  # a kernel keeps the instruction set it was bound to
        np.testing.assert_allclose(statistics(kernel, X), wanted, rtol=1e-12, atol=1e-11)
