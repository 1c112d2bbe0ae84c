/* Covariances from the sums of a pass, and the triangular factors of their inverses: the M-step of full covariance.
 *
 * A = R'R, then U = R^-1 in its place, both upper triangular, so that U U' = A^-1.  d^3 / 6 multiply-adds each.
 * Both are written as "BAND rows -= combination of other rows", in register blocks of BAND x 3 vectors, the triangle skipped
 * per block; what is left inside a block of BAND rows is solved in the same registers.  No BLAS: its threads would spin
 * against ours, and its results depend on how many there are.
 * The matrix lies in scratch, rows an odd number of cache lines apart, padded by ones on the diagonal.
 * Bytes per matrix: `covariance` and `factor` each read a triangle, 4 d (d + 1), and write the square, 8 d^2; of
 * scratch 1.3 are read per multiply-add (AVX-512: 8 + 24 numbers for 192).
 * us per matrix beside SciPy's dpotrf + dtrtri (with the copies for their column order), one thread, AVX-512: d = 10 .7
 * beside 5.2; 16 .7 / 6.1; 64 7 / 37; 128 40 / 194; 256 253 / 1086 (81 % of the dgemm peak).  AVX2 equal, SSE2 2.9x slower.
 */
#ifndef EMDASH_VL

#include "isa.h"
struct emdash_factor_table {
    ptrdiff_t (*scratch)(ptrdiff_t d);
    ptrdiff_t (*factor)(ptrdiff_t d, const double *covariance, double *upper, double *scratch);
    void (*covariance)(ptrdiff_t d, double N, const double *S, const double *shift, double *covariance);
};
#define EMDASH_BODY "factor.h"
#include "each_isa.h"
static const struct emdash_factor_table *const emdash_factor_tables[EMDASH_ISA_COUNT] = EMDASH_TABLES(factor_table);

#else
#include "vector.h"
#ifndef EMDASH_FACTOR_NAMES
#define EMDASH_FACTOR_NAMES
#define EMDASH_BAND (EMDASH_VL == 8 ? 8 : EMDASH_VL == 1 ? 2 : 4) /* divides 8; not above GROUP: see cholesky_block */
#define EMDASH_GROUP (3 * EMDASH_VL) /* columns in a register block */
#endif

static ptrdiff_t EMDASH_NAME(factor_padded)(ptrdiff_t d) { return (d + 7) / 8 * 8; }
static ptrdiff_t EMDASH_NAME(factor_step)(ptrdiff_t d) { return (d + 7) / 8 % 2 ? (d + 7) / 8 * 8 : (d + 7) / 8 * 8 + 8; }

/* doubles of scratch `factor` needs */
static ptrdiff_t EMDASH_NAME(factor_scratch)(ptrdiff_t d) {
    return EMDASH_NAME(factor_padded)(d) * (EMDASH_NAME(factor_step)(d) + 1);
}

/* OUT matrix (padded, step): the upper triangle, zeros behind column d and a register block to the left. */
static void EMDASH_NAME(load_upper)(ptrdiff_t d, ptrdiff_t step, const double *covariance, double *matrix) {
    const ptrdiff_t padded = EMDASH_NAME(factor_padded)(d);
    for (ptrdiff_t i = 0; i < padded; i++) {
        const ptrdiff_t left = i / 8 * 8 - EMDASH_GROUP > 0 ? i / 8 * 8 - EMDASH_GROUP : 0;
        double *row = matrix + i * step;
        memset(row + left, 0, (padded - left) * sizeof(double));
        if (i < d)
            memcpy(row + i, covariance + i * d + i, (d - i) * sizeof(double));
        else
            row[i] = 1.0;
    }
}

EMDASH_INLINE void EMDASH_NAME(load_block)(const int nv, const double *rows, ptrdiff_t step, vec x[8][3]) {
    EMDASH_UNROLL
    for (int i = 0; i < EMDASH_BAND; i++)
        EMDASH_UNROLL
        for (int v = 0; v < nv; v++) x[i][v] = v_load(rows + i * step + v * EMDASH_VL);
}

EMDASH_INLINE void EMDASH_NAME(store_block)(const int nv, double *rows, ptrdiff_t step, vec x[8][3]) {
    EMDASH_UNROLL
    for (int i = 0; i < EMDASH_BAND; i++)
        EMDASH_UNROLL
        for (int v = 0; v < nv; v++) v_store(rows + i * step + v * EMDASH_VL, x[i][v]);
}

/* x[i] -= sum_p a[i a_row + p a_step] b[p step], p < count */
EMDASH_INLINE void EMDASH_NAME(subtract_rows)(const int nv, ptrdiff_t count, const double *a, ptrdiff_t a_row,
                                              ptrdiff_t a_step, const double *b, ptrdiff_t step, vec x[8][3]) {
    for (ptrdiff_t p = 0; p < count; p++, a += a_step, b += step) {
        vec right[3];
        EMDASH_UNROLL
        for (int v = 0; v < nv; v++) right[v] = v_load(b + v * EMDASH_VL);
        EMDASH_UNROLL
        for (int i = 0; i < EMDASH_BAND; i++)
            EMDASH_UNROLL
            for (int v = 0; v < nv; v++) x[i][v] -= right[v] * a[i * a_row];
    }
}

/* IN block (BAND, step): symmetric, its upper triangle.  OUT t (BAND, 8): R of it; reciprocal (BAND) of its diagonal.
 * Returns 0 if it is not positive definite. */
static int EMDASH_NAME(factor_block)(const double *block, ptrdiff_t step, double t[8][8], double *reciprocal) {
    for (int i = 0; i < EMDASH_BAND; i++) {
        for (int j = i; j < EMDASH_BAND; j++) {
            double rest = block[i * step + j];
            for (int s = 0; s < i; s++) rest -= t[s][i] * t[s][j];
            t[i][j] = j == i ? rest : rest * reciprocal[i];
            if (j == i) {
                if (!(rest > 0.0 && rest < INFINITY)) return 0;
                reciprocal[i] = 1.0 / sqrt(rest);
                t[i][i] = rest * reciprocal[i];
            }
        }
    }
    return 1;
}

/* One register block of R: BAND rows from `first`, nv vectors of columns from c.  The first, at c = first, holds all of the
 * block on the diagonal, whose triangle is factored before the rest is solved.  Returns 0 if not positive definite. */
EMDASH_INLINE int EMDASH_NAME(cholesky_block)(const int nv, ptrdiff_t first, ptrdiff_t c, double *matrix, ptrdiff_t step,
                                              double t[8][8], double *reciprocal) {
    double *const rows = matrix + first * step;
    vec x[8][3];
    EMDASH_NAME(load_block)(nv, rows + c, step, x);
    EMDASH_NAME(subtract_rows)(nv, first, matrix + first, 1, step, matrix + c, step, x);
    if (c == first) {
        EMDASH_NAME(store_block)(nv, rows + c, step, x);
        if (!EMDASH_NAME(factor_block)(rows + first, step, t, reciprocal)) return 0;
    }
    EMDASH_UNROLL
    for (int i = 0; i < EMDASH_BAND; i++)
        EMDASH_UNROLL
        for (int v = 0; v < nv; v++) {
            EMDASH_UNROLL
            for (int s = 0; s < i; s++) x[i][v] -= x[s][v] * t[s][i];
            x[i][v] = x[i][v] * reciprocal[i];
        }
    EMDASH_NAME(store_block)(nv, rows + c, step, x);
    return 1;
}

/* One register block of U, from R in the columns left of c + nv VL.  IN t (BAND, 8): R of the diagonal block. */
EMDASH_INLINE void EMDASH_NAME(inverse_block)(const int nv, ptrdiff_t first, ptrdiff_t c, double *matrix, ptrdiff_t step,
                                              double t[8][8], const double *reciprocal) {
    double *const rows = matrix + first * step;
    const ptrdiff_t below = first + EMDASH_BAND, count = c + nv * EMDASH_VL - below;
    vec x[8][3];
    EMDASH_UNROLL
    for (int i = 0; i < EMDASH_BAND; i++)
        EMDASH_UNROLL
        for (int v = 0; v < nv; v++) x[i][v] = v_splat(0.0);
    EMDASH_NAME(subtract_rows)(nv, count, rows + below, step, 1, matrix + below * step + c, step, x);
    if (c < below) { /* the unit matrix */
        EMDASH_NAME(store_block)(nv, rows + c, step, x);
        for (int i = 0; i < EMDASH_BAND; i++)
            if (first + i >= c && first + i < c + nv * EMDASH_VL) rows[i * step + first + i] += 1.0;
        EMDASH_NAME(load_block)(nv, rows + c, step, x);
    }
    EMDASH_UNROLL
    for (int i = EMDASH_BAND - 1; i >= 0; i--)
        EMDASH_UNROLL
        for (int v = 0; v < nv; v++) {
            EMDASH_UNROLL
            for (int s = i + 1; s < EMDASH_BAND; s++) x[i][v] -= x[s][v] * t[i][s];
            x[i][v] = x[i][v] * reciprocal[i];
        }
    EMDASH_NAME(store_block)(nv, rows + c, step, x);
}

/* INOUT matrix (padded, step): A -> R.  OUT reciprocal (padded) of its diagonal.  Returns 0 if not positive definite. */
static int EMDASH_NAME(cholesky)(ptrdiff_t padded, ptrdiff_t step, double *matrix, double *reciprocal) {
    double t[8][8];
    for (ptrdiff_t first = 0; first < padded; first += EMDASH_BAND)
        for (ptrdiff_t c = first; c < padded; c += EMDASH_GROUP) {
            const ptrdiff_t left = (padded - c) / EMDASH_VL;
            int good;
            if (left >= 3)
                good = EMDASH_NAME(cholesky_block)(3, first, c, matrix, step, t, reciprocal + first);
            else if (left == 2)
                good = EMDASH_NAME(cholesky_block)(2, first, c, matrix, step, t, reciprocal + first);
            else
                good = EMDASH_NAME(cholesky_block)(1, first, c, matrix, step, t, reciprocal + first);
            if (!good) return 0;
        }
    return 1;
}

/* INOUT matrix (padded, step): R -> U, from below and from the right, so that what is read is still R. */
static void EMDASH_NAME(inverse)(ptrdiff_t padded, ptrdiff_t step, double *matrix, const double *reciprocal) {
    double t[8][8];
    for (ptrdiff_t first = padded - EMDASH_BAND; first >= 0; first -= EMDASH_BAND) {
        for (int i = 0; i < EMDASH_BAND; i++)
            memcpy(t[i], matrix + (first + i) * step + first, EMDASH_BAND * sizeof(double));
        for (ptrdiff_t end = padded, left; end > first; end -= left * EMDASH_VL) {
            left = (end - first) / EMDASH_VL < 3 ? (end - first) / EMDASH_VL : 3;
            if (left == 3)
                EMDASH_NAME(inverse_block)(3, first, end - 3 * EMDASH_VL, matrix, step, t, reciprocal + first);
            else if (left == 2)
                EMDASH_NAME(inverse_block)(2, first, end - 2 * EMDASH_VL, matrix, step, t, reciprocal + first);
            else
                EMDASH_NAME(inverse_block)(1, first, end - EMDASH_VL, matrix, step, t, reciprocal + first);
        }
    }
}

/* IN covariance (d, d), its upper triangle.  OUT upper (d, d): U with U U' = its inverse, zeros below the diagonal.
 * SCRATCH (scratch(d)), aligned.  Returns 0 if it is not positive definite or not finite; `upper` then means nothing. */
static ptrdiff_t EMDASH_NAME(factor)(ptrdiff_t d, const double *covariance, double *upper, double *scratch) {
    const ptrdiff_t padded = EMDASH_NAME(factor_padded)(d), step = EMDASH_NAME(factor_step)(d);
    double *const matrix = scratch + padded;
    EMDASH_NAME(load_upper)(d, step, covariance, matrix);
    if (!EMDASH_NAME(cholesky)(padded, step, matrix, scratch)) return 0;
    EMDASH_NAME(inverse)(padded, step, matrix, scratch);
    for (ptrdiff_t i = 0; i < d; i++) {
        memset(upper + i * d, 0, i * sizeof(double));
        memcpy(upper + i * d + i, matrix + i * step + i, (d - i) * sizeof(double));
    }
    return 1;
}

/* IN S (d(d+1)/2) packed lower triangle about the old mean, shift (d) to the new one.
 * OUT covariance (d, d) = S / N - shift shift'. */
static void EMDASH_NAME(covariance)(ptrdiff_t d, double N, const double *S, const double *shift, double *covariance) {
    for (ptrdiff_t first = 0; first < d; first += 8) {
        const ptrdiff_t last = first + 8 < d ? first + 8 : d;
        for (ptrdiff_t i = first; i < last; i++) {
            double *EMDASH_RESTRICT row = covariance + i * d;
            for (ptrdiff_t j = 0; j <= i; j++) row[j] = S[j] / N - shift[i] * shift[j];
            S += i + 1;
        }
        for (ptrdiff_t j = 0; j < last; j++) /* the other triangle, whole cache lines at a time */
            for (ptrdiff_t i = first > j ? first : j + 1; i < last; i++) covariance[j * d + i] = covariance[i * d + j];
    }
}

static const struct emdash_factor_table EMDASH_NAME(factor_table) = {
    EMDASH_NAME(factor_scratch), EMDASH_NAME(factor), EMDASH_NAME(covariance)};
#endif
