/* From the tile's (K, stride) to the caller's (n, K): the outputs of predict_proba and the like.
 *
 * Components next to each other (C order): squares of VL rows by VL components, transposed in registers; with K >= VL the
 * last square overlaps the one before.  Anything else number by number.  8 K bytes written per row.  Once per ISA.
 */

/* IN tile (K, stride).  OUT out (n, K) = tile' scale, steps in bytes. */
static void EMDASH_NAME(spread)(ptrdiff_t K, ptrdiff_t n, const double *tile, ptrdiff_t stride, double scale, char *out,
                                ptrdiff_t step, ptrdiff_t k_step) {
    ptrdiff_t i = 0;
    if (k_step == (ptrdiff_t)sizeof(double) && K >= EMDASH_VL)
        for (; i + EMDASH_VL <= n; i += EMDASH_VL)
            for (ptrdiff_t k = 0; k < K; k = k + EMDASH_VL < K && k + 2 * EMDASH_VL > K ? K - EMDASH_VL : k + EMDASH_VL) {
                vec square[EMDASH_VL];
                EMDASH_UNROLL
                for (int v = 0; v < EMDASH_VL; v++) square[v] = v_load(tile + (k + v) * stride + i) * scale;
                v_transpose(EMDASH_VL, square);
                EMDASH_UNROLL
                for (int v = 0; v < EMDASH_VL; v++)
                    memcpy(out + (i + v) * step + k * k_step, &square[v], sizeof(vec));
            }
    for (; i < n; i++)
        for (ptrdiff_t k = 0; k < K; k++) {
            const double value = tile[k * stride + i] * scale;
            memcpy(out + i * step + k * k_step, &value, sizeof(double));
        }
}
