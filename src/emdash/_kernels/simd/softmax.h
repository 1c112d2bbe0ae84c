/* From K log-densities per row to responsibilities and the row's log-likelihood; knows nothing of families.
 *
 * Everything is in base 2 (bits): the families scale their quadratic forms by log2(e), so no multiplication is left here.
 * Layout: (K, stride) with rows along the vectors, so that all K numbers of eight rows are handled without shuffles.
 * Per row and component: 1 maximum, 1 exp2 (12 multiply-adds), 1 product; 3 passes over the tile in the L1/L2 cache.
 * Without weights the logarithm is taken of the product of up to 64 rows' sums (each between 1 and K): log costs nothing.
 * Chosen for the EM pass: responsibilities below 2^-200 become 0, so that r * x * x makes no denormals (slow, and useless).
 */
#ifndef EMDASH_VL

#include "isa.h"
struct emdash_softmax_table {
    double (*normalise)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, double *log_density, const double *weights,
                        int unit_weights);
    void (*posterior)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, double *log_density, double *log_likelihood,
                      double *labels, int responsibilities);
};
#define EMDASH_BODY "softmax.h"
#include "each_isa.h"
static const struct emdash_softmax_table *const emdash_softmax_tables[EMDASH_ISA_COUNT] = EMDASH_TABLES(softmax_table);

#else
#include "vector.h"

/* EM pass.  IN weights (rows), 0 in padded rows; unit_weights: all of them are 1.  INOUT log_density (K, stride) in bits ->
 * responsibilities times weights.  Returns the sum of w log2 p(x) over the tile.  rows is a multiple of VL. */
static double EMDASH_NAME(normalise)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, double *log_density,
                                     const double *weights, int unit_weights) {
    const int interval = K < 32768 ? 64 : 16; /* product of the sums stays below 2^1000 */
    vec total = v_splat(0.0), product = v_splat(1.0);
    int pending = 0;
    for (ptrdiff_t i = 0; i < rows; i += EMDASH_VL) {
        double *column = log_density + i;
        vec largest = v_load(column), sum = v_splat(0.0);
        for (ptrdiff_t k = 1; k < K; k++) largest = v_max(v_load(column + k * stride), largest);
        for (ptrdiff_t k = 0; k < K; k++) {
            const vec e = v_exp2_nonpositive(v_load(column + k * stride) - largest, -200.0, 0x1p-200, 0);
            v_store(column + k * stride, e);
            sum += e;
        }
        const vec weight = v_load(weights + i), scale = weight / sum;
        for (ptrdiff_t k = 0; k < K; k++) v_store(column + k * stride, v_load(column + k * stride) * scale);
        if (unit_weights) {
            total += largest;
            product *= sum;
            if (++pending == interval) {
                total += v_log2(product);
                product = v_splat(1.0);
                pending = 0;
            }
        } else {
            total += weight * (largest + v_log2(sum));
        }
    }
    return v_sum(total + v_log2(product));
}

/* Outputs per row.  INOUT log_density (K, stride) in bits, replaced by responsibilities if `responsibilities`.
 * OUT log_likelihood (rows) in nats, labels (rows) as doubles: first largest component; either may be NULL. */
static void EMDASH_NAME(posterior)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, double *log_density,
                                   double *log_likelihood, double *labels, int responsibilities) {
    for (ptrdiff_t i = 0; i < rows; i += EMDASH_VL) {
        double *column = log_density + i;
        vec largest = v_load(column), label = v_splat(0.0), sum = v_splat(0.0);
        for (ptrdiff_t k = 1; k < K; k++) {
            const vec candidate = v_load(column + k * stride);
            label = v_select_greater(candidate, largest, v_splat((double)k), label);
            largest = v_max(candidate, largest);
        }
        if (labels) v_store(labels + i, label);
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

static const struct emdash_softmax_table EMDASH_NAME(softmax_table) = {EMDASH_NAME(normalise), EMDASH_NAME(posterior)};
#endif
