/* Compiles the file EMDASH_BODY once for every instruction set, for numbers of type double.
 *
 * IN  EMDASH_BODY: the file to include, as a string; EMDASH_SINGLE, if defined: once more for numbers of type float,
 * after double, so that what double needs is there (each_number.h).
 * In the body EMDASH_VL is how many numbers there are in a vector, EMDASH_BYTES how many bytes (0: no vectors),
 * EMDASH_REGISTERS the number of vector registers.  EMDASH_NAME(x) makes the name x unique to the instruction set and
 * the type, EMDASH_DOUBLE(x) is what the same name means for double (a table of both types is named so, too).
 * One body for each type and translation unit.
 */
#include "isa.h"

/* name## keeps a name that is a macro itself (vector.h) from expanding */
#define EMDASH_NAME(name) EMDASH_PASTE(emdash_##name##_, EMDASH_ISA, EMDASH_SUFFIX)
#define EMDASH_DOUBLE(name) EMDASH_PASTE(emdash_##name##_, EMDASH_ISA, )
#define EMDASH_PASTE(stem, isa, suffix) EMDASH_PASTE_(stem, isa, suffix)
#define EMDASH_PASTE_(stem, isa, suffix) stem##isa##suffix

#ifdef EMDASH_X86
/* The options must reach the functions, not only the file: hence pragmas and not compiler flags. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,prefer-vector-width=512")
#endif
#define EMDASH_ISA avx512
#define EMDASH_BYTES 64
#define EMDASH_REGISTERS 32
#include "each_number.h"
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define EMDASH_ISA avx2
#define EMDASH_BYTES 32
#define EMDASH_REGISTERS 16
#include "each_number.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#ifdef EMDASH_VECTOR_EXTENSIONS
#define EMDASH_ISA baseline
#define EMDASH_BYTES 16
#ifdef __aarch64__
#define EMDASH_REGISTERS 32
#else
#define EMDASH_REGISTERS 16
#endif
#include "each_number.h"
#endif

#define EMDASH_ISA scalar
#define EMDASH_BYTES 0
#define EMDASH_REGISTERS 16
#include "each_number.h"

/* One table of functions per instruction set, in the order of the enum in isa.h. */
#ifdef EMDASH_X86
#define EMDASH_TABLES(name) \
    {&emdash_##name##_avx512, &emdash_##name##_avx2, &emdash_##name##_baseline, &emdash_##name##_scalar}
#elif defined(EMDASH_VECTOR_EXTENSIONS)
#define EMDASH_TABLES(name) {NULL, NULL, &emdash_##name##_baseline, &emdash_##name##_scalar}
#else
#define EMDASH_TABLES(name) {NULL, NULL, NULL, &emdash_##name##_scalar}
#endif

#undef EMDASH_BODY
#undef EMDASH_SINGLE
