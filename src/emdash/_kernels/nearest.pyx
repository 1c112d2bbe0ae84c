"""k-means as densities: the hard E-step, with sums by label, and the gain of more points (k-means++).

Never knows how often it is run, a thread or a caller's array.  To the loop in expect.pyx each is a family of one component,
so that no exponential is taken of what is 0 or 1 anyway; the points are inside.  What is called: simd/nearest.h.
Multiply-adds per row: K d for distances; then d additions (nearest) or K comparisons (potential).
Chosen: sums about the points, as everywhere: far from the origin nothing cancels.
"""

import numpy

from emdash._kernels.threads cimport current_isa
from emdash._kernels.tile cimport Aligned, FamilyKernel, Strided, Tile, rounded, tile_stride

cdef extern from "simd/nearest.h":
    struct emdash_nearest_table:
        void (*pack_distance)(Py_ssize_t K, Py_ssize_t d, const double *means, const double *inverse,
                              double *packed) noexcept nogil
        void (*distance)(int scaled, Py_ssize_t K, Py_ssize_t d, const double *x, Py_ssize_t stride, Py_ssize_t rows,
                         const double *packed, const double *offset, const double *scale, double *log_density,
                         double *distance) noexcept nogil
        double (*nearest)(Py_ssize_t K, Py_ssize_t rows, Py_ssize_t stride, const double *closeness, double relative,
                          double absolute, double *label, double *largest) noexcept nogil
        void (*sum_by_label)(Py_ssize_t n, Py_ssize_t row_stride, const double *rows, const double *label,
                             const double *weights, const double *points, double *N, double *F) noexcept nogil
        void (*potential)(Py_ssize_t K, Py_ssize_t rows, Py_ssize_t stride, const double *closeness,
                          const double *weights, double *sums) noexcept nogil
    const emdash_nearest_table *emdash_nearest_tables[]


cdef class PointsKernel(FamilyKernel):
    """What both share: K points and the squared distances to them."""
    cdef const emdash_nearest_table *table
    cdef object points                  # (K, d) float64, C-ordered, own copy
    cdef Aligned packed                 # as distance.h wants them
    cdef Aligned padded                 # (K, rounded(d)), zeros behind d
    cdef Aligned zeros, ones            # (K,)
    cdef Py_ssize_t K

    cdef _bind_points(self, points):
        self.isa = current_isa()
        self.table = emdash_nearest_tables[self.isa]
        self.points = numpy.array(points, dtype=numpy.float64, order="C")
        cdef Strided view = Strided(self.points, "points", 2, "float64")
        if view.n == 0 or view.d == 0:
            raise ValueError(f"points must have shape (K, d) with K, d >= 1, not {self.points.shape}")
        cdef const double *data = <const double *>view.data
        cdef Py_ssize_t K = view.n, d = view.d, full = rounded(d), k, j
        self.K, self.n_components, self.n_features = K, 1, d
        self.packed, self.padded, self.zeros, self.ones = Aligned(K * d), Aligned(K * full), Aligned(K), Aligned(K)
        self.table.pack_distance(K, d, data, NULL, self.packed.data)
        for k in range(K):
            self.zeros.data[k] = 0.0
            self.ones.data[k] = 1.0
            for j in range(full):
                self.padded.data[k * full + j] = data[k * d + j] if j < d else 0.0
        self.tile_rows = 240 if d + K <= 128 else 120
        self.block_rows = 4080
        self.scratch_size = (K + 1) * tile_stride(self)
        self.row_cost = K * (4.0 + d)

    cdef void _closeness(self, const Tile *tile, double *closeness) noexcept nogil:
        """OUT closeness (K, stride): minus the squared distances."""
        self.table.distance(False, self.K, self.n_features, tile.columns, tile.stride, tile.padded, self.packed.data,
                            self.zeros.data, self.ones.data, closeness, NULL)


cdef class NearestKernel(PointsKernel):
    """(points (K, d), relative, absolute): each row belongs to its nearest point.

    A row is undecided if the squared distances to the nearest two points differ by less than `absolute` plus `relative`
    times the smaller.  Statistics after the two of every pass: N (K,) rows, F (K, d) their sums about the point, and how
    many tiles hold an undecided row.
    """
    cdef double relative, absolute

    def __init__(self, points, double relative, double absolute):
        self._bind_points(points)
        self.relative, self.absolute = relative, absolute
        self.needs_rows = True
        self.sums_size = rounded(self.K + 1) + self.K * rounded(self.n_features)
        self.statistics_size = 2 + self.K * (1 + self.n_features) + 1

    def __reduce__(self):
        return type(self), (self.points, self.relative, self.absolute)

    cdef void log_density(self, const Tile *tile, double *log_density, double *scratch) noexcept nogil:
        cdef double *label = scratch + self.K * tile.stride
        self._closeness(tile, scratch)
        scratch[0] = self.table.nearest(self.K, tile.padded, tile.stride, scratch, self.relative, self.absolute, label,
                                        log_density)

    cdef void accumulate(self, const Tile *tile, const double *responsibilities, double *sums,
                         double *scratch) noexcept nogil:
        sums[self.K] += scratch[0] < 0.0
        self.table.sum_by_label(tile.n, tile.row_stride, tile.rows, scratch + self.K * tile.stride, responsibilities,
                                self.padded.data, sums, sums + rounded(self.K + 1))

    cdef void fold(self, const double *sums, double *statistics) noexcept nogil:
        cdef Py_ssize_t K = self.K, d = self.n_features, full = rounded(d), k, j
        cdef const double *F = sums + rounded(K + 1)
        for k in range(K):
            statistics[k] += sums[k]
            for j in range(d):
                statistics[K + k * d + j] += F[k * full + j]
        statistics[K + K * d] += sums[K]


cdef class PotentialKernel(PointsKernel):
    """(points (K, d)): what is left of the squared distances in `weights` if one of the points is added.

    Statistics after the two of every pass: (K,) sums of min(weight, squared distance).
    """

    def __init__(self, points):
        self._bind_points(points)
        self.sums_size = self.K
        self.statistics_size = 2 + self.K

    def __reduce__(self):
        return type(self), (self.points,)

    cdef void log_density(self, const Tile *tile, double *log_density, double *scratch) noexcept nogil:
        cdef Py_ssize_t i
        self._closeness(tile, scratch)
        for i in range(tile.padded):
            log_density[i] = 0.0

    cdef void accumulate(self, const Tile *tile, const double *responsibilities, double *sums,
                         double *scratch) noexcept nogil:
        self.table.potential(self.K, tile.padded, tile.stride, scratch, tile.weights, sums)

    cdef void fold(self, const double *sums, double *statistics) noexcept nogil:
        cdef Py_ssize_t k
        for k in range(self.K):
            statistics[k] += sums[k]
