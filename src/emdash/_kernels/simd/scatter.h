/* Sums r, r (x - mu), r (x - mu)(x - mu)' of one component (the M-step statistics of full covariance).
 *
 * d(d+1)/2 multiply-adds per row.  Two forms, by d:
 * d <= 16, "lanes": scatter_small.h.
 * d > 16, and smaller d on tiles where most components are ruled out (screen.h), "panels": rows with r > cut w are
 *   gathered as sqrt(r) (x - mu) into panels that fit L1, and an outer-product register kernel (BAND x 3 VL) adds their
 *   products: no lanes, and components that share no rows cost nothing.
 *   With overlapping components gathering costs nothing measurable; on separated data it halves the pass.
 *   Bytes, in the cache: 16 (r and w) per row and component; where the row counts 8 d read from the tile, 8 d written
 *   to the panel, and from there, in L1, 1.3 per multiply-add (AVX-512: 8 + 24 numbers for 192).
 * Lost: dsyrk on tiles (32-84 % of its peak), monomials and one GEMM (never faster; loses 6 digits far from the
 * origin).
 */
#ifndef EMDASH_SCATTER_NAMES
#define EMDASH_SCATTER_NAMES
#endif

static ptrdiff_t EMDASH_NAME(panel_bands)(ptrdiff_t d) { return (d + EMDASH_BAND - 1) / EMDASH_BAND; }
static ptrdiff_t EMDASH_NAME(panel_rows)(ptrdiff_t d) { return d <= 32 ? 96 : 48; }
static ptrdiff_t EMDASH_NAME(padded)(ptrdiff_t d) { return (d + 7) / 8 * 8; }

/* number of doubles the sums of one component take: a multiple of 8 */
static ptrdiff_t EMDASH_NAME(panels_size)(ptrdiff_t d) {
    const ptrdiff_t bands = EMDASH_NAME(panel_bands)(d);
    ptrdiff_t size = 8 + EMDASH_NAME(padded)(d);
    for (ptrdiff_t b = 0; b < bands; b++)
        size += ((b + 1) * EMDASH_BAND + EMDASH_VL - 1) / EMDASH_VL * EMDASH_VL * EMDASH_BAND;
    return (size + 7) / 8 * 8;
}

static ptrdiff_t EMDASH_NAME(scatter_size)(ptrdiff_t d) {
    return d <= 16 ? EMDASH_NAME(lanes_size)(d) : EMDASH_NAME(panels_size)(d);
}

static ptrdiff_t EMDASH_NAME(panels_scratch)(ptrdiff_t d) {
    return EMDASH_NAME(padded)(d) * EMDASH_NAME(panel_rows)(d) + 2 * EMDASH_LONGEST_TILE;
}

static ptrdiff_t EMDASH_NAME(scatter_scratch)(ptrdiff_t d) { return d <= 16 ? 0 : EMDASH_NAME(panels_scratch)(d); }

/* One register block: BAND rows of S by nv vectors of columns, over m rows of the panel.
 * IN a: the band's features, m x BAND; panel slabs are m_max x VL.  OUT sums (BAND, nv VL) +=. */
EMDASH_INLINE void EMDASH_NAME(outer)(const int nv, ptrdiff_t m, const double *a, ptrdiff_t a_step, const double *b,
                                      ptrdiff_t slab, double *EMDASH_RESTRICT sums) {
    vec S[8][3];
    EMDASH_UNROLL
    for (int i = 0; i < EMDASH_BAND; i++)
        EMDASH_UNROLL
        for (int v = 0; v < nv; v++) S[i][v] = v_load(sums + (i * nv + v) * EMDASH_VL);
    for (ptrdiff_t p = 0; p < m; p++, a += a_step, b += EMDASH_VL) {
        vec right[3];
        EMDASH_UNROLL
        for (int v = 0; v < nv; v++) right[v] = v_load(b + v * slab);
        EMDASH_UNROLL
        for (int i = 0; i < EMDASH_BAND; i++)
            EMDASH_UNROLL
            for (int v = 0; v < nv; v++) S[i][v] += right[v] * a[i / EMDASH_VL * slab + i % EMDASH_VL];
    }
    EMDASH_UNROLL
    for (int i = 0; i < EMDASH_BAND; i++)
        EMDASH_UNROLL
        for (int v = 0; v < nv; v++) v_store(sums + (i * nv + v) * EMDASH_VL, S[i][v]);
}

/* All products of one panel (padded(d) / VL slabs of panel_rows x VL, m rows used).  OUT S in order of the register
 * blocks. */
static void EMDASH_NAME(multiply_panel)(ptrdiff_t d, ptrdiff_t m, const double *panel, double *S) {
    const ptrdiff_t slab = EMDASH_NAME(panel_rows)(d) * EMDASH_VL, bands = EMDASH_NAME(panel_bands)(d);
    for (ptrdiff_t band = 0; band < bands; band++) {
        const double *a = panel + band * EMDASH_BAND / EMDASH_VL * slab;
        const ptrdiff_t columns = ((band + 1) * EMDASH_BAND + EMDASH_VL - 1) / EMDASH_VL;
        ptrdiff_t v = 0;
        for (; v + 3 <= columns; v += 3, S += EMDASH_BAND * 3 * EMDASH_VL)
            EMDASH_NAME(outer)(3, m, a, EMDASH_VL, panel + v * slab, slab, S);
        if (columns - v == 2) EMDASH_NAME(outer)(2, m, a, EMDASH_VL, panel + v * slab, slab, S);
        if (columns - v == 1) EMDASH_NAME(outer)(1, m, a, EMDASH_VL, panel + v * slab, slab, S);
        S += (columns - v) * EMDASH_BAND * EMDASH_VL;
    }
}

/* The rows that count: resp above `cut` of their weight.  OUT index, chosen (found): which, and their resp.  Returns how
 * many.
 * Without a branch: which rows count is as good as random, and a missed guess costs more than the copy. */
EMDASH_INLINE ptrdiff_t EMDASH_NAME(significant)(ptrdiff_t rows, const double *resp, const double *weights, double cut,
                                                 int *index, double *chosen) {
    ptrdiff_t found = 0;
    for (ptrdiff_t i = 0; i < rows; i++) {
        index[found] = (int)i;
        chosen[found] = resp[i];
        found += resp[i] > cut * weights[i];
    }
    return found;
}

/* INOUT root (found, then room for a whole vector) -> its square roots, then zeros.  Returns the sum before that. */
EMDASH_INLINE double EMDASH_NAME(take_roots)(ptrdiff_t found, double *root) {
    vec sum = v_splat(0.0);
    for (ptrdiff_t i = found; i < found + EMDASH_VL; i++) root[i] = 0.0;
    for (ptrdiff_t i = 0; i < found; i += EMDASH_VL) {
        sum += v_load(root + i);
        v_store(root + i, v_sqrt(v_load(root + i)));
    }
    return v_sum(sum);
}

/* OUT panel (padded(d) / VL slabs of panel_rows x VL) = sqrt(r) (x - mu) of m rows; F (padded(d)) += r (x - mu). */
static void EMDASH_NAME(fill_panel)(ptrdiff_t full, ptrdiff_t slab, ptrdiff_t m, const double *rows_x,
                                    ptrdiff_t row_stride, const int *index, const double *root, const double *mean,
                                    double *EMDASH_RESTRICT panel, double *EMDASH_RESTRICT F) {
    for (ptrdiff_t j = 0; j < full; j += EMDASH_VL, panel += slab) {
        const vec mu = v_load(mean + j);
        vec sum[4] = {v_splat(0.0), v_splat(0.0), v_splat(0.0), v_splat(0.0)}; /* four: hides the latency of the sum */
        ptrdiff_t p = 0;
        for (; p + 4 <= m; p += 4)
            EMDASH_UNROLL
            for (int u = 0; u < 4; u++) {
                const vec dx = (v_load(rows_x + index[p + u] * row_stride + j) - mu) * root[p + u];
                v_store(panel + (p + u) * EMDASH_VL, dx);
                sum[u] += dx * root[p + u];
            }
        for (; p < m; p++) {
            const vec dx = (v_load(rows_x + index[p] * row_stride + j) - mu) * root[p];
            v_store(panel + p * EMDASH_VL, dx);
            sum[0] += dx * root[p];
        }
        EMDASH_NAME(add_to)(F + j, (sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
}

/* For few rows of any d.  IN rows_x (rows, row_stride) features along the vectors, padded features 0; resp, weights
 * (rows); mean (padded(d)).  OUT sums (panels_size(d)) +=.  SCRATCH (panels_scratch(d)). */
EMDASH_FUNCTION void EMDASH_NAME(scatter_panels)(ptrdiff_t d, const double *rows_x, ptrdiff_t row_stride,
                                                 ptrdiff_t rows, const double *resp, const double *weights,
                                                 double cut, const double *mean, double *sums, double *scratch) {
    const ptrdiff_t capacity = EMDASH_NAME(panel_rows)(d), full = EMDASH_NAME(padded)(d);
    double *const root = scratch, *const panel = scratch + 2 * EMDASH_LONGEST_TILE;
    double *const F = sums + 8, *const S = F + full;
    int *const index = (int *)(scratch + EMDASH_LONGEST_TILE);
    const ptrdiff_t found = EMDASH_NAME(significant)(rows, resp, weights, cut, index, root);
    sums[0] += EMDASH_NAME(take_roots)(found, root);
    for (ptrdiff_t first = 0; first < found; first += capacity) {
        const ptrdiff_t m = found - first < capacity ? found - first : capacity;
        EMDASH_NAME(fill_panel)(full, capacity * EMDASH_VL, m, rows_x, row_stride, index + first, root + first, mean,
                                panel, F);
        EMDASH_NAME(multiply_panel)(d, m, panel, S);
    }
}

/* OUT += N (1), F (d), S (packed d(d+1)/2) from sums (panels_size(d)). */
EMDASH_FUNCTION void EMDASH_NAME(fold_panels)(ptrdiff_t d, const double *sums, double *N, double *F, double *S) {
    const ptrdiff_t bands = EMDASH_NAME(panel_bands)(d);
    const double *block = sums + 8 + EMDASH_NAME(padded)(d);
    if (N) *N += sums[0];
    for (ptrdiff_t j = 0; F && j < d; j++) F[j] += sums[8 + j];
    for (ptrdiff_t band = 0; band < bands; band++) {
        const ptrdiff_t columns = ((band + 1) * EMDASH_BAND + EMDASH_VL - 1) / EMDASH_VL;
        for (ptrdiff_t v = 0, nv; v < columns; v += nv) {
            nv = columns - v < 3 ? columns - v : 3;
            for (ptrdiff_t i = band * EMDASH_BAND; i < (band + 1) * EMDASH_BAND; i++, block += nv * EMDASH_VL) {
                const ptrdiff_t first = v * EMDASH_VL, end = first + nv * EMDASH_VL, last = end < i + 1 ? end : i + 1;
                double *row = S + i * (i + 1) / 2;
                for (ptrdiff_t j = first; i < d && j < last; j++) row[j] += block[j - first];
            }
        }
    }
}

/* IN x (d, stride) and rows_x (rows, row_stride): the tile in both layouts (d > 16; else rows_x NULL); resp (rows): 0
 * in padded rows; weights (rows); mean (padded(d)), zeros behind d.  OUT sums (scatter_size(d)) +=.  SCRATCH
 * (scatter_scratch). */
EMDASH_FUNCTION void EMDASH_NAME(scatter)(ptrdiff_t d, const double *x, ptrdiff_t stride, const double *rows_x,
                                          ptrdiff_t row_stride, ptrdiff_t rows, const double *resp,
                                          const double *weights, double cut, const double *mean, double *sums,
                                          double *scratch) {
    if (d <= 16)
        EMDASH_NAME(scatter_lanes)(d, x, stride, rows, resp, mean, sums);
    else
        EMDASH_NAME(scatter_panels)(d, rows_x, row_stride, rows, resp, weights, cut, mean, sums, scratch);
}

/* IN sums (scatter_size(d)).  OUT += N (1), F (d), each may be NULL, S (packed lower triangle, d(d+1)/2). */
EMDASH_FUNCTION void EMDASH_NAME(scatter_fold)(ptrdiff_t d, const double *sums, double *N, double *F, double *S) {
    if (d <= 16)
        EMDASH_NAME(fold_lanes)(d, sums, N, F, S);
    else
        EMDASH_NAME(fold_panels)(d, sums, N, F, S);
}
