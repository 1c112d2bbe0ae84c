"""Gaussian densities for rows with missing cells (NaN): the E- and M-step of a tile, and what fills the cells.

Never knows a mixture, a thread or a caller's array.  Correct for rows in any order; fast where those with the same
pattern of missing cells follow each other (patterns.pyx).
Per tile: runs of rows with one pattern; for every component a copy of the tile, less the component's mean, with its own
conditional means filled in (diagonal and spherical, here: the means; full and tied: regressions.pyx); then the
complete-data bodies, one component at a time.  What is left uncertain, V, enters the second moments with the run's N.
Multiply-adds beyond those of a complete row: K q m per row (q observed, m missing); per pattern at most K d^3 / 6
(tied: 1 instead of K; diagonal and spherical: nothing).
Bytes per row, in the cache, beyond those: for every component 8 d read and 8 d written for the copy (d > 16: twice),
8 m written to fill it (full and tied: 8 m q read besides).
Memory: K copies of a tile (short tiles: about 256 kB); full and tied, the V of a tile up to 1 MB (those of further
patterns are computed twice).  Nothing grows with the number of rows or patterns.
Measured, full, d = K = 10, us per row on one core: complete 0.057; incomplete, a tenth of the cells missing 0.14, three
tenths (a thousand patterns) 0.13; sorting and copying such rows 0.05.  Where there are about as many patterns as rows,
d^3 counts: (32, 32) with 3 features of 32 missing, 16 us, against 2.7 with one pattern and 1.2 complete.
Not done: ruling out components (simd/screen.h); several missing features of a pattern solved for at once.
"""

import numpy

from libc.math cimport isnan, sqrt

from emdash._kernels.gaussian cimport gaussian_table
from emdash._kernels.missing_bodies cimport emdash_missing_tables
from emdash._kernels.rare cimport cuts_of
from emdash._kernels.rows cimport sum_of
from emdash._kernels.threads cimport current_isa
from emdash._kernels.tile cimport Aligned, FamilyKernel, Strided, Tile, own_copies, rounded, tile_stride

cdef double LOG2_E = 1.4426950408889634
cdef double LOG2_2PI = 2.651496129472319
cdef double BITS_ROOT = 0.8493218002880191  # sqrt(log2(e) / 2), see gaussian.pyx
cdef Py_ssize_t COPIES = 1 << 15            # doubles for the copies of a tile


cdef Py_ssize_t pattern_of(const Tile *tile, Py_ssize_t d, Py_ssize_t row, int *features) noexcept nogil:
    """OUT features (d): the observed ones of a row, then the missing ones.  Returns how many are observed."""
    cdef Py_ssize_t j, q = 0, m = 0
    for j in range(d):
        if not isnan(tile.columns[j * tile.stride + row]):
            features[q] = <int>j
            q += 1
    for j in range(d):
        if isnan(tile.columns[j * tile.stride + row]):
            features[q + m] = <int>j
            m += 1
    return q


cdef Aligned copy_of(array, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t full):
    """A float64 array of rows x columns elements, zeros behind the columns of each row."""
    cdef Strided view = Strided(numpy.ascontiguousarray(array, dtype=numpy.float64).reshape(-1), "array", 1, "float64")
    cdef Aligned copy = Aligned(rows * full)
    cdef const double *x = <const double *>view.data
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(full):
            copy.data[i * full + j] = x[i * columns + j] if j < columns else 0.0
    return copy


cdef class MissingKernel(FamilyKernel):
    """log_weights (K,), means (K, d), covariances, precisions_cholesky: the bound parameters, in the shapes of the
    covariance type; about (K, d): what the sums are taken about; center (d,): what a tied scatter is summed about."""

    cdef _bind(self, arrays, str shapes):
        """IN shapes: one word of K and d per array, e.g. "K Kd Kdd Kdd Kd d"."""
        self.isa = current_isa()
        self.table = gaussian_table(self.isa)
        self.own = emdash_missing_tables[self.isa]
        copies = self.arrays = own_copies(arrays, shapes)
        self.n_components, self.n_features = copies[1].shape
        cdef Py_ssize_t K = self.n_components, d = self.n_features, stride
        self.takes_missing = True
        self.full = rounded(d)
        self.weights = copy_of(copies[0] * LOG2_E, K, 1, 1)
        self.cuts = cuts_of(copies[0] * LOG2_E)
        self.means = copy_of(copies[1], K, d, self.full)
        self.about = copy_of(copies[4] - copies[1], K, d, self.full)
        self.origin = copy_of(numpy.zeros(d), 1, d, self.full)
        self.zero, self.one = copy_of(0.0, 1, 1, 1), copy_of(1.0, 1, 1, 1)
        self.tile_rows = min(480, max(24, COPIES // (K * d) // 24 * 24))
        self.block_rows = 4080 if d <= 16 else 1200
        self.row_cost = K * (20.0 + d * (d + 3))
        stride = tile_stride(self)
        self.at_runs = K * d * stride
        self.at_offsets = self.at_runs + rounded(self.tile_rows + d + 1)
        self.at_spare = self.at_offsets + K * stride
        self.at_rows = self.at_spare + K * stride
        self.at_rest = self.at_rows + (self.tile_rows * self.full if d > 16 else 0)

    def __reduce__(self):
        return type(self), self.arrays

    cdef Runs _start(self, const Tile *tile, double *scratch) noexcept nogil:
        cdef Runs runs
        runs.start = <int *>(scratch + self.at_runs)
        runs.features = runs.start + self.tile_rows + 2
        runs.before = runs.features + self.n_features
        runs.count = self.own.runs(self.n_features, tile.columns, tile.stride, tile.padded, runs.start)
        return runs

    cdef void log_density(self, const Tile *tile, double *log_density, double *scratch) noexcept nogil:
        cdef Py_ssize_t K = self.n_components, d = self.n_features, stride = tile.stride, k, i
        cdef double *offsets = scratch + self.at_offsets
        for k in range(K):
            self.own.deviations(d, tile.columns, stride, tile.padded, self.means.data + k * self.full,
                                scratch + k * d * stride)
        self._complete(tile, offsets, scratch)
        for k in range(K):
            self._distances(tile, k, log_density + k * stride, scratch)
            for i in range(tile.padded):
                log_density[k * stride + i] += offsets[k * stride + i]

    cdef void _complete(self, const Tile *tile, double *offsets, double *scratch) noexcept nogil:
        """Fill the missing cells of every component's copy of the tile, which holds deviations from its mean.
        OUT offsets (K, stride): log-density at the mean, weight included."""
        pass

    cdef void _distances(self, const Tile *tile, Py_ssize_t k, double *log_density, double *scratch) noexcept nogil:
        """OUT log_density (padded): minus the squared distance of the filled rows from the mean, in bits."""
        pass

    cdef const double *_rows(self, const Tile *tile, const double *filled, double *scratch) noexcept nogil:
        """A filled tile as the sums of many features want it, or NULL."""
        cdef Py_ssize_t i, j
        cdef double *rows_x = scratch + self.at_rows
        if self.n_features <= 16:
            return NULL
        self.own.to_rows(self.n_features, filled, tile.stride, tile.padded, rows_x, self.full)
        for i in range(tile.padded):
            for j in range(self.n_features, self.full):
                rows_x[i * self.full + j] = 0.0
        return rows_x

    cdef void fill(self, const Tile *tile, const double *responsibilities, const double *noise, double *filled,
                   double *scratch) noexcept nogil:
        cdef Py_ssize_t d = self.n_features, stride = tile.stride, i, j, k
        cdef double value
        if noise != NULL:
            self._draw(tile, responsibilities, noise, filled, scratch)
        for j in range(d):
            for i in range(tile.n):
                value = tile.columns[j * stride + i]
                if isnan(value):
                    if noise != NULL:
                        continue
                    value = 0.0
                    for k in range(self.n_components):
                        value += responsibilities[k * stride + i] * (
                            self.means.data[k * self.full + j] + scratch[(k * d + j) * stride + i])
                filled[j * stride + i] = value

    cdef void _draw(self, const Tile *tile, const double *responsibilities, const double *noise, double *filled,
                    double *scratch) noexcept nogil:
        """OUT filled, missing cells only: draw a component with noise[0], then the cells with the other numbers."""
        pass

    cdef Py_ssize_t _component(self, const double *responsibilities, Py_ssize_t stride, double u) noexcept nogil:
        """The component whose share of [0, 1) holds u."""
        cdef Py_ssize_t k, last = 0
        cdef double total = 0.0
        for k in range(self.n_components):
            if responsibilities[k * stride] > 0:
                total += responsibilities[k * stride]
                last = k
                if u < total:
                    break
        return last


cdef class VarianceKernel(MissingKernel):
    """Diagonal and spherical: features do not know of each other, so a missing cell is the mean and V the variance."""
    cdef bint spherical
    cdef Aligned variances          # (K, full)
    cdef Aligned log_scales         # (K, full) log2 of 1 / standard deviation
    cdef Aligned packed             # (K, 2 d) as distance.h wants them
    cdef Py_ssize_t moments_size

    def __init__(self, log_weights, means, covariances, precisions_cholesky, about, center):
        self._bind((log_weights, means, covariances, precisions_cholesky, about, center),
                   "K Kd K K Kd d" if self.spherical else "K Kd Kd Kd Kd d")
        cdef Py_ssize_t K = self.n_components, d = self.n_features, k
        shape = K, -1
        roots = numpy.broadcast_to(self.arrays[3].reshape(shape), (K, d))
        self.variances = copy_of(numpy.broadcast_to(self.arrays[2].reshape(shape), (K, d)), K, d, self.full)
        self.log_scales = copy_of(numpy.log2(roots), K, d, self.full)
        cdef Aligned inverse = copy_of((roots * BITS_ROOT) ** 2, K, d, d)
        self.packed = Aligned(2 * K * d)
        for k in range(K):
            self.table.pack_distance(1, d, self.origin.data, inverse.data + k * d, self.packed.data + 2 * k * d)
        # first moments and, diagonal, second ones; N of the missing cells (spherical: one number, then S with lanes)
        self.moments_size = self.table.moments_size(not self.spherical, 1, d)
        self.sums_size = K * (self.moments_size + (16 if self.spherical else self.full))
        self.statistics_size = 2 + K * (1 + d) + (K if self.spherical else K * d)
        self.scratch_size = self.at_rest

    cdef void _complete(self, const Tile *tile, double *offsets, double *scratch) noexcept nogil:
        cdef Py_ssize_t K = self.n_components, d = self.n_features, stride = tile.stride, r, k, q, i, j
        cdef Runs runs = self._start(tile, scratch)
        cdef double offset
        for r in range(runs.count):
            q = pattern_of(tile, d, runs.start[r], runs.features)
            for k in range(K):
                offset = self.weights.data[k] - 0.5 * q * LOG2_2PI
                for j in range(q):
                    offset += self.log_scales.data[k * self.full + runs.features[j]]
                for i in range(runs.start[r], runs.start[r + 1]):
                    offsets[k * stride + i] = offset
                for j in range(q, d):
                    for i in range(runs.start[r], runs.start[r + 1]):
                        scratch[(k * d + runs.features[j]) * stride + i] = 0.0

    cdef void _distances(self, const Tile *tile, Py_ssize_t k, double *log_density, double *scratch) noexcept nogil:
        cdef Py_ssize_t d = self.n_features
        self.table.distance(True, 1, d, scratch + k * d * tile.stride, tile.stride, tile.padded,
                            self.packed.data + 2 * k * d, self.zero.data, self.one.data, log_density, NULL)

    cdef void accumulate(self, const Tile *tile, const double *responsibilities, double *sums,
                         double *scratch) noexcept nogil:
        cdef Py_ssize_t K = self.n_components, d = self.n_features, stride = tile.stride, r, k, q, j
        cdef double *rest = sums + K * self.moments_size
        cdef double N
        cdef Runs runs
        if not tile.fresh:
            self.log_density(tile, scratch + self.at_spare, scratch)
        runs = self._start(tile, scratch)
        for r in range(runs.count):
            q = pattern_of(tile, d, runs.start[r], runs.features)
            for k in range(K):
                N = sum_of(responsibilities + k * stride + runs.start[r], runs.start[r + 1] - runs.start[r])
                if self.spherical:
                    rest[16 * k] += N * (d - q)
                    continue
                for j in range(q, d):
                    rest[k * self.full + runs.features[j]] += N
        for k in range(K):
            self._add(tile, k, responsibilities + k * stride, sums + k * self.moments_size, rest + 16 * k + 8, scratch)

    cdef void _add(self, const Tile *tile, Py_ssize_t k, const double *responsibilities, double *moments, double *S,
                   double *scratch) noexcept nogil:
        """The sums of one component's filled copy.  OUT S: spherical only."""
        cdef Py_ssize_t d = self.n_features
        cdef const double *filled = scratch + k * d * tile.stride
        cdef const double *about = self.about.data + k * self.full
        cdef double *spare = scratch + self.at_spare
        self.table.moments(not self.spherical, 1, d, filled, tile.stride, self._rows(tile, filled, scratch), self.full,
                           tile.n, tile.padded, responsibilities, tile.weights, self.cuts.data + k, about,
                           moments)
        if self.spherical:
            self.table.distance(False, 1, d, filled, tile.stride, tile.padded, about, self.zero.data, self.one.data,
                                spare, scratch + self.at_offsets)
            self.table.weighted_sum(1, tile.padded, tile.stride, responsibilities, scratch + self.at_offsets, S)

    cdef void fold(self, const double *sums, double *statistics) noexcept nogil:
        cdef Py_ssize_t K = self.n_components, d = self.n_features, k, j
        cdef const double *rest = sums + K * self.moments_size
        cdef double *F = statistics + K
        cdef double *S = F + K * d
        for k in range(K):
            self.table.moments_fold(not self.spherical, 1, d, sums + k * self.moments_size, statistics + k, F + k * d,
                                    NULL if self.spherical else S + k * d)
            if self.spherical:
                self.table.weighted_sum_fold(1, rest + 16 * k + 8, S + k)
                S[k] += rest[16 * k] * self.variances.data[k * self.full]
                continue
            for j in range(d):
                S[k * d + j] += rest[k * self.full + j] * self.variances.data[k * self.full + j]

    cdef void _draw(self, const Tile *tile, const double *responsibilities, const double *noise, double *filled,
                    double *scratch) noexcept nogil:
        cdef Py_ssize_t d = self.n_features, i, j, k
        for i in range(tile.n):
            k = self._component(responsibilities + i, tile.stride, noise[i * (d + 1)])
            for j in range(d):
                if isnan(tile.columns[j * tile.stride + i]):
                    filled[j * tile.stride + i] = (self.means.data[k * self.full + j] + noise[i * (d + 1) + 1 + j]
                                                   * sqrt(self.variances.data[k * self.full + j]))


cdef class DiagonalMissingKernel(VarianceKernel):
    """covariances, precisions_cholesky (K, d)"""

    def __cinit__(self, *arguments):
        self.spherical = False


cdef class SphericalMissingKernel(VarianceKernel):
    """covariances, precisions_cholesky (K,)"""

    def __cinit__(self, *arguments):
        self.spherical = True
