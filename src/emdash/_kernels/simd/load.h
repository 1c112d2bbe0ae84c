/* One tile of rows from the caller's array, whatever its type and strides, into aligned float64 scratch.
 *
 * Chosen: copy every tile (8 d bytes per row, from the cache of the previous step at worst); the kernels then see one layout
 * only: `columns` (d, stride), rows along the vectors, and where a family asks for it `rows` (padded, row_stride), features
 * along the vectors.  The finiteness test rides on the copy: x * 0 is NaN exactly for NaN and infinity.
 * stride is an odd number of cache lines: a power of two would map all features to one set of the L1 cache (2-4x slower).
 * Padded rows repeat the last real row, so no kernel has a tail; their weight is 0.
 */
#ifndef EMDASH_VL

#include "isa.h"
struct emdash_load_table {
    int (*load)(const char *x, ptrdiff_t row_step, ptrdiff_t feature_step, int is_float, ptrdiff_t n, ptrdiff_t padded,
                ptrdiff_t d, double *columns, ptrdiff_t stride, double *rows, ptrdiff_t row_stride);
};
#define EMDASH_BODY "load.h"
#include "each_isa.h"
static const struct emdash_load_table *const emdash_load_tables[EMDASH_ISA_COUNT] = EMDASH_TABLES(load_table);

#else
#include "vector.h"

/* memcpy: the caller's array may be misaligned; compiles to one move. */
EMDASH_INLINE double EMDASH_NAME(read)(const char *p, const int is_float) {
    if (is_float) {
        float x;
        memcpy(&x, p, 4);
        return (double)x;
    } else {
        double x;
        memcpy(&x, p, 8);
        return x;
    }
}

EMDASH_INLINE void EMDASH_NAME(copy)(const char *x, ptrdiff_t row_step, ptrdiff_t feature_step, const int is_float,
                                     ptrdiff_t n, ptrdiff_t d, double *EMDASH_RESTRICT columns, ptrdiff_t stride,
                                     double *EMDASH_RESTRICT rows, ptrdiff_t row_stride) {
    const ptrdiff_t size = is_float ? 4 : 8;
    for (ptrdiff_t j = 0; j < d; j++) {
        const char *p = x + j * feature_step;
        if (row_step == size)
            for (ptrdiff_t i = 0; i < n; i++) columns[j * stride + i] = EMDASH_NAME(read)(p + i * size, is_float);
        else
            for (ptrdiff_t i = 0; i < n; i++) columns[j * stride + i] = EMDASH_NAME(read)(p + i * row_step, is_float);
    }
    if (!rows) return;
    for (ptrdiff_t i = 0; i < n; i++) {
        const char *p = x + i * row_step;
        if (feature_step == size)
            for (ptrdiff_t j = 0; j < d; j++) rows[i * row_stride + j] = EMDASH_NAME(read)(p + j * size, is_float);
        else
            for (ptrdiff_t j = 0; j < d; j++) rows[i * row_stride + j] = EMDASH_NAME(read)(p + j * feature_step, is_float);
    }
}

/* IN x: first row of the tile, steps in bytes, n >= 1 rows, padded >= n (a multiple of the row quantum).
 * OUT columns (d, stride); rows (n, row_stride) or NULL, its columns d.. are left alone.  Returns 1 if all is finite. */
static int EMDASH_NAME(load)(const char *x, ptrdiff_t row_step, ptrdiff_t feature_step, int is_float, ptrdiff_t n,
                             ptrdiff_t padded, ptrdiff_t d, double *columns, ptrdiff_t stride, double *rows,
                             ptrdiff_t row_stride) {
    if (is_float)
        EMDASH_NAME(copy)(x, row_step, feature_step, 1, n, d, columns, stride, rows, row_stride);
    else
        EMDASH_NAME(copy)(x, row_step, feature_step, 0, n, d, columns, stride, rows, row_stride);
    vec test = v_splat(0.0);
    for (ptrdiff_t j = 0; j < d; j++) {
        double *column = columns + j * stride;
        for (ptrdiff_t i = n; i < padded; i++) column[i] = column[n - 1];
        for (ptrdiff_t i = 0; i < padded; i += EMDASH_VL) test += v_load(column + i) * 0.0;
    }
    return v_sum(test) == 0.0;
}

static const struct emdash_load_table EMDASH_NAME(load_table) = {EMDASH_NAME(load)};
#endif
