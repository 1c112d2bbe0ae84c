/* Sums r, r (x - mu), r (x - mu)(x - mu)' of one component with at most 16 features; see scatter.h.
 *
 * d(d+1)/2 multiply-adds per row.  Rows along the vectors: every entry of S keeps VL partial sums ("lanes") which are
 * added once per block of rows.  The triangle is cut into blocks of at most 5 x 5 pairs (3 x 3 with 16 registers) held
 * in registers over the whole tile; x - mu and r (x - mu) are recomputed in each block: cheaper than storing them.
 * Bytes per row, all read from the tile: 8 B d (x) and 4 B (B + 1) (r) with B = d / 5 (16 registers: d / 3) rounded up;
 * half of that in float.
 * Included once per ISA and type: with float (single.h) every vector holds twice the rows.
 */
#ifndef EMDASH_SCATTER_SMALL_NAMES
#define EMDASH_SCATTER_SMALL_NAMES
#define EMDASH_PAIR (EMDASH_REGISTERS == 32 ? 5 : 3)
#endif

/* The blocks of pairs.  Sizes differ by at most one, larger ones first. */
EMDASH_INLINE ptrdiff_t EMDASH_NAME(pair_blocks)(ptrdiff_t d) { return (d + EMDASH_PAIR - 1) / EMDASH_PAIR; }
EMDASH_INLINE ptrdiff_t EMDASH_NAME(pair_start)(ptrdiff_t d, ptrdiff_t block) {
    const ptrdiff_t n = EMDASH_NAME(pair_blocks)(d), larger = d % n;
    return block * (d / n) + (block < larger ? block : larger);
}

/* numbers the sums of one component take: a multiple of 8 */
EMDASH_FUNCTION ptrdiff_t EMDASH_NAME(lanes_size)(ptrdiff_t d) {
    return ((1 + d + d * (d + 1) / 2) * EMDASH_VL + 7) / 8 * 8;
}

EMDASH_INLINE void EMDASH_NAME(add_to)(number *sum, vec x) { v_store(sum, v_load(sum) + x); }

/* Diagonal block of b features: F and the triangle; the first block also counts.  OUT lanes += (N, ) F, S by rows. */
EMDASH_INLINE number *EMDASH_NAME(pairs_diagonal)(const int b, const int count, const number *x, ptrdiff_t stride,
                                                  ptrdiff_t rows, const number *resp, const number *mean,
                                                  number *EMDASH_RESTRICT lanes) {
    vec N = v_splat(0.0), F[5], S[15];
    EMDASH_UNROLL
    for (int i = 0; i < b; i++) F[i] = v_splat(0.0);
    EMDASH_UNROLL
    for (int i = 0; i < b * (b + 1) / 2; i++) S[i] = v_splat(0.0);
    for (ptrdiff_t row = 0; row < rows; row += EMDASH_VL) {
        const vec r = v_load(resp + row);
        vec dx[5];
        if (count) N += r;
        EMDASH_UNROLL
        for (int i = 0; i < b; i++) {
            dx[i] = v_load(x + i * stride + row) - mean[i];
            const vec rdx = r * dx[i];
            F[i] += rdx;
            EMDASH_UNROLL
            for (int j = 0; j <= i; j++) S[i * (i + 1) / 2 + j] += rdx * dx[j];
        }
    }
    if (count) EMDASH_NAME(add_to)(lanes, N), lanes += EMDASH_VL;
    EMDASH_UNROLL
    for (int i = 0; i < b; i++) EMDASH_NAME(add_to)(lanes + i * EMDASH_VL, F[i]);
    lanes += b * EMDASH_VL;
    EMDASH_UNROLL
    for (int i = 0; i < b * (b + 1) / 2; i++) EMDASH_NAME(add_to)(lanes + i * EMDASH_VL, S[i]);
    return lanes + b * (b + 1) / 2 * EMDASH_VL;
}

/* Off-diagonal block of b x c features: x, mean belong to the b rows of S, y, mean_y to its c columns. */
EMDASH_INLINE number *EMDASH_NAME(pairs_rectangle)(const int b, const int c, const number *x, const number *y,
                                                   ptrdiff_t stride, ptrdiff_t rows, const number *resp,
                                                   const number *mean, const number *mean_y,
                                                   number *EMDASH_RESTRICT lanes) {
    vec S[5][5];
    EMDASH_UNROLL
    for (int i = 0; i < b; i++)
        EMDASH_UNROLL
        for (int j = 0; j < c; j++) S[i][j] = v_splat(0.0);
    for (ptrdiff_t row = 0; row < rows; row += EMDASH_VL) {
        const vec r = v_load(resp + row);
        vec dy[5];
        EMDASH_UNROLL
        for (int j = 0; j < c; j++) dy[j] = v_load(y + j * stride + row) - mean_y[j];
        EMDASH_UNROLL
        for (int i = 0; i < b; i++) {
            const vec rdx = r * (v_load(x + i * stride + row) - mean[i]);
            EMDASH_UNROLL
            for (int j = 0; j < c; j++) S[i][j] += rdx * dy[j];
        }
    }
    EMDASH_UNROLL
    for (int i = 0; i < b; i++)
        EMDASH_UNROLL
        for (int j = 0; j < c; j++) EMDASH_NAME(add_to)(lanes + (i * c + j) * EMDASH_VL, S[i][j]);
    return lanes + b * c * EMDASH_VL;
}

EMDASH_FUNCTION void EMDASH_NAME(scatter_lanes)(ptrdiff_t d, const number *x, ptrdiff_t stride, ptrdiff_t rows,
                                                const number *resp, const number *mean, number *lanes) {
    const ptrdiff_t blocks = EMDASH_NAME(pair_blocks)(d);
#define EMDASH_CASE(B, COUNT) \
    case B * 2 + COUNT: \
        lanes = EMDASH_NAME(pairs_diagonal)(B, COUNT, x + i0 * stride, stride, rows, resp, mean + i0, lanes); break;
#define EMDASH_CASES(B) EMDASH_CASE(B, 0) EMDASH_CASE(B, 1)
#define EMDASH_PAIRS(B, C) \
    case B * 8 + C: \
        lanes = EMDASH_NAME(pairs_rectangle)(B, C, x + i0 * stride, x + j0 * stride, stride, rows, resp, mean + i0, \
                                             mean + j0, lanes); break;
    for (ptrdiff_t i = 0; i < blocks; i++) {
        const ptrdiff_t i0 = EMDASH_NAME(pair_start)(d, i), b = EMDASH_NAME(pair_start)(d, i + 1) - i0;
        for (ptrdiff_t j = 0; j < i; j++) {
            const ptrdiff_t j0 = EMDASH_NAME(pair_start)(d, j), c = EMDASH_NAME(pair_start)(d, j + 1) - j0;
            switch (b * 8 + c) {
                EMDASH_PAIRS(2, 2) EMDASH_PAIRS(2, 3) EMDASH_PAIRS(3, 3)
#if EMDASH_REGISTERS == 32
                EMDASH_PAIRS(3, 4) EMDASH_PAIRS(4, 4) EMDASH_PAIRS(4, 5) EMDASH_PAIRS(5, 5)
#endif
            }
        }
        switch (b * 2 + (i == 0)) {
            EMDASH_CASES(1) EMDASH_CASES(2) EMDASH_CASES(3)
#if EMDASH_REGISTERS == 32
            EMDASH_CASES(4) EMDASH_CASES(5)
#endif
        }
    }
#undef EMDASH_CASE
#undef EMDASH_CASES
#undef EMDASH_PAIRS
}

/* OUT += N (1), F (d), S (packed d(d+1)/2), from lanes (lanes_size(d)) in the order they were written. */
EMDASH_FUNCTION void EMDASH_NAME(fold_lanes)(ptrdiff_t d, const number *lanes, double *N, double *F, double *S) {
    const ptrdiff_t blocks = EMDASH_NAME(pair_blocks)(d);
    for (ptrdiff_t bi = 0; bi < blocks; bi++) {
        const ptrdiff_t i0 = EMDASH_NAME(pair_start)(d, bi), i1 = EMDASH_NAME(pair_start)(d, bi + 1);
        for (ptrdiff_t bj = 0; bj < bi; bj++) {
            const ptrdiff_t j0 = EMDASH_NAME(pair_start)(d, bj), j1 = EMDASH_NAME(pair_start)(d, bj + 1);
            for (ptrdiff_t i = i0; i < i1; i++)
                for (ptrdiff_t j = j0; j < j1; j++, lanes += EMDASH_VL) S[i * (i + 1) / 2 + j] += v_sum(v_load(lanes));
        }
        if (bi == 0) {
            if (N) *N += v_sum(v_load(lanes));
            lanes += EMDASH_VL;
        }
        for (ptrdiff_t i = i0; i < i1; i++, lanes += EMDASH_VL)
            if (F) F[i] += v_sum(v_load(lanes));
        for (ptrdiff_t i = i0; i < i1; i++)
            for (ptrdiff_t j = i0; j <= i; j++, lanes += EMDASH_VL) S[i * (i + 1) / 2 + j] += v_sum(v_load(lanes));
    }
}
