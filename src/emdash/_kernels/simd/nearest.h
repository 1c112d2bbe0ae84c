/* Which of K points is nearest to a row and by how much, and what more points would gain (k-means, k-means++).
 *
 * Per row that is looked at: K d subtractions and multiply-adds (distance.h), then K comparisons; 8 d bytes.
 * The runner-up is kept beside the nearest point: until the points have moved by the difference the row need not be
 * looked at again (settle in nearest.pyx), and where rounding could have decided the caller is told.
 */
#ifndef EMDASH_VL

#include "isa.h"
struct emdash_nearest_table {
    void (*pack_distance)(ptrdiff_t K, ptrdiff_t d, const double *means, const double *inverse, double *packed);
    void (*distance)(int scaled, ptrdiff_t K, ptrdiff_t d, const double *x, ptrdiff_t stride, ptrdiff_t rows,
                     const double *packed, const double *offset, const double *scale, double *log_density,
                     double *distance);
    double (*nearest)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, const double *closeness, double relative,
                      double absolute, double *label, double *margin);
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
 * absolute + relative * (squared distance).  OUT label (rows) as doubles: the first largest; margin (rows): how much
 * farther the runner-up is.  Returns the smallest excess over that difference: negative if a row is undecided. */
static double EMDASH_NAME(nearest)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, const double *closeness,
                                   double relative, double absolute, double *label, double *margin) {
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
        v_store(margin + i, v_sqrt(-second) - v_sqrt(-best));
        excess = v_min(best - second + (best * relative - absolute), excess);
    }
    smallest = v_get(excess, 0);
    for (int lane = 1; lane < EMDASH_VL; lane++)
        if (v_get(excess, lane) < smallest) smallest = v_get(excess, lane);
    return smallest;
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
    EMDASH_NAME(pack_distance), EMDASH_NAME(distance), EMDASH_NAME(nearest), EMDASH_NAME(potential),
};
#endif
