"""What a family of densities must provide, and the tile it is handed.

A new family is one .pyx (here or in another package): subclass FamilyKernel, fill in the sizes in __init__, write the
three hooks.  Mixtures (expect.pyx) and anything else that needs K log-densities per row then run it, in parallel.
"""

from cpython.buffer cimport Py_buffer

cdef struct Pruning:
    # What log_density may leave out; one for a block of rows, whose tiles come in order.
    # cut: it may write -inf for what is more than `cut` bits below the row's largest; infinity: nothing.  Where leaving
    # out does not pay it sets infinity itself, for the rest of the block.
    double cut
    double left_out         # it adds how many of the K x n numbers it left out
    bint tried              # for the kernel: false at the beginning of the block


cdef struct Tile:
    # One block of rows, copied from the caller's array.  All pointers aligned to 64 bytes.
    const double *columns   # (d, stride): rows along the vectors
    const double *rows      # (n, row_stride): features along the vectors, zeros behind d; NULL unless kernel.needs_rows
    const double *weights   # (stride): weight of the row, 0 in padded rows
    Py_ssize_t stride
    Py_ssize_t row_stride
    Py_ssize_t n            # real rows, at least 1
    Py_ssize_t padded       # n rounded up to a multiple of 24 (48 if kernel.single); rows n.. of `columns` repeat n - 1
    bint unit_weights       # all weights of rows 0..padded are 1
    Pruning *pruning        # log_density only: what it may leave out
    bint fresh              # accumulate only: `scratch` is as log_density left it for this very tile


cdef class Aligned:
    """Uninitialised doubles, aligned to 64 bytes; freed with the object."""
    cdef double *data
    cdef void *block


cdef class Strided:
    """An array of the caller: any strides, any alignment, never copied."""
    cdef Py_buffer view
    cdef bint held
    cdef char *data
    cdef Py_ssize_t n, d            # shape; d = 1 for vectors
    cdef Py_ssize_t step, d_step    # bytes
    cdef bint is_float              # float32


cdef class FamilyKernel:
    """K densities over d features, bound to parameters; immutable and free of Python objects inside a pass."""
    cdef readonly Py_ssize_t n_components, n_features, statistics_size
    cdef int isa                    # index of the instruction set the hooks use
    cdef bint needs_rows            # wants Tile.rows
    cdef bint takes_missing         # NaN in `columns` means missing
    cdef Py_ssize_t tile_rows       # rows per tile: a multiple of 24, at most 480
    cdef Py_ssize_t sums_size       # doubles `accumulate` adds to
    cdef Py_ssize_t unset_size      # how many of them, at the end, need not begin as 0
    cdef Py_ssize_t scratch_size    # doubles of scratch both hooks share
    cdef Py_ssize_t block_rows      # fewest rows worth a set of sums of their own
    cdef double row_cost            # multiply-adds per row of an EM pass, roughly: threads that pay, looks for signals
    cdef bint single                # the EM pass runs in float32: the two hooks below take the place of those above
    cdef double single_zero         # bits: what the float32 log-densities are relative to
    cdef double single_floor        # bits: a tile with a row of less density than this goes to the float64 hooks
    cdef void log_density(self, const Tile *tile, double *log_density, double *scratch) noexcept nogil
    cdef bint rules_out(self, const Tile *tile, double *log_density, double *scratch) noexcept nogil
    cdef void accumulate(self, const Tile *tile, const double *responsibilities, double *sums,
                         double *scratch) noexcept nogil
    cdef bint single_log_density(self, const Tile *tile, float *log_density, double *scratch) noexcept nogil
    cdef void single_accumulate(self, const Tile *tile, const float *responsibilities, double *sums,
                                double *scratch) noexcept nogil
    cdef void fold(self, const double *sums, double *statistics) noexcept nogil
    cdef void fill(self, const Tile *tile, const double *responsibilities, const double *noise, double *filled,
                   double *scratch) noexcept nogil


cdef struct TileBuffers:
    # scratch of one thread; see tile_buffers_size
    double *columns
    double *rows
    double *weights
    Py_ssize_t stride, row_stride
    bint cut                # keep_complete has set weights that load_tile would leave alone

cdef Py_ssize_t SINGLE_QUANTUM

cdef tuple own_copies(arrays, str shapes)
cdef Py_ssize_t rounded(Py_ssize_t size) noexcept nogil
cdef Py_ssize_t tile_stride(FamilyKernel kernel) noexcept nogil
cdef Py_ssize_t tile_buffers_size(FamilyKernel kernel) noexcept nogil
cdef TileBuffers tile_buffers(FamilyKernel kernel, double *memory) noexcept nogil
cdef bint load_tile(FamilyKernel kernel, const char *x, Py_ssize_t row_step, Py_ssize_t feature_step, bint is_float,
                    const char *weights, Py_ssize_t weight_step, Py_ssize_t n, TileBuffers *buffers,
                    Tile *tile) noexcept nogil
cdef Py_ssize_t keep_complete(FamilyKernel kernel, TileBuffers *buffers, Tile *tile, char *incomplete) noexcept nogil
cdef Py_ssize_t first_bad_row(const char *x, Py_ssize_t row_step, Py_ssize_t feature_step, bint is_float, Py_ssize_t n,
                              Py_ssize_t d) noexcept nogil
