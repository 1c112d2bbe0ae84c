"""What simd/missing.h offers to Cython: its table of functions, and what is used of that of simd/gaussian.h."""

cdef extern from "simd/missing.h":
    struct emdash_gaussian_table:
        Py_ssize_t (*factor_size)(Py_ssize_t d) noexcept nogil
        void (*pack_factor)(Py_ssize_t d, const double *upper, double scale, double *packed) noexcept nogil
        Py_ssize_t (*whiten_scratch)(Py_ssize_t d) noexcept nogil
        void (*quadratic_form)(Py_ssize_t d, const double *x, Py_ssize_t stride, Py_ssize_t rows, const double *mean,
                               const double *factor, double offset, double *log_density,
                               double *scratch) noexcept nogil
        Py_ssize_t (*scatter_size)(Py_ssize_t d) noexcept nogil
        Py_ssize_t (*scatter_scratch)(Py_ssize_t d) noexcept nogil
        void (*scatter)(Py_ssize_t d, const double *x, Py_ssize_t stride, const double *rows_x, Py_ssize_t row_stride,
                        Py_ssize_t rows, const double *resp, const double *weights, const double *mean, double *sums,
                        double *scratch) noexcept nogil
        void (*scatter_fold)(Py_ssize_t d, const double *sums, double *N, double *F, double *S) noexcept nogil
        void (*pack_distance)(Py_ssize_t K, Py_ssize_t d, const double *means, const double *inverse,
                              double *packed) noexcept nogil
        void (*distance)(int scaled, Py_ssize_t K, Py_ssize_t d, const double *x, Py_ssize_t stride, Py_ssize_t rows,
                         const double *packed, const double *offset, const double *scale, double *log_density,
                         double *distance) noexcept nogil
        Py_ssize_t (*moments_size)(int squares, Py_ssize_t K, Py_ssize_t d) noexcept nogil
        void (*moments)(int squares, Py_ssize_t K, Py_ssize_t d, const double *x, Py_ssize_t stride,
                        const double *rows_x, Py_ssize_t row_stride, Py_ssize_t rows, Py_ssize_t padded,
                        const double *resp, const double *weights, const double *means, double *sums) noexcept nogil
        void (*moments_fold)(int squares, Py_ssize_t K, Py_ssize_t d, const double *sums, double *N, double *F,
                             double *S) noexcept nogil
        void (*weighted_sum)(Py_ssize_t K, Py_ssize_t rows, Py_ssize_t stride, const double *resp, const double *f,
                             double *sums) noexcept nogil
        void (*weighted_sum_fold)(Py_ssize_t K, const double *sums, double *S) noexcept nogil
    struct emdash_missing_table:
        Py_ssize_t lanes
        Py_ssize_t (*runs)(Py_ssize_t d, const double *x, Py_ssize_t stride, Py_ssize_t n, int *start) noexcept nogil
        void (*factor)(Py_ssize_t d, Py_ssize_t kept, Py_ssize_t q, const int *features, const double *sigma, double *L,
                       double *log_root) noexcept nogil
        void (*regress)(Py_ssize_t d, Py_ssize_t q, const int *features, const double *sigma, const double *L,
                        double *B, double *V) noexcept nogil
        void (*deviations)(Py_ssize_t d, const double *x, Py_ssize_t stride, Py_ssize_t rows, const double *mean,
                           double *filled) noexcept nogil
        void (*fill)(Py_ssize_t d, Py_ssize_t q, const int *features, Py_ssize_t stride, Py_ssize_t first,
                     Py_ssize_t last, const double *B, double *filled) noexcept nogil
        void (*fill_few)(Py_ssize_t d, Py_ssize_t q, const int *features, const double *x, Py_ssize_t stride,
                         Py_ssize_t first, Py_ssize_t last, const double *mean, const double *B,
                         Py_ssize_t components, double *filled, Py_ssize_t filled_step) noexcept nogil
        void (*correct)(Py_ssize_t d, Py_ssize_t q, const int *features, const double *N, const double *V,
                        double *S) noexcept nogil
        void (*to_rows)(Py_ssize_t d, const double *x, Py_ssize_t stride, Py_ssize_t rows, double *rows_x,
                        Py_ssize_t row_stride) noexcept nogil
    const emdash_missing_table *emdash_missing_tables[]
