"""Whatever buffers the compiled kernels are given: they refuse them or stay inside them.

Without sanitizers this sees a crash, and what is written beside an output; a build with
AddressSanitizer sees every other byte (CONTRIBUTING.md). What may come of arbitrary numbers is
the business of ``test_api.py``.
"""

from contextlib import suppress

import numpy as np
import pytest
from fuzz_profiles import PROFILE
from fuzz_tables import LAYOUTS, typed, values
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emdash._kernels import expect, factor, missing, nearest, patterns, regressions, single, threads
from emdash._kernels import gaussian as complete

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numbers that are none

REFUSED = (ValueError, TypeError, IndexError, BufferError, OverflowError, AttributeError)
"""The interface is internal: that it refuses counts, not in which words."""

SENTINEL = 77


@pytest.fixture(autouse=True)
def instruction_set():
    before = threads.isa()
    yield
    threads._select_isa(before)


class Guarded:
    """Outputs that lie in larger arrays, whose other bytes must not change."""

    def __init__(self):
        self.wholes = []

    def array(self, draw, shape, dtype):
        """Return an array for an output, most often of this shape and type, in any layout."""
        if draw(st.integers(0, 19)) == 0:
            shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9))
        if draw(st.integers(0, 19)) == 0:
            dtype = draw(st.sampled_from(["f8", "f4", "i8", "u1", "i4", "c16", ">f8", "O"]))
        if np.dtype(dtype).hasobject:
            return np.zeros(shape, dtype)
        step = draw(st.sampled_from([1] * 8 + [2, -1, -2]))
        offset = draw(st.sampled_from([0] * 10 + [1, 4]))  # 1 and 4 are misaligned
        sides = tuple(abs(step) * side for side in shape)
        size = int(np.prod(sides)) * np.dtype(dtype).itemsize
        whole = np.full(size + 128, SENTINEL, np.uint8)
        inner = np.ndarray(sides, dtype, whole, 64 + offset)
        if len(shape) == 2 and draw(st.integers(0, 7)) == 0:
            inner = np.ndarray(sides[::-1], dtype, whole, 64 + offset).T
        view = inner[(..., *(slice(None, None, step) for _ in shape))]
        mine = np.zeros(whole.shape, bool)
        beside = np.ndarray(inner.shape, inner.dtype, whole.copy(), 64 + offset, inner.strides)
        beside[(..., *(slice(None, None, step) for _ in shape))].view(dtype)[...] = 0
        marks = np.frombuffer(beside.base, np.uint8) if beside.base is not None else whole
        mine[:] = marks != SENTINEL
        view[...] = 0
        self.wholes.append((whole, mine))
        return view

    def check(self):
        for whole, mine in self.wholes:
            assert (whole[~mine] == SENTINEL).all(), "something was written beside an output"


def array(draw, shape):
    """Return an array for an input, most often of this shape."""
    if draw(st.integers(0, 24)) == 0:
        shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9))
    found = values(draw, shape)
    if draw(st.integers(0, 19)) == 0:
        found = typed(draw, found)
    return LAYOUTS[draw(st.sampled_from(["C"] * 20 + list(LAYOUTS)))](found)


def integers(draw, n, most):
    """Return what should be n numbers from 0 to most - 1."""
    if draw(st.integers(0, 19)) == 0:
        return array(draw, (n,))
    numbers = np.random.default_rng(draw(st.integers(0, 9))).integers(0, max(most, 1), n)
    if n and draw(st.integers(0, 5)) == 0:
        numbers[draw(st.integers(0, n - 1))] = draw(st.sampled_from([-1, most, 2**62, -(2**63)]))
    return numbers.astype(np.intp)[:: draw(st.sampled_from([1, 1, 1, -1]))]


def kernel_of(draw, K, d):
    """Return a kernel, most often for K components and d features."""
    kind = draw(st.sampled_from(["full", "tied", "diag", "spherical"]))
    shape = {"full": (K, d, d), "tied": (d, d), "diag": (K, d), "spherical": (K,)}[kind]
    good = draw(st.integers(0, 2)) > 0
    identity = np.zeros(shape) + (np.eye(d) if kind in ("full", "tied") else 1)
    logs = np.zeros(K) if good else array(draw, (K,))
    means = values(draw, (K, d)) if good else array(draw, (K, d))
    factors = identity if good else array(draw, shape)
    center = np.zeros(d) if good else array(draw, (d,))
    which = draw(st.sampled_from(["complete", "missing", "single", "potential"]))
    if which == "potential":
        return nearest.PotentialKernel(means)
    if which == "single":
        return single.SingleKernel(logs, means, factors, center, np.ones(d), 1e3)
    if which == "complete":
        names = {"full": "Full", "tied": "Tied", "diag": "Diagonal", "spherical": "Spherical"}
        cls = getattr(complete, f"{names[kind]}Kernel")
        return cls(logs, means, factors, *([center] if kind == "tied" else []))
    cls = {
        "full": regressions.FullMissingKernel,
        "tied": regressions.TiedMissingKernel,
        "diag": missing.DiagonalMissingKernel,
        "spherical": missing.SphericalMissingKernel,
    }[kind]
    return cls(logs, means, identity if good else array(draw, shape), factors, means, center)


def accumulate(draw, guarded, K, d, n):
    kernel = kernel_of(draw, K, d)
    optional = {}
    if draw(st.booleans()):
        optional["labels"] = integers(draw, n, K)
    if draw(st.booleans()):
        optional["incomplete"] = guarded.array(draw, (n,), "u1")
    if draw(st.booleans()):
        optional["left_out"] = guarded.array(draw, (1,), "f8")
    weights = array(draw, (n,)) if draw(st.booleans()) else None
    out = guarded.array(draw, (kernel.statistics_size,), "f8")
    expect.accumulate(kernel, array(draw, (n, d)), weights, out, draw(THREADS), **optional)


def posterior(draw, guarded, K, d, n):
    kernel = kernel_of(draw, K, d)
    wanted = {
        "labels": ((n,), "intp"),
        "log_likelihood": ((n,), "f8"),
        "responsibilities": ((n, kernel.n_components), "f8"),
        "log_densities": ((n, kernel.n_components), "f8"),
        "filled": ((n, d), "f8"),
    }
    names = draw(st.lists(st.sampled_from(sorted(wanted)), unique=True))
    outputs = {name: guarded.array(draw, *wanted[name]) for name in names}
    if draw(st.booleans()):
        outputs["noise"] = array(draw, (n, 1 + d))
    expect.posterior(kernel, array(draw, (n, d)), draw(THREADS), **outputs)


def sort(draw, guarded, K, d, n):
    numbers = integers(draw, draw(st.integers(0, 2 * n)), n)
    rows = guarded.array(draw, (len(numbers), d), "f8")
    patterns.sort_by_pattern(array(draw, (n, d)), numbers, rows)


def settle(draw, guarded, K, d, n):
    nearest.settle(
        array(draw, (n, d)),
        array(draw, (K, d)),
        array(draw, (K,)),
        integers(draw, n, K),
        guarded.array(draw, (n,), "f8"),
        array(draw, (d,)),
        guarded.array(draw, (1 + K + K * d,), "f8"),
        least=draw(st.sampled_from([0.0, 1.0, np.inf, np.nan])),
        relative=0.0,
        absolute=draw(st.sampled_from([0.0, 1e-9, np.nan])),
    )


def covariances(draw, guarded, K, d, n):
    out = guarded.array(draw, (K, d, d), "f8")
    S = array(draw, (K, d * (d + 1) // 2))
    factor.covariances(array(draw, (K,)), S, array(draw, (K, d)), out, draw(THREADS))


def factors(draw, guarded, K, d, n):
    factor.factor(array(draw, (K, d, d)), guarded.array(draw, (K, d, d), "f8"), draw(THREADS))


THREADS = st.sampled_from([1, 2, 5, 0, -1])
CALLS = [accumulate, accumulate, posterior, posterior, sort, settle, covariances, factors]


@PROFILE
@given(data=st.data())
def test_any_buffers(data):
    draw, guarded = data.draw, Guarded()
    threads._select_isa(draw(st.sampled_from(threads.available_isas())))
    K, d = draw(st.integers(1, 5)), draw(st.sampled_from([1, 2, 3, 4, 5, 8, 11, 16, 17, 33]))
    n = draw(st.sampled_from([0, 1, 2, 7, 24, 25, 60, 500]))
    with suppress(*REFUSED):
        draw(st.sampled_from(CALLS))(draw, guarded, K, d, n)
    guarded.check()


def test_the_guard_sees_what_is_written_beside():
    guarded = Guarded()
    drawn = iter([1, 1, 2, 0, 1])  # shape and type as wanted, every second number
    view = guarded.array(lambda strategy: next(drawn), (3, 2), "f8")
    assert view.strides == (64, 16)
    view[...] = 5.0
    guarded.check()
    np.ndarray((6, 4), "f8", guarded.wholes[0][0], 64)[0, 1] = 5.0
    with pytest.raises(AssertionError, match="beside"):
        guarded.check()
