/* From K log-densities per row to responsibilities and the row's log-likelihood; knows nothing of families.
 *
 * Everything is in base 2 (bits): the families scale their quadratic forms by log2(e), no multiplication is left here.
 * Layout: (K, stride) with rows along the vectors, so that all K numbers of eight rows are handled without shuffles.
 * Per row and component: 1 maximum, 1 exp2 (8 to 12 multiply-adds), 1 product: about 14 cycles per 8 rows (AVX-512).
 * Up to 8 components in registers, else 3 passes over the tile in the L1/L2 cache (lost: registers up to 16, 8 %).
 * Meanwhile the next tile of rows is fetched: 1 line per 64 bytes, into the L2 cache.
 * Without weights the logarithm is taken of the product of up to 64 rows' sums (each between 1 and K): free.
 * Chosen for the EM pass: responsibilities below 2^-200 (float: 2^-80) become 0, so that r * x * x makes no denormals
 * (slow, and useless).
 * The EM pass comes for float densities, too (single.h); the log-likelihood is added up in double all the same.
 */
#ifndef EMDASH_VL

#include "isa.h"
struct emdash_softmax_table {
    double (*normalise)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, double *log_density, const double *weights,
                        int unit_weights, const char *next, ptrdiff_t next_step, double *smallest);
    double (*normalise_single)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, float *log_density, const double *weights,
                               int unit_weights, const char *next, ptrdiff_t next_step, double *smallest);
    void (*posterior)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, double *log_density, double *log_likelihood,
                      double *labels, int responsibilities, const char *next, ptrdiff_t next_step);
    void (*spread)(ptrdiff_t K, ptrdiff_t n, const double *tile, ptrdiff_t stride, double scale, char *out,
                   ptrdiff_t step, ptrdiff_t k_step);
};
#define EMDASH_BODY "softmax.h"
#define EMDASH_SINGLE
#include "each_isa.h"
static const struct emdash_softmax_table *const emdash_softmax_tables[EMDASH_ISA_COUNT] = EMDASH_TABLES(softmax_table);

#else
#include "vector.h"

#ifndef EMDASH_SOFTMAX_NAMES
#define EMDASH_SOFTMAX_NAMES
#define EMDASH_LOWEST ((number)(EMDASH_SIZE == 8 ? -200.0 : -80.0))
#define EMDASH_TWO_TO_LOWEST ((number)(EMDASH_SIZE == 8 ? 0x1p-200 : 0x1p-80))
#endif

/* One vector of rows: the largest of K log-densities, and if `label` is given the first component that has it. */
EMDASH_INLINE vec EMDASH_NAME(largest)(ptrdiff_t K, ptrdiff_t stride, const number *column, number *label) {
    vec largest = v_load(column), first = v_splat(0.0);
    if (!label) {
        for (ptrdiff_t k = 1; k < K; k++) largest = v_max(v_load(column + k * stride), largest);
        return largest;
    }
    for (ptrdiff_t k = 1; k < K; k++) {
        const vec candidate = v_load(column + k * stride);
        first = v_select_greater(candidate, largest, v_splat((number)k), first);
        largest = v_max(candidate, largest);
    }
    v_store(label, first);
    return largest;
}

/* Running log-likelihood of a tile, in bits. */
typedef struct {
    vec_double total[2], product[2];
    int pending, interval;
} EMDASH_NAME(likelihood);

EMDASH_INLINE void EMDASH_NAME(add_row)(EMDASH_NAME(likelihood) * l, vec largest, vec sum, const double *weights,
                                        int unit_weights) {
    const int due = unit_weights && ++l->pending == l->interval;
    if (due) l->pending = 0;
    EMDASH_UNROLL
    for (int part = 0; part < EMDASH_PARTS; part++) {
        const vec_double top = v_part(largest, part), total = v_part(sum, part);
        if (!unit_weights) {
            const vec_double weight = EMDASH_DOUBLE(v_load)(weights + part * (EMDASH_VL / EMDASH_PARTS));
            l->total[part] += weight * (top + EMDASH_DOUBLE(v_log2)(total));
            continue;
        }
        l->total[part] += top;
        l->product[part] *= total;
        if (!due) continue;
        l->total[part] += EMDASH_DOUBLE(v_log2)(l->product[part]);
        l->product[part] = EMDASH_DOUBLE(v_splat)(1.0);
    }
}

EMDASH_INLINE EMDASH_NAME(likelihood) EMDASH_NAME(no_rows)(int interval) {
    const vec_double zero = EMDASH_DOUBLE(v_splat)(0.0), one = EMDASH_DOUBLE(v_splat)(1.0);
    EMDASH_NAME(likelihood) l = {{zero, zero}, {one, one}, 0, interval};
    return l;
}

EMDASH_INLINE double EMDASH_NAME(bits_of)(const EMDASH_NAME(likelihood) * l) {
    double bits = 0.0;
    EMDASH_UNROLL
    for (int part = 0; part < EMDASH_PARTS; part++)
        bits += EMDASH_DOUBLE(v_sum)(l->total[part] + EMDASH_DOUBLE(v_log2)(l->product[part]));
    return bits;
}

/* The smallest of VL numbers. */
EMDASH_INLINE double EMDASH_NAME(smallest_of)(vec x) {
    double smallest = v_get(x, 0);
    for (int lane = 1; lane < EMDASH_VL; lane++) smallest = v_get(x, lane) < smallest ? v_get(x, lane) : smallest;
    return smallest;
}

/* Ask for memory that will be read soon. */
EMDASH_INLINE void EMDASH_NAME(ask_for)(const char *p, ptrdiff_t bytes) {
    for (ptrdiff_t i = 0; i < bytes; i += 64) EMDASH_PREFETCH_L2(p + i);
}

/* K <= 8, a constant: everything of a row stays in registers. */
EMDASH_INLINE double EMDASH_NAME(normalise_few)(const int K, ptrdiff_t rows, ptrdiff_t stride, number *log_density,
                                                const double *weights, int unit_weights, const char *next,
                                                ptrdiff_t next_step, double *smallest) {
    EMDASH_NAME(likelihood) l = EMDASH_NAME(no_rows)(64);
    vec least = v_splat((number)INFINITY);
    for (ptrdiff_t i = 0; i < rows; i += EMDASH_VL, next += EMDASH_VL * next_step) {
        EMDASH_NAME(ask_for)(next, EMDASH_VL * next_step);
        number *column = log_density + i;
        vec e[8], largest, sum = v_splat(0.0);
        EMDASH_UNROLL
        for (int k = 0; k < K; k++) e[k] = v_load(column + k * stride);
        largest = e[0];
        EMDASH_UNROLL
        for (int k = 1; k < K; k++) largest = v_max(e[k], largest);
        EMDASH_UNROLL
        for (int k = 0; k < K; k++) {
            e[k] = v_exp2_nonpositive(e[k] - largest, EMDASH_LOWEST, EMDASH_TWO_TO_LOWEST, 0);
            sum += e[k];
        }
        const vec weight = v_of_doubles(weights + i), scale = weight / sum;
        EMDASH_UNROLL
        for (int k = 0; k < K; k++) v_store(column + k * stride, e[k] * scale);
        EMDASH_NAME(add_row)(&l, largest, sum, weights + i, unit_weights);
        if (EMDASH_SIZE == 4) least = v_min(least, largest);
    }
    if (EMDASH_SIZE == 4) *smallest = EMDASH_NAME(smallest_of)(least);
    return EMDASH_NAME(bits_of)(&l);
}

EMDASH_INLINE double EMDASH_NAME(normalise_many)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, number *log_density,
                                                 const double *weights, int unit_weights, const char *next,
                                                 ptrdiff_t next_step, double *smallest) {
    EMDASH_NAME(likelihood) l = EMDASH_NAME(no_rows)(K < 32768 ? 64 : 16); /* product below 2^1000 */
    vec least = v_splat((number)INFINITY);
    for (ptrdiff_t i = 0; i < rows; i += EMDASH_VL, next += EMDASH_VL * next_step) {
        EMDASH_NAME(ask_for)(next, EMDASH_VL * next_step);
        number *column = log_density + i;
        const vec largest = EMDASH_NAME(largest)(K, stride, column, NULL);
        vec sum = v_splat(0.0);
        for (ptrdiff_t k = 0; k < K; k++) {
            const vec below = v_load(column + k * stride) - largest;
            const vec e = v_exp2_nonpositive(below, EMDASH_LOWEST, EMDASH_TWO_TO_LOWEST, 0);
            v_store(column + k * stride, e);
            sum += e;
        }
        const vec weight = v_of_doubles(weights + i), scale = weight / sum;
        for (ptrdiff_t k = 0; k < K; k++) v_store(column + k * stride, v_load(column + k * stride) * scale);
        EMDASH_NAME(add_row)(&l, largest, sum, weights + i, unit_weights);
        if (EMDASH_SIZE == 4) least = v_min(least, largest);
    }
    if (EMDASH_SIZE == 4) *smallest = EMDASH_NAME(smallest_of)(least);
    return EMDASH_NAME(bits_of)(&l);
}

/* EM pass.  IN weights (rows), 0 in padded rows; unit_weights: all of them are 1.  INOUT log_density (K, stride) in
 * bits -> responsibilities times weights.  Returns the sum of w log2 p(x) over the tile.  rows is a multiple of VL.
 * OUT smallest (float only): the smallest over the rows of the largest log-density.
 * next: where the next tile will be read, next_step bytes per row (0: unknown); asked for bit by bit while exponentials
 * keep the processor busy. */
static double EMDASH_NAME(normalise)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, number *log_density,
                                     const double *weights, int unit_weights, const char *next, ptrdiff_t next_step,
                                     double *smallest) {
#define EMDASH_CASE(N) \
    case N: \
        return EMDASH_NAME(normalise_few)(N, rows, stride, log_density, weights, unit_weights, next, next_step, \
                                          smallest);
    switch (K) {
        EMDASH_CASE(1) EMDASH_CASE(2) EMDASH_CASE(3) EMDASH_CASE(4) EMDASH_CASE(5) EMDASH_CASE(6) EMDASH_CASE(7)
        EMDASH_CASE(8)
    default:
        return EMDASH_NAME(normalise_many)(K, rows, stride, log_density, weights, unit_weights, next, next_step,
                                           smallest);
    }
#undef EMDASH_CASE
}

#if EMDASH_SIZE == 8
#include "transpose.h"
#include "spread.h"

/* Outputs per row.  INOUT log_density (K, stride) in bits, replaced by responsibilities if `responsibilities`.
 * OUT log_likelihood (rows) in nats, labels (rows) as doubles: first largest component; either may be NULL.
 * next, next_step: as above. */
static void EMDASH_NAME(posterior)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, double *log_density,
                                   double *log_likelihood, double *labels, int responsibilities, const char *next,
                                   ptrdiff_t next_step) {
    for (ptrdiff_t i = 0; i < rows; i += EMDASH_VL, next += EMDASH_VL * next_step) {
        EMDASH_NAME(ask_for)(next, EMDASH_VL * next_step);
        double *column = log_density + i;
        const vec largest = EMDASH_NAME(largest)(K, stride, column, labels ? labels + i : NULL);
        vec sum = v_splat(0.0);
        if (!responsibilities && !log_likelihood) continue;
        for (ptrdiff_t k = 0; k < K; k++) {
            const vec e = v_exp2_nonpositive(v_load(column + k * stride) - largest, -1021.0, 0x1p-1021, 1);
            if (responsibilities) v_store(column + k * stride, e);
            sum += e;
        }
        if (log_likelihood) v_store(log_likelihood + i, (largest + v_log2(sum)) * 0x1.62e42fefa39efp-1);
        if (!responsibilities) continue;
        const vec scale = 1.0 / sum;
        for (ptrdiff_t k = 0; k < K; k++) v_store(column + k * stride, v_load(column + k * stride) * scale);
    }
}
#else
static const struct emdash_softmax_table EMDASH_DOUBLE(softmax_table) = {
    EMDASH_DOUBLE(normalise), EMDASH_NAME(normalise), EMDASH_DOUBLE(posterior), EMDASH_DOUBLE(spread)};
#endif
#endif
