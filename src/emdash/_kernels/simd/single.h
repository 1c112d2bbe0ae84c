/* The EM pass of full covariance with at most 16 features in float: twice the rows per vector.
 *
 * The loops are those of double (whiten_small.h, scatter_small.h), included once more.  Only here: `narrow` copies a
 * tile to float, (x - center) unit, subtracted and scaled in double (2 operations, 8 bytes read and 4 written per
 * number), and `widen` adds the float sums to double ones before they have many terms (every 2048 rows: 2 % of the
 * pass; after every tile 9 %; sums of doubles all along would halve the gain).
 * Lost: the difference to each mean in double (5 operations for what is one of the d(d+1)/2 + d per component and row).
 */
#ifndef EMDASH_VL

#include "isa.h"
struct emdash_single_table {
    ptrdiff_t (*factor_size)(ptrdiff_t d);
    void (*pack_factor)(ptrdiff_t d, const double *upper, double scale, float *packed);
    ptrdiff_t (*lanes_size)(ptrdiff_t d);
    ptrdiff_t (*sums_size)(ptrdiff_t d);
    void (*narrow)(ptrdiff_t d, const double *columns, ptrdiff_t stride, ptrdiff_t rows, const double *center,
                   const double *unit, float *x, ptrdiff_t x_stride);
    void (*quadratic_form)(ptrdiff_t d, const float *x, ptrdiff_t stride, ptrdiff_t rows, const float *mean,
                           const float *factor, float offset, float *log_density);
    void (*scatter)(ptrdiff_t d, const float *x, ptrdiff_t stride, ptrdiff_t rows, const float *resp, const float *mean,
                    float *lanes);
    void (*widen)(ptrdiff_t d, float *lanes, double *sums);
    void (*fold)(ptrdiff_t d, const double *sums, const float *lanes, double *N, double *F, double *S);
};
#define EMDASH_BODY "single.h"
#define EMDASH_SINGLE
#include "each_isa.h"
static const struct emdash_single_table *const emdash_single_tables[EMDASH_ISA_COUNT] = EMDASH_TABLES(single_table);

#else
#include "vector.h"
#include "whiten_small.h"
#include "scatter_small.h"

#if EMDASH_SIZE == 4
/* IN columns (d, stride), rows (multiple of VL), center, unit (d).  OUT x (d, x_stride) = (columns - center) unit. */
EMDASH_FUNCTION void EMDASH_NAME(narrow)(ptrdiff_t d, const double *columns, ptrdiff_t stride, ptrdiff_t rows,
                                         const double *center, const double *unit, float *x, ptrdiff_t x_stride) {
    for (ptrdiff_t j = 0; j < d; j++, columns += stride, x += x_stride)
        for (ptrdiff_t i = 0; i < rows; i += EMDASH_VL / EMDASH_PARTS)
            v_store_part(x + i, (EMDASH_DOUBLE(v_load)(columns + i) - center[j]) * unit[j]);
}

/* IN x (d, stride), rows (multiple of VL), mean (d), factor packed.
 * OUT log_density (rows) = offset - |W (x - mean)|^2. */
EMDASH_FUNCTION void EMDASH_NAME(quadratic_form)(ptrdiff_t d, const float *x, ptrdiff_t stride, ptrdiff_t rows,
                                                 const float *mean, const float *factor, float offset,
                                                 float *log_density) {
    EMDASH_NAME(whiten_small)(d, x, stride, rows, mean, factor, offset, log_density, NULL);
}

/* doubles that the sums of one component take after `widen`: the lanes of double */
static ptrdiff_t EMDASH_NAME(sums_size)(ptrdiff_t d) { return EMDASH_DOUBLE(lanes_size)(d); }

/* INOUT lanes (lanes_size(d)) -> 0.  OUT sums (sums_size(d)) += lanes. */
EMDASH_FUNCTION void EMDASH_NAME(widen)(ptrdiff_t d, float *lanes, double *sums) {
    const ptrdiff_t entries = 1 + d + d * (d + 1) / 2, step = EMDASH_VL / EMDASH_PARTS;
    for (ptrdiff_t i = 0; i < entries; i++) {
        const vec lane = v_load(lanes + i * EMDASH_VL);
        vec_double sum = EMDASH_DOUBLE(v_load)(sums + i * step);
        EMDASH_UNROLL
        for (int part = 0; part < EMDASH_PARTS; part++) sum += v_part(lane, part);
        EMDASH_DOUBLE(v_store)(sums + i * step, sum);
        v_store(lanes + i * EMDASH_VL, v_splat(0));
    }
}

/* OUT += N (1), F (d), S (packed d(d+1)/2) from both sums. */
EMDASH_FUNCTION void EMDASH_NAME(fold)(ptrdiff_t d, const double *sums, const float *lanes, double *N, double *F,
                                       double *S) {
    EMDASH_DOUBLE(fold_lanes)(d, sums, N, F, S);
    EMDASH_NAME(fold_lanes)(d, lanes, N, F, S);
}

static const struct emdash_single_table EMDASH_DOUBLE(single_table) = {
    EMDASH_NAME(small_size), EMDASH_NAME(pack_small), EMDASH_NAME(lanes_size),
    EMDASH_NAME(sums_size), EMDASH_NAME(narrow), EMDASH_NAME(quadratic_form),
    EMDASH_NAME(scatter_lanes), EMDASH_NAME(widen), EMDASH_NAME(fold),
};
#endif
#endif
