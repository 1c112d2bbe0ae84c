"""Rows with the same pattern of missing cells (NaN) next to each other, so that a tile holds few patterns.

Knows the caller's array and nothing else.  A radix sort of bit masks, a byte per eight features: n (d / 8 + 1) steps.
Measured, d = 10, a tenth of 200 000 rows: 40 ns per row, most of it waiting for memory; 110 without asking in advance.
Lost: numpy.lexsort of the masks (54 ns per row for the sort alone).
"""

from libc.math cimport isnan
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from emdash._kernels.tile cimport Aligned, Strided

cdef extern from "simd/isa.h":
    void EMDASH_PREFETCH(const void *pointer) noexcept nogil

cdef Py_ssize_t AHEAD = 16      # rows that memory is asked for in advance


cdef double _cell(Strided x, Py_ssize_t row, Py_ssize_t feature) noexcept nogil:
    cdef const char *cell = x.data + row * x.step + feature * x.d_step
    cdef double value
    cdef float single
    if x.is_float:
        memcpy(&single, cell, sizeof(float))
        return single
    memcpy(&value, cell, sizeof(double))
    return value


cdef void _ask_for(Strided x, Py_ssize_t row) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(0, x.d, 8):
        EMDASH_PREFETCH(x.data + row * x.step + j * x.d_step)
    EMDASH_PREFETCH(x.data + row * x.step + (x.d - 1) * x.d_step)


cdef void _read_row(Strided x, Py_ssize_t row, double *out) noexcept nogil:
    cdef Py_ssize_t j
    if not x.is_float and x.d_step == sizeof(double):
        memcpy(out, x.data + row * x.step, x.d * sizeof(double))
        return
    for j in range(x.d):
        out[j] = _cell(x, row, j)


cdef Py_ssize_t _key(Strided x, Py_ssize_t row, uint8_t *key) noexcept nogil:
    """OUT key ((d + 7) / 8): one bit per feature, 1 where missing.  Returns how many are missing."""
    cdef Py_ssize_t j, missing = 0
    cdef bint hole
    memset(key, 0, (x.d + 7) // 8)
    for j in range(x.d):
        hole = isnan(_cell(x, row, j))
        key[j // 8] |= <uint8_t>(hole << (7 - j % 8))
        missing += hole
    return missing


cdef bint _sort_byte(const uint8_t *keys, Py_ssize_t size, Py_ssize_t m, const Py_ssize_t *order,
                     Py_ssize_t *sorted) noexcept nogil:
    """Stable counting sort of `order` by one byte of the keys.  OUT sorted, or nothing (False) if all are equal."""
    cdef Py_ssize_t begin[257]
    cdef Py_ssize_t i
    memset(begin, 0, sizeof(begin))
    for i in range(m):
        begin[keys[i * size] + 1] += 1
    for i in range(256):
        if begin[i + 1] == m:
            return False
    for i in range(256):
        begin[i + 1] += begin[i]
    for i in range(m):
        sorted[begin[keys[order[i] * size]]] = order[i]
        begin[keys[order[i] * size]] += 1
    return True


def sort_by_pattern(X, numbers, rows):
    """Put rows with the same pattern of missing cells next to each other, in lexicographic order of the patterns.

    IN X (n, d) float64 or float32, any strides.  INOUT numbers (m,) intp, contiguous: rows of X; sorted, stable.
    OUT rows (m, d) float64, C-ordered: these rows.  Returns how many of them, now the last ones, have nothing observed.
    """
    cdef Strided x = Strided(X, "X", 2, "float"), order = Strided(numbers, "numbers", 1, "intp", True)
    cdef Strided out = Strided(rows, "rows", 2, "float64", True)
    cdef Py_ssize_t m = order.n, d = x.d, size = (d + 7) // 8, i, byte, empty = 0
    if m and (order.step != sizeof(Py_ssize_t) or out.d_step != 8 or out.step != 8 * d or out.n != m or out.d != d):
        raise ValueError(f"numbers and rows must be C-ordered, rows of shape {(m, d)}")
    cdef Py_ssize_t *source = <Py_ssize_t *>order.data
    for i in range(m):
        if not 0 <= source[i] < x.n:
            raise IndexError(f"row {source[i]} of {x.n}")
    # keys (m, size), features from the highest bit of the first byte on; a permutation of them; a second one
    cdef Aligned memory = Aligned((m * size + 7) // 8 + 2 * m)
    cdef Py_ssize_t *first = <Py_ssize_t *>memory.data
    cdef uint8_t *keys = <uint8_t *>(memory.data + 2 * m)
    with nogil:
        for i in range(m):
            first[i] = i
            _ask_for(x, source[min(i + AHEAD, m - 1)])
            empty += _key(x, source[i], keys + i * size) == d
        for byte in range(size - 1, -1, -1):  # radix sort from the last byte
            if _sort_byte(keys + byte, size, m, first, first + m):
                memcpy(first, first + m, m * sizeof(Py_ssize_t))
        for i in range(m):
            first[m + i] = source[first[i]]
        memcpy(source, first + m, m * sizeof(Py_ssize_t))
        for i in range(m):
            _ask_for(x, source[min(i + AHEAD, m - 1)])
            _read_row(x, source[i], <double *>(out.data + i * out.step))
    return empty
