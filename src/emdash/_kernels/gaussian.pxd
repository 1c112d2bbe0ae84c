"""The bodies of simd/gaussian.h, compiled once, for kernels in other modules."""

from emdash._kernels.gaussian_table cimport emdash_gaussian_table

cdef const emdash_gaussian_table *gaussian_table(int isa) noexcept nogil
