/* One tile of rows from the caller's array, whatever its type and strides, into aligned float64 scratch.
 *
 * Chosen: copy every tile (8 d bytes per row, from the cache of the previous step at worst); the kernels then see one layout
 * only: `columns` (d, stride), rows along the vectors, and where a family asks for it `rows` (padded, row_stride), features
 * along the vectors.  The finiteness test rides on the copy: x * 0 is NaN exactly for NaN and infinity.
 * stride is an odd number of cache lines: a power of two would map all features to one set of the L1 cache (2-4x slower).
 * Memory: the softmax of a tile asks for the next one (softmax.h), so that it comes from the L2 cache; asking for all of it
 * here, at once, left the pass waiting (16 % of spherical d = K = 10 from memory).  From L2 to L1: 16 rows ahead.
 * The last d % 8 features in squares of 2 or 4; with both, d = 10 loads in 53 cycles per 8 rows instead of 120 (profile).
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
#include "transpose.h"

#if EMDASH_VL > 1
typedef float EMDASH_NAME(vec_float) __attribute__((vector_size(4 * EMDASH_VL)));
#endif

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

/* VL numbers from a row of the caller, as doubles. */
EMDASH_INLINE vec EMDASH_NAME(read_vector)(const char *p, const int is_float) {
#if EMDASH_VL > 1
    if (is_float) {
        EMDASH_NAME(vec_float) x;
        memcpy(&x, p, sizeof x);
        return __builtin_convertvector(x, vec);
    } else {
        vec x;
        memcpy(&x, p, sizeof x);
        return x;
    }
#else
    return EMDASH_NAME(read)(p, is_float);
#endif
}

#include "pieces.h"

/* VL rows by `size` features, of which the first `features` are kept: transposed in registers.
 * OUT columns (features, stride); rows (VL, row_stride) or NULL, only if size is VL. */
EMDASH_INLINE void EMDASH_NAME(copy_square)(const int size, ptrdiff_t features, const char *p, ptrdiff_t row_step,
                                            const int is_float, ptrdiff_t ahead, double *EMDASH_RESTRICT columns,
                                            ptrdiff_t stride, double *EMDASH_RESTRICT rows, ptrdiff_t row_stride,
                                            vec *test) {
    vec square[EMDASH_VL];
    const char *row = p;
    EMDASH_UNROLL
    for (int k = 0; k < EMDASH_VL; k++, row += row_step) {
        EMDASH_PREFETCH(row + ahead);
        if (k < size) square[k] = EMDASH_NAME(read_pieces)(size, row, row_step, is_float);
        if (rows) memcpy(rows + k * row_stride, &square[k], sizeof(vec));
    }
    v_transpose(size, square);
    EMDASH_UNROLL
    for (int k = 0; k < size; k++)
        if (k < features) {
            v_store(columns + k * stride, square[k]);
            *test += square[k] * 0.0;
        }
}

/* Features next to each other: squares of VL rows by VL features, a narrower one for the last features where they fit.
 * It overlaps the square before; with d < VL it reaches into the next rows, so the last rows of the tile, where that could
 * leave the caller's array, are left to the scalar loop.  Returns the rows done. */
EMDASH_INLINE ptrdiff_t EMDASH_NAME(copy_squares)(const char *x, ptrdiff_t row_step, const int is_float, ptrdiff_t n,
                                                  ptrdiff_t d, double *EMDASH_RESTRICT columns, ptrdiff_t stride,
                                                  double *EMDASH_RESTRICT rows, ptrdiff_t row_stride, vec *test) {
    const ptrdiff_t size = is_float ? 4 : 8, ahead = 16 * row_step, whole = d - d % EMDASH_VL;
    const int narrow = d == whole ? 0 : rows ? EMDASH_VL : EMDASH_NAME(square_size)(d - whole);
    const ptrdiff_t last_j = d < narrow ? 0 : d - narrow, kept = d < narrow ? d : narrow;
    const ptrdiff_t last = d >= narrow ? n : row_step < d * size ? 0 : n - (narrow - d) / d - 1;
    ptrdiff_t i = 0;
#define EMDASH_SQUARE(SIZE, KEPT, J) \
    EMDASH_NAME(copy_square)(SIZE, KEPT, p + (J) * size, row_step, is_float, ahead, columns + (J) * stride + i, stride, \
                             SIZE == EMDASH_VL && rows ? rows + i * row_stride + (J) : NULL, row_stride, test)
    for (; i + EMDASH_VL <= last; i += EMDASH_VL) {
        const char *p = x + i * row_step;
        for (ptrdiff_t j = 0; j < whole; j += EMDASH_VL) EMDASH_SQUARE(EMDASH_VL, EMDASH_VL, j);
        if (narrow == EMDASH_VL)
            EMDASH_SQUARE(EMDASH_VL, kept, last_j);
        else if (narrow > 2)
            EMDASH_SQUARE(EMDASH_VL / 2, kept, last_j);
        else if (narrow)
            EMDASH_SQUARE(2, kept, last_j);
    }
#undef EMDASH_SQUARE
    return i;
}

/* Two or four features, nothing between the rows: VL rows are 2 or 4 vectors, split once or twice (2-4x faster than
 * squares that are mostly empty).  Returns the rows done. */
EMDASH_INLINE ptrdiff_t EMDASH_NAME(copy_pairs)(const char *x, const int is_float, ptrdiff_t n, const int d,
                                                double *EMDASH_RESTRICT columns, ptrdiff_t stride, vec *test) {
    const ptrdiff_t size = is_float ? 4 : 8, step = EMDASH_VL * size, whole = n - n % EMDASH_VL;
    for (ptrdiff_t i = 0; i < whole; i += EMDASH_VL) {
        vec v[4];
        EMDASH_UNROLL
        for (int k = 0; k < d; k++) {
            const char *p = x + (i * d) * size + k * step;
            EMDASH_PREFETCH(p + n * d * size);
            v[k] = EMDASH_NAME(read_vector)(p, is_float);
        }
        v_split(&v[0], &v[1]);
        if (d == 4) {
            v_split(&v[2], &v[3]); /* now v[0], v[2] hold features 0 and 2, v[1], v[3] features 1 and 3 */
            v_split(&v[0], &v[2]);
            v_split(&v[1], &v[3]);
        }
        EMDASH_UNROLL
        for (int k = 0; k < d; k++) {
            v_store(columns + k * stride + i, v[k]);
            *test += v[k] * 0.0;
        }
    }
    return whole;
}

/* Rows next to each other (Fortran order). */
EMDASH_INLINE ptrdiff_t EMDASH_NAME(copy_columns)(const char *x, ptrdiff_t feature_step, const int is_float, ptrdiff_t n,
                                                  ptrdiff_t d, double *EMDASH_RESTRICT columns, ptrdiff_t stride,
                                                  vec *test) {
    const ptrdiff_t size = is_float ? 4 : 8, whole = n - n % EMDASH_VL;
    for (ptrdiff_t j = 0; j < d; j++)
        for (ptrdiff_t i = 0; i < whole; i += EMDASH_VL) {
            const char *p = x + j * feature_step + i * size;
            EMDASH_PREFETCH(p + n * size);
            const vec value = EMDASH_NAME(read_vector)(p, is_float);
            v_store(columns + j * stride + i, value);
            *test += value * 0.0;
        }
    return whole;
}

EMDASH_INLINE int EMDASH_NAME(copy)(const char *x, ptrdiff_t row_step, ptrdiff_t feature_step, const int is_float,
                                    ptrdiff_t n, ptrdiff_t padded, ptrdiff_t d, double *columns, ptrdiff_t stride,
                                    double *rows, ptrdiff_t row_stride) {
    const ptrdiff_t size = is_float ? 4 : 8;
    vec test = v_splat(0.0);
    ptrdiff_t done = 0, rows_done = 0;
    if (EMDASH_VL > 1 && feature_step == size && d == 2 && row_step == 2 * size)
        done = EMDASH_NAME(copy_pairs)(x, is_float, n, 2, columns, stride, &test);
    else if (EMDASH_VL > 1 && feature_step == size && d == 4 && row_step == 4 * size)
        done = EMDASH_NAME(copy_pairs)(x, is_float, n, 4, columns, stride, &test);
    else if (feature_step == size && d > 1)
        rows_done = done = EMDASH_NAME(copy_squares)(x, row_step, is_float, n, d, columns, stride, rows, row_stride, &test);
    else if (row_step == size)
        done = EMDASH_NAME(copy_columns)(x, feature_step, is_float, n, d, columns, stride, &test);
    double rest = 0.0;
    for (ptrdiff_t i = done; i < n; i++)
        for (ptrdiff_t j = 0; j < d; j++) {
            const double value = EMDASH_NAME(read)(x + i * row_step + j * feature_step, is_float);
            columns[j * stride + i] = value;
            rest += value * 0.0;
        }
    for (ptrdiff_t i = rows_done; rows && i < n; i++)
        for (ptrdiff_t j = 0; j < d; j++) rows[i * row_stride + j] = columns[j * stride + i];
    for (ptrdiff_t j = 0; n < padded && j < d; j++)
        for (ptrdiff_t i = n; i < padded; i++) columns[j * stride + i] = columns[j * stride + n - 1];
    return v_sum(test) + rest == 0.0;
}

/* IN x: first row of the tile, steps in bytes, n >= 1 rows, padded >= n (a multiple of the row quantum).
 * OUT columns (d, stride); rows (n, row_stride) or NULL, its columns d.. are left alone.  Returns 1 if all is finite. */
static int EMDASH_NAME(load)(const char *x, ptrdiff_t row_step, ptrdiff_t feature_step, int is_float, ptrdiff_t n,
                             ptrdiff_t padded, ptrdiff_t d, double *columns, ptrdiff_t stride, double *rows,
                             ptrdiff_t row_stride) {
    if (is_float)
        return EMDASH_NAME(copy)(x, row_step, feature_step, 1, n, padded, d, columns, stride, rows, row_stride);
    else
        return EMDASH_NAME(copy)(x, row_step, feature_step, 0, n, padded, d, columns, stride, rows, row_stride);
}

static const struct emdash_load_table EMDASH_NAME(load_table) = {EMDASH_NAME(load)};
#endif
