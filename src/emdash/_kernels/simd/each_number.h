/* Compiles the file EMDASH_BODY for one instruction set: for double and, with EMDASH_SINGLE, then for float.
 *
 * Chosen: the type of the numbers is a parameter of the inclusion, like the instruction set, so no loop is written
 * twice.
 */
#define number double
#define EMDASH_SIZE 8
#define EMDASH_SUFFIX
#if EMDASH_BYTES > 0
#define EMDASH_VL (EMDASH_BYTES / 8)
#else
#define EMDASH_VL 1
#endif
#include EMDASH_BODY
#undef number
#undef EMDASH_SIZE
#undef EMDASH_SUFFIX
#undef EMDASH_VL

#ifdef EMDASH_SINGLE
#define number float
#define EMDASH_SIZE 4
#define EMDASH_SUFFIX _float
#if EMDASH_BYTES > 0
#define EMDASH_VL (EMDASH_BYTES / 4)
#else
#define EMDASH_VL 1
#endif
#include EMDASH_BODY
#undef number
#undef EMDASH_SIZE
#undef EMDASH_SUFFIX
#undef EMDASH_VL
#endif

#undef EMDASH_ISA
#undef EMDASH_BYTES
#undef EMDASH_REGISTERS
