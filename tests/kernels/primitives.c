/* The primitives of simd/vector.h against plain C, on every instruction set of this machine, double and float.
 *
 * A program of its own, so that any compiler, and an emulator of another processor, can run it (test_compilers.py).
 * Prints what is wrong; the exit status is 1 if anything is.
 */
#ifndef EMDASH_VL
#include <stdio.h>

#include "isa.h"
struct emdash_check_table {
    int (*check)(const char *isa);
    int (*check_single)(const char *isa);
};
#define EMDASH_BODY "primitives.c"
#define EMDASH_SINGLE
#include "each_isa.h"
static const struct emdash_check_table *const emdash_check_tables[EMDASH_ISA_COUNT] = EMDASH_TABLES(check_table);

int main(void) {
    int wrong = 0;
    for (int isa = 0; isa < EMDASH_ISA_COUNT; isa++) {
        if (!emdash_isa_available(isa)) continue;
        const struct emdash_check_table *const table = emdash_check_tables[isa];
        const int mine = table->check(emdash_isa_name(isa)) + table->check_single(emdash_isa_name(isa));
        printf("%s: %d wrong\n", emdash_isa_name(isa), mine);
        wrong += mine;
    }
    return wrong != 0;
}

#else
#include "vector.h"

#ifndef EMDASH_CHECK
#define EMDASH_CHECK(what, x, got, good) \
    if (!(good)) { \
        if (wrong++ < 5) printf("%s: " what "(%.17g) = %.17g\n", isa, (double)(x), (double)(got)); \
    }
#define EMDASH_LEAST (EMDASH_SIZE == 8 ? -1021 : -125)
#endif

/* error within so many units in the last place, and the slack */
static int EMDASH_NAME(near)(number got, long double wanted, double units, double slack) {
    return fabsl(got - wanted) <= units * (EMDASH_SIZE == 8 ? 0x1p-52L : 0x1p-23L) * fabsl(wanted) + slack;
}

static int EMDASH_NAME(check_powers)(const char *isa) {
    const int cut_at = EMDASH_SIZE == 8 ? -200 : -80;
    const number cut_to = (number)ldexp(1.0, cut_at);
    const number least = (number)EMDASH_LEAST, two_to_least = (number)ldexp(1.0, EMDASH_LEAST);
    int wrong = 0;
    for (int i = 0; i <= 200000; i++) {
        const number x = least * ((number)i / 200000) * ((number)i / 200000); /* denser near 0 */
        const number e = v_get(v_exp2_nonpositive(v_splat(x), least, two_to_least, 1), EMDASH_VL - 1);
        /* 2^-200 (float: 2^-80) is subtracted from it, which rounds once more */
        const number cut = v_get(v_exp2_nonpositive(v_splat(x), (number)cut_at, cut_to, 0), 0);
        EMDASH_CHECK("exp2", x, e, EMDASH_NAME(near)(e, exp2l(x), 1.0, 0.0))
        EMDASH_CHECK("exp2, cut", x, cut, x <= cut_at ? cut == 0 : EMDASH_NAME(near)(cut, exp2l(x), 1.5, cut_to))
#if EMDASH_SIZE == 8
        const double y = ldexp(1.0 + (i % 4096) / 4096.0, i % 1000), log = v_get(v_log2(v_splat(y)), EMDASH_VL - 1);
        EMDASH_CHECK("log2", y, log, EMDASH_NAME(near)(log, log2l(y), 1.0, 0x1p-56))
#endif
    }
    const number last = v_get(v_exp2_nonpositive(v_splat(-(number)INFINITY), least, two_to_least, 1), 0);
    const number nan = v_get(v_exp2_nonpositive(v_splat((number)NAN), (number)cut_at, cut_to, 0), 0);
    EMDASH_CHECK("exp2", -INFINITY, last, last == 0)
    EMDASH_CHECK("exp2", NAN, nan, nan != nan)
    return wrong;
}

/* the second argument decides what becomes of a NaN */
static int EMDASH_NAME(check_choices)(const char *isa) {
    const number values[] = {-(number)INFINITY, -1, 0, 2, (number)INFINITY, (number)NAN};
    int wrong = 0;
    for (int i = 0; i < 36; i++) {
        const number a = values[i / 6], b = values[i % 6];
        const number largest = v_get(v_max(v_splat(a), v_splat(b)), 0);
        const number smallest = v_get(v_min(v_splat(a), v_splat(b)), 0);
        const number chosen = v_get(v_select_greater(v_splat(a), v_splat(b), v_splat(3), v_splat(4)), 0);
        const number kept = v_get(v_zero_below(v_splat(5), v_splat(a), b), 0);
        const number wanted_largest = a > b ? a : b, wanted_smallest = a < b ? a : b;
        EMDASH_CHECK("max", a, largest, memcmp(&largest, &wanted_largest, EMDASH_SIZE) == 0 || (b != b && largest != largest))
        EMDASH_CHECK("min", a, smallest, memcmp(&smallest, &wanted_smallest, EMDASH_SIZE) == 0 || (b != b && smallest != smallest))
        EMDASH_CHECK("select", a, chosen, chosen == (a > b ? 3 : 4))
        EMDASH_CHECK("zero below", a, kept, kept == (b > a ? 0 : 5))
    }
    return wrong;
}

static int EMDASH_NAME(check_lanes)(const char *isa) {
    number numbers[EMDASH_VL];
    double wide[EMDASH_VL] __attribute__((aligned(64)));
    vec x;
    int wrong = 0;
    for (int i = 0; i < EMDASH_VL; i++) wide[i] = numbers[i] = (number)(i + 1);
    memcpy(&x, numbers, sizeof x);
    const double sum = v_sum(x);
    const vec narrow = v_of_doubles(wide);
    EMDASH_CHECK("of doubles", 0, v_get(narrow, 0), memcmp(&narrow, &x, sizeof x) == 0)
    for (int part = 0; part < EMDASH_PARTS; part++) {
        const vec_double half = v_part(x, part);
        const double *const wanted = wide + part * (EMDASH_VL / EMDASH_PARTS);
        EMDASH_CHECK("part", part, wanted[0], memcmp(&half, wanted, sizeof half) == 0)
#if EMDASH_SIZE == 4
        number stored[EMDASH_VL];
        v_store_part(stored, half);
        EMDASH_CHECK("store part", part, stored[0],
                     memcmp(stored, numbers + part * (EMDASH_VL / EMDASH_PARTS), sizeof half / 2) == 0)
#endif
    }
    EMDASH_CHECK("sum", 0, sum, sum == EMDASH_VL * (EMDASH_VL + 1) / 2)
#if EMDASH_SIZE == 8
    const double root = v_get(v_sqrt(v_splat(2.0)), EMDASH_VL - 1);
    EMDASH_CHECK("sqrt", 2, root, root == sqrt(2.0))
#endif
    return wrong;
}

static int EMDASH_NAME(check)(const char *isa) {
    return EMDASH_NAME(check_powers)(isa) + EMDASH_NAME(check_choices)(isa) + EMDASH_NAME(check_lanes)(isa);
}

#if EMDASH_SIZE == 4
static const struct emdash_check_table EMDASH_DOUBLE(check_table) = {EMDASH_DOUBLE(check), EMDASH_NAME(check)};
#endif
#endif
