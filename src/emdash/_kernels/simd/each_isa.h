/* Compiles the file EMDASH_BODY once for every instruction set.
 *
 * IN  EMDASH_BODY: the file to include, as a string.
 * In the body EMDASH_VL is the number of doubles in a vector, EMDASH_REGISTERS the number of vector registers, and
 * EMDASH_NAME(x) makes the name x unique to the instruction set.  One body per translation unit.
 */
#include "isa.h"

#define EMDASH_PASTE_(name, isa) emdash_##name##_##isa
#define EMDASH_PASTE(name, isa) EMDASH_PASTE_(name, isa)
#define EMDASH_NAME(name) EMDASH_PASTE(name, EMDASH_ISA)

#ifdef EMDASH_X86
/* The options must reach the functions, not only the file: hence pragmas and not compiler flags. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,prefer-vector-width=512")
#endif
#define EMDASH_ISA avx512
#define EMDASH_VL 8
#define EMDASH_REGISTERS 32
#include EMDASH_BODY
#undef EMDASH_ISA
#undef EMDASH_VL
#undef EMDASH_REGISTERS
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define EMDASH_ISA avx2
#define EMDASH_VL 4
#define EMDASH_REGISTERS 16
#include EMDASH_BODY
#undef EMDASH_ISA
#undef EMDASH_VL
#undef EMDASH_REGISTERS
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#define EMDASH_ISA baseline
#ifdef EMDASH_VECTOR_EXTENSIONS
#define EMDASH_VL 2
#else
#define EMDASH_VL 1
#endif
#ifdef __aarch64__
#define EMDASH_REGISTERS 32
#else
#define EMDASH_REGISTERS 16
#endif
#include EMDASH_BODY
#undef EMDASH_ISA
#undef EMDASH_VL
#undef EMDASH_REGISTERS

/* One table of functions per instruction set, in the order of the enum in isa.h. */
#ifdef EMDASH_X86
#define EMDASH_TABLES(name) {&emdash_##name##_avx512, &emdash_##name##_avx2, &emdash_##name##_baseline}
#else
#define EMDASH_TABLES(name) {NULL, NULL, &emdash_##name##_baseline}
#endif

#undef EMDASH_BODY
