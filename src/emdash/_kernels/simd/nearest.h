/* The hard E-step: which of K points is nearest to a row, sums by that label, and what more points would gain (k-means).
 *
 * Per row: K d subtractions and multiply-adds (distance.h), K comparisons, then one addition of the row to the sums of its
 * label: d additions instead of the K d of soft responsibilities.  8 d bytes read per row.
 * The runner-up is kept beside the nearest point: where rounding could have decided, the caller is told.
 * Lost: one-hot responsibilities and moments.h (twice the multiply-adds, and exponentials of zeros).
 */
#ifndef EMDASH_VL

#include "isa.h"
struct emdash_nearest_table {
    void (*pack_distance)(ptrdiff_t K, ptrdiff_t d, const double *means, const double *inverse, double *packed);
    void (*distance)(int scaled, ptrdiff_t K, ptrdiff_t d, const double *x, ptrdiff_t stride, ptrdiff_t rows,
                     const double *packed, const double *offset, const double *scale, double *log_density,
                     double *distance);
    double (*nearest)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, const double *closeness, double relative,
                      double absolute, double *label, double *largest);
    void (*sum_by_label)(ptrdiff_t n, ptrdiff_t row_stride, const double *rows, const double *label, const double *weights,
                         const double *points, double *N, double *F);
    void (*potential)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, const double *closeness, const double *weights,
                      double *sums);
};
#define EMDASH_BODY "nearest.h"
#include "each_isa.h"
static const struct emdash_nearest_table *const emdash_nearest_tables[EMDASH_ISA_COUNT] = EMDASH_TABLES(nearest_table);

#else
#include "vector.h"
#include "distance.h"

/* IN closeness (K, stride): minus the squared distances; a row is undecided if its best two differ by less than
 * absolute + relative * (squared distance).  OUT label (rows) as doubles: the first largest; largest (rows).
 * Returns the smallest excess over that difference: negative if there is an undecided row. */
static double EMDASH_NAME(nearest)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, const double *closeness, double relative,
                                   double absolute, double *label, double *largest) {
    vec excess = v_splat(EMDASH_HUGE);
    double smallest;
    for (ptrdiff_t i = 0; i < rows; i += EMDASH_VL) {
        vec best = v_load(closeness + i), second = v_splat(-EMDASH_HUGE), first = v_splat(0.0);
        for (ptrdiff_t k = 1; k < K; k++) {
            const vec c = v_load(closeness + k * stride + i);
            first = v_select_greater(c, best, v_splat((double)k), first);
            second = v_max(v_min(c, best), second);
            best = v_max(c, best);
        }
        v_store(label + i, first);
        v_store(largest + i, best);
        excess = v_min(best - second + (best * relative - absolute), excess);
    }
    smallest = v_get(excess, 0);
    for (int lane = 1; lane < EMDASH_VL; lane++) smallest = v_get(excess, lane) < smallest ? v_get(excess, lane) : smallest;
    return smallest;
}

/* IN rows (n, row_stride), weights (n), points (K, row_stride), zeros behind d.
 * OUT N (K) += weights, F (K, row_stride) += weighted rows less their point. */
static void EMDASH_NAME(sum_by_label)(ptrdiff_t n, ptrdiff_t row_stride, const double *rows, const double *label,
                                      const double *weights, const double *points, double *N, double *F) {
    for (ptrdiff_t i = 0; i < n; i++, rows += row_stride) {
        const ptrdiff_t k = (ptrdiff_t)label[i];
        const double *point = points + k * row_stride;
        double *sum = F + k * row_stride;
        N[k] += weights[i];
        for (ptrdiff_t j = 0; j < row_stride; j += EMDASH_VL)
            v_store(sum + j, v_load(sum + j) + (v_load(rows + j) - v_load(point + j)) * weights[i]);
    }
}

/* IN weights (rows): squared distance to the nearest point there is already, 0 in padded rows.
 * OUT sums (K) += what is left of it with each of K more points. */
static void EMDASH_NAME(potential)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, const double *closeness,
                                   const double *weights, double *sums) {
    for (ptrdiff_t k = 0; k < K; k++, closeness += stride) {
        vec sum = v_splat(0.0);
        for (ptrdiff_t i = 0; i < rows; i += EMDASH_VL) sum += v_min(v_load(weights + i), -v_load(closeness + i));
        sums[k] += v_sum(sum);
    }
}

static const struct emdash_nearest_table EMDASH_NAME(nearest_table) = {
    EMDASH_NAME(pack_distance), EMDASH_NAME(distance), EMDASH_NAME(nearest), EMDASH_NAME(sum_by_label),
    EMDASH_NAME(potential),
};
#endif
