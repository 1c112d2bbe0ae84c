/* Squared distances of every row to every component (the E-step of diagonal, spherical and tied covariance).
 *
 * diagonal: sum_j s_kj (x_j - m_kj)^2, two multiply-adds per (row, component, feature); spherical, whitened
 * tied: sum_j (x_j - m_kj)^2, one.  The subtraction comes first: x s - m s would lose the digits that data far from the
 * origin have in common (the subtraction runs on other ports than the multiply-adds, it costs nothing here).
 * Register block: 6 components (3 with 16 registers) x 3 vectors of rows; x is read once per 6 components, the parameters,
 * packed in the order of use, once per 24 rows.
 * Bytes per row, all in the cache: 8 d of the tile read per 6 components; 8 K written, 16 K with the distances.
 * Lost: the expanded square and a GEMM (cancels far from the origin).
 */
#ifndef EMDASH_DISTANCE_NAMES
#define EMDASH_DISTANCE_NAMES
#define EMDASH_COMPONENTS (EMDASH_REGISTERS == 32 ? 6 : 3)
#endif

/* IN means (K, d), inverse (K, d) or NULL.  OUT packed (K d, twice that with inverse): per block of components, per feature:
 * the block's means, then its inverse variances. */
static void EMDASH_NAME(pack_distance)(ptrdiff_t K, ptrdiff_t d, const double *means, const double *inverse,
                                       double *packed) {
    for (ptrdiff_t first = 0; first < K; first += EMDASH_COMPONENTS) {
        const ptrdiff_t last = first + EMDASH_COMPONENTS < K ? first + EMDASH_COMPONENTS : K;
        for (ptrdiff_t j = 0; j < d; j++) {
            for (ptrdiff_t k = first; k < last; k++) *packed++ = means[k * d + j];
            if (inverse)
                for (ptrdiff_t k = first; k < last; k++) *packed++ = inverse[k * d + j];
        }
    }
}

/* b components, one group of rows.
 * OUT log_density (b, stride) = offset - scale * distance, distance (b, stride) or NULL. */
EMDASH_INLINE void EMDASH_NAME(distance_block)(const int b, const int scaled, ptrdiff_t d, const double *x,
                                               ptrdiff_t stride, const double *packed, const double *offset,
                                               const double *scale, double *EMDASH_RESTRICT log_density,
                                               double *EMDASH_RESTRICT distance) {
    vec q[6][3];
    EMDASH_UNROLL
    for (int k = 0; k < b; k++)
        EMDASH_UNROLL
        for (int v = 0; v < 3; v++) q[k][v] = v_splat(0.0);
    for (ptrdiff_t j = 0; j < d; j++, x += stride, packed += scaled ? 2 * b : b) {
        const vec x0 = v_load(x), x1 = v_load(x + EMDASH_VL), x2 = v_load(x + 2 * EMDASH_VL);
        EMDASH_UNROLL
        for (int k = 0; k < b; k++) {
            const vec t0 = x0 - packed[k], t1 = x1 - packed[k], t2 = x2 - packed[k];
            if (scaled) {
                const double s = packed[b + k];
                q[k][0] += t0 * t0 * s;
                q[k][1] += t1 * t1 * s;
                q[k][2] += t2 * t2 * s;
            } else {
                q[k][0] += t0 * t0;
                q[k][1] += t1 * t1;
                q[k][2] += t2 * t2;
            }
        }
    }
    EMDASH_UNROLL
    for (int k = 0; k < b; k++) {
        const double most = scale[k] < 1e100 ? EMDASH_HUGE : EMDASH_HUGE / scale[k]; /* the product is finite */
        EMDASH_UNROLL
        for (int v = 0; v < 3; v++) {
            if (distance) v_store(distance + k * stride + v * EMDASH_VL, q[k][v]);
            v_store(log_density + k * stride + v * EMDASH_VL, offset[k] - v_min(q[k][v], v_splat(most)) * scale[k]);
        }
    }
}

/* IN x (d, stride), rows (multiple of the quantum), packed by pack_distance, offset and scale (K) in bits.
 * OUT log_density (K, stride), distance (K, stride) or NULL. */
EMDASH_INLINE void EMDASH_NAME(distance_any)(const int scaled, ptrdiff_t K, ptrdiff_t d, const double *x, ptrdiff_t stride,
                                             ptrdiff_t rows, const double *packed, const double *offset,
                                             const double *scale, double *log_density, double *distance) {
#define EMDASH_CASE(B) \
    case B: EMDASH_NAME(distance_block)(B, scaled, d, x + r, stride, p, offset + k, scale + k, out, q); break;
    for (ptrdiff_t r = 0; r < rows; r += EMDASH_GROUP)
        for (ptrdiff_t k = 0; k < K; k += EMDASH_COMPONENTS) {
            const double *p = packed + k * d * (scaled ? 2 : 1);
            double *out = log_density + k * stride + r, *q = distance ? distance + k * stride + r : NULL;
            switch (K - k < EMDASH_COMPONENTS ? (int)(K - k) : EMDASH_COMPONENTS) {
                EMDASH_CASE(1) EMDASH_CASE(2) EMDASH_CASE(3)
#if EMDASH_REGISTERS == 32
                EMDASH_CASE(4) EMDASH_CASE(5) EMDASH_CASE(6)
#endif
            }
        }
#undef EMDASH_CASE
}

EMDASH_FUNCTION void EMDASH_NAME(distance)(int scaled, ptrdiff_t K, ptrdiff_t d, const double *x, ptrdiff_t stride,
                                           ptrdiff_t rows, const double *packed, const double *offset, const double *scale,
                                           double *log_density, double *distance) {
    if (scaled)
        EMDASH_NAME(distance_any)(1, K, d, x, stride, rows, packed, offset, scale, log_density, distance);
    else
        EMDASH_NAME(distance_any)(0, K, d, x, stride, rows, packed, offset, scale, log_density, distance);
}
