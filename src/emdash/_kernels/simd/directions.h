/* The few directions along which components differ, and each component's Gaussian along them (the screen of screen.h).
 *
 * For any matrix V (d, m) the squared Mahalanobis distance of V'x under the marginal N(V'mu, V'Sigma V) is at most that of
 * x under N(mu, Sigma): m(m+1)/2 multiply-adds bound what costs d(d+1)/2 from below.
 * V = P V0: V0 spans the means that lie farthest apart (greedily, in units of the components' own scale per feature; as many
 * as lie more than one unit off the span), P is an average of the precisions: Fisher's discriminants, blind to the units
 * and the correlation of the features.  Once per pass: 24 K d^2 multiply-adds (three triangles by 16 columns, whatever
 * m is), what 24 more rows cost; the K triangles are read four times, 16 K d (d + 1) bytes.  Nothing per row.
 * The bound must hold in floating point too: a component whose marginal is too ill-conditioned, or so narrow beside the
 * distances between the means that V'x is not known well enough, gets the bound 0, which rules nothing out.
 * Lost: the first coordinates of W (x - mu) (at d = 64 eight of them leave 10 of 64 well separated components, at d = 256
 * all; 3 discriminants leave 1.2); principal axes of the means (an eigenproblem; same bound where it was tried).
 */
#ifndef EMDASH_DIRECTIONS_H
#define EMDASH_DIRECTIONS_H
#define EMDASH_DIRECTIONS 16 /* at most; always the row length of V */
#define EMDASH_STRIP (EMDASH_VL == 8 ? 4 : EMDASH_VL == 4 ? 2 : 1) /* rows of U that share what is loaded of V */
#endif

/* most directions worth having: their triangle is at most 1/16 of the whole one */
static ptrdiff_t EMDASH_NAME(most_directions)(ptrdiff_t d) { return d / 4 < EMDASH_DIRECTIONS ? d / 4 : EMDASH_DIRECTIONS; }

/* doubles of scratch `directions` needs */
static ptrdiff_t EMDASH_NAME(directions_scratch)(ptrdiff_t K, ptrdiff_t d) {
    return (2 * K * d + d + 7) / 8 * 8 + 2 * d * EMDASH_DIRECTIONS;
}

/* u'u; eight sums, for a single one waits for its own last addition */
EMDASH_INLINE double EMDASH_NAME(square)(ptrdiff_t n, const double *u) {
    double sum[8] = {0}, rest = 0.0;
    ptrdiff_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int lane = 0; lane < 8; lane++) sum[lane] += u[i + lane] * u[i + lane];
    for (; i < n; i++) rest += u[i] * u[i];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7])) + rest;
}

/* IN upper (K, d, d).  OUT precision (K, d): diagonals of U U'; unit (d): the features' scale, root of their harmonic
 * mean. */
static void EMDASH_NAME(units)(ptrdiff_t K, ptrdiff_t d, const double *upper, double *precision, double *unit) {
    for (ptrdiff_t j = 0; j < d; j++) unit[j] = 0.0;
    for (ptrdiff_t k = 0; k < K; k++)
        for (ptrdiff_t j = 0; j < d; j++) {
            precision[k * d + j] = EMDASH_NAME(square)(d - j, upper + (k * d + j) * d + j);
            unit[j] += 1.0 / precision[k * d + j];
        }
    for (ptrdiff_t j = 0; j < d; j++) unit[j] = sqrt((double)K / unit[j]);
}

/* INOUT means (K, d), centred and scaled -> what the span leaves of them.  OUT span (d, DIRECTIONS).  Returns m. */
static ptrdiff_t EMDASH_NAME(farthest)(ptrdiff_t K, ptrdiff_t d, double *means, double *span) {
    const ptrdiff_t most = EMDASH_NAME(most_directions)(d);
    for (ptrdiff_t m = 0; m < most; m++) {
        double largest = 0.0;
        ptrdiff_t chosen = 0;
        for (ptrdiff_t k = 0; k < K; k++) {
            double square = 0.0;
            for (ptrdiff_t j = 0; j < d; j++) square += means[k * d + j] * means[k * d + j];
            if (square > largest) largest = square, chosen = k;
        }
        if (!(largest > 1.0 && largest < 1e200)) return m;
        for (ptrdiff_t j = 0; j < d; j++) span[j * EMDASH_DIRECTIONS + m] = means[chosen * d + j] / sqrt(largest);
        for (ptrdiff_t k = 0; k < K; k++) {
            double along = 0.0;
            for (ptrdiff_t j = 0; j < d; j++) along += means[k * d + j] * span[j * EMDASH_DIRECTIONS + m];
            for (ptrdiff_t j = 0; j < d; j++) means[k * d + j] -= along * span[j * EMDASH_DIRECTIONS + m];
        }
    }
    return most;
}

/* sum (DIRECTIONS) += factor * row */
EMDASH_INLINE void EMDASH_NAME(add_row_of)(vec *sum, double factor, const double *row) {
    EMDASH_UNROLL
    for (int c = 0; c < EMDASH_DIRECTIONS / EMDASH_VL; c++) sum[c] += v_load(row + c * EMDASH_VL) * factor;
}

EMDASH_INLINE void EMDASH_NAME(load_row_of)(vec *x, const double *row) {
    EMDASH_UNROLL
    for (int c = 0; c < EMDASH_DIRECTIONS / EMDASH_VL; c++) x[c] = v_load(row + c * EMDASH_VL);
}

EMDASH_INLINE void EMDASH_NAME(store_row_of)(double *row, const vec *x) {
    EMDASH_UNROLL
    for (int c = 0; c < EMDASH_DIRECTIONS / EMDASH_VL; c++) v_store(row + c * EMDASH_VL, x[c]);
}

/* sum (rows, DIRECTIONS) = a b.  IN a: rows a_row apart, n columns a_step apart; b (n, DIRECTIONS).  All sums at once in
 * registers: each is a chain of additions. */
EMDASH_INLINE void EMDASH_NAME(strip)(const int rows, ptrdiff_t n, const double *a, ptrdiff_t a_row, ptrdiff_t a_step,
                                      const double *b, vec sum[EMDASH_STRIP][EMDASH_DIRECTIONS / EMDASH_VL]) {
    EMDASH_UNROLL
    for (int r = 0; r < rows; r++)
        EMDASH_UNROLL
        for (int c = 0; c < EMDASH_DIRECTIONS / EMDASH_VL; c++) sum[r][c] = v_splat(0.0);
    for (ptrdiff_t i = 0; i < n; i++, a += a_step, b += EMDASH_DIRECTIONS)
        EMDASH_UNROLL
        for (int r = 0; r < rows; r++) EMDASH_NAME(add_row_of)(sum[r], a[r * a_row], b);
}

/* OUT y (d, DIRECTIONS) = U' span, rows i ... */
EMDASH_INLINE void EMDASH_NAME(transposed_strip)(const int rows, ptrdiff_t i, ptrdiff_t d, const double *upper,
                                                 const double *span, double *y) {
    vec sum[EMDASH_STRIP][EMDASH_DIRECTIONS / EMDASH_VL];
    EMDASH_NAME(strip)(rows, i, upper + i, 1, d, span, sum);
    EMDASH_UNROLL
    for (int r = 0; r < rows; r++) {
        EMDASH_UNROLL
        for (int s = 0; s <= r; s++)
            EMDASH_NAME(add_row_of)(sum[r], upper[(i + s) * d + i + r], span + (i + s) * EMDASH_DIRECTIONS);
        EMDASH_NAME(store_row_of)(y + (i + r) * EMDASH_DIRECTIONS, sum[r]);
    }
}

/* OUT V (d, DIRECTIONS) += U y factor, rows i ... */
EMDASH_INLINE void EMDASH_NAME(add_strip)(const int rows, ptrdiff_t i, ptrdiff_t d, const double *upper, double factor,
                                          const double *y, double *V) {
    const ptrdiff_t behind = i + rows;
    vec sum[EMDASH_STRIP][EMDASH_DIRECTIONS / EMDASH_VL], x[EMDASH_DIRECTIONS / EMDASH_VL];
    EMDASH_NAME(strip)(rows, d - behind, upper + i * d + behind, d, 1, y + behind * EMDASH_DIRECTIONS, sum);
    EMDASH_UNROLL
    for (int r = 0; r < rows; r++) {
        double *row = V + (i + r) * EMDASH_DIRECTIONS;
        EMDASH_UNROLL
        for (int s = r; s < rows; s++)
            EMDASH_NAME(add_row_of)(sum[r], upper[(i + r) * d + i + s], y + (i + s) * EMDASH_DIRECTIONS);
        EMDASH_NAME(load_row_of)(x, row);
        EMDASH_UNROLL
        for (int c = 0; c < EMDASH_DIRECTIONS / EMDASH_VL; c++) x[c] += sum[r][c] * factor;
        EMDASH_NAME(store_row_of)(row, x);
    }
}

/* OUT y (d, DIRECTIONS) = U^-1 V, rows i ..., those behind being there */
EMDASH_INLINE void EMDASH_NAME(solve_strip)(const int rows, ptrdiff_t i, ptrdiff_t d, const double *upper, const double *V,
                                            double *y) {
    const ptrdiff_t behind = i + rows;
    vec sum[EMDASH_STRIP][EMDASH_DIRECTIONS / EMDASH_VL], x[EMDASH_DIRECTIONS / EMDASH_VL];
    EMDASH_NAME(strip)(rows, d - behind, upper + i * d + behind, d, 1, y + behind * EMDASH_DIRECTIONS, sum);
    for (int r = rows - 1; r >= 0; r--) {
        const double *u = upper + (i + r) * d + i;
        for (int s = r + 1; s < rows; s++) EMDASH_NAME(add_row_of)(sum[r], u[s], y + (i + s) * EMDASH_DIRECTIONS);
        EMDASH_NAME(load_row_of)(x, V + (i + r) * EMDASH_DIRECTIONS);
        EMDASH_UNROLL
        for (int c = 0; c < EMDASH_DIRECTIONS / EMDASH_VL; c++) x[c] = (x[c] - sum[r][c]) * (1.0 / u[r]);
        EMDASH_NAME(store_row_of)(y + (i + r) * EMDASH_DIRECTIONS, x);
    }
}

/* OUT V (d, DIRECTIONS) += U U' span factor.  SCRATCH y (d, DIRECTIONS). */
static void EMDASH_NAME(add_precision)(ptrdiff_t d, const double *upper, double factor, const double *span, double *y,
                                       double *V) {
    ptrdiff_t i = 0, j = 0;
    for (; i + EMDASH_STRIP <= d; i += EMDASH_STRIP) EMDASH_NAME(transposed_strip)(EMDASH_STRIP, i, d, upper, span, y);
    for (; i < d; i++) EMDASH_NAME(transposed_strip)(1, i, d, upper, span, y);
    for (; j + EMDASH_STRIP <= d; j += EMDASH_STRIP) EMDASH_NAME(add_strip)(EMDASH_STRIP, j, d, upper, factor, y, V);
    for (; j < d; j++) EMDASH_NAME(add_strip)(1, j, d, upper, factor, y, V);
}

/* OUT center (d); V (d, DIRECTIONS), zeros behind column m.  Returns m, 0 if nothing can be told apart. */
static ptrdiff_t EMDASH_NAME(directions)(ptrdiff_t K, ptrdiff_t d, const double *means, const double *upper, double *center,
                                         double *V, double *scratch) {
    double *const rest = scratch, *const precision = rest + K * d, *const unit = precision + K * d;
    double *const span = scratch + (2 * K * d + d + 7) / 8 * 8;
    memset(span, 0, d * EMDASH_DIRECTIONS * sizeof(double));
    memset(V, 0, d * EMDASH_DIRECTIONS * sizeof(double));
    EMDASH_NAME(units)(K, d, upper, precision, unit);
    for (ptrdiff_t j = 0; j < d; j++) {
        center[j] = 0.0;
        for (ptrdiff_t k = 0; k < K; k++) center[j] += means[k * d + j] / (double)K;
        for (ptrdiff_t k = 0; k < K; k++) rest[k * d + j] = (means[k * d + j] - center[j]) * unit[j];
    }
    const ptrdiff_t m = EMDASH_NAME(farthest)(K, d, rest, span);
    if (m == 0) return 0;
    for (ptrdiff_t j = 0; j < d; j++)
        for (ptrdiff_t c = 0; c < m; c++) span[j * EMDASH_DIRECTIONS + c] /= unit[j];
    for (ptrdiff_t k = 0; k < K; k++) {
        double trace = 0.0; /* of U U' in the units */
        for (ptrdiff_t j = 0; j < d; j++) trace += precision[k * d + j] / (unit[j] * unit[j]);
        EMDASH_NAME(add_precision)(d, upper + k * d * d, 1.0 / trace, span, span + d * EMDASH_DIRECTIONS, V);
    }
    return m;
}

/* One component along the directions.  IN means (K, d), to know how far V'x reaches; k.  OUT mean (m) = V'(mu - center);
 * root (m, m) upper triangular with root root' = (V' Sigma V)^-1, or zeros.  SCRATCH y (d, DIRECTIONS). */
static void EMDASH_NAME(marginal)(ptrdiff_t d, ptrdiff_t m, const double *V, const double *center, const double *mu,
                                  const double *upper, const double *reach, double *mean, double *root, double *y) {
    double C[EMDASH_DIRECTIONS][EMDASH_DIRECTIONS], inverse[EMDASH_DIRECTIONS][EMDASH_DIRECTIONS];
    int good = 1;
    memset(C, 0, sizeof C);
    memset(inverse, 0, sizeof inverse);
    for (ptrdiff_t c = 0; c < m; c++) mean[c] = 0.0;
    for (ptrdiff_t j = 0; j < d; j++)
        for (ptrdiff_t c = 0; c < m; c++) mean[c] += (mu[j] - center[j]) * V[j * EMDASH_DIRECTIONS + c];
    ptrdiff_t left = d; /* y = U^-1 V; then V' Sigma V = y' y */
    for (; left >= EMDASH_STRIP; left -= EMDASH_STRIP)
        EMDASH_NAME(solve_strip)(EMDASH_STRIP, left - EMDASH_STRIP, d, upper, V, y);
    for (; left > 0; left--) EMDASH_NAME(solve_strip)(1, left - 1, d, upper, V, y);
    for (ptrdiff_t i = 0; i < d; i++)
        for (ptrdiff_t a = 0; a < m; a++)
            for (ptrdiff_t b = 0; b <= a; b++) C[a][b] += y[i * EMDASH_DIRECTIONS + a] * y[i * EMDASH_DIRECTIONS + b];
    for (ptrdiff_t a = 0; a < m; a++) { /* C = L L', L in the lower triangle; its inverse beside it */
        const double whole = C[a][a];
        for (ptrdiff_t b = 0; b <= a; b++) {
            double rest = C[a][b];
            for (ptrdiff_t c = 0; c < b; c++) rest -= C[a][c] * C[b][c];
            if (b == a) good &= rest > 1e-9 * whole && rest < 1e200;
            C[a][b] = b < a ? rest / C[b][b] : sqrt(rest);
        }
        double uncertain = 0.0;
        for (ptrdiff_t b = a; b >= 0; b--) {
            double rest = b == a ? 1.0 : 0.0;
            for (ptrdiff_t c = b; c < a; c++) rest -= C[a][c] * inverse[c][b];
            inverse[a][b] = rest / C[a][a];
            uncertain += fabs(inverse[a][b]) * reach[b] * 0x1p-50;
        }
        good &= uncertain < 1e-3;
    }
    for (ptrdiff_t a = 0; a < m; a++)
        for (ptrdiff_t b = 0; b < m; b++) root[b * m + a] = good ? inverse[a][b] : 0.0;
}

/* IN means (K, d), upper (K, d, d); V (d, DIRECTIONS), center as from `directions`.  OUT mean (K, m), root (K, m, m). */
static void EMDASH_NAME(marginals)(ptrdiff_t K, ptrdiff_t d, ptrdiff_t m, const double *V, const double *center,
                                   const double *means, const double *upper, double *mean, double *root, double *scratch) {
    double reach[EMDASH_DIRECTIONS] = {0};
    for (ptrdiff_t j = 0; j < d; j++) {
        double largest = 0.0;
        for (ptrdiff_t k = 0; k < K; k++) {
            const double off = fabs(means[k * d + j] - center[j]);
            if (off > largest) largest = off;
        }
        for (int c = 0; c < EMDASH_DIRECTIONS; c++) reach[c] += fabs(V[j * EMDASH_DIRECTIONS + c]) * largest;
    }
    for (ptrdiff_t k = 0; k < K; k++)
        EMDASH_NAME(marginal)(d, m, V, center, means + k * d, upper + k * d * d, reach, mean + k * m, root + k * m * m,
                              scratch);
}
