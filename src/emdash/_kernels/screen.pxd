"""What is known of a tile while components are ruled out; see simd/screen.h."""

cdef struct Screen:
    # scratch of a tile; see simd/screen.h
    double *guessed     # (stride) log-density of the row's guess
    double *floor       # (stride) components below are ruled out
    int *order          # (n) rows sorted by guess
    int *start          # (K + 1) where each component's rows begin in it
    int *index          # (n) rows of one component
