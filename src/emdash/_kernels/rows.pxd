"""The caller's rows: checked, cut into blocks of whole tiles, loaded tile by tile; which are incomplete, whose labels.

Never knows a density or a thread.
"""

from libc.string cimport memset

from emdash._kernels.tile cimport (
    FamilyKernel, Strided, Tile, TileBuffers, first_bad_row, keep_complete, load_tile,
)
from emdash._kernels.turns cimport MARKED


cdef struct Rows:
    # the caller's rows, and how they are cut
    const char *x
    const char *weights
    const char *labels      # NULL: responsibilities come from the densities
    Py_ssize_t step, d_step, weight_step, labels_step
    bint is_float
    Py_ssize_t n
    Py_ssize_t block_rows   # whole tiles
    Py_ssize_t next_step    # step where rows follow each other closely, else 0: what to ask the memory for in advance
    char *incomplete        # (n) where rows with NaN are marked, NULL: they are bad


cdef inline Rows cut_rows(FamilyKernel kernel, Strided x, Py_ssize_t block_rows):
    cdef Rows rows
    rows.x = x.data
    rows.step = x.step
    rows.d_step = x.d_step
    rows.is_float = x.is_float
    rows.n = x.n
    rows.weights = rows.labels = NULL
    rows.weight_step = rows.labels_step = 0
    rows.incomplete = NULL
    rows.next_step = rows.step if 0 < rows.step <= 2 * x.d * (4 if x.is_float else 8) else 0
    rows.block_rows = (block_rows + kernel.tile_rows - 1) // kernel.tile_rows * kernel.tile_rows
    return rows


cdef inline Strided check_rows(FamilyKernel kernel, X):
    cdef Strided x = Strided(X, "X", 2, "float")
    if x.d != kernel.n_features:
        raise ValueError(f"X has {x.d} features, the kernel {kernel.n_features}")
    return x


cdef inline Strided check_marks(incomplete, Py_ssize_t n):
    if incomplete is None:
        return None
    cdef Strided marks = Strided(incomplete, "incomplete", 1, "uint8", True)
    if marks.n != n or (n > 1 and marks.step != 1):
        raise ValueError(f"incomplete must be contiguous with {n} elements")
    return marks


cdef inline Strided check_labels(labels, Py_ssize_t n, Py_ssize_t K):
    cdef Strided view = Strided(labels, "labels", 1, "intp")
    cdef Py_ssize_t i, label
    if view.n != n:
        raise ValueError(f"labels has {view.n} elements, X {n} rows")
    for i in range(n):
        label = (<Py_ssize_t *>(view.data + i * view.step))[0]
        if not 0 <= label < K:
            raise ValueError(f"labels[{i}] is {label}, but there are {K} components")
    return view


cdef inline void one_hot(const Tile *tile, const char *labels, Py_ssize_t step, Py_ssize_t K,
                         double *responsibilities) noexcept nogil:
    """OUT responsibilities (K, stride): the row's weight at its label, else 0."""
    cdef Py_ssize_t i
    memset(responsibilities, 0, K * tile.stride * sizeof(double))
    for i in range(tile.n):
        responsibilities[(<const Py_ssize_t *>(labels + i * step))[0] * tile.stride + i] = tile.weights[i]


cdef inline Py_ssize_t set_aside(FamilyKernel kernel, const Rows *rows, Py_ssize_t first, Py_ssize_t n,
                                 TileBuffers *buffers, Tile *tile) noexcept nogil:
    """Leave the incomplete rows out of a tile that is not finite.  Returns the first bad row, or MARKED."""
    cdef Py_ssize_t bad
    if rows.incomplete == NULL:
        return first + first_bad_row(rows.x + first * rows.step, rows.step, rows.d_step, rows.is_float, n,
                                     kernel.n_features)
    bad = keep_complete(kernel, buffers, tile, rows.incomplete + first)
    return first + bad if bad >= 0 else MARKED


cdef inline double sum_of(const double *x, Py_ssize_t n) noexcept nogil:
    cdef double total = 0.0
    cdef Py_ssize_t i
    for i in range(n):
        total += x[i]
    return total


cdef inline bint load_rows(FamilyKernel kernel, const Rows *rows, Py_ssize_t first, Py_ssize_t n,
                           TileBuffers *buffers, Tile *tile) noexcept nogil:
    return load_tile(kernel, rows.x + first * rows.step, rows.step, rows.d_step, rows.is_float,
                     rows.weights + first * rows.weight_step if rows.weights != NULL else NULL, rows.weight_step,
                     n, buffers, tile)
