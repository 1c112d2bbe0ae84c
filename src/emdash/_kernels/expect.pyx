"""The one parallel loop: log-densities, responsibilities and sums of independent rows, tile by tile.

Never knows a density; a FamilyKernel supplies it.  Here and in threads.pyx are the only parallel regions.

Rows are cut into blocks; their number depends on (n, K, d) only.  Threads take blocks as they become free; each block
has sums of its own, which are folded into the total in block order (turns.pxd): bitwise the same result for any number
of threads.
Everything is allocated before the region; inside it nothing can fail and no Python object is touched.  It can be
interrupted, between tiles (interrupt.pyx): then the handler's exception is raised, and outputs mean nothing.
Memory: per thread a tile, K numbers per row of it and the kernel's sums, and sums that wait for their turn, of which
there are few.  (Address space for the sums of all blocks is asked for, but pages never written to cost nothing.)
Nothing grows with n.
Lost: one set of sums per thread (the result then depends on the race); static schedule (one slow core holds up all);
statistics for every block, added at the end (full (256,16) and (128,64): 67 MB of fresh pages in every pass, 2 ms a
block: separated clusters 1.2x and 1.7x slower).
"""

import numpy

from cython.parallel cimport parallel, prange, threadid
from libc.math cimport INFINITY
from libc.stdint cimport uintptr_t
from libc.string cimport memset

from emdash._kernels.interrupt cimport Watch, all_done, begin_watch, end_watch, given_up, wait_for_team
from emdash._kernels.rows cimport (
    Rows, check_labels, check_marks, check_rows, cut_rows, load_rows, one_hot, set_aside, sum_of,
)
from emdash._kernels.threads cimport team_size, team_started
from emdash._kernels.tile cimport (
    Aligned, FamilyKernel, Pruning, Strided, Tile, TileBuffers, first_bad_row, rounded, tile_buffers,
    tile_buffers_size, tile_stride,
)
from emdash._kernels.turns cimport (
    BAD_ROW, HEADER, LEFT_OUT, LOG_LIKELIHOOD, WEIGHT, Turn, Turns, begin_turns, end_turns, hand_in, take_first,
)

cdef extern from "simd/softmax.h":
    struct emdash_softmax_table:
        double (*normalise)(Py_ssize_t K, Py_ssize_t rows, Py_ssize_t stride, double *log_density,
                            const double *weights, int unit_weights, const char *next, Py_ssize_t next_step,
                            double *smallest) noexcept nogil
        double (*normalise_single)(Py_ssize_t K, Py_ssize_t rows, Py_ssize_t stride, float *log_density,
                                   const double *weights, int unit_weights, const char *next, Py_ssize_t next_step,
                                   double *smallest) noexcept nogil
        void (*posterior)(Py_ssize_t K, Py_ssize_t rows, Py_ssize_t stride, double *log_density,
                          double *log_likelihood, double *labels, int responsibilities, const char *next,
                          Py_ssize_t next_step) noexcept nogil
        void (*spread)(Py_ssize_t K, Py_ssize_t n, const double *tile, Py_ssize_t stride, double scale, char *out,
                       Py_ssize_t step, Py_ssize_t k_step) noexcept nogil
    const emdash_softmax_table *emdash_softmax_tables[]

cdef double LN_2 = 0.6931471805599453
cdef Py_ssize_t MOST_BLOCKS = 64
cdef Py_ssize_t FEWEST_BLOCKS = 16      # of a long enough array, however large the statistics
cdef double BLOCKS_MEMORY = 8e6         # bytes of statistics that all blocks together zero and fold
cdef double CUT = 60.0                  # bits: K 2^-60 of a row's total may go missing from the sums and log p(x)
cdef double OUTPUT_CUT = 1100.0         # responsibilities: below this they are exactly 0 anyway (softmax.h)
cdef double THREAD_COST = 1.4e6         # multiply-adds that pay for each thread of a team: some 50 microseconds


cdef struct Outputs:
    # what `posterior` writes; NULL where not wanted; steps in bytes
    char *labels
    char *log_likelihood
    char *responsibilities
    char *log_densities
    char *filled
    const double *noise         # (n, 1 + d) or NULL
    Py_ssize_t labels_step, log_likelihood_step
    Py_ssize_t responsibilities_step, responsibilities_k_step
    Py_ssize_t log_densities_step, log_densities_k_step
    Py_ssize_t filled_step, filled_d_step


cdef int _threads(double work, Py_ssize_t blocks, Py_ssize_t wanted) except -1:
    """Threads that pay: not more than wanted, than blocks, nor than the work is worth.  IN work: multiply-adds."""
    if wanted < 1:
        raise ValueError(f"n_threads must be at least 1, not {wanted}")
    cdef int threads = team_size(min(wanted, blocks, <Py_ssize_t>min(work / THREAD_COST, 1e6)))
    if threads > 1:
        team_started()
    return threads


def accumulate(FamilyKernel kernel not None, X, weights, out, Py_ssize_t n_threads, *, labels=None, left_out=None,
               incomplete=None):
    """One EM pass: overwrite `out` with the sums over all rows of X.

    IN X (n, d) float64 or float32, any strides; weights (n,) float64 or None; n_threads: upper bound;
    labels (n,) intp or None: every row's component where that is known (no density is taken; the log-likelihood is 0).
    OUT out (statistics_size,) float64, contiguous: log-likelihood, weight, then the kernel's own sums;
    left_out (1,) float64, where not None: how many of the n x K log-densities were ruled out by a bound;
    incomplete (n,) uint8, zeros: where not None, rows with NaN are marked here by 1 and left out of all sums.
    Returns the first row that holds NaN or infinity (then `out` means nothing), or -1, or -2 if rows were marked.
    """
    cdef Strided x = check_rows(kernel, X)
    cdef Strided total = Strided(out, "out", 1, "float64", True)
    cdef Py_ssize_t size = kernel.statistics_size
    if total.n != size or (size > 1 and total.step != sizeof(double)) or <size_t>total.data % sizeof(double):
        raise ValueError(f"out must be contiguous and aligned with {size} elements")
    # a function of (n, K, d) only: never of the number of threads
    cdef Py_ssize_t most = max(FEWEST_BLOCKS, min(MOST_BLOCKS, <Py_ssize_t>(BLOCKS_MEMORY / (8 * size))))
    cdef Rows rows = cut_rows(kernel, x, max(kernel.block_rows, (x.n + most - 1) // most))
    cdef Strided w, marks = check_marks(incomplete, x.n)
    if marks is not None:
        rows.incomplete = marks.data
    if weights is not None:
        w = Strided(weights, "weights", 1, "float64")
        if w.n != x.n:
            raise ValueError(f"weights has {w.n} elements, X {x.n} rows")
        rows.weights = w.data
        rows.weight_step = w.step
    cdef Strided given
    if labels is not None and incomplete is not None:
        raise ValueError("labels are of complete rows: give labels or incomplete, not both")
    if labels is not None:
        given = check_labels(labels, x.n, kernel.n_components)
        rows.labels = given.data
        rows.labels_step = given.step
    cdef Py_ssize_t blocks = (x.n + rows.block_rows - 1) // rows.block_rows
    cdef double work = x.n * kernel.row_cost
    cdef int threads = _threads(work if labels is None else work / 2, blocks, n_threads)
    cdef Py_ssize_t thread_size = _pass_size(kernel)
    cdef Turns turns
    turns.size = HEADER + rounded(kernel.sums_size)
    memory = numpy.empty(blocks * turns.size + 8)   # NumPy asks for huge pages: a fault for 2 MB, not for 4 kB
    cdef Strided per_block = Strided(memory, "memory", 1, "float64", True)
    cdef Aligned per_thread = Aligned(threads * thread_size)
    cdef Aligned lists = Aligned(blocks + 1)
    cdef double *scratch = per_thread.data
    turns.sums = <double *>((<uintptr_t>per_block.data + 63) & ~<uintptr_t>63)
    turns.total = <double *>total.data
    turns.waiting = <int *>lists.data
    turns.free = turns.waiting + blocks
    memset(turns.total, 0, size * sizeof(double))
    cdef Watch watch
    begin_watch(&watch, work)
    begin_turns(&turns, blocks, threads > 1)
    with nogil:
        if threads > 1:
            with parallel(num_threads=threads):
                _pass(kernel, &rows, &turns, &watch, threadid(), scratch + threadid() * thread_size)
        else:
            _pass(kernel, &rows, &turns, &watch, 0, scratch)
    end_turns(&turns)
    end_watch(&watch)
    if left_out is not None:
        left_out[0] = turns.left_out
    return turns.bad


cdef Py_ssize_t _pass_size(FamilyKernel kernel):
    """Doubles of scratch of one thread of a pass."""
    return (tile_buffers_size(kernel) + kernel.n_components * tile_stride(kernel)
            + rounded(kernel.scratch_size))


cdef void _pass(FamilyKernel kernel, const Rows *rows, Turns *turns, Watch *watch, int thread,
                double *memory) noexcept nogil:
    """What one thread does of an EM pass: block after block, whose sums are handed in."""
    cdef Turn turn
    take_first(turns, &turn)
    while turn.sums != NULL and not watch.stopped:
        _sum_block(kernel, rows, turn.block, turn.sums, turn.sums + HEADER, watch, thread, memory)
        if hand_in(turns, kernel, &turn):
            all_done(watch)
    if thread == 0:
        wait_for_team(watch)


cdef void _sum_block(FamilyKernel kernel, const Rows *rows, Py_ssize_t block, double *header, double *sums,
                     Watch *watch, int thread, double *memory) noexcept nogil:
    """OUT header (HEADER), sums (sums_size)."""
    cdef Py_ssize_t K = kernel.n_components, first = block * rows.block_rows, n, bad
    cdef Py_ssize_t last = min(first + rows.block_rows, rows.n)
    cdef TileBuffers buffers = tile_buffers(kernel, memory)
    cdef double *density = memory + tile_buffers_size(kernel)
    cdef double *scratch = density + K * buffers.stride
    cdef double log_likelihood = 0.0, weight = 0.0, bits = 0.0, tile_weight
    cdef const char *next_tile
    cdef Pruning pruning = Pruning(CUT, 0.0, False)
    cdef Tile tile
    memset(header, 0, HEADER * sizeof(double))
    memset(sums, 0, (kernel.sums_size - kernel.unset_size) * sizeof(double))
    header[BAD_ROW] = -1.0
    while first < last:
        n = min(kernel.tile_rows, last - first)
        if given_up(watch, thread, n * kernel.row_cost):
            return
        if not load_rows(kernel, rows, first, n, &buffers, &tile) and not kernel.takes_missing:
            bad = set_aside(kernel, rows, first, n, &buffers, &tile)
            header[BAD_ROW] = <double>bad
            if bad >= 0:
                return
            if tile.n == 0:
                first += n
                continue
        tile.pruning = &pruning
        if rows.labels != NULL:
            one_hot(&tile, rows.labels + first * rows.labels_step, rows.labels_step, K, density)
        first += n
        tile_weight = tile.n if rows.weights == NULL else sum_of(tile.weights, tile.n)
        weight += tile_weight
        next_tile = rows.x + first * rows.step
        if rows.labels == NULL:
            if kernel.single and _single(kernel, rows, &tile, next_tile, density, sums, scratch, &bits):
                log_likelihood += bits + kernel.single_zero * tile_weight
                continue
            kernel.log_density(&tile, density, scratch)
            log_likelihood += emdash_softmax_tables[kernel.isa].normalise(
                K, tile.padded, tile.stride, density, tile.weights, tile.unit_weights, next_tile, rows.next_step, NULL)
            tile.fresh = True
        kernel.accumulate(&tile, density, sums, scratch)
    header[LOG_LIKELIHOOD] = log_likelihood * LN_2
    header[WEIGHT] = weight
    header[LEFT_OUT] = pruning.left_out


cdef bint _single(FamilyKernel kernel, const Rows *rows, const Tile *tile, const char *next_tile, double *density,
                  double *sums, double *scratch, double *bits) noexcept nogil:
    """One tile in float32.  OUT bits: its log-likelihood.  False, and nothing added: the tile is for float64."""
    cdef double smallest = 0.0
    if not kernel.single_log_density(tile, <float *>density, scratch):
        return False
    bits[0] = emdash_softmax_tables[kernel.isa].normalise_single(
        kernel.n_components, tile.padded, 2 * tile.stride, <float *>density, tile.weights, tile.unit_weights, next_tile,
        rows.next_step, &smallest)
    if smallest < kernel.single_floor:
        return False
    kernel.single_accumulate(tile, <float *>density, sums, scratch)
    return True


def posterior(FamilyKernel kernel not None, X, Py_ssize_t n_threads, *, labels=None, log_likelihood=None,
              responsibilities=None, log_densities=None, filled=None, noise=None):
    """Write what is asked for, row by row.

    IN X (n, d) float64 or float32, any strides; n_threads: upper bound.
    OUT, where not None, any strides: labels (n,) intp, first largest component; log_likelihood (n,), log p(x);
    responsibilities (n, K); log_densities (n, K), log weight + log density of the component; with kernels for missing
    cells, filled (n, d): the rows with these cells filled in, by posterior means, or by draws that take their random
    numbers from IN noise (n, 1 + d) float64, contiguous: a uniform and d standard normal ones.
    Returns the first row that holds NaN or infinity (then the outputs mean nothing), or -1.
    """
    cdef Strided x = check_rows(kernel, X)
    cdef Outputs outputs
    memset(&outputs, 0, sizeof(Outputs))
    cdef Strided a = _output(labels, "labels", "intp", x.n, 0)
    cdef Strided b = _output(log_likelihood, "log_likelihood", "float64", x.n, 0)
    cdef Strided c = _output(responsibilities, "responsibilities", "float64", x.n, kernel.n_components)
    cdef Strided e = _output(log_densities, "log_densities", "float64", x.n, kernel.n_components)
    if a is not None:
        outputs.labels, outputs.labels_step = a.data, a.step
    if b is not None:
        outputs.log_likelihood, outputs.log_likelihood_step = b.data, b.step
    if c is not None:
        outputs.responsibilities = c.data
        outputs.responsibilities_step, outputs.responsibilities_k_step = c.step, c.d_step
    if e is not None:
        outputs.log_densities = e.data
        outputs.log_densities_step, outputs.log_densities_k_step = e.step, e.d_step
    cdef Strided f = _output(filled, "filled", "float64", x.n, kernel.n_features)
    cdef Strided g
    if f is not None:
        if not kernel.takes_missing:
            raise TypeError(f"{type(kernel).__name__} fills no missing cells")
        outputs.filled = f.data
        outputs.filled_step, outputs.filled_d_step = f.step, f.d_step
    if noise is not None:
        g = Strided(noise, "noise", 2, "float64")
        if g.n != x.n or g.d != x.d + 1 or (x.n and (g.d_step != 8 or g.step != 8 * g.d)) or <size_t>g.data % 8:
            raise ValueError(f"noise must be contiguous and aligned with shape {(x.n, x.d + 1)}")
        outputs.noise = <const double *>g.data
    cdef Rows rows = cut_rows(kernel, x, 960)
    cdef Py_ssize_t blocks = (x.n + rows.block_rows - 1) // rows.block_rows
    cdef int threads = _threads(x.n * _output_cost(kernel, &outputs), blocks, n_threads)
    cdef Py_ssize_t thread_size = (tile_buffers_size(kernel) + (kernel.n_components + 2) * tile_stride(kernel)
                                   + (kernel.n_features * tile_stride(kernel) if f is not None else 0)
                                   + rounded(kernel.scratch_size) + 8)
    cdef Aligned per_thread = Aligned(threads * thread_size)
    cdef double *scratch = per_thread.data
    cdef Py_ssize_t block, bad = -1
    cdef Watch watch
    begin_watch(&watch, x.n * kernel.row_cost)
    with nogil:
        # the last doubles of each thread's scratch hold the first bad row it met
        for block in range(threads):
            scratch[(block + 1) * thread_size - 1] = -1.0
        if threads > 1:
            with parallel(num_threads=threads):
                for block in prange(blocks, schedule="dynamic", chunksize=1):
                    _write(kernel, &rows, block, &outputs, &watch, threadid(), scratch + threadid() * thread_size,
                           scratch + (threadid() + 1) * thread_size - 1)
        else:
            for block in range(blocks):
                _write(kernel, &rows, block, &outputs, &watch, 0, scratch, scratch + thread_size - 1)
        for block in range(threads):
            if scratch[(block + 1) * thread_size - 1] >= 0:
                if bad < 0 or scratch[(block + 1) * thread_size - 1] < bad:
                    bad = <Py_ssize_t>scratch[(block + 1) * thread_size - 1]
    end_watch(&watch)
    return bad


cdef double _output_cost(FamilyKernel kernel, const Outputs *out) noexcept:
    """Multiply-adds per row: half of an EM pass, without exponentials if nothing but the largest is asked for."""
    cdef bint exponentials = out.log_likelihood != NULL or out.responsibilities != NULL or out.filled != NULL
    return kernel.row_cost / 2 + (20.0 + 10.0 * kernel.n_components if exponentials else 0.0)


cdef Strided _output(array, str name, str kind, Py_ssize_t n, Py_ssize_t columns):
    """IN columns: 0 for a vector."""
    if array is None:
        return None
    cdef Strided view = Strided(array, name, 2 if columns else 1, kind, True)
    if view.n != n or (columns and view.d != columns):
        wanted = f"({n}, {columns})" if columns else f"({n},)"
        raise ValueError(f"{name} must have shape {wanted}, not {array.shape}")
    return view


cdef void _write(FamilyKernel kernel, const Rows *rows, Py_ssize_t block, const Outputs *out, Watch *watch, int thread,
                 double *memory, double *bad) noexcept nogil:
    """The outputs of one block.  INOUT bad: the first bad row of this thread's blocks, or -1."""
    cdef Py_ssize_t K = kernel.n_components, first = block * rows.block_rows, n, i
    cdef Py_ssize_t last = min(first + rows.block_rows, rows.n)
    cdef TileBuffers buffers = tile_buffers(kernel, memory)
    cdef double *density = memory + tile_buffers_size(kernel)
    cdef double *log_likelihood = density + K * buffers.stride
    cdef double *labels = log_likelihood + buffers.stride
    cdef double *filled = labels + buffers.stride
    cdef double *scratch = filled + (kernel.n_features * buffers.stride if out.filled != NULL else 0)
    cdef const emdash_softmax_table *table = emdash_softmax_tables[kernel.isa]
    cdef Pruning pruning = Pruning(OUTPUT_CUT if out.responsibilities != NULL else CUT, 0.0, False)
    cdef Tile tile
    if out.log_densities != NULL:
        pruning.cut = INFINITY
    while first < last:
        n = min(kernel.tile_rows, last - first)
        if given_up(watch, thread, n * kernel.row_cost):
            return
        if not load_rows(kernel, rows, first, n, &buffers, &tile) and not kernel.takes_missing:
            i = first + first_bad_row(rows.x + first * rows.step, rows.step, rows.d_step, rows.is_float, n,
                                      kernel.n_features)
            if bad[0] < 0 or i < bad[0]:
                bad[0] = <double>i
            return
        tile.pruning = &pruning
        kernel.log_density(&tile, density, scratch)
        if out.log_densities != NULL:
            table.spread(K, n, density, tile.stride, LN_2, out.log_densities + first * out.log_densities_step,
                         out.log_densities_step, out.log_densities_k_step)
        if out.log_likelihood != NULL or out.labels != NULL or out.responsibilities != NULL or out.filled != NULL:
            table.posterior(
                K, tile.padded, tile.stride, density, log_likelihood if out.log_likelihood != NULL else NULL,
                labels if out.labels != NULL else NULL, out.responsibilities != NULL or out.filled != NULL,
                rows.x + (first + n) * rows.step, rows.next_step)
        if out.responsibilities != NULL:
            table.spread(K, n, density, tile.stride, 1.0, out.responsibilities + first * out.responsibilities_step,
                         out.responsibilities_step, out.responsibilities_k_step)
        if out.filled != NULL:
            tile.fresh = True
            kernel.fill(&tile, density, out.noise + first * (kernel.n_features + 1) if out.noise != NULL else NULL,
                        filled, scratch)
            table.spread(kernel.n_features, n, filled, tile.stride, 1.0, out.filled + first * out.filled_step,
                         out.filled_step, out.filled_d_step)
        if out.log_likelihood != NULL:
            table.spread(1, n, log_likelihood, 0, 1.0, out.log_likelihood + first * out.log_likelihood_step,
                         out.log_likelihood_step, 0)
        if out.labels != NULL:
            for i in range(n):
                (<Py_ssize_t *>(out.labels + (first + i) * out.labels_step))[0] = <Py_ssize_t>labels[i]
        first += n
