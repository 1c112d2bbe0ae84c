/* What the table of gaussian.h holds, for modules that call the bodies without compiling them again. */
#ifndef EMDASH_GAUSSIAN_TABLE_H
#define EMDASH_GAUSSIAN_TABLE_H

#include "isa.h"
struct emdash_gaussian_table {
    ptrdiff_t (*factor_size)(ptrdiff_t d);
    void (*pack_factor)(ptrdiff_t d, const double *upper, double scale, double *packed);
    ptrdiff_t (*whiten_scratch)(ptrdiff_t d);
    void (*quadratic_form)(ptrdiff_t d, const double *x, ptrdiff_t stride, ptrdiff_t rows, const double *mean,
                           const double *factor, double offset, double *log_density, double *scratch);
    ptrdiff_t (*bands_size)(ptrdiff_t d);
    void (*pack_bands)(ptrdiff_t d, const double *upper, double scale, double *packed);
    ptrdiff_t (*most_directions)(ptrdiff_t d);
    ptrdiff_t (*directions_scratch)(ptrdiff_t K, ptrdiff_t d);
    ptrdiff_t (*directions)(ptrdiff_t K, ptrdiff_t d, const double *means, const double *upper, double *center, double *V,
                            double *scratch);
    void (*marginals)(ptrdiff_t K, ptrdiff_t d, ptrdiff_t m, const double *V, const double *center, const double *means,
                      const double *upper, double *mean, double *root, double *scratch);
    void (*project)(ptrdiff_t d, ptrdiff_t m, const double *x, ptrdiff_t stride, ptrdiff_t rows, const double *center,
                    const double *V, double *z);
    void (*guess)(ptrdiff_t K, ptrdiff_t n, const double *bound, ptrdiff_t stride, double *label, int *order, int *start);
    ptrdiff_t (*candidates)(ptrdiff_t n, const double *bound, const double *floor, int *index);
    void (*quadratic_form_of)(ptrdiff_t d, ptrdiff_t count, const double *rows_x, ptrdiff_t row_stride, const int *index,
                              const double *mean, const double *factor, double offset, double *log_density,
                              double *scratch);
    void (*whiten)(ptrdiff_t d, const double *x, ptrdiff_t stride, ptrdiff_t rows, const double *mean,
                   const double *factor, double *z, double *scratch);
    ptrdiff_t (*scatter_size)(ptrdiff_t d);
    ptrdiff_t (*scatter_scratch)(ptrdiff_t d);
    void (*scatter)(ptrdiff_t d, const double *x, ptrdiff_t stride, const double *rows_x, ptrdiff_t row_stride,
                    ptrdiff_t rows, const double *resp, const double *weights, double cut, const double *mean,
                    double *sums, double *scratch);
    ptrdiff_t (*panels_size)(ptrdiff_t d);
    ptrdiff_t (*panels_scratch)(ptrdiff_t d);
    void (*scatter_panels)(ptrdiff_t d, const double *rows_x, ptrdiff_t row_stride, ptrdiff_t rows, const double *resp,
                           const double *weights, double cut, const double *mean, double *sums, double *scratch);
    void (*fold_panels)(ptrdiff_t d, const double *sums, double *N, double *F, double *S);
    void (*scatter_fold)(ptrdiff_t d, const double *sums, double *N, double *F, double *S);
    void (*pack_distance)(ptrdiff_t K, ptrdiff_t d, const double *means, const double *inverse, double *packed);
    void (*distance)(int scaled, ptrdiff_t K, ptrdiff_t d, const double *x, ptrdiff_t stride, ptrdiff_t rows,
                     const double *packed, const double *offset, const double *scale, double *log_density,
                     double *distance);
    ptrdiff_t (*moments_size)(int squares, ptrdiff_t K, ptrdiff_t d);
    void (*moments)(int squares, ptrdiff_t K, ptrdiff_t d, const double *x, ptrdiff_t stride, const double *rows_x,
                    ptrdiff_t row_stride, ptrdiff_t rows, ptrdiff_t padded, const double *resp, const double *weights,
                    const double *cuts, const double *means, double *sums);
    void (*moments_fold)(int squares, ptrdiff_t K, ptrdiff_t d, const double *sums, double *N, double *F, double *S);
    void (*weighted_sum)(ptrdiff_t K, ptrdiff_t rows, ptrdiff_t stride, const double *resp, const double *f, double *sums);
    void (*weighted_sum_fold)(ptrdiff_t K, const double *sums, double *S);
};

#endif
