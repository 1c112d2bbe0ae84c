"""The bodies of simd/gaussian.h, compiled once, for kernels in other modules."""

cdef const void *gaussian_table(int isa) noexcept nogil
