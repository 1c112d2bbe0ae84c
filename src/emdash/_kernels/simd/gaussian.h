/* The bodies the Gaussian kernels are made of, as one table of functions per instruction set.
 *
 * What each does, its arguments and its cost: whiten.h (quadratic forms of full covariance), distance.h (squared distances
 * of diagonal, spherical and whitened tied covariance), scatter.h (full S), moments.h (F and diagonal S), directions.h and
 * screen.h (components that cannot matter to a row are ruled out first).
 * Multiply-adds per row and component, E- and M-step each: full d(d+1)/2 (tied: that once per row, then d), diagonal
 * 2 d, spherical d.  Bytes of the tile, in the cache, per row: 8 d or more in each step, full per component, the others
 * per block of components.
 */
#ifndef EMDASH_VL

#include "gaussian_table.h"
#define EMDASH_BODY "gaussian.h"
#include "each_isa.h"
static const struct emdash_gaussian_table *const emdash_gaussian_tables[EMDASH_ISA_COUNT] = EMDASH_TABLES(gaussian_table);

#else
#include "vector.h"
#include "whiten_small.h"
#include "whiten.h"
#include "transpose.h"
#include "directions.h"
#include "screen.h"
#include "distance.h"
#include "scatter_small.h"
#include "scatter.h"
#include "moments.h"

static const struct emdash_gaussian_table EMDASH_NAME(gaussian_table) = {
    EMDASH_NAME(factor_size), EMDASH_NAME(pack_factor), EMDASH_NAME(whiten_scratch), EMDASH_NAME(quadratic_form),
    EMDASH_NAME(bands_size), EMDASH_NAME(pack_bands), EMDASH_NAME(most_directions), EMDASH_NAME(directions_scratch),
    EMDASH_NAME(directions), EMDASH_NAME(marginals), EMDASH_NAME(project), EMDASH_NAME(guess),
    EMDASH_NAME(candidates), EMDASH_NAME(quadratic_form_of), EMDASH_NAME(whiten), EMDASH_NAME(scatter_size),
    EMDASH_NAME(scatter_scratch), EMDASH_NAME(scatter), EMDASH_NAME(panels_size), EMDASH_NAME(panels_scratch),
    EMDASH_NAME(scatter_panels), EMDASH_NAME(fold_panels), EMDASH_NAME(scatter_fold), EMDASH_NAME(pack_distance),
    EMDASH_NAME(distance), EMDASH_NAME(moments_size), EMDASH_NAME(moments), EMDASH_NAME(moments_fold),
    EMDASH_NAME(weighted_sum), EMDASH_NAME(weighted_sum_fold),
};
#endif
