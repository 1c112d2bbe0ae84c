"""Full covariance of at most 16 features whose EM pass runs in float32: about 0.6 of float64's time.

Never decides whether that is accurate enough for its parameters (families/single.py does).
A tile is loaded in float64 like any other and copied to float32 about a centre; densities, responsibilities and the
sums of at most 2048 rows are float32; sums of those, the log-likelihood and everything a row is asked for (`posterior`)
are float64.  The means are rounded to float32, too: the sums about those are exact and are moved in `fold`.

Back to float64 for single tiles, whatever the rest does: rows farther than `reach` bits from every component (outliers,
overflow), weights out of the ordinary, blocks in which FullKernel rules most components out and is faster (d >= 12).
Multiply-adds per row: as FullKernel, K d(d+3), in vectors twice as long; 4 d bytes more of the L1 cache.
Measured ratios to FullKernel: docs/float32.md.
"""

import numpy

from libc.string cimport memcpy, memset

from emdash._kernels.gaussian import FullKernel

from emdash._kernels.tile cimport (
    SINGLE_QUANTUM, Aligned, FamilyKernel, Strided, Tile, rounded, tile_stride,
)

cdef extern from "simd/single.h":
    struct emdash_single_table:
        Py_ssize_t (*factor_size)(Py_ssize_t d) noexcept nogil
        void (*pack_factor)(Py_ssize_t d, const double *upper, double scale, float *packed) noexcept nogil
        Py_ssize_t (*lanes_size)(Py_ssize_t d) noexcept nogil
        Py_ssize_t (*sums_size)(Py_ssize_t d) noexcept nogil
        void (*narrow)(Py_ssize_t d, const double *columns, Py_ssize_t stride, Py_ssize_t rows, const double *center,
                       const double *unit, float *x, Py_ssize_t x_stride) noexcept nogil
        void (*quadratic_form)(Py_ssize_t d, const float *x, Py_ssize_t stride, Py_ssize_t rows, const float *mean,
                               const float *factor, float offset, float *log_density) noexcept nogil
        void (*scatter)(Py_ssize_t d, const float *x, Py_ssize_t stride, Py_ssize_t rows, const float *resp,
                        const float *mean, float *lanes) noexcept nogil
        void (*widen)(Py_ssize_t d, float *lanes, double *sums) noexcept nogil
        void (*fold)(Py_ssize_t d, const double *sums, const float *lanes, double *N, double *F,
                     double *S) noexcept nogil
    const emdash_single_table *emdash_single_tables[]

cdef double LOG2_E = 1.4426950408889634
cdef double BITS_ROOT = 0.8493218002880191  # see gaussian.pyx
cdef Py_ssize_t WIDENED = 2048              # rows after which float32 sums are added to the float64 ones
cdef double SPREAD = 60.0                   # bits between the offsets of components that may add to `reach`
cdef double SMALLEST_WEIGHT = 1e-6, LARGEST_WEIGHT = 1e6    # of a row: float32 has room for no more


cdef class SingleKernel(FamilyKernel):
    """(log_offsets (K,), means (K, d), precisions_cholesky (K, d, d) upper triangular, d <= 16, center (d,),
    unit (d,): powers of two that bring x - center near 1; reach: bits, see `single_floor`)"""
    cdef tuple arrays
    cdef FamilyKernel exact     # FullKernel of the same parameters
    cdef const emdash_single_table *table
    cdef Aligned center, unit   # (d,)
    cdef Aligned shift          # (K, d) from the given means to the rounded ones
    cdef Aligned means          # (K, d) float32: rounded, about the centre, in units
    cdef Aligned factors        # (K, factor_size) float32
    cdef Aligned offsets        # (K,) float32, in bits above single_zero
    cdef Py_ssize_t factor_size, lanes_size, float_lanes_size

    def __init__(self, log_offsets, means, precisions_cholesky, center, unit, double reach):
        self.exact = FullKernel(log_offsets, means, precisions_cholesky)
        d = self.exact.n_features
        if d > 16:
            raise ValueError(f"at most 16 features, not {d}")
        center, unit = (numpy.array(a, dtype=numpy.float64) for a in (center, unit))
        if center.shape != (d,) or unit.shape != (d,):
            raise ValueError(f"center and unit must have shape ({d},), not {center.shape} and {unit.shape}")
        self.arrays = (*self.exact.__reduce__()[1], center, unit, reach)
        self._sizes()
        means = numpy.asarray(means, dtype=numpy.float64)
        rounded_means = ((means - center) * unit).astype(numpy.float32)
        self.center, self.unit = _aligned(center), _aligned(unit)
        self.means = _aligned(rounded_means)
        self.shift = _aligned(rounded_means.astype(numpy.float64) / unit - (means - center))
        offsets = numpy.asarray(log_offsets, dtype=numpy.float64) * LOG2_E
        finite = offsets[numpy.isfinite(offsets)]
        self.single_zero = finite.max() if len(finite) else 0.0
        self.single_floor = max(finite.min() - self.single_zero, -SPREAD) - reach if len(finite) else 0.0
        self.offsets = _aligned((offsets - self.single_zero).astype(numpy.float32))
        self._pack(numpy.ascontiguousarray(precisions_cholesky, dtype=numpy.float64) / unit[:, None])

    cdef _sizes(self):
        cdef Py_ssize_t K = self.exact.n_components, d = self.exact.n_features
        self.single = True
        self.isa = self.exact.isa
        self.table = emdash_single_tables[self.isa]
        self.n_components, self.n_features = K, d
        self.statistics_size = self.exact.statistics_size
        self.needs_rows = self.exact.needs_rows
        self.block_rows = self.exact.block_rows
        self.tile_rows = self.exact.tile_rows // SINGLE_QUANTUM * SINGLE_QUANTUM
        self.row_cost = self.exact.row_cost / 2
        self.factor_size = self.table.factor_size(d)
        self.lanes_size = self.table.sums_size(d)
        self.float_lanes_size = self.table.lanes_size(d)
        # sums: rows since `widen`, whether the exact sums are used; those; float64 and float32 lanes
        self.unset_size = K * self.lanes_size + rounded((K * self.float_lanes_size + 1) // 2)
        self.sums_size = 8 + self.exact.sums_size + self.unset_size
        self.scratch_size = max(self.exact.scratch_size, d * tile_stride(self))

    cdef _pack(self, upper):
        cdef Py_ssize_t K = self.n_components, d = self.n_features, k
        cdef Strided view = Strided(upper.reshape(-1), "upper", 1, "float64")
        self.factors = Aligned((K * self.factor_size + 1) // 2)
        for k in range(K):
            self.table.pack_factor(d, <const double *>view.data + k * d * d, BITS_ROOT,
                                   <float *>self.factors.data + k * self.factor_size)

    def __reduce__(self):
        return type(self), self.arrays

    cdef void log_density(self, const Tile *tile, double *log_density, double *scratch) noexcept nogil:
        self.exact.log_density(tile, log_density, scratch)

    cdef void accumulate(self, const Tile *tile, const double *responsibilities, double *sums,
                         double *scratch) noexcept nogil:
        sums[1] = 1.0
        self.exact.accumulate(tile, responsibilities, sums + 8, scratch)

    cdef bint single_log_density(self, const Tile *tile, float *log_density, double *scratch) noexcept nogil:
        cdef Py_ssize_t d = self.n_features, stride = 2 * tile.stride, k
        if self.exact.rules_out(tile, <double *>log_density, scratch):
            return False
        if not tile.unit_weights and not _ordinary(tile.weights, tile.n):
            return False
        self.table.narrow(d, tile.columns, tile.stride, tile.padded, self.center.data, self.unit.data,
                          <float *>scratch, stride)
        for k in range(self.n_components):
            self.table.quadratic_form(
                d, <const float *>scratch, stride, tile.padded, <const float *>self.means.data + k * d,
                <const float *>self.factors.data + k * self.factor_size, (<const float *>self.offsets.data)[k],
                log_density + k * stride)
        return True

    cdef void single_accumulate(self, const Tile *tile, const float *responsibilities, double *sums,
                                double *scratch) noexcept nogil:
        cdef Py_ssize_t d = self.n_features, stride = 2 * tile.stride, k
        cdef double *wide = sums + 8 + self.exact.sums_size
        cdef float *lanes = <float *>(wide + self.n_components * self.lanes_size)
        cdef bint full = sums[0] + tile.padded > WIDENED
        if sums[0] == 0:  # not before: in blocks where FullKernel is faster they are not needed
            memset(wide, 0, self.unset_size * sizeof(double))
        for k in range(self.n_components):
            if full:
                self.table.widen(d, lanes + k * self.float_lanes_size, wide + k * self.lanes_size)
            self.table.scatter(d, <const float *>scratch, stride, tile.padded, responsibilities + k * stride,
                               <const float *>self.means.data + k * d, lanes + k * self.float_lanes_size)
        sums[0] = tile.padded + (0.0 if full else sums[0])

    cdef void fold(self, const double *sums, double *statistics) noexcept nogil:
        cdef Py_ssize_t K = self.n_components, d = self.n_features, P = d * (d + 1) // 2, k, i, j
        cdef const double *wide = sums + 8 + self.exact.sums_size
        cdef const float *lanes = <const float *>(wide + K * self.lanes_size)
        cdef const double *shift
        cdef double *F
        cdef double *S
        cdef double[16] first
        cdef double[136] second
        cdef double N
        if sums[1] > 0:
            self.exact.fold(sums + 8, statistics)
        if sums[0] == 0:
            return
        for k in range(K):
            N = 0.0
            memset(first, 0, d * sizeof(double))
            memset(second, 0, P * sizeof(double))
            self.table.fold(d, wide + k * self.lanes_size, lanes + k * self.float_lanes_size, &N, first, second)
            shift, F, S = self.shift.data + k * d, statistics + K + k * d, statistics + K + K * d + k * P
            statistics[k] += N
            for i in range(d):
                first[i] /= self.unit.data[i]
                F[i] += first[i] + N * shift[i]
                for j in range(i + 1):
                    S[i * (i + 1) // 2 + j] += (
                        second[i * (i + 1) // 2 + j] / (self.unit.data[i] * self.unit.data[j])
                        + first[i] * shift[j] + shift[i] * first[j] + N * shift[i] * shift[j])


cdef Aligned _aligned(array):
    """A copy of any array whose bytes the caller may read as what they were."""
    data = array.tobytes()
    cdef Aligned copy = Aligned((len(data) + 7) // 8)
    cdef const unsigned char *source = data
    memcpy(copy.data, source, len(data))
    return copy


cdef bint _ordinary(const double *weights, Py_ssize_t n) noexcept nogil:
    """Are all weights 0 or near enough to 1?"""
    cdef Py_ssize_t i
    for i in range(n):
        if weights[i] != 0 and not SMALLEST_WEIGHT <= weights[i] <= LARGEST_WEIGHT:
            return False
    return True
