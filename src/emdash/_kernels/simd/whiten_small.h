/* Quadratic forms |W (x - mu)|^2 for one component with at most 16 features, W lower triangular; see whiten.h.
 *
 * d(d+1)/2 multiply-adds per row.  The number of features is a compile-time constant (a switch over 16 instances),
 * x - mu lives in registers, W is broadcast from memory.  8.7x faster than the same loop with run-time d.
 * Bytes per row, in the cache: 8 d read from the tile, 8 written (with z: 8 d), half in float; W, 4 d (d + 1) in
 * double, is read once per vector of rows.
 * Included once per ISA and type: with float (single.h) every vector holds twice the rows.
 */
/* numbers the packed factor takes: a multiple of 8 */
EMDASH_FUNCTION ptrdiff_t EMDASH_NAME(small_size)(ptrdiff_t d) { return (d * (d + 1) / 2 + 7) / 8 * 8; }

/* IN upper (d, d): U with W = U' scale.  OUT packed (small_size(d)): the lower triangle by rows. */
EMDASH_FUNCTION void EMDASH_NAME(pack_small)(ptrdiff_t d, const double *upper, double scale, number *packed) {
    for (ptrdiff_t i = 0; i < d; i++)
        for (ptrdiff_t j = 0; j <= i; j++) *packed++ = (number)(upper[j * d + i] * scale);
}

EMDASH_INLINE void EMDASH_NAME(whiten_constant)(const int d, const number *x, ptrdiff_t stride, ptrdiff_t rows,
                                                const number *mean, const number *factor, number offset,
                                                number *EMDASH_RESTRICT log_density, number *EMDASH_RESTRICT z) {
    for (ptrdiff_t r = 0; r < rows; r += EMDASH_VL) {
        const number *w = factor;
        vec dx[16], q = v_splat(0.0);
        EMDASH_OPAQUE(w);
        EMDASH_UNROLL
        for (int j = 0; j < d; j++) dx[j] = v_load(x + j * stride + r) - mean[j];
        EMDASH_UNROLL
        for (int i = 0; i < d; i++) {
            vec y = dx[0] * w[i * (i + 1) / 2];
            EMDASH_UNROLL
            for (int j = 1; j <= i; j++) y += dx[j] * w[i * (i + 1) / 2 + j];
            if (z) v_store(z + i * stride + r, y);
            q += y * y;
        }
        if (log_density) v_store(log_density + r, offset - v_min(q, v_splat(EMDASH_HUGE)));
    }
}

/* IN x (d, stride), rows (multiple of VL), mean (d), factor by pack_small.
 * OUT, where not NULL: log_density (rows) = offset - |W (x - mean)|^2, z (d, stride) = W (x - mean). */
EMDASH_INLINE void EMDASH_NAME(whiten_small)(ptrdiff_t d, const number *x, ptrdiff_t stride, ptrdiff_t rows,
                                             const number *mean, const number *factor, number offset,
                                             number *log_density, number *z) {
#define EMDASH_CASE(D) \
    case D: EMDASH_NAME(whiten_constant)(D, x, stride, rows, mean, factor, offset, log_density, z); return;
    switch (d) {
        EMDASH_CASE(1) EMDASH_CASE(2) EMDASH_CASE(3) EMDASH_CASE(4) EMDASH_CASE(5) EMDASH_CASE(6) EMDASH_CASE(7)
        EMDASH_CASE(8) EMDASH_CASE(9) EMDASH_CASE(10) EMDASH_CASE(11) EMDASH_CASE(12) EMDASH_CASE(13) EMDASH_CASE(14)
        EMDASH_CASE(15) EMDASH_CASE(16)
    }
#undef EMDASH_CASE
}
