/* Quadratic forms |W (x - mu)|^2 for one component (the E-step of full covariance), W lower triangular.
 *
 * W carries the factor sqrt(log2(e)/2), so that the squared norm is in bits.  d(d+1)/2 multiply-adds per row.
 * d <= 16: whiten_small.h.
 * d > 16: run-time d in register blocks of BAND rows of W by 3 vectors of data rows; y is squared and summed in registers.
 *   The triangle is skipped per block, and inside the diagonal block by unrolling.  W is packed in the order of use.
 *   d is padded to a multiple of BAND at the *front*, where the rows of the triangle are short.
 *   Bytes per row (AVX-512), all in the cache: 8 d read from the tile, 8 d written (x - mu) and d (d + 8) / 2 read of
 *   that, d (d + 1) / 6 read of W (whole, once per 24 rows), 8 written (with z: 8 d).
 * Lost: dtrmm (45-86 % of its peak), dtrsm (15-44 %), the full square by dgemm, monomials and one GEMM.
 */
#ifndef EMDASH_WHITEN_NAMES
#define EMDASH_WHITEN_NAMES
#define EMDASH_BAND (EMDASH_VL == 8 ? 8 : 4)
#endif

/* number of doubles the packed factor takes: a multiple of 8 */
static ptrdiff_t EMDASH_NAME(bands_size)(ptrdiff_t d) {
    const ptrdiff_t full = (d + EMDASH_BAND - 1) / EMDASH_BAND * EMDASH_BAND;
    return (full * (full + 1) / 2 + 7) / 8 * 8;
}

static ptrdiff_t EMDASH_NAME(factor_size)(ptrdiff_t d) {
    return d <= 16 ? EMDASH_NAME(small_size)(d) : EMDASH_NAME(bands_size)(d);
}

/* IN upper (d, d): U with W = U' scale.  OUT packed (bands_size(d)): band after band, each first the rectangle left of its
 * diagonal block by columns, then that block's triangle by columns. */
static void EMDASH_NAME(pack_bands)(ptrdiff_t d, const double *upper, double scale, double *packed) {
    const ptrdiff_t bands = (d + EMDASH_BAND - 1) / EMDASH_BAND, pad = bands * EMDASH_BAND - d;
    for (ptrdiff_t band = 0; band < bands; band++) {
        const ptrdiff_t first = band * EMDASH_BAND;
        for (ptrdiff_t j = pad; j < first; j++)
            for (ptrdiff_t i = first; i < first + EMDASH_BAND; i++) *packed++ = upper[(j - pad) * d + i - pad] * scale;
        for (ptrdiff_t j = first; j < first + EMDASH_BAND; j++)
            for (ptrdiff_t i = j; i < first + EMDASH_BAND; i++)
                *packed++ = j < pad ? 0.0 : upper[(j - pad) * d + i - pad] * scale;
    }
}

/* The same, as `whiten` wants it.  OUT packed (factor_size(d)): d <= 16 the lower triangle by rows, else bands. */
static void EMDASH_NAME(pack_factor)(ptrdiff_t d, const double *upper, double scale, double *packed) {
    if (d <= 16)
        EMDASH_NAME(pack_small)(d, upper, scale, packed);
    else
        EMDASH_NAME(pack_bands)(d, upper, scale, packed);
}

/* d > 16: one group of nv vectors of rows.  IN dx (pad + d, nv VL): x - mu, zeros in the first pad rows. */
EMDASH_INLINE void EMDASH_NAME(whiten_group)(const int nv, ptrdiff_t d, ptrdiff_t stride, const double *dx, const double *w,
                                             vec *q, double *EMDASH_RESTRICT z) {
    const ptrdiff_t bands = (d + EMDASH_BAND - 1) / EMDASH_BAND, pad = bands * EMDASH_BAND - d;
    for (ptrdiff_t band = 0; band < bands; band++) {
        const ptrdiff_t first = band * EMDASH_BAND;
        vec y[8][3], p[3];
        EMDASH_UNROLL
        for (int i = 0; i < EMDASH_BAND; i++)
            EMDASH_UNROLL
            for (int v = 0; v < nv; v++) y[i][v] = v_splat(0.0);
        for (ptrdiff_t j = pad; j < first; j++, w += EMDASH_BAND) {
            EMDASH_UNROLL
            for (int v = 0; v < nv; v++) p[v] = v_load(dx + (j * nv + v) * EMDASH_VL);
            EMDASH_UNROLL
            for (int i = 0; i < EMDASH_BAND; i++)
                EMDASH_UNROLL
                for (int v = 0; v < nv; v++) y[i][v] += p[v] * w[i];
        }
        EMDASH_UNROLL
        for (int j = 0; j < EMDASH_BAND; j++) {
            EMDASH_UNROLL
            for (int v = 0; v < nv; v++) p[v] = v_load(dx + ((first + j) * nv + v) * EMDASH_VL);
            EMDASH_UNROLL
            for (int i = j; i < EMDASH_BAND; i++)
                EMDASH_UNROLL
                for (int v = 0; v < nv; v++) y[i][v] += p[v] * w[i - j];
            w += EMDASH_BAND - j;
        }
        EMDASH_UNROLL
        for (int i = 0; i < EMDASH_BAND; i++)
            EMDASH_UNROLL
            for (int v = 0; v < nv; v++) {
                if (z && first + i >= pad) v_store(z + (first + i - pad) * stride + v * EMDASH_VL, y[i][v]);
                q[v] += y[i][v] * y[i][v];
            }
    }
}

EMDASH_INLINE void EMDASH_NAME(whiten_blocked)(ptrdiff_t d, const double *x, ptrdiff_t stride, ptrdiff_t rows,
                                               const double *mean, const double *factor, double offset,
                                               double *EMDASH_RESTRICT log_density, double *EMDASH_RESTRICT z, double *dx) {
    const ptrdiff_t pad = (d + EMDASH_BAND - 1) / EMDASH_BAND * EMDASH_BAND - d;
    for (ptrdiff_t i = 0; i < pad * EMDASH_GROUP; i++) dx[i] = 0.0;
    for (ptrdiff_t r = 0; r < rows; r += EMDASH_GROUP) {
        vec q[3] = {v_splat(0.0), v_splat(0.0), v_splat(0.0)};
        double *p = dx + pad * EMDASH_GROUP;
        for (ptrdiff_t j = 0; j < d; j++, p += EMDASH_GROUP)
            EMDASH_UNROLL
            for (int v = 0; v < 3; v++)
                v_store(p + v * EMDASH_VL, v_load(x + j * stride + r + v * EMDASH_VL) - mean[j]);
        EMDASH_NAME(whiten_group)(3, d, stride, dx, factor, q, z ? z + r : NULL);
        EMDASH_UNROLL
        for (int v = 0; v < 3; v++)
            if (log_density)
                v_store(log_density + r + v * EMDASH_VL, offset - v_min(q[v], v_splat(EMDASH_HUGE)));
    }
}

/* doubles of scratch `whiten` and `quadratic_form_of` (screen.h) need */
static ptrdiff_t EMDASH_NAME(whiten_scratch)(ptrdiff_t d) { return (d + 16) * EMDASH_GROUP + 24; }

EMDASH_INLINE void EMDASH_NAME(whiten_any)(ptrdiff_t d, const double *x, ptrdiff_t stride, ptrdiff_t rows,
                                           const double *mean, const double *factor, double offset, double *log_density,
                                           double *z, double *scratch) {
    if (d <= 16)
        EMDASH_NAME(whiten_small)(d, x, stride, rows, mean, factor, offset, log_density, z);
    else
        EMDASH_NAME(whiten_blocked)(d, x, stride, rows, mean, factor, offset, log_density, z, scratch);
}

/* IN x (d, stride), rows (multiple of the quantum), mean (d), factor packed.  SCRATCH (whiten_scratch(d)).
 * OUT log_density (rows) = offset - |W (x - mean)|^2. */
EMDASH_FUNCTION void EMDASH_NAME(quadratic_form)(ptrdiff_t d, const double *x, ptrdiff_t stride, ptrdiff_t rows,
                                                 const double *mean, const double *factor, double offset,
                                                 double *log_density, double *scratch) {
    EMDASH_NAME(whiten_any)(d, x, stride, rows, mean, factor, offset, log_density, NULL, scratch);
}

/* The same, but OUT z (d, stride) = W (x - mean): for a factor shared by all components. */
EMDASH_FUNCTION void EMDASH_NAME(whiten)(ptrdiff_t d, const double *x, ptrdiff_t stride, ptrdiff_t rows,
                                         const double *mean, const double *factor, double *z, double *scratch) {
    EMDASH_NAME(whiten_any)(d, x, stride, rows, mean, factor, 0.0, NULL, z, scratch);
}
