"""What simd/missing.h offers to Cython: its table of functions for every instruction set."""

cdef extern from "simd/missing.h":
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
