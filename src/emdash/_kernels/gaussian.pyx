"""Gaussian densities with full, tied, diagonal and spherical covariance: the E- and M-step of a tile.

Never knows a mixture (weights arrive inside the offsets), a thread or a caller's array.
E-step: `log_density`; sums of the M-step: `accumulate`; what they call is written in simd/gaussian.h.
Multiply-adds per row, P = d(d+1)/2: full 2 K (P + d); tied 2 P + 2 K d; diagonal 4 K d; spherical 2 K d + K.
Bytes per row: 8 d from memory (simd/load.h); from the cache 8 d of the tile at least twice (full: for each component
that is not ruled out) and 8 K, written as densities and read as responsibilities.
All quadratic forms and offsets are in bits (base 2), so that the softmax needs no multiplication.

Chosen: sums about the means the pass was given: nothing cancels far from the origin.  Tied whitens a row once, then
takes spherical distances (40x scikit-learn, which multiplies by the factor K times).  Spherical reuses the distances
of its own E-step for S (`fresh`).  Full with d >= 12 bounds all components in a few directions first and evaluates only
those that can matter (simd/screen.h), unless the first rows of a block show that it does not pay there.
"""

import numpy

from libc.math cimport INFINITY

from emdash._kernels.bodies cimport EMDASH_DIRECTIONS, emdash_gaussian_tables
from emdash._kernels.rare cimport cuts_of, slacks_of, weight_bits
from emdash._kernels.screen cimport Screen
from emdash._kernels.threads cimport current_isa
from emdash._kernels.tile cimport Aligned, FamilyKernel, Strided, Tile, own_copies, rounded, tile_stride

cdef double LOG2_E = 1.4426950408889634
cdef Py_ssize_t FEWEST_SCREENED = 12    # features: at d = K = 10 well separated clusters gain 10 %, others lose 5 %
cdef Py_ssize_t PROBE = 96              # rows that tell whether it pays
cdef double GATHER_COST = 6.0, BOUND_COST = 12.0  # multiply-adds: fetch a number of a chosen row; compare a bound
cdef double BITS_ROOT = 0.8493218002880191  # sqrt(log2(e) / 2): |y BITS_ROOT|^2 is |y|^2 / 2 in bits


cdef const emdash_gaussian_table *gaussian_table(int isa) noexcept nogil:
    return emdash_gaussian_tables[isa]   # the bodies compiled here, for kernels in other modules


cdef class GaussianKernel(FamilyKernel):
    """What the four covariances share: parameters copied, means padded, offsets in bits."""
    cdef const emdash_gaussian_table *table
    cdef tuple arrays           # the constructor's arguments, float64, C-ordered, own copies
    cdef Aligned means          # (K, rounded(d)), zeros behind d
    cdef Aligned offsets, ones  # (K,) bits; scale of the distances in them
    cdef Py_ssize_t full        # rounded(d)
    cdef Aligned cuts, slacks   # (K,) see rare.pyx

    cdef _bind(self, arrays, str shapes):
        """IN arrays: log_offsets, means, ...; shapes: one word of K and d per array, e.g. "K Kd Kdd"."""
        self.isa = current_isa()
        self.table = emdash_gaussian_tables[self.isa]
        copies = self.arrays = own_copies(arrays, shapes)
        cdef Py_ssize_t K = copies[1].shape[0], d = copies[1].shape[1], k, j
        self.n_components, self.n_features = K, d
        cdef const double *means = _data(copies[1])
        cdef const double *offsets = _data(copies[0])
        self.full = rounded(d)
        self.means, self.offsets, self.ones = Aligned(K * self.full), Aligned(K), Aligned(K)
        self.cuts = self.slacks = Aligned(K)    # neither is read below FEWEST_SCREENED features
        for k in range(K):
            self.offsets.data[k] = offsets[k] * LOG2_E
            self.ones.data[k] = 1.0
            for j in range(self.full):
                self.means.data[k * self.full + j] = means[k * d + j] if j < d else 0.0
        # Long tiles load register blocks less often, but tile and responsibilities should stay in L2, short rows in L1.
        self.tile_rows = 240 if d > 16 else 480 if d + K <= 48 else 240 if d + K <= 128 else 120
        self.block_rows = 4080
        self.needs_rows = d > 16

    cdef _weigh(self, scales):
        """IN scales (K or 1, d): the diagonals of the factors."""
        if self.n_features >= FEWEST_SCREENED:
            bits = weight_bits(self.arrays[0], scales)
            self.cuts, self.slacks = cuts_of(bits), slacks_of(bits)

    cdef void _moments(self, bint squares, const Tile *tile, const double *responsibilities,
                       double *sums) noexcept nogil:
        self.table.moments(squares, self.n_components, self.n_features, tile.columns, tile.stride, tile.rows,
                           tile.row_stride, tile.n, tile.padded, responsibilities, tile.weights, self.cuts.data,
                           self.means.data, sums)

    def __reduce__(self):
        return type(self), self.arrays


cdef const double *_data(array) except NULL:
    """First element of a C-ordered float64 array; the caller keeps the array alive."""
    cdef Strided view = Strided(array, "array", array.ndim, "float64") if array.ndim <= 2 else Strided(
        array.reshape(-1), "array", 1, "float64")
    return <const double *>view.data


cdef class FullKernel(GaussianKernel):
    """(log_offsets (K,), means (K, d), precisions_cholesky (K, d, d) upper triangular)"""
    cdef Aligned factors        # (K, factor_size)
    cdef Py_ssize_t factor_size, scatter_size
    cdef Py_ssize_t m           # directions that tell components apart (simd/directions.h), 0: nothing is ruled out
    cdef Aligned center         # (d,) where the directions meet
    cdef Aligned directions     # (d, EMDASH_DIRECTIONS)
    cdef Aligned marginal_means, marginal_factors   # (K, m), (K, marginal_size)
    cdef Py_ssize_t marginal_size, padded_m
    cdef Aligned bands          # (K, bands_size): d <= 16, the factors as few rows at a time want them
    cdef Py_ssize_t panels_size  # 0: one form of sums
    cdef const double *few      # factors for few rows, few_size doubles each
    cdef Py_ssize_t few_size

    def __init__(self, log_offsets, means, precisions_cholesky):
        self._bind((log_offsets, means, precisions_cholesky), "K Kd Kdd")
        self._weigh(self.arrays[2].diagonal(axis1=1, axis2=2))
        cdef Py_ssize_t K = self.n_components, d = self.n_features, k
        cdef const double *upper = _data(self.arrays[2])
        self.factor_size = self.table.factor_size(d)
        self.factors = Aligned(K * self.factor_size)
        for k in range(K):
            self.table.pack_factor(d, upper + k * d * d, BITS_ROOT, self.factors.data + k * self.factor_size)
        self.scatter_size = self.table.scatter_size(d)
        self.sums_size = K * self.scatter_size
        self.scratch_size = max(self.table.whiten_scratch(d), self.table.scatter_scratch(d))
        self.statistics_size = 2 + K * (1 + d + d * (d + 1) // 2)
        self.row_cost = K * (20.0 + d * (d + 3))
        if d > 16:  # statistics without lanes: cheap to fold, so blocks may be short
            self.tile_rows = 480 if d <= 128 else 240
            self.block_rows = 1200
        self.m = 0
        self.panels_size = 0
        self.few, self.few_size = self.factors.data, self.factor_size
        if d >= FEWEST_SCREENED and K > 1:
            self._bind_screen()
        if self.m > 0 and d <= 16:
            self._bind_few()

    cdef _bind_few(self):
        """d <= 16: a second form of factors and sums, for tiles on which most components are ruled out."""
        cdef Py_ssize_t K = self.n_components, d = self.n_features, k
        cdef const double *upper = _data(self.arrays[2])
        self.few_size = self.table.bands_size(d)
        self.bands = Aligned(K * self.few_size)
        self.few = self.bands.data
        for k in range(K):
            self.table.pack_bands(d, upper + k * d * d, BITS_ROOT, self.bands.data + k * self.few_size)
        self.panels_size = self.table.panels_size(d)
        self.sums_size += K * self.panels_size
        self.scratch_size = max(self.scratch_size, self.table.panels_scratch(d))
        self.needs_rows = True

    cdef _bind_screen(self):
        """Directions and marginals, and the scratch that `_screened` takes."""
        cdef Py_ssize_t K = self.n_components, d = self.n_features, k, most = self.table.most_directions(d)
        cdef Aligned roots = Aligned(K * most * most)
        cdef Aligned scratch = Aligned(self.table.directions_scratch(K, d))
        cdef const double *means = _data(self.arrays[1])
        cdef const double *upper = _data(self.arrays[2])
        self.center = Aligned(d)
        self.directions = Aligned(d * EMDASH_DIRECTIONS)
        self.m = self.table.directions(K, d, means, upper, self.center.data, self.directions.data, scratch.data)
        if self.m == 0:
            return
        self.marginal_size = self.table.factor_size(self.m)
        self.marginal_means = Aligned(K * self.m)
        self.marginal_factors = Aligned(K * self.marginal_size)
        self.table.marginals(K, d, self.m, self.directions.data, self.center.data, means, upper,
                             self.marginal_means.data, roots.data, scratch.data)
        for k in range(K):  # a little less than the marginal: the bound must survive rounding
            self.table.pack_factor(self.m, roots.data + k * self.m * self.m, BITS_ROOT * (1 - 1e-6),
                                   self.marginal_factors.data + k * self.marginal_size)
        self.padded_m = (self.m + 3) // 4 * 4
        self.scratch_size = max(self.scratch_size, self.table.whiten_scratch(d) + rounded(K + 1)
                                + (self.padded_m + 4) * tile_stride(self))

    cdef void log_density(self, const Tile *tile, double *log_density, double *scratch) noexcept nogil:
        cdef Py_ssize_t k
        if self.rules_out(tile, log_density, scratch):
            self._screened(tile, log_density, scratch)
            return
        for k in range(self.n_components):
            self._dense(tile, k, log_density + k * tile.stride, scratch)

    cdef bint rules_out(self, const Tile *tile, double *log_density, double *scratch) noexcept nogil:
        if self.m == 0 or tile.pruning == NULL or not tile.pruning.cut < INFINITY:
            return False
        if not tile.pruning.tried:
            self._probe(tile, log_density, scratch)
        return tile.pruning.cut < INFINITY

    cdef void _probe(self, const Tile *tile, double *log_density, double *scratch) noexcept nogil:
        """Once in a block: do its first rows leave enough components out?  OUT tile.pruning."""
        cdef Tile some = tile[0]
        cdef double P = self.n_features * (self.n_features + 3) / 2, pairs, cost
        cdef Screen s
        cdef Py_ssize_t k
        tile.pruning.tried = True
        some.n = min(tile.n, PROBE)
        some.padded = min(tile.padded, PROBE)
        self._bound(&some, log_density, scratch, &s)
        cost = self.m * self.n_features + self.n_components * (self.m * (self.m + 3) / 2 + BOUND_COST)
        cost *= some.n
        for k in range(self.n_components):
            pairs = self.table.candidates(some.n, log_density + k * tile.stride, s.floor, s.index)
            cost += min(pairs * (P + GATHER_COST * self.n_features), some.n * P)
        if cost > some.n * self.n_components * P:
            tile.pruning.cut = INFINITY

    cdef void _bound(self, const Tile *tile, double *bound, double *scratch, Screen *s) noexcept nogil:
        """OUT bound (K, stride): no log-density is above, by `slacks`; s: each row's guess, and what it rules out."""
        cdef Py_ssize_t K = self.n_components, stride = tile.stride, k, i
        cdef double *z = scratch + self.table.whiten_scratch(self.n_features)
        cdef double *label = z + self.padded_m * stride
        s.guessed = label + stride
        s.floor = s.guessed + stride
        s.order = <int *>(s.floor + stride)
        s.index = <int *>(s.floor + stride) + stride
        s.start = <int *>(s.floor + 2 * stride)
        self.table.project(self.n_features, self.m, tile.columns, stride, tile.padded, self.center.data,
                           self.directions.data, z)
        for k in range(K):
            self.table.quadratic_form(
                self.m, z, stride, tile.padded, self.marginal_means.data + k * self.m,
                self.marginal_factors.data + k * self.marginal_size, self.offsets.data[k] + self.slacks.data[k],
                bound + k * stride, NULL)
        self.table.guess(K, tile.n, bound, stride, label, s.order, s.start)
        for k in range(K):
            if s.start[k + 1] > s.start[k]:
                self._evaluate(tile, k, s.order + s.start[k], s.start[k + 1] - s.start[k], s.guessed, scratch)
        for i in range(tile.n):
            s.floor[i] = s.guessed[i] - tile.pruning.cut

    cdef void _screened(self, const Tile *tile, double *log_density, double *scratch) noexcept nogil:
        """log_density, but -inf where a bound rules the component out.  The steps: simd/screen.h."""
        cdef Py_ssize_t d = self.n_features, n = tile.n, k, i, found
        cdef double P = d * (d + 3) / 2
        cdef double *row
        cdef Screen s
        self._bound(tile, log_density, scratch, &s)
        for k in range(self.n_components):
            row = log_density + k * tile.stride
            for i in range(s.start[k], s.start[k + 1]):
                row[s.order[i]] = -INFINITY
            found = self.table.candidates(n, row, s.floor, s.index)
            if found * (P + GATHER_COST * d) > n * P:
                self._dense(tile, k, row, scratch)
                continue
            for i in range(n):
                row[i] = -INFINITY
            self._evaluate(tile, k, s.index, found, row, scratch)
            for i in range(s.start[k], s.start[k + 1]):
                row[s.order[i]] = s.guessed[s.order[i]]
            for i in range(n, tile.padded):
                row[i] = row[n - 1]
            tile.pruning.left_out += n - found - (s.start[k + 1] - s.start[k])

    cdef void _dense(self, const Tile *tile, Py_ssize_t k, double *log_density, double *scratch) noexcept nogil:
        """Component k for all rows."""
        self.table.quadratic_form(
            self.n_features, tile.columns, tile.stride, tile.padded, self.means.data + k * self.full,
            self.factors.data + k * self.factor_size, self.offsets.data[k], log_density, scratch)

    cdef void _evaluate(self, const Tile *tile, Py_ssize_t k, const int *index, Py_ssize_t count, double *log_density,
                        double *scratch) noexcept nogil:
        """Component k for chosen rows.  OUT log_density[index]."""
        self.table.quadratic_form_of(
            self.n_features, count, tile.rows, tile.row_stride, index, self.means.data + k * self.full,
            self.few + k * self.few_size, self.offsets.data[k], log_density, scratch)

    cdef void accumulate(self, const Tile *tile, const double *responsibilities, double *sums,
                         double *scratch) noexcept nogil:
        cdef Py_ssize_t k
        if self.panels_size > 0 and tile.pruning != NULL and tile.pruning.cut < INFINITY:
            for k in range(self.n_components):
                self.table.scatter_panels(
                    self.n_features, tile.rows, tile.row_stride, tile.padded, responsibilities + k * tile.stride,
                    tile.weights, self.cuts.data[k], self.means.data + k * self.full,
                    sums + self.n_components * self.scatter_size + k * self.panels_size, scratch)
            return
        for k in range(self.n_components):
            self.table.scatter(
                self.n_features, tile.columns, tile.stride, tile.rows, tile.row_stride, tile.padded,
                responsibilities + k * tile.stride, tile.weights, self.cuts.data[k], self.means.data + k * self.full,
                sums + k * self.scatter_size, scratch)

    cdef void fold(self, const double *sums, double *statistics) noexcept nogil:
        cdef Py_ssize_t K = self.n_components, d = self.n_features, k
        cdef double *F = statistics + K
        cdef double *S = F + K * d
        for k in range(K):
            self.table.scatter_fold(
                d, sums + k * self.scatter_size, statistics + k, F + k * d, S + k * (d * (d + 1) // 2))
            if self.panels_size > 0:
                self.table.fold_panels(
                    d, sums + K * self.scatter_size + k * self.panels_size, statistics + k, F + k * d,
                    S + k * (d * (d + 1) // 2))


cdef class TiedKernel(GaussianKernel):
    """(log_offsets (K,), means (K, d), precisions_cholesky (d, d) upper triangular, center (d,))"""
    cdef Aligned factor         # (factor_size,)
    cdef Aligned center         # (rounded(d),)
    cdef Aligned packed         # whitened means, as distance.h wants them
    cdef Py_ssize_t moments_size

    def __init__(self, log_offsets, means, precisions_cholesky, center):
        self._bind((log_offsets, means, precisions_cholesky, center), "K Kd dd d")
        self._weigh(self.arrays[2].diagonal()[None])
        cdef Py_ssize_t K = self.n_components, d = self.n_features, i
        log_offsets, means, upper, center = self.arrays
        whitened = numpy.ascontiguousarray(((means - center)[:, :, None] * upper).sum(axis=1) * BITS_ROOT)
        self.factor = Aligned(self.table.factor_size(d))
        self.table.pack_factor(d, _data(upper), BITS_ROOT, self.factor.data)
        self.packed = Aligned(K * d)
        self.table.pack_distance(K, d, _data(whitened), NULL, self.packed.data)
        self.center = Aligned(self.full)
        for i in range(self.full):
            self.center.data[i] = _data(center)[i] if i < d else 0.0
        self.moments_size = self.table.moments_size(False, K, d)
        self.sums_size = self.moments_size + self.table.scatter_size(d)
        self.scratch_size = d * tile_stride(self) + max(self.table.whiten_scratch(d), self.table.scatter_scratch(d))
        self.statistics_size = 2 + K * (1 + d) + d * (d + 1) // 2
        self.row_cost = d * (d + 1) + K * (20.0 + 2 * d)

    cdef void log_density(self, const Tile *tile, double *log_density, double *scratch) noexcept nogil:
        self.table.whiten(self.n_features, tile.columns, tile.stride, tile.padded, self.center.data, self.factor.data,
                          scratch, scratch + self.n_features * tile.stride)
        self.table.distance(False, self.n_components, self.n_features, scratch, tile.stride, tile.padded,
                            self.packed.data, self.offsets.data, self.ones.data, log_density, NULL)

    cdef void accumulate(self, const Tile *tile, const double *responsibilities, double *sums,
                         double *scratch) noexcept nogil:
        self._moments(False, tile, responsibilities, sums)
        self.table.scatter(self.n_features, tile.columns, tile.stride, tile.rows, tile.row_stride, tile.padded,
                           tile.weights, tile.weights, 0.0, self.center.data, sums + self.moments_size,
                           scratch + self.n_features * tile.stride)

    cdef void fold(self, const double *sums, double *statistics) noexcept nogil:
        cdef Py_ssize_t K = self.n_components, d = self.n_features
        self.table.moments_fold(False, K, d, sums, statistics, statistics + K, NULL)
        self.table.scatter_fold(d, sums + self.moments_size, NULL, NULL, statistics + K + K * d)


cdef class DiagonalKernel(GaussianKernel):
    """(log_offsets (K,), means (K, d), precisions_cholesky (K, d): 1 / standard deviation)"""
    cdef Aligned packed         # means and inverse variances, as distance.h wants them

    def __init__(self, log_offsets, means, precisions_cholesky):
        self._bind((log_offsets, means, precisions_cholesky), "K Kd Kd")
        self._weigh(self.arrays[2])
        cdef Py_ssize_t K = self.n_components, d = self.n_features
        inverse = (self.arrays[2] * BITS_ROOT) ** 2
        self.packed = Aligned(2 * K * d)
        self.table.pack_distance(K, d, _data(self.arrays[1]), _data(inverse), self.packed.data)
        self.sums_size = self.table.moments_size(True, K, d)
        self.statistics_size = 2 + K * (1 + 2 * d)
        self.row_cost = K * (20.0 + 4 * d)

    cdef void log_density(self, const Tile *tile, double *log_density, double *scratch) noexcept nogil:
        self.table.distance(True, self.n_components, self.n_features, tile.columns, tile.stride, tile.padded,
                            self.packed.data, self.offsets.data, self.ones.data, log_density, NULL)

    cdef void accumulate(self, const Tile *tile, const double *responsibilities, double *sums,
                         double *scratch) noexcept nogil:
        self._moments(True, tile, responsibilities, sums)

    cdef void fold(self, const double *sums, double *statistics) noexcept nogil:
        cdef Py_ssize_t K = self.n_components, d = self.n_features
        self.table.moments_fold(True, K, d, sums, statistics, statistics + K, statistics + K + K * d)


cdef class SphericalKernel(GaussianKernel):
    """(log_offsets (K,), means (K, d), precisions_cholesky (K,): 1 / standard deviation)"""
    cdef Aligned packed         # means, as distance.h wants them
    cdef Aligned scales         # (K,) squared precisions_cholesky, in bits
    cdef Py_ssize_t moments_size

    def __init__(self, log_offsets, means, precisions_cholesky):
        self._bind((log_offsets, means, precisions_cholesky), "K Kd K")
        self._weigh(numpy.broadcast_to(self.arrays[2][:, None], self.arrays[1].shape))
        cdef Py_ssize_t K = self.n_components, d = self.n_features, k
        self.packed = Aligned(K * d)
        self.table.pack_distance(K, d, _data(self.arrays[1]), NULL, self.packed.data)
        self.scales = Aligned(K)
        for k in range(K):
            self.scales.data[k] = (_data(self.arrays[2])[k] * BITS_ROOT) ** 2
        self.moments_size = self.table.moments_size(False, K, d)
        self.sums_size = self.moments_size + rounded(8 * K)
        self.scratch_size = K * tile_stride(self) * 2  # distances; log-densities that nobody reads
        self.statistics_size = 2 + K * (2 + d)
        self.row_cost = K * (20.0 + 2 * d)

    cdef void log_density(self, const Tile *tile, double *log_density, double *scratch) noexcept nogil:
        self.table.distance(False, self.n_components, self.n_features, tile.columns, tile.stride, tile.padded,
                            self.packed.data, self.offsets.data, self.scales.data, log_density, scratch)

    cdef void accumulate(self, const Tile *tile, const double *responsibilities, double *sums,
                         double *scratch) noexcept nogil:
        if not tile.fresh:
            self.log_density(tile, scratch + self.n_components * tile.stride, scratch)
        self._moments(False, tile, responsibilities, sums)
        self.table.weighted_sum(self.n_components, tile.padded, tile.stride, responsibilities, scratch,
                                sums + self.moments_size)

    cdef void fold(self, const double *sums, double *statistics) noexcept nogil:
        cdef Py_ssize_t K = self.n_components, d = self.n_features
        self.table.moments_fold(False, K, d, sums, statistics, statistics + K, NULL)
        self.table.weighted_sum_fold(K, sums + self.moments_size, statistics + K + K * d)
