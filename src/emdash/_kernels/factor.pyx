"""Covariances from the sums of a pass, and the triangular factors of their inverses, component by component.

Never knows a row, a weight or what the factors are for.  Multiply-adds, bytes, what was lost: simd/factor.h.
Memory: one padded matrix per thread.
"""

from emdash._kernels.threads cimport Items, current_isa, run_items, team_size
from emdash._kernels.tile cimport Aligned, Strided, rounded

cdef extern from "simd/factor.h":
    struct emdash_factor_table:
        Py_ssize_t (*scratch)(Py_ssize_t d) noexcept nogil
        Py_ssize_t (*factor)(Py_ssize_t d, const double *covariance, double *upper, double *scratch) noexcept nogil
        void (*covariance)(Py_ssize_t d, double N, const double *S, const double *shift,
                           double *covariance) noexcept nogil
    const emdash_factor_table *emdash_factor_tables[]

cdef double THREAD_COST = 1e6   # multiply-adds that pay for each thread of a team: some 50 microseconds


cdef class _Matrices(Items):
    """The work of one component: a (d, d) matrix."""
    cdef const emdash_factor_table *table
    cdef Py_ssize_t d, scratch_size
    cdef Strided covariances    # (K, d * d)
    cdef double *scratch        # scratch_size per thread

    cdef double cost(self) noexcept:
        """Multiply-adds per component, or what takes as long."""
        return 0.0

    cdef int threads(self, Py_ssize_t K, Py_ssize_t n_threads) except -1:
        """At most n_threads, and not more than the work is worth."""
        cdef double worth = K * self.cost() / THREAD_COST
        return team_size(min(n_threads, K, <Py_ssize_t>min(worth, 1e6)))


cdef class _Covariances(_Matrices):
    cdef Strided N, S, shift    # (K,), (K, d (d + 1) / 2), (K, d)

    cdef double cost(self) noexcept:
        """Memory, not arithmetic: the scatter is unpacked into both triangles."""
        return 8.0 * self.d * (self.d + 10)

    cdef void run(self, Py_ssize_t k, int thread) noexcept nogil:
        self.table.covariance(
            self.d, (<const double *>self.N.data)[k], <const double *>(self.S.data + k * self.S.step),
            <const double *>(self.shift.data + k * self.shift.step),
            <double *>(self.covariances.data + k * self.covariances.step))


cdef class _Factors(_Matrices):
    cdef Strided factors        # (K, d * d)
    cdef double *good           # (K,)

    cdef double cost(self) noexcept:
        """Both triangular stages; a root and a division per column, one after the other."""
        return (<double>self.d) ** 3 / 3 + 1000.0 * self.d

    cdef void run(self, Py_ssize_t k, int thread) noexcept nogil:
        self.good[k] = self.table.factor(
            self.d, <const double *>(self.covariances.data + k * self.covariances.step),
            <double *>(self.factors.data + k * self.factors.step), self.scratch + thread * self.scratch_size)


cdef Strided _matrices(array, str name, Py_ssize_t K, Py_ssize_t size, bint writable=False):
    """IN array: (K, ...), C-ordered, `size` numbers per component."""
    cdef Strided view = Strided(array.reshape(K, -1), name, 2, "float64", writable)
    cdef bint aligned = (<size_t>view.data | <size_t>view.step) % sizeof(double) == 0
    if view.d != size or view.d_step != sizeof(double) or not aligned:
        raise ValueError(f"{name} must be C-ordered with {size} numbers for each of {K} components")
    return view


def covariances(N, S, shift, out, Py_ssize_t n_threads=1):
    """Covariances about the new means, both triangles.

    IN N (K,); S (K, d(d+1)/2) packed lower triangles of the scatter about the old means; shift (K, d) from these to the
    new ones; n_threads: upper bound.  OUT out (K, d, d) = S / N - shift shift'.
    All float64, C-ordered.
    """
    cdef Py_ssize_t K, d
    K, d = shift.shape
    cdef _Covariances work = _Covariances()
    work.table = emdash_factor_tables[current_isa()]
    work.d = d
    work.N = _matrices(N, "N", K, 1)
    work.S = _matrices(S, "S", K, d * (d + 1) // 2)
    work.shift = _matrices(shift, "shift", K, d)
    work.covariances = _matrices(out, "out", K, d * d, True)
    run_items(work, K, work.threads(K, n_threads), work.cost())


def factor(covariances, out, Py_ssize_t n_threads=1):
    """Triangular factors of the inverses.

    IN covariances (K, d, d): symmetric, only the upper triangles are read; n_threads: upper bound.
    OUT out (K, d, d): U upper triangular with U U' = inverse of the covariance.  All float64, C-ordered.
    Returns the first component whose covariance is not positive definite or not finite (then `out` means nothing),
    or -1.
    """
    cdef Py_ssize_t K, d, k
    K, d, _ = covariances.shape
    cdef _Factors work = _Factors()
    work.table = emdash_factor_tables[current_isa()]
    work.d = d
    work.covariances = _matrices(covariances, "covariances", K, d * d)
    work.factors = _matrices(out, "out", K, d * d, True)
    work.scratch_size = rounded(work.table.scratch(d))
    cdef int threads = work.threads(K, n_threads)
    cdef Aligned memory = Aligned(threads * work.scratch_size + K)
    work.scratch = memory.data
    work.good = memory.data + threads * work.scratch_size
    run_items(work, K, threads, work.cost())
    for k in range(K):
        if work.good[k] == 0.0:
            return k
    return -1
