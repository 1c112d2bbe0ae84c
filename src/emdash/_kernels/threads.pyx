"""How many threads may run, whether OpenMP is compiled in, and which instruction set is used.

Never knows what is computed.  Nothing here reads OMP_* variables: the number of threads is always an argument.

After a fork, the child of a process that has run a team gets one thread: libgomp's pool does not survive fork, and the
child's first parallel region would wait for it forever.
"""

import os

from cython.parallel cimport parallel, prange, threadid

from emdash._kernels.interrupt cimport Watch, begin_watch, end_watch, given_up

cdef extern from *:
    """
    #ifdef _OPENMP
    #define EMDASH_OPENMP 1
    #else
    #define EMDASH_OPENMP 0
    #endif
    """
    const int EMDASH_OPENMP

cdef extern from "simd/isa.h":
    const int EMDASH_ISA_COUNT
    const char *emdash_isa_name(int isa)
    int emdash_isa_available(int isa)

cdef int _isa = EMDASH_ISA_COUNT - 1
cdef bint _team_was_started = False  # an OpenMP team has run in this process
cdef bint _single_thread = False  # this process is the forked child of such a process


cdef int current_isa() noexcept nogil:
    """Index of the instruction set new kernels are bound to."""
    return _isa


cdef int team_size(Py_ssize_t wanted) noexcept nogil:
    """At most `wanted` threads, at least 1, as this process may run."""
    if wanted <= 1 or _single_thread or not EMDASH_OPENMP:
        return 1
    return <int>wanted if wanted < 1024 else 1024


cdef void team_started() noexcept nogil:
    """To be called before a region of more than one thread."""
    global _team_was_started
    _team_was_started = True


cdef class Items:

    cdef void run(self, Py_ssize_t index, int thread) noexcept nogil:
        """Do one piece of work; `thread` is smaller than their number."""
        pass


cdef int run_items(Items items, Py_ssize_t n, int threads, double work) except -1:
    """Run all, without the GIL, or until a signal's handler raises.

    IN threads: as team_size permits; work: multiply-adds of one piece, roughly.
    """
    cdef Py_ssize_t i
    cdef Watch watch
    if threads > 1:
        team_started()
    begin_watch(&watch, n * work)
    with nogil:
        if threads > 1:
            with parallel(num_threads=threads):
                for i in prange(n, schedule="dynamic", chunksize=1):
                    if not given_up(&watch, threadid(), work):
                        items.run(i, threadid())
        else:
            for i in range(n):
                if not given_up(&watch, 0, work):
                    items.run(i, 0)
    end_watch(&watch)
    return 0


def openmp_enabled():
    """Is OpenMP compiled in?"""
    return bool(EMDASH_OPENMP)


def available_isas():
    """Names of the instruction sets that this build holds and this machine can run, best first."""
    return tuple(
        [emdash_isa_name(i).decode() for i in range(EMDASH_ISA_COUNT) if emdash_isa_available(i)]
    )


def isa():
    """Name of the instruction set in use."""
    return emdash_isa_name(_isa).decode()


def _select_isa(name):
    """Bind kernels made from now on to the instruction set `name` (for tests; at import EMDASH_ISA does the same)."""
    global _isa
    for i in range(EMDASH_ISA_COUNT):
        if emdash_isa_available(i) and emdash_isa_name(i).decode() == name:
            _isa = i
            return
    raise ValueError(
        f"instruction set {name!r} is unknown or not supported here; available: {', '.join(available_isas())}"
    )


def _after_fork_in_child():
    global _single_thread
    _single_thread = _team_was_started


def _initialise():
    name = os.environ.get("EMDASH_ISA") or available_isas()[0]
    try:
        _select_isa(name)
    except ValueError as error:
        raise ImportError(f"EMDASH_ISA: {error}") from None
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork_in_child)


_initialise()
