"""How little may be left out of the sums of a component that few rows belong to.

Kernels save time by leaving out what is small: responsibilities below 2^-54 where rows are gathered (simd/scatter.h),
components 60 bits below a row's largest (simd/screen.h).  Over n rows these add up: to n 2^-54 at most, nothing beside
n / K, but not beside the sums of a component that holds ten rows of a million.  How many it holds its mixing weight
tells before the pass: relative to it both bounds are lowered.  Then N and S of every component are those of the dense
kernel to 1e-13, as long as the pass does not take nearly all of its rows away.
Never knows rows.  Cost: for weights above 1/16 and 1/1000 nothing; for 64 equal ones two bits, at most 1 % of a pass.
Lost: 2^-80 for all (full and diagonal (64,64) and full (256,16), 3 sigma apart: 11 to 16 % slower).
"""

import numpy

from libc.math cimport exp2

from emdash._kernels.tile cimport Aligned

cdef double LOG2_E = 1.4426950408889634
cdef double LOG2_2PI = 2.651496129472319
cdef double FEW = -4.0      # log2 of a weight: 2^-50 of N, and, as such rows are up to 90 variances away, 1e-13 of S
cdef double RARE = -10.0    # the same for the 60 bits of the screen


cdef object weight_bits(log_offsets, scales):
    """log2 of the mixing weights (K,), from offsets that hold them beside a Gaussian's factor.

    IN log_offsets (K,); scales (K or 1, d): the diagonals of the precisions' factors.
    """
    with numpy.errstate(all="ignore"):
        factor = numpy.log2(numpy.abs(scales)).sum(axis=1) - scales.shape[1] * LOG2_2PI / 2
        return LOG2_E * log_offsets - factor


cdef Aligned cuts_of(bits):
    """(K,): responsibilities up to these need not be added.  IN bits (K,): log2 of the mixing weights."""
    cdef Py_ssize_t K = len(bits), k
    cdef Aligned cuts = Aligned(K)
    for k in range(K):
        cuts.data[k] = exp2(-54 - min(_missing(bits[k], FEW), 900.0))
    return cuts


cdef Aligned slacks_of(bits):
    """(K,): bits that are added to the bounds of the screen.  IN bits as above."""
    cdef Py_ssize_t K = len(bits), k
    cdef Aligned slacks = Aligned(K)
    for k in range(K):
        slacks.data[k] = _missing(bits[k], RARE)
    return slacks


cdef double _missing(double bits, double enough) noexcept:
    return enough - bits if bits < enough else 0.0
