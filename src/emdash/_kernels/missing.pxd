"""What kernels for rows with missing cells share; see missing.pyx."""

from emdash._kernels.gaussian_table cimport emdash_gaussian_table
from emdash._kernels.missing_bodies cimport emdash_missing_table
from emdash._kernels.tile cimport Aligned, FamilyKernel, Tile

cdef struct Runs:
    # scratch of a tile: its rows in runs of one pattern
    Py_ssize_t count
    int *start          # (count + 1)
    int *features       # (d): of the run at hand, the observed ones, then the missing ones
    int *before         # (d): the same of the run before


cdef class MissingKernel(FamilyKernel):
    cdef const emdash_gaussian_table *table
    cdef const emdash_missing_table *own
    cdef tuple arrays           # the constructor's arguments, float64, C-ordered, own copies
    cdef Aligned weights        # (K,) log-weights in bits
    cdef Aligned cuts           # (K,) responsibilities up to these need not be added
    cdef Aligned means          # (K, full), zeros behind d
    cdef Aligned about          # (K, full) what the sums are taken about, less the mean
    cdef Aligned origin         # (full,) zeros
    cdef Aligned zero, one      # offset and scale of a density that has neither
    cdef Py_ssize_t full        # rounded(d)
    cdef Py_ssize_t at_runs, at_offsets, at_spare, at_rows, at_rest     # where in the scratch; the copies come first
    cdef _bind(self, arrays, str shapes)
    cdef Runs _start(self, const Tile *tile, double *scratch) noexcept nogil
    cdef void _complete(self, const Tile *tile, double *offsets, double *scratch) noexcept nogil
    cdef void _distances(self, const Tile *tile, Py_ssize_t k, double *log_density, double *scratch) noexcept nogil
    cdef const double *_rows(self, const Tile *tile, const double *filled, double *scratch) noexcept nogil
    cdef void _draw(self, const Tile *tile, const double *responsibilities, const double *noise, double *filled,
                    double *scratch) noexcept nogil
    cdef Py_ssize_t _component(self, const double *responsibilities, Py_ssize_t stride, double u) noexcept nogil

cdef Aligned copy_of(array, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t full)
cdef Py_ssize_t pattern_of(const Tile *tile, Py_ssize_t d, Py_ssize_t row, int *features) noexcept nogil
