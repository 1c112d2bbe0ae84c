"""How little may be left out of the sums of rare components; see rare.pyx."""

from emdash._kernels.tile cimport Aligned

cdef object weight_bits(log_offsets, scales)
cdef Aligned cuts_of(bits)
cdef Aligned slacks_of(bits)
