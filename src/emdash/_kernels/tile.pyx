"""Tiles: the caller's rows in aligned scratch, and the class every family of densities extends.

Never knows a density.  Design note (layout, padding, finiteness): simd/load.h.
Per row: 8 d bytes read, 8 d (or 16 d, with needs_rows) written to the cache.
"""

import numpy

from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.math cimport INFINITY, fabs, isfinite
from libc.stdint cimport uintptr_t
from libc.string cimport memcpy

cdef extern from "simd/load.h":
    struct emdash_load_table:
        int (*load)(const char *x, Py_ssize_t row_step, Py_ssize_t feature_step, int is_float, Py_ssize_t n,
                    Py_ssize_t padded, Py_ssize_t d, double *columns, Py_ssize_t stride, double *rows,
                    Py_ssize_t row_stride) noexcept nogil
    const emdash_load_table *emdash_load_tables[]
    const Py_ssize_t EMDASH_ROW_QUANTUM

cdef Py_ssize_t SINGLE_QUANTUM = 2 * EMDASH_ROW_QUANTUM     # whole vectors of float32 and of float64


cdef class Aligned:

    def __cinit__(self, Py_ssize_t size):
        """IN size: number of doubles."""
        if size < 0 or <size_t>size > (<size_t>-1 >> 1) // sizeof(double) - 16:
            raise MemoryError
        self.block = PyMem_Malloc(<size_t>size * sizeof(double) + 64)
        if self.block == NULL:
            raise MemoryError
        self.data = <double *>((<uintptr_t>self.block + 63) & ~<uintptr_t>63)

    def __dealloc__(self):
        PyMem_Free(self.block)


cdef bint _format_is(const char *text, const char *codes) noexcept:
    """Is the buffer's format one of the letters of `codes`, in native byte order?"""
    if text == NULL:
        return False
    cdef unsigned int one = 1
    cdef bint little = (<char *>&one)[0] == 1
    if text[0] in (b"@", b"=", b"^", b"<" if little else b">", b"|"):
        text += 1
    while codes[0] != 0:
        if text[0] == codes[0] and text[1] == 0:
            return True
        codes += 1
    return False


cdef class Strided:

    def __cinit__(self, array, str name, int ndim, str kind, bint writable=False):
        """IN array: anything with a buffer.  kind: "float" (float32 or float64), "float64", "intp" or "uint8"."""
        cdef int flags = PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0)
        self.held = False
        PyObject_GetBuffer(array, &self.view, flags)
        self.held = True
        if self.view.ndim != ndim:
            raise ValueError(f"{name} must have {ndim} dimensions, not {self.view.ndim}")
        cdef Py_ssize_t size = self.view.itemsize
        cdef bint good
        self.is_float = kind == "float" and size == 4 and _format_is(self.view.format, b"f")
        if kind == "intp":
            good = size == sizeof(Py_ssize_t) and _format_is(self.view.format, b"lqn")
        elif kind == "uint8":
            good = _format_is(self.view.format, b"B")
        else:
            good = self.is_float or (size == 8 and _format_is(self.view.format, b"d"))
        if not good:
            form = (<bytes>self.view.format).decode() if self.view.format != NULL else "B"
            wanted = "float64 or float32" if kind == "float" else kind
            raise TypeError(f"{name} must be {wanted} in native byte order, not of buffer format {form!r}")
        self.data = <char *>self.view.buf
        self.n = self.view.shape[0]
        self.step = self.view.strides[0]
        self.d = self.view.shape[1] if ndim == 2 else 1
        self.d_step = self.view.strides[1] if ndim == 2 else 0
        if kind == "intp" and (<size_t>self.data | <size_t>self.step) % sizeof(Py_ssize_t):
            raise ValueError(f"{name} must be aligned")  # integers are read in place, numbers are loaded

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


cdef tuple own_copies(arrays, str shapes):
    """Parameters as own float64 copies, C-ordered.  IN shapes: one word of K and d per array, e.g. "K Kd Kdd"; the
    second array, the means, says what K and d are."""
    copies = tuple([numpy.array(a, dtype=numpy.float64, order="C") for a in arrays])
    if copies[1].ndim != 2 or 0 in copies[1].shape:
        raise ValueError(f"means must have shape (K, d) with K, d >= 1, not {copies[1].shape}")
    sizes = dict(zip("Kd", copies[1].shape))
    for number, (array, letters) in enumerate(zip(copies, shapes.split(), strict=True)):
        wanted = tuple([sizes[letter] for letter in letters])
        if array.shape != wanted:
            raise ValueError(f"argument {number} must have shape {wanted}, not {array.shape}")
    return copies


cdef class FamilyKernel:

    @property
    def arithmetic(self):
        """What the EM pass computes in, "float64" or "float32"; answers per row are float64 in either case."""
        return "float32" if self.single else "float64"

    cdef void log_density(self, const Tile *tile, double *log_density, double *scratch) noexcept nogil:
        """OUT log_density (K, stride): log2 of weight times density, for all padded rows; -inf allowed, never NaN.
        What tile.pruning (or NULL) permits may be left out.
        SCRATCH scratch (scratch_size)."""
        pass

    cdef bint rules_out(self, const Tile *tile, double *log_density, double *scratch) noexcept nogil:
        """Will `log_density` leave out most of what tile.pruning permits?  SCRATCH as there, log_density too."""
        return False

    cdef void accumulate(self, const Tile *tile, const double *responsibilities, double *sums,
                         double *scratch) noexcept nogil:
        """IN responsibilities (K, stride), weights included, 0 in padded rows.  OUT sums (sums_size)."""
        pass

    cdef bint single_log_density(self, const Tile *tile, float *log_density, double *scratch) noexcept nogil:
        """`log_density` in float32, stride 2 tile.stride, relative to single_zero; may be -1e30 where it overflows.
        False: this tile is for the float64 hooks."""
        return False

    cdef void single_accumulate(self, const Tile *tile, const float *responsibilities, double *sums,
                                double *scratch) noexcept nogil:
        """`accumulate` with float32 responsibilities, stride 2 tile.stride, scratch as single_log_density left it."""
        pass

    cdef void fold(self, const double *sums, double *statistics) noexcept nogil:
        """IN sums (sums_size).  OUT statistics (statistics_size - 2) +=: what follows log-likelihood and weight."""
        pass

    cdef void fill(self, const Tile *tile, const double *responsibilities, const double *noise, double *filled,
                   double *scratch) noexcept nogil:
        """Kernels with takes_missing.  IN responsibilities (K, stride); noise (n, 1 + d) or NULL; scratch as
        log_density left it for this tile.  OUT filled (d, stride): the rows, their missing cells replaced by posterior
        means or, with noise (a uniform number for the component, then normal ones), by draws from the posterior."""
        pass


cdef Py_ssize_t rounded(Py_ssize_t size) noexcept nogil:
    """`size` doubles rounded up to whole cache lines."""
    return (size + 7) // 8 * 8


cdef Py_ssize_t tile_stride(FamilyKernel kernel) noexcept nogil:
    """Doubles between the features (or components) of a tile: an odd number of cache lines, see simd/load.h."""
    return kernel.tile_rows + (8 if kernel.tile_rows // 8 % 2 == 0 else 16)


cdef Py_ssize_t tile_buffers_size(FamilyKernel kernel) noexcept nogil:
    cdef Py_ssize_t stride = tile_stride(kernel)
    cdef Py_ssize_t rows = kernel.tile_rows * rounded(kernel.n_features) if kernel.needs_rows else 0
    return (kernel.n_features + 1) * stride + rows


cdef TileBuffers tile_buffers(FamilyKernel kernel, double *memory) noexcept nogil:
    """Cut memory (tile_buffers_size) into the buffers of a block of rows, whose last tile may be short: the weights of
    its padded rows stay 0.  Sets what load_tile leaves alone."""
    cdef TileBuffers buffers
    cdef Py_ssize_t i, j
    buffers.stride = tile_stride(kernel)
    buffers.row_stride = rounded(kernel.n_features)
    buffers.columns = memory
    buffers.weights = memory + kernel.n_features * buffers.stride
    buffers.rows = buffers.weights + buffers.stride if kernel.needs_rows else NULL
    buffers.cut = False
    for i in range(kernel.tile_rows):
        buffers.weights[i] = 1.0
    if kernel.needs_rows:
        for i in range(kernel.tile_rows):
            for j in range(kernel.n_features, buffers.row_stride):
                buffers.rows[i * buffers.row_stride + j] = 0.0
    return buffers


cdef Py_ssize_t _padded(FamilyKernel kernel, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t quantum = SINGLE_QUANTUM if kernel.single else EMDASH_ROW_QUANTUM
    return (n + quantum - 1) // quantum * quantum


cdef bint load_tile(FamilyKernel kernel, const char *x, Py_ssize_t row_step, Py_ssize_t feature_step, bint is_float,
                    const char *weights, Py_ssize_t weight_step, Py_ssize_t n, TileBuffers *buffers,
                    Tile *tile) noexcept nogil:
    """IN x, weights (or NULL): the tile's first row, steps in bytes, 1 <= n <= tile_rows.  OUT tile.
    False if a number of the tile is not finite."""
    cdef Py_ssize_t i, padded = _padded(kernel, n)
    if weights != NULL:  # else they are 1 from tile_buffers
        for i in range(n):
            memcpy(&buffers.weights[i], weights + i * weight_step, sizeof(double))
    elif buffers.cut:
        for i in range(n):
            buffers.weights[i] = 1.0
        buffers.cut = False
    for i in range(n, padded):
        buffers.weights[i] = 0.0
    tile.columns = buffers.columns
    tile.rows = buffers.rows
    tile.weights = buffers.weights
    tile.stride = buffers.stride
    tile.row_stride = buffers.row_stride
    tile.n = n
    tile.padded = padded
    tile.unit_weights = weights == NULL and n == padded
    tile.pruning = NULL
    tile.fresh = False
    return emdash_load_tables[kernel.isa].load(x, row_step, feature_step, is_float, n, padded, kernel.n_features,
                                               buffers.columns, buffers.stride, buffers.rows, buffers.row_stride) != 0


cdef Py_ssize_t keep_complete(FamilyKernel kernel, TileBuffers *buffers, Tile *tile, char *incomplete) noexcept nogil:
    """Take the rows that hold NaN out of a tile that load_tile returned False for; tile.n may become 0.
    OUT incomplete (n): 1 for these rows.  Returns the first row that holds infinity, or -1."""
    cdef Py_ssize_t kept = tile.n, d = kernel.n_features, stride = buffers.stride, i, j
    cdef double test[480]
    cdef double *x = buffers.columns
    for i in range(kept):
        test[i] = 0.0
    for j in range(d):
        for i in range(kept):
            test[i] += x[j * stride + i] * 0.0
    for i in range(kept):
        incomplete[i] = test[i] != 0.0
        for j in range(d if incomplete[i] else 0):
            if fabs(x[j * stride + i]) == INFINITY:
                return i
    i = 0
    while i < kept:
        if test[i] == 0.0:
            i += 1
            continue
        kept -= 1  # the last row takes its place, to be looked at next
        test[i] = test[kept]
        buffers.weights[i] = buffers.weights[kept]
        for j in range(d):
            x[j * stride + i] = x[j * stride + kept]
            if buffers.rows != NULL:
                buffers.rows[i * buffers.row_stride + j] = x[j * stride + i]
    tile.n = kept
    tile.padded = _padded(kernel, kept)
    for i in range(kept, tile.padded):
        buffers.weights[i] = 0.0
        for j in range(d):
            x[j * stride + i] = x[j * stride + kept - 1]
    buffers.cut = True
    tile.unit_weights = tile.unit_weights and kept == tile.padded
    return -1


cdef Py_ssize_t first_bad_row(const char *x, Py_ssize_t row_step, Py_ssize_t feature_step, bint is_float, Py_ssize_t n,
                              Py_ssize_t d) noexcept nogil:
    """First of n rows that holds NaN or infinity, or -1."""
    cdef Py_ssize_t i, j
    cdef double value
    cdef float single
    for i in range(n):
        for j in range(d):
            if is_float:
                memcpy(&single, x + i * row_step + j * feature_step, sizeof(float))
                value = single
            else:
                memcpy(&value, x + i * row_step + j * feature_step, sizeof(double))
            if not isfinite(value):
                return i
    return -1
