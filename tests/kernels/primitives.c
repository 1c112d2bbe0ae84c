/* The primitives of simd/vector.h against plain C, on every instruction set of this machine.
 *
 * A program of its own, so that any compiler, and an emulator of another processor, can run it (test_compilers.py).
 * Prints what is wrong; the exit status is 1 if anything is.
 */
#ifndef EMDASH_VL
#include <stdio.h>

#include "isa.h"
struct emdash_check_table {
    int (*check)(const char *isa);
};
#define EMDASH_BODY "primitives.c"
#include "each_isa.h"
static const struct emdash_check_table *const emdash_check_tables[EMDASH_ISA_COUNT] = EMDASH_TABLES(check_table);

int main(void) {
    int wrong = 0;
    for (int isa = 0; isa < EMDASH_ISA_COUNT; isa++) {
        if (!emdash_isa_available(isa)) continue;
        const int mine = emdash_check_tables[isa]->check(emdash_isa_name(isa));
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
#endif

/* error within so many units in the last place, and the slack */
static int EMDASH_NAME(near)(double got, long double wanted, double units, double slack) {
    return fabsl(got - wanted) <= units * 0x1p-52L * fabsl(wanted) + slack;
}

static int EMDASH_NAME(check_powers)(const char *isa) {
    int wrong = 0;
    for (int i = 0; i <= 200000; i++) {
        const double x = -1021.0 * ((double)i / 200000) * ((double)i / 200000); /* denser near 0 */
        const double e = v_get(v_exp2_nonpositive(v_splat(x), -1021.0, 0x1p-1021, 1), EMDASH_VL - 1);
        /* 2^-200 is subtracted from it, which rounds once more */
        const double cut = v_get(v_exp2_nonpositive(v_splat(x), -200.0, 0x1p-200, 0), 0);
        const double y = ldexp(1.0 + (i % 4096) / 4096.0, i % 1000), log = v_get(v_log2(v_splat(y)), EMDASH_VL - 1);
        EMDASH_CHECK("exp2", x, e, EMDASH_NAME(near)(e, exp2l(x), 1.0, 0.0))
        EMDASH_CHECK("exp2, cut", x, cut, x <= -200.0 ? cut == 0.0 : EMDASH_NAME(near)(cut, exp2l(x), 1.5, 0x1p-200))
        EMDASH_CHECK("log2", y, log, EMDASH_NAME(near)(log, log2l(y), 1.0, 0x1p-56))
    }
    const double last = v_get(v_exp2_nonpositive(v_splat(-INFINITY), -1021.0, 0x1p-1021, 1), 0);
    const double nan = v_get(v_exp2_nonpositive(v_splat(NAN), -200.0, 0x1p-200, 0), 0);
    EMDASH_CHECK("exp2", -INFINITY, last, last == 0.0)
    EMDASH_CHECK("exp2", NAN, nan, nan != nan)
    return wrong;
}

/* the second argument decides what becomes of a NaN */
static int EMDASH_NAME(check_choices)(const char *isa) {
    const double values[] = {-INFINITY, -1.0, 0.0, 2.0, INFINITY, NAN};
    int wrong = 0;
    for (int i = 0; i < 36; i++) {
        const double a = values[i / 6], b = values[i % 6];
        const double largest = v_get(v_max(v_splat(a), v_splat(b)), 0), smallest = v_get(v_min(v_splat(a), v_splat(b)), 0);
        const double chosen = v_get(v_select_greater(v_splat(a), v_splat(b), v_splat(3.0), v_splat(4.0)), 0);
        const double kept = v_get(v_zero_below(v_splat(5.0), v_splat(a), b), 0);
        const double wanted_largest = a > b ? a : b, wanted_smallest = a < b ? a : b;
        EMDASH_CHECK("max", a, largest, memcmp(&largest, &wanted_largest, 8) == 0 || (b != b && largest != largest))
        EMDASH_CHECK("min", a, smallest, memcmp(&smallest, &wanted_smallest, 8) == 0 || (b != b && smallest != smallest))
        EMDASH_CHECK("select", a, chosen, chosen == (a > b ? 3.0 : 4.0))
        EMDASH_CHECK("zero below", a, kept, kept == (b > a ? 0.0 : 5.0))
    }
    return wrong;
}

static int EMDASH_NAME(check_lanes)(const char *isa) {
    double numbers[EMDASH_VL];
    vec x;
    int wrong = 0;
    for (int i = 0; i < EMDASH_VL; i++) numbers[i] = i + 1;
    memcpy(&x, numbers, sizeof x);
    const double sum = v_sum(x), root = v_get(v_sqrt(v_splat(2.0)), EMDASH_VL - 1);
    EMDASH_CHECK("sum", 0, sum, sum == EMDASH_VL * (EMDASH_VL + 1) / 2)
    EMDASH_CHECK("sqrt", 2, root, root == sqrt(2.0))
    return wrong;
}

static int EMDASH_NAME(check)(const char *isa) {
    return EMDASH_NAME(check_powers)(isa) + EMDASH_NAME(check_choices)(isa) + EMDASH_NAME(check_lanes)(isa);
}

static const struct emdash_check_table EMDASH_TABLE(check_table) = {EMDASH_NAME(check)};
#endif
