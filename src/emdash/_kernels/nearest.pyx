"""k-means: which of K points is nearest to a row (`settle`), and what more points would gain (`PotentialKernel`).

Never knows how often it is run, or where points come from.  What is called per tile: simd/nearest.h.
Chosen: points move little from one iteration to the next, so a row keeps a margin: how much farther its runner-up is
than its nearest point.  As long as the points have not used it up the row is not read (Hamerly 2010), and the sums
change only by the rows that change their label.  An iteration costs 16 bytes per row, and K d multiply-adds and 8 d
bytes for the rows looked at: at n = 1e6, d = K = 10, one thread, 28 ms for the first, then down to 4.
Lost: all rows in every iteration (19 ms each, scikit-learn's 22; on moderately overlapping clusters 2x in all).
Not done: a bound for every pair of row and point (Elkan), which takes n K numbers.
"""

import numpy

from libc.string cimport memcpy

from emdash._kernels.interrupt cimport Watch, begin_watch, end_watch, given_up
from emdash._kernels.threads cimport current_isa
from emdash._kernels.tile cimport Aligned, FamilyKernel, Strided, Tile, tile_stride

cdef extern from "simd/nearest.h":
    const int EMDASH_ROW_QUANTUM
    void EMDASH_PREFETCH(const char *address) noexcept nogil
    struct emdash_nearest_table:
        void (*pack_distance)(Py_ssize_t K, Py_ssize_t d, const double *means, const double *inverse,
                              double *packed) noexcept nogil
        void (*distance)(int scaled, Py_ssize_t K, Py_ssize_t d, const double *x, Py_ssize_t stride, Py_ssize_t rows,
                         const double *packed, const double *offset, const double *scale, double *log_density,
                         double *distance) noexcept nogil
        double (*nearest)(Py_ssize_t K, Py_ssize_t rows, Py_ssize_t stride, const double *closeness, double relative,
                          double absolute, double *label, double *margin) noexcept nogil
        void (*potential)(Py_ssize_t K, Py_ssize_t rows, Py_ssize_t stride, const double *closeness,
                          const double *weights, double *sums) noexcept nogil
    const emdash_nearest_table *emdash_nearest_tables[]

cdef Py_ssize_t TILE_ROWS = 240     # looked at together
cdef Py_ssize_t STRIDE = 248        # doubles between features: an odd number of cache lines


cdef class Points:
    """K points, as distance.h wants them."""
    cdef const emdash_nearest_table *table
    cdef object array           # (K, d) float64, C-ordered, own copy
    cdef Aligned packed
    cdef Aligned zeros, ones    # (K,)
    cdef Py_ssize_t K, d

    def __init__(self, points):
        self.table = emdash_nearest_tables[current_isa()]
        self.array = numpy.array(points, dtype=numpy.float64, order="C")
        cdef Strided view = Strided(self.array, "points", 2, "float64")
        cdef Py_ssize_t k
        if view.n == 0 or view.d == 0:
            raise ValueError(f"points must have shape (K, d) with K, d >= 1, not {self.array.shape}")
        self.K, self.d = view.n, view.d
        self.packed, self.zeros, self.ones = Aligned(self.K * self.d), Aligned(self.K), Aligned(self.K)
        self.table.pack_distance(self.K, self.d, <const double *>view.data, NULL, self.packed.data)
        for k in range(self.K):
            self.zeros.data[k] = 0.0
            self.ones.data[k] = 1.0

    cdef void closeness(self, const double *columns, Py_ssize_t stride, Py_ssize_t rows, double *out) noexcept nogil:
        """IN columns (d, stride).  OUT out (K, stride): minus the squared distances."""
        self.table.distance(False, self.K, self.d, columns, stride, rows, self.packed.data, self.zeros.data,
                            self.ones.data, out, NULL)


cdef struct Settling:
    # one call of `settle`; steps in bytes
    const char *x
    bint is_float           # float32, not float64
    Py_ssize_t step, d_step, n
    Py_ssize_t *labels
    double *margins
    const double *used      # (K,)
    const double *center    # (d,)
    double least, relative, absolute
    double *changes         # (1 + K + K d): tiles with an undecided row, change of N, change of F


def settle(X, points, used, labels, margins, center, changes, *, double least, double relative, double absolute):
    """Find the nearest point again for the rows whose margin is used up.

    IN X (n, d) float64 or float32, finite; points (K, d); used (K,): how much of the margin of its rows each point's
    move and the others' take; center (d,): what the sums are about; least: the margin that must be left.  A row that is
    looked at is undecided if its squared distances to the nearest two points differ by less than absolute + relative *
    the smaller.
    INOUT labels (n,) intp; margins (n,), all contiguous.
    OUT changes (1 + K + K d): tiles with an undecided row; how N (K) and F (K, d), the sums by label, change.
    On one thread, without the GIL: rows do not know of each other, so ranges of them can be settled side by side.
    """
    cdef Points bound = Points(points)
    cdef Py_ssize_t K = bound.K, d = bound.d
    cdef Strided x = Strided(X, "X", 2, "float")
    if x.d != d:
        raise ValueError(f"X has {x.d} features, points {d}")
    cdef Strided u = _vector(used, "used", "float64", K), c = _vector(center, "center", "float64", d)
    cdef Strided label = _vector(labels, "labels", "intp", x.n), m = _vector(margins, "margins", "float64", x.n)
    cdef Strided out = _vector(changes, "changes", "float64", 1 + K + K * d)
    cdef Settling s
    s.x, s.is_float, s.step, s.d_step, s.n = x.data, x.is_float, x.step, x.d_step, x.n
    s.labels, s.margins, s.changes = <Py_ssize_t *>label.data, <double *>m.data, <double *>out.data
    s.used, s.center = <const double *>u.data, <const double *>c.data
    s.least, s.relative, s.absolute = least, relative, absolute
    cdef Aligned scratch = Aligned((d + K + 2) * STRIDE + TILE_ROWS)
    cdef Py_ssize_t *index = <Py_ssize_t *>(scratch.data + (d + K + 2) * STRIDE)
    cdef Py_ssize_t i, found = 0, bad = -1
    for i in range(1 + K + K * d):
        s.changes[i] = 0.0
    cdef Watch watch
    begin_watch(&watch, <double>s.n * K * d)
    with nogil:
        for i in range(s.n):
            if not 0 <= s.labels[i] < K:
                bad = i
                break
            s.margins[i] -= s.used[s.labels[i]]
            if s.margins[i] > s.least:
                continue
            EMDASH_PREFETCH(s.x + i * s.step)
            index[found] = i
            found += 1
            if found == TILE_ROWS:
                if given_up(&watch, 0, <double>found * K * d):
                    break
                _settle_tile(bound, &s, index, found, scratch.data)
                found = 0
        if found > 0 and not watch.stopped:
            _settle_tile(bound, &s, index, found, scratch.data)
    end_watch(&watch)
    if bad >= 0:
        raise ValueError(f"labels[{bad}] is {s.labels[bad]}, but there are {K} points")


cdef Strided _vector(array, str name, str kind, Py_ssize_t n):
    cdef Strided view = Strided(array, name, 1, kind, True)
    cdef Py_ssize_t size = sizeof(Py_ssize_t) if kind == "intp" else sizeof(double)
    if view.n != n or (n > 1 and view.step != size) or <size_t>view.data % size:
        raise ValueError(f"{name} must be contiguous and aligned with {n} elements")
    return view


cdef void _settle_tile(Points points, const Settling *s, const Py_ssize_t *index, Py_ssize_t n,
                       double *scratch) noexcept nogil:
    """The rows s.x[index]: their labels, margins and what these change."""
    cdef Py_ssize_t K = points.K, d = points.d, i, j, old, new
    cdef Py_ssize_t padded = (n + EMDASH_ROW_QUANTUM - 1) // EMDASH_ROW_QUANTUM * EMDASH_ROW_QUANTUM
    cdef double *columns = scratch
    cdef double *closeness = columns + d * STRIDE
    cdef double *label = closeness + K * STRIDE
    cdef double *margin = label + STRIDE
    cdef double *N = s.changes + 1
    cdef double *F = N + K
    cdef const char *row
    cdef double value
    cdef float single
    for i in range(padded):
        row = s.x + index[min(i, n - 1)] * s.step
        if s.is_float:
            for j in range(d):
                memcpy(&single, row + j * s.d_step, sizeof(float))
                columns[j * STRIDE + i] = single
            continue
        for j in range(d):
            memcpy(&columns[j * STRIDE + i], row + j * s.d_step, sizeof(double))
    points.closeness(columns, STRIDE, padded, closeness)
    if points.table.nearest(K, padded, STRIDE, closeness, s.relative, s.absolute, label, margin) < 0.0:
        s.changes[0] += 1.0
    for i in range(n):
        old, new = s.labels[index[i]], <Py_ssize_t>label[i]
        s.margins[index[i]] = margin[i]
        if new == old:
            continue
        s.labels[index[i]] = new
        N[old] -= 1.0
        N[new] += 1.0
        for j in range(d):
            value = columns[j * STRIDE + i] - s.center[j]
            F[old * d + j] -= value
            F[new * d + j] += value


cdef class PotentialKernel(FamilyKernel):
    """(points (K, d)): what is left of the squared distances in `weights` if one of the points is added.

    To the loop in expect.pyx a family of one component.  Statistics after the two of every pass: (K,) sums of
    min(weight, squared distance).
    """
    cdef Points points

    def __init__(self, points):
        self.points = Points(points)
        self.isa = current_isa()
        cdef Py_ssize_t K = self.points.K
        self.n_components, self.n_features = 1, self.points.d
        self.tile_rows = TILE_ROWS
        self.block_rows = 4080
        self.scratch_size = K * tile_stride(self)
        self.sums_size = K
        self.statistics_size = 2 + K
        self.row_cost = K * (2.0 + self.n_features)

    def __reduce__(self):
        return type(self), (self.points.array,)

    cdef void log_density(self, const Tile *tile, double *log_density, double *scratch) noexcept nogil:
        cdef Py_ssize_t i
        self.points.closeness(tile.columns, tile.stride, tile.padded, scratch)
        for i in range(tile.padded):
            log_density[i] = 0.0

    cdef void accumulate(self, const Tile *tile, const double *responsibilities, double *sums,
                         double *scratch) noexcept nogil:
        self.points.table.potential(self.points.K, tile.padded, tile.stride, scratch, tile.weights, sums)

    cdef void fold(self, const double *sums, double *statistics) noexcept nogil:
        cdef Py_ssize_t k
        for k in range(self.points.K):
            statistics[k] += sums[k]
