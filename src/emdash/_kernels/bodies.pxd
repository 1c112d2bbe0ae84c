"""What simd/gaussian.h offers to Cython. Whoever cimports this compiles the bodies: gaussian.pyx alone does."""

from emdash._kernels.gaussian_table cimport emdash_gaussian_table

cdef extern from "simd/gaussian.h":
    const emdash_gaussian_table *emdash_gaussian_tables[]
    const Py_ssize_t EMDASH_DIRECTIONS
