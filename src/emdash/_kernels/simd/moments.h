/* Sums r, r (x - mu) and, for diagonal covariance, r (x - mu)^2 of all components.
 *
 * One multiply-add per (row, component, feature), two with squares.  Two forms, by d:
 * d <= 16, "lanes": rows along the vectors, VL partial sums per entry, added once per block of rows.
 * d > 16, "features": features along the vectors, r broadcast, no lanes: lanes of (K, d) = (256, 64) would be 2 MiB, and
 *   clearing and folding them made the pass 2.3x slower.  Costs the padding of d to a multiple of VL.  One component at a
 *   time over its own rows, those with r > cut w: diagonal (64, 64) at 18 of 64 components per row 1.4x, (256, 64) at 5
 *   of 64 1.6x faster than all rows in blocks of components; when all components overlap 1-4 % slower (tied (64, 64): 1.1x
 *   faster at 18 of 64, 1.2x slower at all, as each component reads the tile from L2).  Lost: shorter tiles that fit L1.
 * Bytes read per row, from the cache: 8 K for N; lanes, in blocks of b x c, 8 K d / c (r) and 8 K d / b (x); features
 *   16 K to find which rows count, 8 d (padded) for each component for which the row does.
 * Register blocks: the sums stay in registers over the tile; without squares (lanes) r and the means do, too, because loads
 * are the limit: 5 x 2 sums take 7 loads for 10 multiply-adds, 5 x 4 with broadcast means 29 for 20.
 */
#ifndef EMDASH_MOMENTS_NAMES
#define EMDASH_MOMENTS_NAMES
#define EMDASH_WIDE (EMDASH_REGISTERS == 32)
/* components and features (vectors of features) per register block */
#define EMDASH_LANES_K(squares) (EMDASH_WIDE ? 5 : 2)
#define EMDASH_LANES_J(squares) (EMDASH_WIDE || (squares) ? 2 : 4)
#define EMDASH_FEATURES_J (EMDASH_WIDE ? 8 : 4)
#endif

/* number of doubles the sums take: N with VL lanes, then per component F and S */
static ptrdiff_t EMDASH_NAME(moments_size)(int squares, ptrdiff_t K, ptrdiff_t d) {
    const ptrdiff_t row = d <= 16 ? d * EMDASH_VL : (d + 7) / 8 * 8;
    return (K * EMDASH_VL + K * row * (squares ? 2 : 1) + 7) / 8 * 8;
}

/* b components x c features, rows along the vectors.  OUT F, S (b, d, VL) += */
EMDASH_INLINE void EMDASH_NAME(moments_lanes_block)(const int b, const int c, const int squares, ptrdiff_t d,
                                                    const double *x, ptrdiff_t stride, ptrdiff_t rows, const double *resp,
                                                    const double *mean, ptrdiff_t mean_stride, double *EMDASH_RESTRICT F,
                                                    double *EMDASH_RESTRICT S) {
    vec first[5][4], second[5][4];
    EMDASH_UNROLL
    for (int k = 0; k < b; k++)
        EMDASH_UNROLL
        for (int j = 0; j < c; j++) first[k][j] = second[k][j] = v_splat(0.0);
    for (ptrdiff_t row = 0; row < rows; row += EMDASH_VL) {
        if (squares || !EMDASH_WIDE) EMDASH_OPAQUE(mean); /* else sums, means and r fill the registers */
        EMDASH_UNROLL
        for (int j = 0; j < c; j++) {
            const vec xj = v_load(x + j * stride + row);
            EMDASH_UNROLL
            for (int k = 0; k < b; k++) {
                const vec r = v_load(resp + k * stride + row), dx = xj - mean[k * mean_stride + j];
                if (squares) {
                    const vec rdx = r * dx;
                    first[k][j] += rdx;
                    second[k][j] += rdx * dx;
                } else {
                    first[k][j] += r * dx;
                }
            }
        }
    }
    EMDASH_UNROLL
    for (int k = 0; k < b; k++)
        EMDASH_UNROLL
        for (int j = 0; j < c; j++) {
            EMDASH_NAME(add_to)(F + (k * d + j) * EMDASH_VL, first[k][j]);
            if (squares) EMDASH_NAME(add_to)(S + (k * d + j) * EMDASH_VL, second[k][j]);
        }
}

/* c vectors of features of one component, over the rows that count.  OUT F, S += */
EMDASH_INLINE void EMDASH_NAME(moments_features_block)(const int c, const int squares, const double *x, ptrdiff_t row_stride,
                                                       ptrdiff_t found, const int *index, const double *resp,
                                                       const double *mean, double *EMDASH_RESTRICT F,
                                                       double *EMDASH_RESTRICT S) {
    vec first[8], second[8];
    EMDASH_UNROLL
    for (int j = 0; j < c; j++) first[j] = second[j] = v_splat(0.0);
    for (ptrdiff_t p = 0; p < found; p++) {
        const double *row = x + index[p] * row_stride, r = resp[p];
        EMDASH_UNROLL
        for (int j = 0; j < c; j++) {
            const vec dx = v_load(row + j * EMDASH_VL) - v_load(mean + j * EMDASH_VL), rdx = dx * r;
            first[j] += rdx;
            if (squares) second[j] += rdx * dx;
        }
    }
    EMDASH_UNROLL
    for (int j = 0; j < c; j++) {
        EMDASH_NAME(add_to)(F + j * EMDASH_VL, first[j]);
        if (squares) EMDASH_NAME(add_to)(S + j * EMDASH_VL, second[j]);
    }
}

/* The two drivers: blocks of components by blocks of features; the remainders are instances of their own. */
#define EMDASH_BLOCK(B, C) case (B) * 8 + (C): EMDASH_BLOCK_CALL(B, C); break;
#define EMDASH_ROW_OF_BLOCKS(B) EMDASH_BLOCK(B, 1) EMDASH_BLOCK(B, 2) EMDASH_BLOCK(B, 3) EMDASH_BLOCK(B, 4)

EMDASH_INLINE void EMDASH_NAME(moments_lanes)(const int squares, ptrdiff_t K, ptrdiff_t d, const double *x,
                                              ptrdiff_t stride, ptrdiff_t rows, const double *resp, const double *means,
                                              ptrdiff_t full, double *F, double *S) {
    const ptrdiff_t most_k = EMDASH_LANES_K(squares), most_j = EMDASH_LANES_J(squares);
    for (ptrdiff_t k = 0, b; k < K; k += b) {
        b = K - k < most_k ? K - k : most_k;
        for (ptrdiff_t j = 0, c; j < d; j += c) {
            c = d - j < most_j ? d - j : most_j;
#define EMDASH_BLOCK_CALL(B, C) \
    if (!squares || C <= 2) \
    EMDASH_NAME(moments_lanes_block)(B, C, squares, d, x + j * stride, stride, rows, resp + k * stride, \
                                     means + k * full + j, full, F + (k * d + j) * EMDASH_VL, S + (k * d + j) * EMDASH_VL)
            switch (b * 8 + c) {
                EMDASH_ROW_OF_BLOCKS(1) EMDASH_ROW_OF_BLOCKS(2)
#if EMDASH_REGISTERS == 32
                EMDASH_ROW_OF_BLOCKS(3) EMDASH_ROW_OF_BLOCKS(4) EMDASH_ROW_OF_BLOCKS(5)
#endif
            }
#undef EMDASH_BLOCK_CALL
        }
    }
}

EMDASH_INLINE void EMDASH_NAME(moments_features)(const int squares, ptrdiff_t K, ptrdiff_t full, const double *rows_x,
                                                 ptrdiff_t row_stride, ptrdiff_t rows, const double *resp, ptrdiff_t stride,
                                                 const double *weights, const double *cuts, const double *means,
                                                 double *F, double *S) {
    int index[EMDASH_LONGEST_TILE];
    double chosen[EMDASH_LONGEST_TILE];
    for (ptrdiff_t k = 0; k < K; k++, resp += stride, means += full, F += full, S += full) {
        const ptrdiff_t found = EMDASH_NAME(significant)(rows, resp, weights, cuts[k], index, chosen);
        for (ptrdiff_t j = 0, c; j < full && found; j += c * EMDASH_VL) {
            c = (full - j) / EMDASH_VL;
#define EMDASH_CASE(C) \
    case C: \
        EMDASH_NAME(moments_features_block)(C, squares, rows_x + j, row_stride, found, index, chosen, means + j, \
                                            F + j, S + j); break;
            switch (c = c < EMDASH_FEATURES_J ? c : EMDASH_FEATURES_J) {
                EMDASH_CASE(1) EMDASH_CASE(2) EMDASH_CASE(3) EMDASH_CASE(4)
#if EMDASH_REGISTERS == 32
                EMDASH_CASE(5) EMDASH_CASE(6) EMDASH_CASE(7) EMDASH_CASE(8)
#endif
            }
#undef EMDASH_CASE
        }
    }
}
#undef EMDASH_BLOCK
#undef EMDASH_ROW_OF_BLOCKS

/* OUT sums (K, VL) += f * r over the rows; f (K, stride) or NULL for 1 */
EMDASH_FUNCTION void EMDASH_NAME(weighted_sum)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, const double *resp,
                                               const double *f, double *sums) {
    for (ptrdiff_t k = 0; k < K; k++, resp += stride) {
        vec sum[3] = {v_splat(0.0), v_splat(0.0), v_splat(0.0)}; /* three: hides the latency of the sum */
        for (ptrdiff_t i = 0; i < rows; i += EMDASH_GROUP)
            EMDASH_UNROLL
            for (int v = 0; v < 3; v++) {
                const vec r = v_load(resp + i + v * EMDASH_VL);
                sum[v] += f ? r * v_load(f + k * stride + i + v * EMDASH_VL) : r;
            }
        EMDASH_NAME(add_to)(sums + k * EMDASH_VL, (sum[0] + sum[1]) + sum[2]);
    }
}

/* IN x (d, stride), rows_x (rows, row_stride) (d > 16, else NULL), rows padded, resp (K, stride), means (K, padded(d)).
 * OUT sums (moments_size) +=. */
EMDASH_FUNCTION void EMDASH_NAME(moments)(int squares, ptrdiff_t K, ptrdiff_t d, const double *x, ptrdiff_t stride,
                                          const double *rows_x, ptrdiff_t row_stride, ptrdiff_t rows, ptrdiff_t padded,
                                          const double *resp, const double *weights, const double *cuts,
                                          const double *means, double *sums) {
    const ptrdiff_t full = (d + 7) / 8 * 8;
    double *const F = sums + K * EMDASH_VL, *const S = F + K * (d <= 16 ? d * EMDASH_VL : full);
    EMDASH_NAME(weighted_sum)(K, padded, stride, resp, NULL, sums);
    if (d <= 16 && squares)
        EMDASH_NAME(moments_lanes)(1, K, d, x, stride, padded, resp, means, full, F, S);
    else if (d <= 16)
        EMDASH_NAME(moments_lanes)(0, K, d, x, stride, padded, resp, means, full, F, S);
    else if (squares)
        EMDASH_NAME(moments_features)(1, K, full, rows_x, row_stride, rows, resp, stride, weights, cuts, means, F, S);
    else
        EMDASH_NAME(moments_features)(0, K, full, rows_x, row_stride, rows, resp, stride, weights, cuts, means, F, S);
}

/* IN sums.  OUT += N (K), F (K, d), S (K, d) or NULL. */
EMDASH_FUNCTION void EMDASH_NAME(moments_fold)(int squares, ptrdiff_t K, ptrdiff_t d, const double *sums, double *N,
                                               double *F, double *S) {
    const ptrdiff_t full = (d + 7) / 8 * 8, width = d <= 16 ? EMDASH_VL : 1;
    for (ptrdiff_t k = 0; k < K; k++, sums += EMDASH_VL) N[k] += v_sum(v_load(sums));
    for (int order = 0; order < (squares ? 2 : 1); order++, F = S)
        for (ptrdiff_t k = 0; k < K; k++, sums += d > 16 ? full - d : 0)
            for (ptrdiff_t j = 0; j < d; j++, sums += width)
                F[k * d + j] += d <= 16 ? v_sum(v_load(sums)) : *sums;
}

/* IN sums (K, VL).  OUT S (K) += */
EMDASH_FUNCTION void EMDASH_NAME(weighted_sum_fold)(ptrdiff_t K, const double *sums, double *S) {
    for (ptrdiff_t k = 0; k < K; k++) S[k] += v_sum(v_load(sums + k * EMDASH_VL));
}
