/* What rows with missing cells need beyond the complete-data bodies: regressions on what is observed.
 *
 * A pattern says which features are observed; `features` (d) lists these first, in rising order, then the missing ones.
 * For one pattern and one component, with L L' = Sigma_oo: B = Sigma_mo Sigma_oo^-1 (the regression), V = Sigma_mm - B
 * Sigma_om (what it leaves) and log |L|.  Multiply-adds for q observed and m missing features: q^3/6 + m q^2 + m^2 q/2.
 * Chosen: VL components side by side in the lanes (arrays (..., VL)), so that the small triangles run at vector speed;
 * a row of L depends on the features before it only, so patterns in lexicographic order share the rows they begin with.
 * From Sigma and not from its inverse: where two missing features are nearly equal the inverse has lost what B needs.
 * Every component has a copy of the tile, less its mean (so nothing is lost far from the origin), and fills the cells
 * of its copy with conditional means; everything else is the complete-data code: |x - mu|^2 in Sigma_oo^-1 is the same
 * as |xhat - mu|^2 in Sigma^-1, and first and second moments of xhat are what the M-step wants, up to V.
 * Multiply-adds per row and component: m q more than for a complete row.
 * Bytes per row and component, in the cache: 8 d read and 8 d written for the copy, 8 m q read and 8 m written to fill
 * it; d > 16: 8 d read and 8 d written for its rows.  Per pattern and component: 4 d (d + 1) written (L, B, V).
 * Lost, by estimate: kernels of q features per pattern and an expansion of their sums (24 rows of work for a pattern
 * with one row, and the sums of every pattern have to be cleared, folded and expanded).
 */
#ifndef EMDASH_VL

#include "isa.h"
struct emdash_missing_table {
    ptrdiff_t lanes;
    ptrdiff_t (*runs)(ptrdiff_t d, const double *x, ptrdiff_t stride, ptrdiff_t n, int *start);
    void (*factor)(ptrdiff_t d, ptrdiff_t kept, ptrdiff_t q, const int *features, const double *sigma, double *L,
                   double *log_root);
    void (*regress)(ptrdiff_t d, ptrdiff_t q, const int *features, const double *sigma, const double *L, double *B,
                    double *V);
    void (*deviations)(ptrdiff_t d, const double *x, ptrdiff_t stride, ptrdiff_t rows, const double *mean,
                       double *filled);
    void (*fill)(ptrdiff_t d, ptrdiff_t q, const int *features, ptrdiff_t stride, ptrdiff_t first, ptrdiff_t last,
                 const double *B, double *filled);
    void (*fill_few)(ptrdiff_t d, ptrdiff_t q, const int *features, const double *x, ptrdiff_t stride, ptrdiff_t first,
                     ptrdiff_t last, const double *mean, const double *B, ptrdiff_t components, double *filled,
                     ptrdiff_t filled_step);
    void (*correct)(ptrdiff_t d, ptrdiff_t q, const int *features, const double *N, const double *V, double *S);
    void (*to_rows)(ptrdiff_t d, const double *x, ptrdiff_t stride, ptrdiff_t rows, double *rows_x,
                    ptrdiff_t row_stride);
};
#define EMDASH_BODY "missing.h"
#include "each_isa.h"
static const struct emdash_missing_table *const emdash_missing_tables[EMDASH_ISA_COUNT] = EMDASH_TABLES(missing_table);

#else
#include "vector.h"
#include "transpose.h"

/* packed triangle of VL lanes: entry (i, j <= i) */
#define EMDASH_AT(i, j) (((i) * ((i) + 1) / 2 + (j)) * EMDASH_VL)

/* IN x (d, stride) with NaN in missing cells, n rows.  OUT start (runs + 1): where each run of rows with the same
 * pattern begins, and n.  Returns the number of runs. */
static ptrdiff_t EMDASH_NAME(runs)(ptrdiff_t d, const double *x, ptrdiff_t stride, ptrdiff_t n, int *start) {
    unsigned char differs[EMDASH_LONGEST_TILE] = {0};
    ptrdiff_t runs = 1;
    for (ptrdiff_t j = 0; j < d; j++, x += stride)
        for (ptrdiff_t i = 1; i < n; i++) differs[i] |= (x[i] == x[i]) != (x[i - 1] == x[i - 1]);
    start[0] = 0;
    for (ptrdiff_t i = 1; i < n; i++)
        if (differs[i]) start[runs++] = (int)i;
    start[runs] = (int)n;
    return runs;
}

/* log2 of positive normal numbers */
EMDASH_INLINE vec EMDASH_NAME(log2_positive)(vec x) {
    const vec_bits exponent = v_bits(x) >> 52;
    const vec mantissa = v_from_bits((v_bits(x) & 0xfffffffffffffULL) | 0x3ff0000000000000ULL);
    return v_log2(mantissa) + (v_from_bits(exponent + 0x4338000000000000ULL) - (0x1.8p52 + 1023.0));
}

/* OUT w (q, VL): w L' = sigma of feature f with the q observed ones. */
EMDASH_INLINE void EMDASH_NAME(forward)(ptrdiff_t q, const int *features, const double *sigma_f, const double *L,
                                        double *w) {
    for (ptrdiff_t j = 0; j < q; j++) {
        const double *row = L + EMDASH_AT(j, 0);
        vec s = v_load(sigma_f + features[j] * EMDASH_VL);
        for (ptrdiff_t c = 0; c < j; c++) s -= v_load(w + c * EMDASH_VL) * v_load(row + c * EMDASH_VL);
        v_store(w + j * EMDASH_VL, s * v_load(row + j * EMDASH_VL));
    }
}

/* IN sigma (d, d, VL), features; L and log_root hold the rows below `kept` already.
 * OUT L (packed q, VL): the factor of Sigma_oo, reciprocals on its diagonal; log_root (q + 1, VL): log2 of the product
 * of the diagonal up to each row. */
static void EMDASH_NAME(factor)(ptrdiff_t d, ptrdiff_t kept, ptrdiff_t q, const int *features, const double *sigma,
                                double *L, double *log_root) {
    if (kept == 0) v_store(log_root, v_splat(0.0));
    for (ptrdiff_t i = kept; i < q; i++) {
        const double *sigma_i = sigma + features[i] * d * EMDASH_VL;
        double *row = L + EMDASH_AT(i, 0);
        EMDASH_NAME(forward)(i, features, sigma_i, L, row);
        const vec variance = v_load(sigma_i + features[i] * EMDASH_VL);
        vec s = variance;
        for (ptrdiff_t c = 0; c < i; c++) s -= v_load(row + c * EMDASH_VL) * v_load(row + c * EMDASH_VL);
        s = v_max(s, variance * 0x1p-60); /* positive in exact arithmetic, Sigma being positive definite */
        v_store(row + i * EMDASH_VL, 1.0 / v_sqrt(s));
        v_store(log_root + (i + 1) * EMDASH_VL, v_load(log_root + i * EMDASH_VL) + EMDASH_NAME(log2_positive)(s) * 0.5);
    }
}

/* IN L of `factor`.  OUT B (d - q, q, VL), V (packed d - q, VL). */
static void EMDASH_NAME(regress)(ptrdiff_t d, ptrdiff_t q, const int *features, const double *sigma, const double *L,
                                 double *B, double *V) {
    const ptrdiff_t m = d - q, step = q * EMDASH_VL;
    for (ptrdiff_t f = 0; f < m; f++) {
        const double *sigma_f = sigma + features[q + f] * d * EMDASH_VL;
        EMDASH_NAME(forward)(q, features, sigma_f, L, B + f * step);
        for (ptrdiff_t g = 0; g <= f; g++) {
            vec s = v_load(sigma_f + features[q + g] * EMDASH_VL);
            for (ptrdiff_t c = 0; c < q; c++)
                s -= v_load(B + f * step + c * EMDASH_VL) * v_load(B + g * step + c * EMDASH_VL);
            v_store(V + EMDASH_AT(f, g), s);
        }
    }
    for (ptrdiff_t f = 0; f < m; f++) { /* from Sigma_mo L'^-1 to Sigma_mo (L L')^-1 */
        double *b = B + f * step;
        for (ptrdiff_t j = q - 1; j >= 0; j--) {
            vec s = v_load(b + j * EMDASH_VL);
            for (ptrdiff_t c = j + 1; c < q; c++) s -= v_load(b + c * EMDASH_VL) * v_load(L + EMDASH_AT(c, j));
            v_store(b + j * EMDASH_VL, s * v_load(L + EMDASH_AT(j, j)));
        }
    }
}

/* OUT filled (d, stride) = x - mean.  rows: a multiple of VL. */
static void EMDASH_NAME(deviations)(ptrdiff_t d, const double *x, ptrdiff_t stride, ptrdiff_t rows, const double *mean,
                                    double *EMDASH_RESTRICT filled) {
    for (ptrdiff_t j = 0; j < d; j++, x += stride, filled += stride)
        for (ptrdiff_t i = 0; i < rows; i += EMDASH_VL) v_store(filled + i, v_load(x + i) - mean[j]);
}

/* One component, rows along the vectors.  IN B (d - q, q, VL) of the component's lane.  INOUT filled (d, stride):
 * deviations; rows first..last of one pattern get conditional means in their missing cells. */
static void EMDASH_NAME(fill)(ptrdiff_t d, ptrdiff_t q, const int *features, ptrdiff_t stride, ptrdiff_t first,
                              ptrdiff_t last, const double *B, double *filled) {
    for (ptrdiff_t f = 0; f < d - q; f++) {
        double *out = filled + features[q + f] * stride;
        const double *b = B + f * q * EMDASH_VL;
        for (ptrdiff_t i = first; i < last; i += EMDASH_VL) {
            const ptrdiff_t left = last - i < EMDASH_VL ? last - i : EMDASH_VL;
            vec value = v_splat(0.0);
            for (ptrdiff_t j = 0; j < q; j++) {
                vec dx;
                memcpy(&dx, filled + features[j] * stride + i, sizeof dx); /* may read into the rows behind */
                value += dx * b[j * EMDASH_VL];
            }
            memcpy(out + i, &value, left * sizeof(double));
        }
    }
}

/* The same for few rows: VL components side by side, `components` of them real, the same operations in the same order.
 * IN x (d, stride), mean (d, VL).  OUT filled of the first component, the others filled_step apart. */
static void EMDASH_NAME(fill_few)(ptrdiff_t d, ptrdiff_t q, const int *features, const double *x, ptrdiff_t stride,
                                  ptrdiff_t first, ptrdiff_t last, const double *mean, const double *B,
                                  ptrdiff_t components, double *filled, ptrdiff_t filled_step) {
    for (ptrdiff_t f = 0; f < d - q; f++)
        for (ptrdiff_t i = first; i < last; i++) {
            vec value = v_splat(0.0);
            double lanes[EMDASH_VL];
            for (ptrdiff_t j = 0; j < q; j++)
                value += (x[features[j] * stride + i] - v_load(mean + features[j] * EMDASH_VL)) *
                         v_load(B + (f * q + j) * EMDASH_VL);
            memcpy(lanes, &value, sizeof value);
            for (ptrdiff_t k = 0; k < EMDASH_VL && k < components; k++)
                filled[k * filled_step + features[q + f] * stride + i] = lanes[k];
        }
}

/* IN N (VL), V (packed d - q, VL).  OUT S (packed d, VL) += N V in the rows and columns of the missing features. */
static void EMDASH_NAME(correct)(ptrdiff_t d, ptrdiff_t q, const int *features, const double *N, const double *V,
                                 double *S) {
    const vec n = v_load(N);
    for (ptrdiff_t f = 0; f < d - q; f++)
        for (ptrdiff_t g = 0; g <= f; g++) {
            double *sum = S + EMDASH_AT(features[q + f], features[q + g]);
            v_store(sum, v_load(sum) + n * v_load(V + EMDASH_AT(f, g)));
        }
}

/* OUT rows_x (rows, row_stride) = x (d, stride) transposed; columns d.. of rows_x are left alone.  rows: a multiple of
 * VL. */
static void EMDASH_NAME(to_rows)(ptrdiff_t d, const double *x, ptrdiff_t stride, ptrdiff_t rows, double *rows_x,
                                 ptrdiff_t row_stride) {
    for (ptrdiff_t i = 0; i < rows; i += EMDASH_VL) {
        ptrdiff_t j = 0;
        for (; j + EMDASH_VL <= d; j += EMDASH_VL) {
            vec square[EMDASH_VL];
            EMDASH_UNROLL
            for (int k = 0; k < EMDASH_VL; k++) square[k] = v_load(x + (j + k) * stride + i);
            v_transpose(EMDASH_VL, square);
            EMDASH_UNROLL
            for (int k = 0; k < EMDASH_VL; k++) v_store(rows_x + (i + k) * row_stride + j, square[k]);
        }
        for (; j < d; j++)
            for (int k = 0; k < EMDASH_VL; k++) rows_x[(i + k) * row_stride + j] = x[j * stride + i + k];
    }
}

static const struct emdash_missing_table EMDASH_NAME(missing_table) = {
    EMDASH_VL, EMDASH_NAME(runs), EMDASH_NAME(factor), EMDASH_NAME(regress), EMDASH_NAME(deviations),
    EMDASH_NAME(fill), EMDASH_NAME(fill_few), EMDASH_NAME(correct), EMDASH_NAME(to_rows),
};
#endif
