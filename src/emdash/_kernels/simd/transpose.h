/* A square of VL x VL doubles, transposed in registers: log2(VL) steps of pairwise exchanges.
 *
 * VL log2(VL) shuffles for VL^2 numbers: half a cycle per number, against 1.5-3 for copying them one by one.
 * Two or four smaller squares side by side take fewer vectors and steps.
 * No bytes of memory, no multiply-adds: who calls it loads and stores.
 * Included once per ISA.
 */
#ifndef EMDASH_TRANSPOSE_NAMES
#define EMDASH_TRANSPOSE_NAMES
#define v_transpose EMDASH_NAME(v_transpose)
#if defined(__clang__) || __GNUC__ >= 12
#define EMDASH_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#define EMDASH_SHUFFLES_SIZES 1 /* the result may be longer than the operands */
#else
#define EMDASH_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vec_bits){__VA_ARGS__})
#endif
/* rows i and i + step exchange the lanes that differ in the bit `step`; the two lists say which lanes of (a, b) stay */
#define EMDASH_EXCHANGE(step, LOW, HIGH) \
    if (size > step) \
        EMDASH_UNROLL \
        for (int pair = 0; pair < size / 2; pair++) { \
            const int i = pair + pair / step * step; \
            const vec a = rows[i], b = rows[i + step]; \
            rows[i] = EMDASH_SHUFFLE(a, b, LOW); \
            rows[i + step] = EMDASH_SHUFFLE(a, b, HIGH); \
        }
#define EMDASH_LANES(...) __VA_ARGS__
#define v_split EMDASH_NAME(v_split)
#endif

/* INOUT a, b: together x0 y0 x1 y1 ... -> the x and the y */
EMDASH_INLINE void v_split(vec *a, vec *b) {
    const vec first = *a, second = *b;
#if EMDASH_VL == 8
    *a = EMDASH_SHUFFLE(first, second, 0, 2, 4, 6, 8, 10, 12, 14);
    *b = EMDASH_SHUFFLE(first, second, 1, 3, 5, 7, 9, 11, 13, 15);
#elif EMDASH_VL == 4
    *a = EMDASH_SHUFFLE(first, second, 0, 2, 4, 6);
    *b = EMDASH_SHUFFLE(first, second, 1, 3, 5, 7);
#elif EMDASH_VL == 2
    *a = EMDASH_SHUFFLE(first, second, 0, 2);
    *b = EMDASH_SHUFFLE(first, second, 1, 3);
#else
    (void)first, (void)second; /* one pair is already split */
#endif
}

/* INOUT rows: `size` vectors, each of VL / size rows of a square */
EMDASH_INLINE void v_transpose(const int size, vec *rows) {
#if EMDASH_VL == 8
    EMDASH_EXCHANGE(1, EMDASH_LANES(0, 8, 2, 10, 4, 12, 6, 14), EMDASH_LANES(1, 9, 3, 11, 5, 13, 7, 15))
    EMDASH_EXCHANGE(2, EMDASH_LANES(0, 1, 8, 9, 4, 5, 12, 13), EMDASH_LANES(2, 3, 10, 11, 6, 7, 14, 15))
    EMDASH_EXCHANGE(4, EMDASH_LANES(0, 1, 2, 3, 8, 9, 10, 11), EMDASH_LANES(4, 5, 6, 7, 12, 13, 14, 15))
#elif EMDASH_VL == 4
    EMDASH_EXCHANGE(1, EMDASH_LANES(0, 4, 2, 6), EMDASH_LANES(1, 5, 3, 7))
    EMDASH_EXCHANGE(2, EMDASH_LANES(0, 1, 4, 5), EMDASH_LANES(2, 3, 6, 7))
#elif EMDASH_VL == 2
    EMDASH_EXCHANGE(1, EMDASH_LANES(0, 2), EMDASH_LANES(1, 3))
#else
    (void)size, (void)rows;
#endif
}
