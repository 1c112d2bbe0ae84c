"""Rows with missing cells, full and tied covariance: missing features are regressed on the observed ones.

Per run of rows with one pattern the regressions (simd/missing.h) of `lanes` components side by side; rows of the factor
that the pattern before had too are kept.  The rest is in missing.pyx.
With q features observed and m missing, per row and component: m q multiply-adds, 8 m q bytes read and 8 m written in
the cache to fill the copy, then a complete row of full covariance.  Per pattern and component (tied: per pattern) at
most q^3/6 + m q^2 + m^2 q/2 multiply-adds and 4 d (d + 1) bytes written (L, B, V); the 4 m (m + 1) of V are read again.
Lost, tied: whitening a row once, as the complete kernel does; the whitened means then depend on the pattern, and the
scatter needs the N and F of every pattern.  So tied costs what full does, but for the regressions.
"""

from libc.math cimport sqrt
from libc.string cimport memset

from emdash._kernels.missing cimport MissingKernel, Runs, copy_of, pattern_of
from emdash._kernels.rows cimport sum_of
from emdash._kernels.tile cimport Aligned, Tile, rounded

cdef double LOG2_2PI = 2.651496129472319
cdef double BITS_ROOT = 0.8493218002880191  # sqrt(log2(e) / 2), see gaussian.pyx
cdef Py_ssize_t STORED = 1 << 17            # doubles for the V of a tile
cdef Py_ssize_t FEW = 3                     # rows of one pattern up to which components go side by side


cdef class MatrixKernel(MissingKernel):
    """Full and tied: regressions, `lanes` components side by side."""
    cdef bint tied
    cdef Py_ssize_t lanes, groups   # components side by side; groups of them
    cdef Py_ssize_t factored        # groups whose covariances are factored: 1 if tied
    cdef Py_ssize_t triangle        # d (d + 1) / 2 * lanes
    cdef Aligned sigma              # (factored, d, d, lanes)
    cdef Aligned mean_lanes         # (groups, d, lanes)
    cdef Aligned center             # (K, full) what a tied scatter is summed about, less the mean
    cdef Aligned factors            # (K or 1, factor_size)
    cdef Py_ssize_t factor_size, scatter_size, moments_size
    cdef Py_ssize_t at_L, at_root, at_B, at_V, at_N, at_stored, at_where, at_table  # in the scratch

    def __init__(self, log_weights, means, covariances, precisions_cholesky, about, center):
        self._bind((log_weights, means, covariances, precisions_cholesky, about, center),
                   "K Kd dd dd Kd d" if self.tied else "K Kd Kdd Kdd Kd d")
        cdef Py_ssize_t K = self.n_components, d = self.n_features, k, P = d * (d + 1) // 2
        cdef Py_ssize_t matrices = 1 if self.tied else K
        cdef Aligned upper = copy_of(self.arrays[3], 1, matrices * d * d, matrices * d * d)
        self.lanes = self.own.lanes
        self.groups = (K + self.lanes - 1) // self.lanes
        self.factored = 1 if self.tied else self.groups
        self.triangle = P * self.lanes
        self._bind_lanes()
        self.center = copy_of(self.arrays[5] - self.arrays[1], K, d, self.full)
        self.factor_size = self.table.factor_size(d)
        self.factors = Aligned(self.factor_size * matrices)
        for k in range(matrices):
            self.table.pack_factor(d, upper.data + k * d * d, BITS_ROOT, self.factors.data + k * self.factor_size)
        self.scatter_size = self.table.scatter_size(d)
        self.moments_size = self.table.moments_size(False, 1, d) if self.tied else 0
        self.sums_size = K * self.moments_size + matrices * self.scatter_size + rounded(self.factored * self.triangle)
        self.statistics_size = 2 + K * (1 + d) + matrices * P
        self.at_L = self.at_rest
        self.at_root = self.at_L + rounded(self.factored * self.triangle)
        self.at_B = self.at_root + rounded(self.factored * (d + 1) * self.lanes)
        self.at_V = self.at_B + rounded((d * d // 4 + 1) * self.lanes)
        self.at_N = self.at_V + rounded(self.triangle)
        self.at_stored = self.at_N + rounded(max(self.lanes, P))
        self.at_where = self.at_stored + STORED
        self.at_table = self.at_where + rounded(self.tile_rows)
        self.scratch_size = self.at_table + max(self.table.whiten_scratch(d), self.table.scatter_scratch(d))

    cdef _bind_lanes(self):
        """Covariances and means, components side by side; lanes without a component hold unit covariance."""
        cdef Py_ssize_t K = self.n_components, d = self.n_features, lanes = self.lanes, k, i
        cdef Aligned sigma = copy_of(self.arrays[2], 1, self.arrays[2].size, self.arrays[2].size)
        self.sigma = Aligned(self.factored * d * d * lanes)
        self.mean_lanes = Aligned(self.groups * d * lanes)
        for k in range(self.factored * lanes):
            for i in range(d * d):
                self.sigma.data[(k // lanes * d * d + i) * lanes + k % lanes] = (
                    sigma.data[i] if self.tied else sigma.data[k * d * d + i] if k < K else <double>(i % (d + 1) == 0))
        for k in range(self.groups * lanes):
            for i in range(d):
                self.mean_lanes.data[(k // lanes * d + i) * lanes + k % lanes] = (
                    self.means.data[k * self.full + i] if k < K else 0.0)

    cdef void _regress(self, Py_ssize_t g, Py_ssize_t kept, Py_ssize_t q, const int *features, double *scratch,
                       double *V) noexcept nogil:
        """One pattern, one group; `kept` rows of its L are there already.  OUT V; L, its roots and B in the scratch."""
        cdef Py_ssize_t d = self.n_features
        cdef const double *sigma = self.sigma.data + g * d * d * self.lanes
        cdef double *L = scratch + self.at_L + g * self.triangle
        self.own.factor(d, kept, q, features, sigma, L, scratch + self.at_root + g * (d + 1) * self.lanes)
        self.own.regress(d, q, features, sigma, L, scratch + self.at_B, V)

    cdef void _complete(self, const Tile *tile, double *offsets, double *scratch) noexcept nogil:
        cdef Py_ssize_t d = self.n_features, r, g, k, q, size, kept, observed = 0, used = 0
        cdef Runs runs = self._start(tile, scratch)
        cdef double *where = scratch + self.at_where
        cdef double *V
        for r in range(runs.count):
            q = pattern_of(tile, d, runs.start[r], runs.features)
            kept = 0
            while kept < q and kept < observed and runs.features[kept] == runs.before[kept]:
                kept += 1
            size = (d - q) * (d - q + 1) // 2 * self.lanes
            where[r] = <double>used if used + self.factored * size <= STORED else -1.0
            for g in range(self.factored):
                V = scratch + (self.at_V if where[r] < 0 else self.at_stored + used + g * size)
                self._regress(g, kept, q, runs.features, scratch, V)
                for k in range(0 if self.tied else g, self.groups if self.tied else g + 1):
                    self._complete_group(tile, k, q, runs.features, runs.start[r], runs.start[r + 1], offsets, scratch)
            if where[r] >= 0:
                used += self.factored * size
            runs.before, runs.features = runs.features, runs.before
            observed = q

    cdef void _complete_group(self, const Tile *tile, Py_ssize_t g, Py_ssize_t q, const int *features,
                              Py_ssize_t first, Py_ssize_t last, double *offsets, double *scratch) noexcept nogil:
        """One group and the rows of one run, with B and L as `_regress` left them."""
        cdef Py_ssize_t d = self.n_features, lanes = self.lanes, stride = tile.stride, k, i
        cdef Py_ssize_t components = min(lanes, self.n_components - g * lanes)
        cdef const double *mean = self.mean_lanes.data + g * d * lanes
        cdef const double *root = scratch + self.at_root + ((0 if self.tied else g * (d + 1)) + q) * lanes
        cdef const double *B = scratch + self.at_B
        cdef double *filled = scratch + g * lanes * d * stride
        cdef double offset
        if last - first <= FEW:
            self.own.fill_few(d, q, features, tile.columns, stride, first, last, mean, B, components, filled,
                              d * stride)
        else:
            for k in range(components):
                self.own.fill(d, q, features, stride, first, last, B + k, filled + k * d * stride)
        for k in range(components):
            offset = self.weights.data[g * lanes + k] - 0.5 * q * LOG2_2PI - root[k]
            for i in range(first, last):
                offsets[(g * lanes + k) * stride + i] = offset

    cdef void _distances(self, const Tile *tile, Py_ssize_t k, double *log_density, double *scratch) noexcept nogil:
        self.table.quadratic_form(
            self.n_features, scratch + k * self.n_features * tile.stride, tile.stride, tile.padded,
            self.origin.data, self.factors.data + (0 if self.tied else k * self.factor_size), 0.0,
            log_density, scratch + self.at_table)

    cdef const double *_left_over(self, const Runs *runs, Py_ssize_t r, Py_ssize_t g, Py_ssize_t q,
                                  double *scratch) noexcept nogil:
        """V of a run and a group, behind `_complete`."""
        cdef double where = scratch[self.at_where + r]
        cdef Py_ssize_t m = self.n_features - q
        if where >= 0:
            return scratch + self.at_stored + <Py_ssize_t>where + g * (m * (m + 1) // 2 * self.lanes)
        self._regress(g, 0, q, runs.features, scratch, scratch + self.at_V)
        return scratch + self.at_V

    cdef void accumulate(self, const Tile *tile, const double *responsibilities, double *sums,
                         double *scratch) noexcept nogil:
        cdef Py_ssize_t K = self.n_components, d = self.n_features, stride = tile.stride, r, g, k, q
        cdef double *scatter = sums + K * self.moments_size
        cdef double *correction = scatter + (1 if self.tied else K) * self.scatter_size
        cdef double *N = scratch + self.at_N
        cdef double share
        cdef Runs runs
        if not tile.fresh:
            self.log_density(tile, scratch + self.at_spare, scratch)
        runs = self._start(tile, scratch)
        for r in range(runs.count):
            q = pattern_of(tile, d, runs.start[r], runs.features)
            for g in range(self.factored):
                memset(N, 0, self.lanes * sizeof(double))
                for k in range(g * self.lanes, K if self.tied else min(K, (g + 1) * self.lanes)):
                    share = sum_of(responsibilities + k * stride + runs.start[r], runs.start[r + 1] - runs.start[r])
                    N[0 if self.tied else k % self.lanes] += share
                self.own.correct(d, q, runs.features, N, self._left_over(&runs, r, g, q, scratch),
                                 correction + g * self.triangle)
        for k in range(K):
            self._add(tile, k, responsibilities + k * stride, sums + k * self.moments_size,
                      scatter + (0 if self.tied else k * self.scatter_size), scratch)

    cdef void _add(self, const Tile *tile, Py_ssize_t k, const double *responsibilities, double *moments,
                   double *scatter, double *scratch) noexcept nogil:
        """The sums of one component's filled copy: as for complete rows, but tied needs its scatter from every copy."""
        cdef const double *filled = scratch + k * self.n_features * tile.stride
        cdef const double *rows_x = self._rows(tile, filled, scratch)
        cdef const double *about = self.about.data + k * self.full
        if self.tied:
            self.table.moments(False, 1, self.n_features, filled, tile.stride, rows_x, self.full, tile.n, tile.padded,
                               responsibilities, tile.weights, self.cuts.data + k, about, moments)
            about = self.center.data + k * self.full
        self.table.scatter(self.n_features, filled, tile.stride, rows_x, self.full, tile.padded, responsibilities,
                           tile.weights, self.cuts.data[k], about, scatter, scratch + self.at_table)

    cdef void fold(self, const double *sums, double *statistics) noexcept nogil:
        cdef Py_ssize_t K = self.n_components, d = self.n_features, P = d * (d + 1) // 2, k, p
        cdef const double *scatter = sums + K * self.moments_size
        cdef const double *correction = scatter + (1 if self.tied else K) * self.scatter_size
        cdef double *F = statistics + K
        cdef double *S = F + K * d
        if self.tied:
            for k in range(K):
                self.table.moments_fold(False, 1, d, sums + k * self.moments_size, statistics + k, F + k * d, NULL)
            self.table.scatter_fold(d, scatter, NULL, NULL, S)
        else:
            for k in range(K):
                self.table.scatter_fold(d, scatter + k * self.scatter_size, statistics + k, F + k * d, S + k * P)
        for k in range(1 if self.tied else K):
            for p in range(P):
                S[k * P + p] += correction[(k // self.lanes * P + p) * self.lanes + k % self.lanes]

    cdef void _draw(self, const Tile *tile, const double *responsibilities, const double *noise, double *filled,
                    double *scratch) noexcept nogil:
        cdef Py_ssize_t d = self.n_features, r, g, k, q, i
        cdef Runs runs = self._start(tile, scratch)
        cdef const double *V
        for r in range(runs.count):
            q = pattern_of(tile, d, runs.start[r], runs.features)
            for g in range(self.factored):
                V = self._left_over(&runs, r, g, q, scratch)
                for i in range(runs.start[r], min(<Py_ssize_t>runs.start[r + 1], tile.n)):
                    k = self._component(responsibilities + i, tile.stride, noise[i * (d + 1)])
                    if self.tied or k // self.lanes == g:
                        self._draw_row(tile, k, i, q, runs.features, V + k % self.lanes, noise + i * (d + 1) + 1,
                                       filled, scratch)

    cdef void _draw_row(self, const Tile *tile, Py_ssize_t k, Py_ssize_t i, Py_ssize_t q, const int *features,
                        const double *V, const double *normal, double *filled, double *scratch) noexcept nogil:
        """Conditional mean plus the factor of V times normal numbers; a variance that rounds to nothing is nothing."""
        cdef Py_ssize_t m = self.n_features - q, f, g, c, j
        cdef double *R = scratch + self.at_N
        cdef double *row
        cdef double s, value
        for f in range(m):
            row = R + f * (f + 1) // 2
            j = features[q + f]
            value = self.means.data[k * self.full + j] + scratch[(k * self.n_features + j) * tile.stride + i]
            for g in range(f + 1):
                s = V[(f * (f + 1) // 2 + g) * self.lanes]
                for c in range(g):
                    s -= row[c] * R[g * (g + 1) // 2 + c]
                if g < f:
                    row[g] = s / R[g * (g + 1) // 2 + g] if R[g * (g + 1) // 2 + g] > 0 else 0.0
                else:
                    row[g] = sqrt(s) if s > 0 else 0.0
                value += row[g] * normal[features[q + g]]
            filled[j * tile.stride + i] = value


cdef class FullMissingKernel(MatrixKernel):
    """covariances, precisions_cholesky (K, d, d)"""

    def __cinit__(self, *arguments):
        self.tied = False


cdef class TiedMissingKernel(MatrixKernel):
    """covariances, precisions_cholesky (d, d)"""

    def __cinit__(self, *arguments):
        self.tied = True
