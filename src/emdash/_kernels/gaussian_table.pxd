"""The table of functions of simd/gaussian.h, for kernels in any module."""

cdef extern from "simd/gaussian_table.h":
    struct emdash_gaussian_table:
        Py_ssize_t (*factor_size)(Py_ssize_t d) noexcept nogil
        void (*pack_factor)(Py_ssize_t d, const double *upper, double scale, double *packed) noexcept nogil
        Py_ssize_t (*whiten_scratch)(Py_ssize_t d) noexcept nogil
        void (*quadratic_form)(Py_ssize_t d, const double *x, Py_ssize_t stride, Py_ssize_t rows, const double *mean,
                               const double *factor, double offset, double *log_density,
                               double *scratch) noexcept nogil
        Py_ssize_t (*bands_size)(Py_ssize_t d) noexcept nogil
        void (*pack_bands)(Py_ssize_t d, const double *upper, double scale, double *packed) noexcept nogil
        Py_ssize_t (*most_directions)(Py_ssize_t d) noexcept nogil
        Py_ssize_t (*directions_scratch)(Py_ssize_t K, Py_ssize_t d) noexcept nogil
        Py_ssize_t (*directions)(Py_ssize_t K, Py_ssize_t d, const double *means, const double *upper, double *center,
                                 double *V, double *scratch) noexcept nogil
        void (*marginals)(Py_ssize_t K, Py_ssize_t d, Py_ssize_t m, const double *V, const double *center,
                          const double *means, const double *upper, double *mean, double *root,
                          double *scratch) noexcept nogil
        void (*project)(Py_ssize_t d, Py_ssize_t m, const double *x, Py_ssize_t stride, Py_ssize_t rows,
                        const double *center, const double *V, double *z) noexcept nogil
        void (*guess)(Py_ssize_t K, Py_ssize_t n, const double *bound, Py_ssize_t stride, double *label, int *order,
                      int *start) noexcept nogil
        Py_ssize_t (*candidates)(Py_ssize_t n, const double *bound, const double *floor, int *index) noexcept nogil
        void (*quadratic_form_of)(Py_ssize_t d, Py_ssize_t count, const double *rows_x, Py_ssize_t row_stride,
                                  const int *index, const double *mean, const double *factor, double offset,
                                  double *log_density, double *scratch) noexcept nogil
        void (*whiten)(Py_ssize_t d, const double *x, Py_ssize_t stride, Py_ssize_t rows, const double *mean,
                       const double *factor, double *z, double *scratch) noexcept nogil
        Py_ssize_t (*scatter_size)(Py_ssize_t d) noexcept nogil
        Py_ssize_t (*scatter_scratch)(Py_ssize_t d) noexcept nogil
        void (*scatter)(Py_ssize_t d, const double *x, Py_ssize_t stride, const double *rows_x, Py_ssize_t row_stride,
                        Py_ssize_t rows, const double *resp, const double *weights, double cut, const double *mean,
                        double *sums, double *scratch) noexcept nogil
        Py_ssize_t (*panels_size)(Py_ssize_t d) noexcept nogil
        Py_ssize_t (*panels_scratch)(Py_ssize_t d) noexcept nogil
        void (*scatter_panels)(Py_ssize_t d, const double *rows_x, Py_ssize_t row_stride, Py_ssize_t rows,
                               const double *resp, const double *weights, double cut, const double *mean, double *sums,
                               double *scratch) noexcept nogil
        void (*fold_panels)(Py_ssize_t d, const double *sums, double *N, double *F, double *S) noexcept nogil
        void (*scatter_fold)(Py_ssize_t d, const double *sums, double *N, double *F, double *S) noexcept nogil
        void (*pack_distance)(Py_ssize_t K, Py_ssize_t d, const double *means, const double *inverse,
                              double *packed) noexcept nogil
        void (*distance)(int scaled, Py_ssize_t K, Py_ssize_t d, const double *x, Py_ssize_t stride, Py_ssize_t rows,
                         const double *packed, const double *offset, const double *scale, double *log_density,
                         double *distance) noexcept nogil
        Py_ssize_t (*moments_size)(int squares, Py_ssize_t K, Py_ssize_t d) noexcept nogil
        void (*moments)(int squares, Py_ssize_t K, Py_ssize_t d, const double *x, Py_ssize_t stride,
                        const double *rows_x, Py_ssize_t row_stride, Py_ssize_t rows, Py_ssize_t padded,
                        const double *resp, const double *weights, const double *cuts, const double *means,
                        double *sums) noexcept nogil
        void (*moments_fold)(int squares, Py_ssize_t K, Py_ssize_t d, const double *sums, double *N, double *F,
                             double *S) noexcept nogil
        void (*weighted_sum)(Py_ssize_t K, Py_ssize_t rows, Py_ssize_t stride, const double *resp, const double *f,
                             double *sums) noexcept nogil
        void (*weighted_sum_fold)(Py_ssize_t K, const double *sums, double *S) noexcept nogil
