/* A vector put together from short runs of several rows, for squares narrower than a vector.
 *
 * Two halves or four quarters, loaded and inserted: for two features 6 insertions and 2 shuffles for 8 rows, where a square
 * of 8 takes 24 shuffles and 6 stores that repeat what is there.  Needs shuffles whose result is longer than the operands
 * (clang, GCC 12); without them all squares have VL columns.  Included once per ISA.
 */
#ifndef EMDASH_PIECES_NAMES
#define EMDASH_PIECES_NAMES
#define EMDASH_READ_PIECES(SIZE, type) \
    EMDASH_INLINE type EMDASH_NAME(read_##SIZE)(const char *p, const int is_float) { \
        typedef float floats __attribute__((vector_size(sizeof(type) / 2))); \
        type x; \
        if (is_float) { \
            floats y; \
            memcpy(&y, p, sizeof y); \
            return __builtin_convertvector(y, type); \
        } \
        memcpy(&x, p, sizeof x); \
        return x; \
    }
#endif

#if EMDASH_VL >= 4 && defined(EMDASH_SHUFFLES_SIZES)
typedef double EMDASH_NAME(half) __attribute__((vector_size(4 * EMDASH_VL)));
EMDASH_READ_PIECES(half, EMDASH_NAME(half))
#if EMDASH_VL == 8
typedef double EMDASH_NAME(quarter) __attribute__((vector_size(16)));
EMDASH_READ_PIECES(quarter, EMDASH_NAME(quarter))
EMDASH_INLINE EMDASH_NAME(half) EMDASH_NAME(read_quarters)(const char *p, ptrdiff_t row_step, const int is_float) {
    return __builtin_shufflevector(EMDASH_NAME(read_quarter)(p, is_float),
                                   EMDASH_NAME(read_quarter)(p + 2 * row_step, is_float), 0, 1, 2, 3);
}
#define EMDASH_ALL_LANES 0, 1, 2, 3, 4, 5, 6, 7
#else
#define EMDASH_ALL_LANES 0, 1, 2, 3
#endif
/* OUT `size` numbers each from the rows 0, size, 2 size ... of the caller.  size: VL, VL / 2 or, if VL is 8, 2. */
EMDASH_INLINE vec EMDASH_NAME(read_pieces)(const int size, const char *p, ptrdiff_t row_step, const int is_float) {
    const char *far = p + EMDASH_VL / 2 * row_step;
    if (size == EMDASH_VL) return EMDASH_NAME(read_vector)(p, is_float);
#if EMDASH_VL == 8
    if (size == 2)
        return __builtin_shufflevector(EMDASH_NAME(read_quarters)(p, row_step, is_float),
                                       EMDASH_NAME(read_quarters)(far, row_step, is_float), EMDASH_ALL_LANES);
#endif
    return __builtin_shufflevector(EMDASH_NAME(read_half)(p, is_float), EMDASH_NAME(read_half)(far, is_float),
                                   EMDASH_ALL_LANES);
}
#undef EMDASH_ALL_LANES
/* the narrowest square that holds so many features */
EMDASH_INLINE int EMDASH_NAME(square_size)(ptrdiff_t features) {
    return features > EMDASH_VL / 2 ? EMDASH_VL : features > 2 ? EMDASH_VL / 2 : 2;
}
#else
EMDASH_INLINE vec EMDASH_NAME(read_pieces)(const int size, const char *p, ptrdiff_t row_step, const int is_float) {
    (void)size, (void)row_step;
    return EMDASH_NAME(read_vector)(p, is_float);
}
EMDASH_INLINE int EMDASH_NAME(square_size)(ptrdiff_t features) { return (void)features, EMDASH_VL; }
#endif
