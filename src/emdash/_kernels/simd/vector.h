/* The small vector every body is written in: EMDASH_VL numbers, with exp2 and log2 of our own.
 *
 * Chosen: GCC/clang vector extensions (+, -, * on `vec`), so one source serves AVX-512, AVX2, SSE2 and NEON, double and
 * float; with EMDASH_VL = 1 `vec` is a plain number (MSVC).  Lost: plain loops with `omp simd` (1.8-2x slower at
 * compile-time d, up to 8x at run-time d) and libmvec (glibc only).
 * exp2: 11 multiply-adds for 1.8e-17 before rounding, or 7 and a table of 16 in two registers (AVX-512) for 7.6e-18: a
 * fifth of the softmax at K = 10; float 6, or 4 and one register, both for 2e-9.  log2 (double only): a division and 8
 * multiply-adds, 1.2e-18.  Coefficients: Remez.
 * All arrays are aligned to 64 bytes (the buffers of tile.pyx); VL divides every row count.  Once per ISA and type.
 */
#ifndef EMDASH_VECTOR_NAMES /* lazy: each expands with the ISA and the type being compiled */
#define EMDASH_VECTOR_NAMES
#define EMDASH_GROUP (3 * EMDASH_VL) /* data rows in a register block */
/* a quadratic form beyond this (overflow, inf - inf) counts as this */
#define EMDASH_HUGE ((number)(EMDASH_SIZE == 8 ? 1e200 : 1e30))
#define vec EMDASH_NAME(vec)
#define vec_bits EMDASH_NAME(vec_bits)
#define vec_memory EMDASH_NAME(vec_memory)
#define vec_double EMDASH_DOUBLE(vec)
#define number_bits EMDASH_NAME(number_bits)
#define v_load EMDASH_NAME(v_load)
#define v_store EMDASH_NAME(v_store)
#define v_splat EMDASH_NAME(v_splat)
#define v_max EMDASH_NAME(v_max)
#define v_min EMDASH_NAME(v_min)
#define v_sum EMDASH_NAME(v_sum)
#define v_sqrt EMDASH_NAME(v_sqrt)
#define v_get EMDASH_NAME(v_get)
#define v_bits EMDASH_NAME(v_bits)
#define v_from_bits EMDASH_NAME(v_from_bits)
#define v_select_greater EMDASH_NAME(v_select_greater)
#define v_zero_below EMDASH_NAME(v_zero_below)
#define v_exp2_range EMDASH_NAME(v_exp2_range)
#define v_exp2_nonpositive EMDASH_NAME(v_exp2_nonpositive)
#define v_log2 EMDASH_NAME(v_log2)
#define v_part EMDASH_NAME(v_part)
#define v_of_doubles EMDASH_NAME(v_of_doubles)
#define v_store_part EMDASH_NAME(v_store_part)
#define EMDASH_PARTS (EMDASH_SIZE == 4 && EMDASH_VL > 1 ? 2 : 1) /* vectors of double for the numbers of one `vec` */
#endif

#if EMDASH_SIZE == 8
typedef uint64_t number_bits;
#else
typedef uint32_t number_bits;
#endif

#if EMDASH_VL > 1
typedef number vec __attribute__((vector_size(EMDASH_BYTES)));
typedef number_bits vec_bits __attribute__((vector_size(EMDASH_BYTES)));
typedef vec vec_memory __attribute__((may_alias));
EMDASH_INLINE vec v_load(const number *p) { return *(const vec_memory *)p; }
EMDASH_INLINE void v_store(number *p, vec x) { *(vec_memory *)p = x; }
EMDASH_INLINE vec v_splat(number x) { return x - (vec){0}; } /* x - 0 folds away, 0 + x does not */
EMDASH_INLINE vec_bits v_bits(vec x) { return (vec_bits)x; }
EMDASH_INLINE vec v_from_bits(vec_bits x) { return (vec)x; }
EMDASH_INLINE number v_get(vec x, int lane) { return x[lane]; }
/* a > b ? yes : no, lane by lane; `no` where either is NaN */
EMDASH_INLINE vec v_select_greater(vec a, vec b, vec yes, vec no) {
    const vec_bits mask = (vec_bits)(a > b);
    return (vec)((mask & (vec_bits)yes) | (~mask & (vec_bits)no));
}
#else
typedef number vec;
typedef number_bits vec_bits;
EMDASH_INLINE vec v_load(const number *p) { return *p; }
EMDASH_INLINE void v_store(number *p, vec x) { *p = x; }
EMDASH_INLINE vec v_splat(number x) { return x; }
EMDASH_INLINE vec_bits v_bits(vec x) { number_bits u; memcpy(&u, &x, EMDASH_SIZE); return u; }
EMDASH_INLINE vec v_from_bits(vec_bits u) { number x; memcpy(&x, &u, EMDASH_SIZE); return x; }
EMDASH_INLINE number v_get(vec x, int lane) { (void)lane; return x; }
EMDASH_INLINE vec v_select_greater(vec a, vec b, vec yes, vec no) { return a > b ? yes : no; }
#endif

/* part (of EMDASH_PARTS) of the numbers, as doubles; VL doubles as numbers; a vector of doubles stored as numbers */
#if EMDASH_SIZE == 8
EMDASH_INLINE vec v_part(vec x, int part) { (void)part; return x; }
EMDASH_INLINE vec v_of_doubles(const double *p) { return v_load(p); }
#elif EMDASH_VL == 1
EMDASH_INLINE double v_part(vec x, int part) { (void)part; return (double)x; }
EMDASH_INLINE vec v_of_doubles(const double *p) { return (float)*p; }
EMDASH_INLINE void v_store_part(float *p, double x) { *p = (float)x; }
#else
typedef float EMDASH_NAME(half) __attribute__((vector_size(EMDASH_BYTES / 2)));
EMDASH_INLINE vec_double v_part(vec x, int part) {
    EMDASH_NAME(half) halves[2];
    memcpy(halves, &x, sizeof x);
    return __builtin_convertvector(halves[part], vec_double);
}
EMDASH_INLINE void v_store_part(float *p, vec_double x) {
    const EMDASH_NAME(half) part = __builtin_convertvector(x, EMDASH_NAME(half));
    memcpy(p, &part, sizeof part);
}
EMDASH_INLINE vec v_of_doubles(const double *p) {
    EMDASH_NAME(half) halves[2];
    vec x;
    EMDASH_UNROLL
    for (int part = 0; part < 2; part++)
        halves[part] = __builtin_convertvector(EMDASH_DOUBLE(v_load)(p + part * EMDASH_VL / 2), EMDASH_NAME(half));
    memcpy(&x, halves, sizeof x);
    return x;
}
#endif

/* limit > x ? 0 : value; `value` where x is NaN */
EMDASH_INLINE vec v_zero_below(vec value, vec x, number limit) {
#if EMDASH_BYTES == 64 && EMDASH_SIZE == 8 /* one masked move; GCC makes three instructions of the general form */
    const __mmask8 keep = _mm512_cmp_pd_mask(_mm512_set1_pd(limit), (__m512d)x, _CMP_NGT_UQ);
    return (vec)_mm512_maskz_mov_pd(keep, (__m512d)value);
#elif EMDASH_VL > 1
    return (vec)((vec_bits)value & ~(vec_bits)(v_splat(limit) > x));
#else
    return limit > x ? 0 : value;
#endif
}

/* Both return b where a or b is NaN: the second argument decides what becomes of a NaN. */
#if !defined(EMDASH_X86) || EMDASH_VL == 1
EMDASH_INLINE vec v_max(vec a, vec b) { return v_select_greater(a, b, a, b); }
EMDASH_INLINE vec v_min(vec a, vec b) { return v_select_greater(b, a, a, b); }
#elif EMDASH_BYTES == 64 && EMDASH_SIZE == 8
EMDASH_INLINE vec v_max(vec a, vec b) { return (vec)_mm512_max_pd((__m512d)a, (__m512d)b); }
EMDASH_INLINE vec v_min(vec a, vec b) { return (vec)_mm512_min_pd((__m512d)a, (__m512d)b); }
#elif EMDASH_BYTES == 64
EMDASH_INLINE vec v_max(vec a, vec b) { return (vec)_mm512_max_ps((__m512)a, (__m512)b); }
EMDASH_INLINE vec v_min(vec a, vec b) { return (vec)_mm512_min_ps((__m512)a, (__m512)b); }
#elif EMDASH_BYTES == 32 && EMDASH_SIZE == 8
EMDASH_INLINE vec v_max(vec a, vec b) { return (vec)_mm256_max_pd((__m256d)a, (__m256d)b); }
EMDASH_INLINE vec v_min(vec a, vec b) { return (vec)_mm256_min_pd((__m256d)a, (__m256d)b); }
#elif EMDASH_BYTES == 32
EMDASH_INLINE vec v_max(vec a, vec b) { return (vec)_mm256_max_ps((__m256)a, (__m256)b); }
EMDASH_INLINE vec v_min(vec a, vec b) { return (vec)_mm256_min_ps((__m256)a, (__m256)b); }
#elif EMDASH_SIZE == 8
EMDASH_INLINE vec v_max(vec a, vec b) { return (vec)_mm_max_pd((__m128d)a, (__m128d)b); }
EMDASH_INLINE vec v_min(vec a, vec b) { return (vec)_mm_min_pd((__m128d)a, (__m128d)b); }
#else
EMDASH_INLINE vec v_max(vec a, vec b) { return (vec)_mm_max_ps((__m128)a, (__m128)b); }
EMDASH_INLINE vec v_min(vec a, vec b) { return (vec)_mm_min_ps((__m128)a, (__m128)b); }
#endif

/* Sum of the lanes in double, always in the same order. */
EMDASH_INLINE double v_sum(vec x) {
    double sum = v_get(x, 0);
    EMDASH_UNROLL
    for (int lane = 1; lane < EMDASH_VL; lane++) sum += v_get(x, lane);
    return sum;
}

/* 2^x for lowest <= x <= 0: adding 1.5 * 2^52 (float: 2^23) leaves the whole part in the low bits, which are shifted
 * into the exponent. */
#if EMDASH_BYTES == 64
/* The same with x in sixteenths, k = 16 n + i in the low bits: 2^x = 2^n 2^(i/16) 2^f with |f| <= 1/32.  The table
 * holds the bits of 2^(i/16) less i << 48 (float: 19), so that adding k << 48 leaves n in the exponent. */
#if EMDASH_SIZE == 8
static const uint64_t EMDASH_NAME(sixteenths)[16] __attribute__((aligned(64))) = {
    0x3ff0000000000000, 0x3fefb5586cf9890f, 0x3fef72b83c7d517b, 0x3fef387a6e756238,
    0x3fef06fe0a31b715, 0x3feedea64c123422, 0x3feebfdad5362a27, 0x3feeab07dd485429,
    0x3feea09e667f3bcd, 0x3feea11473eb0187, 0x3feeace5422aa0db, 0x3feec49182a3f090,
    0x3feee89f995ad3ad, 0x3fef199bdd85529c, 0x3fef5818dcfba487, 0x3fefa4afa2a490da};
EMDASH_INLINE vec v_exp2_range(vec x) {
    const double shift = 0x1.8p48;
    const vec shifted = x + shift;
    const vec f = x - (shifted - shift);
    const vec root = (vec)_mm512_permutex2var_pd(_mm512_load_pd(EMDASH_NAME(sixteenths)), (__m512i)shifted,
                                                 _mm512_load_pd(EMDASH_NAME(sixteenths) + 8));
    const vec power = v_from_bits(v_bits(root) + (v_bits(shifted) << 48));
    vec p = v_splat(0x1.430a99404c418p-13);
    p = p * f + 0x1.5d89be3967986p-10;
    p = p * f + 0x1.3b2ab6fa980f0p-7;
    p = p * f + 0x1.c6b08d6e8a6d5p-5;
    p = p * f + 0x1.ebfbdff82c59dp-3;
    p = p * f + 0x1.62e42fefa39fdp-1;
    return power + power * f * p;
}
#else
static const uint32_t EMDASH_NAME(sixteenths)[16] __attribute__((aligned(64))) = {
    0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532, 0x3f75fed7, 0x3f75583f,
    0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c, 0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};
EMDASH_INLINE vec v_exp2_range(vec x) {
    const number shift = 0x1.8p19f;
    const vec shifted = x + shift;
    const vec f = x - (shifted - shift);
    const vec root = (vec)_mm512_permutexvar_ps((__m512i)shifted, _mm512_load_ps(EMDASH_NAME(sixteenths)));
    const vec power = v_from_bits(v_bits(root) + (v_bits(shifted) << 19));
    vec p = v_splat(0x1.c6ac6ap-5f);
    p = p * f + 0x1.ebfff4p-3f;
    p = p * f + 0x1.62e430p-1f;
    return power + power * f * p;
}
#endif
#elif EMDASH_SIZE == 8
EMDASH_INLINE vec v_exp2_range(vec x) {
    const double shift = 0x1.8p52;
    const vec shifted = x + shift;
    const vec f = x - (shifted - shift);
    vec p = v_splat(0x1.c06345a1a87c9p-32);
    p = p * f + 0x1.e605f957b1f22p-28;
    p = p * f + 0x1.b54167cd8ed14p-24;
    p = p * f + 0x1.62bfd49ee54a3p-20;
    p = p * f + 0x1.ffcbee3af417cp-17;
    p = p * f + 0x1.43091309610e7p-13;
    p = p * f + 0x1.5d87fe7bbbe57p-10;
    p = p * f + 0x1.3b2ab6fba1e1cp-7;
    p = p * f + 0x1.c6b08d7048f31p-5;
    p = p * f + 0x1.ebfbdff82c598p-3;
    p = p * f + 0x1.62e42fefa39f3p-1;
    p = p * f + 1.0;
    return v_from_bits(v_bits(p) + (v_bits(shifted) << 52));
}
#else
EMDASH_INLINE vec v_exp2_range(vec x) {
    const number shift = 0x1.8p23f;
    const vec shifted = x + shift;
    const vec f = x - (shifted - shift);
    vec p = v_splat(0x1.41fbbcp-13f);
    p = p * f + 0x1.5f3e52p-10f;
    p = p * f + 0x1.3b2d4cp-7f;
    p = p * f + 0x1.c6aee8p-5f;
    p = p * f + 0x1.ebfbdcp-3f;
    p = p * f + 0x1.62e430p-1f;
    p = p * f + 1.0f;
    return v_from_bits(v_bits(p) + (v_bits(shifted) << 23));
}
#endif

/* 2^x for x <= 0; exactly 0 for x <= lowest (also -inf), NaN for NaN.  lowest >= -1021 (float: -125), a whole number.
 * Instead of a mask the smallest value 2^lowest is subtracted: nothing changes above 2^(lowest + 54) (float: 25), and
 * the clamped lanes become exactly 0.  With exact != 0 a mask is used, so that every value of the range is right
 * (outputs), for two instructions more. */
EMDASH_INLINE vec v_exp2_nonpositive(vec x, number lowest, number two_to_lowest, const int exact) {
    const vec result = v_exp2_range(v_max(v_splat(lowest), x));
    if (exact) return v_zero_below(result, x, lowest);
    return result - two_to_lowest;
}

#if EMDASH_SIZE == 8
EMDASH_INLINE vec v_sqrt(vec x) {
#if EMDASH_VL > 1
    EMDASH_UNROLL
    for (int lane = 0; lane < EMDASH_VL; lane++) x[lane] = sqrt(x[lane]); /* GCC and clang make one instruction of it */
    return x;
#else
    return sqrt(x);
#endif
}

/* log2(x) for finite x >= 1 (any normal x >= sqrt(1/2)): x = 2^e m with m in [sqrt(1/2), sqrt(2)), then
 * log2 m = s P(s^2), s = (m - 1)/(m + 1). */
EMDASH_INLINE vec v_log2(vec x) {
    const uint64_t root_half = 0x3fe6a09e667f3bcdULL, whole = 0x4338000000000000ULL;
    const vec_bits exponent = (v_bits(x) - root_half) >> 52;
    const vec m = v_from_bits(v_bits(x) - (exponent << 52));
    const vec e = v_from_bits(exponent + whole) - 0x1.8p52;
    const vec s = (m - 1.0) / (m + 1.0), u = s * s;
    vec p = v_splat(0x1.b5990693623fap-3);
    p = p * u + 0x1.c46d70d6603b3p-3;
    p = p * u + 0x1.0ca163b0aa774p-2;
    p = p * u + 0x1.484afb696e7d3p-2;
    p = p * u + 0x1.a61762d6c04e2p-2;
    p = p * u + 0x1.2776c50ee381bp-1;
    p = p * u + 0x1.ec709dc3a047dp-1;
    p = p * u + 0x1.71547652b82fep+1;
    return s * p + e;
}
#endif
