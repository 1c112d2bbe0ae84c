/* Which instruction sets this binary holds and which of them this machine can run.
 *
 * Chosen: every body is written once and compiled once per instruction set (each_isa.h); the set is picked once, at
 * import, from what the processor reports.  Lost: target_clones (needs ifunc, hence neither macOS nor musl; cannot change
 * block sizes with the register width) and -march=native (equal speed, but the wheel then runs on one kind of machine).
 */
#ifndef EMDASH_ISA_H
#define EMDASH_ISA_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if (defined(__GNUC__) || defined(__clang__)) && !defined(EMDASH_SCALAR)
#define EMDASH_VECTOR_EXTENSIONS 1
#if defined(__x86_64__)
#define EMDASH_X86 1
#include <immintrin.h>
#endif
#endif

#if defined(__GNUC__) || defined(__clang__)
#define EMDASH_INLINE static inline __attribute__((always_inline, unused))
#define EMDASH_FUNCTION static __attribute__((noinline, unused))
#define EMDASH_RESTRICT __restrict__
/* Hides where a pointer came from: stops the compiler from hoisting hundreds of loop-invariant broadcasts onto the stack. */
#define EMDASH_OPAQUE(pointer) __asm__ volatile("" : "+r"(pointer))
#define EMDASH_PREFETCH(pointer) __builtin_prefetch(pointer)
#define EMDASH_PREFETCH_L2(pointer) __builtin_prefetch(pointer, 0, 2)
#else
#define EMDASH_INLINE static __forceinline
#define EMDASH_FUNCTION static
#define EMDASH_RESTRICT __restrict
#define EMDASH_OPAQUE(pointer) (void)(pointer)
#define EMDASH_PREFETCH(pointer) (void)(pointer)
#define EMDASH_PREFETCH_L2(pointer) (void)(pointer)
#endif

/* GCC ignores clang's pragma and the other way round; without it constant-size loops over registers end in memory. */
#if defined(__clang__)
#define EMDASH_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define EMDASH_UNROLL _Pragma("GCC unroll 64")
#else
#define EMDASH_UNROLL
#endif

/* Order of preference, best first; the numbers index every table of functions. */
enum {
    EMDASH_ISA_AVX512 = 0,
    EMDASH_ISA_AVX2 = 1,
    EMDASH_ISA_BASELINE = 2, /* vectors of 16 bytes: SSE2, NEON */
    EMDASH_ISA_SCALAR = 3,   /* plain numbers: all that MSVC has; everywhere, so that every test run tries it */
    EMDASH_ISA_COUNT = 4
};

static inline const char *emdash_isa_name(int isa) {
    static const char *const names[EMDASH_ISA_COUNT] = {"avx512", "avx2", "baseline", "scalar"};
    return names[isa];
}

/* 1 if this binary holds the instruction set and this machine (processor and operating system) can run it. */
static inline int emdash_isa_available(int isa) {
    if (isa == EMDASH_ISA_SCALAR) return 1;
#ifdef EMDASH_VECTOR_EXTENSIONS
    if (isa == EMDASH_ISA_BASELINE) return 1;
#endif
#ifdef EMDASH_X86
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    if (isa == EMDASH_ISA_AVX2) return 1;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
#else
    return 0;
#endif
}

/* Rows of a tile come in multiples of this: three vectors of eight, six of four, twelve of two. */
#define EMDASH_ROW_QUANTUM 24
#define EMDASH_LONGEST_TILE 496 /* no tile has more rows than 480; with room for a vector behind them */

#endif
