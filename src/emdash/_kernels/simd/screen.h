/* Which components a row can need, and their quadratic forms for just those rows (full covariance, d >= 12).
 *
 * Per tile: (1) `project` all rows on m directions (directions.h), (2) bound all K log-densities from above by the
 * marginals there (quadratic_form in m dimensions), (3) `guess` each row's component by the largest bound and evaluate
 * that one in full, (4) evaluate whatever is not ruled out: bound less than `cut` bits below the full value.  The rest
 * is -inf.
 * Multiply-adds per row: d m + K m (m + 3) / 2, then d(d+3)/2 per component that is left.
 * Bytes per row, in the cache: 2 d m read to project (m rounded up to 4), K (8 m + 44) to bound, guess and compare; per
 * component that is left 8 d read and 8 d written to gather it, then as whiten.h.
 * Rows are gathered per component, transposed in registers, from the tile's row layout: every lane computes something
 * wanted, with the same operations in the same order as whiten_blocked.
 * Whether it pays is decided once in a block of rows, from the bounds of its first 96: nothing is carried between
 * passes.
 * Gained, us per row of a pass before -> after, "well" data: (d, K) = (12,16) .131 -> .076, (16,32) .42 -> .13,
 * (32,32) .81 -> .20, (64,64) 5.5 -> .60, (128,64) 21.8 -> 2.0, (256,16) 22 -> 4.7; "mod": (64,64) 7.0 -> 5.2,
 * (128,64) 27 -> 23, the others and overlapping data unchanged within 1 %.
 * Lost: by estimate, sorting the rows by the guess (24 neighbouring rows need the union of their components; in a tile
 * of 480 rows and 64 clusters a register block still spans four of them, the outputs have to be put back into order);
 * stopping within the factor (on separated data nothing is left to stop; on "mod" data half of the bands rule out
 * nothing more); deciding from a whole first tile (5-20 % slower where it does not pay and blocks are short).
 * Not done: bounding what the directions leave over (at d >= 128 about d/2 nats are lost there, so that "mod" data
 * evaluate 51 of 64 components where 17 matter).
 */

/* IN x (d, stride), V (d, DIRECTIONS).  OUT z (m rounded up to 4, stride) = V'(x - center). */
EMDASH_FUNCTION void EMDASH_NAME(project)(ptrdiff_t d, ptrdiff_t m, const double *x, ptrdiff_t stride, ptrdiff_t rows,
                                          const double *center, const double *V, double *EMDASH_RESTRICT z) {
    for (ptrdiff_t r = 0; r < rows; r += EMDASH_GROUP)
        for (ptrdiff_t c = 0; c < m; c += 4) {
            vec y[4][3];
            EMDASH_UNROLL
            for (int i = 0; i < 4; i++)
                EMDASH_UNROLL
                for (int v = 0; v < 3; v++) y[i][v] = v_splat(0.0);
            for (ptrdiff_t j = 0; j < d; j++) {
                vec dx[3];
                EMDASH_UNROLL
                for (int v = 0; v < 3; v++) dx[v] = v_load(x + j * stride + r + v * EMDASH_VL) - center[j];
                EMDASH_UNROLL
                for (int i = 0; i < 4; i++)
                    EMDASH_UNROLL
                    for (int v = 0; v < 3; v++) y[i][v] += dx[v] * V[j * EMDASH_DIRECTIONS + c + i];
            }
            EMDASH_UNROLL
            for (int i = 0; i < 4; i++)
                EMDASH_UNROLL
                for (int v = 0; v < 3; v++) v_store(z + (c + i) * stride + r + v * EMDASH_VL, y[i][v]);
        }
}

/* IN bound (K, stride), n rows.  OUT label (stride) as doubles: first largest; order (n): the rows sorted by label;
 * start (K + 1): where each label's rows begin in it. */
EMDASH_FUNCTION void EMDASH_NAME(guess)(ptrdiff_t K, ptrdiff_t n, const double *bound, ptrdiff_t stride, double *label,
                                        int *order, int *start) {
    for (ptrdiff_t i = 0; i < n; i += EMDASH_VL) {
        vec largest = v_load(bound + i), first = v_splat(0.0);
        for (ptrdiff_t k = 1; k < K; k++) {
            const vec candidate = v_load(bound + k * stride + i);
            first = v_select_greater(candidate, largest, v_splat((double)k), first);
            largest = v_max(candidate, largest);
        }
        v_store(label + i, first);
    }
    memset(start, 0, (K + 1) * sizeof(int));
    for (ptrdiff_t i = 0; i < n; i++) start[(ptrdiff_t)label[i] + 1]++;
    for (ptrdiff_t k = 0; k < K; k++) start[k + 1] += start[k];
    for (ptrdiff_t i = 0; i < n; i++) order[start[(ptrdiff_t)label[i]]++] = (int)i;
    for (ptrdiff_t k = K; k > 0; k--) start[k] = start[k - 1];
    start[0] = 0;
}

/* IN bound (n), floor (n).  OUT index: the rows whose bound is not below their floor.  Returns how many. */
EMDASH_FUNCTION ptrdiff_t EMDASH_NAME(candidates)(ptrdiff_t n, const double *bound, const double *floor, int *index) {
    ptrdiff_t found = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        index[found] = (int)i;
        found += !(bound[i] < floor[i]);
    }
    return found;
}

/* nv vectors of chosen rows, at most `count` of them real.  SCRATCH dx (whiten_scratch(d)).  OUT density (nv VL). */
EMDASH_INLINE void EMDASH_NAME(whiten_chosen)(const int nv, ptrdiff_t d, ptrdiff_t count, const double *rows_x,
                                              ptrdiff_t row_stride, const int *index, const double *mean,
                                              const double *factor, double offset, double *density, double *dx) {
    const ptrdiff_t pad = (d + EMDASH_BAND - 1) / EMDASH_BAND * EMDASH_BAND - d;
    vec q[3] = {v_splat(0.0), v_splat(0.0), v_splat(0.0)};
    for (ptrdiff_t v = 0; v < nv; v++) {
        const double *row[EMDASH_VL];
        for (int i = 0; i < EMDASH_VL; i++)
            row[i] = rows_x + index[v * EMDASH_VL + i < count ? v * EMDASH_VL + i : count - 1] * row_stride;
        for (ptrdiff_t j = 0; j < d; j += EMDASH_VL) {
            vec square[EMDASH_VL];
            EMDASH_UNROLL
            for (int i = 0; i < EMDASH_VL; i++) square[i] = v_load(row[i] + j) - v_load(mean + j);
            v_transpose(EMDASH_VL, square);
            EMDASH_UNROLL
            for (int i = 0; i < EMDASH_VL; i++) v_store(dx + ((pad + j + i) * nv + v) * EMDASH_VL, square[i]);
        }
    }
    for (ptrdiff_t i = 0; i < pad * nv * EMDASH_VL; i++) dx[i] = 0.0;
    EMDASH_NAME(whiten_group)(nv, d, 0, dx, factor, q, NULL);
    EMDASH_UNROLL
    for (int v = 0; v < nv; v++) v_store(density + v * EMDASH_VL, offset - v_min(q[v], v_splat(EMDASH_HUGE)));
}

/* IN rows_x (rows, row_stride), index (count), mean (row_stride) and zeros behind d, factor packed.
 * OUT log_density[index] = offset - |W (x - mean)|^2.  SCRATCH (whiten_scratch(d)). */
EMDASH_FUNCTION void EMDASH_NAME(quadratic_form_of)(ptrdiff_t d, ptrdiff_t count, const double *rows_x,
                                                    ptrdiff_t row_stride, const int *index, const double *mean,
                                                    const double *factor, double offset, double *log_density,
                                                    double *scratch) {
    double *const density = scratch, *const dx = scratch + 24; /* 24: the largest group */
    for (ptrdiff_t left; count > 0; count -= EMDASH_GROUP, index += EMDASH_GROUP) {
        left = count < EMDASH_GROUP ? count : EMDASH_GROUP;
        if (left > 2 * EMDASH_VL)
            EMDASH_NAME(whiten_chosen)(3, d, left, rows_x, row_stride, index, mean, factor, offset, density, dx);
        else if (left > EMDASH_VL)
            EMDASH_NAME(whiten_chosen)(2, d, left, rows_x, row_stride, index, mean, factor, offset, density, dx);
        else
            EMDASH_NAME(whiten_chosen)(1, d, left, rows_x, row_stride, index, mean, factor, offset, density, dx);
        for (ptrdiff_t i = 0; i < left; i++) log_density[index[i]] = density[i];
    }
}
