"""Is a kernel to be given up because a signal has come?  Asked by its loops, tile by tile; see interrupt.pyx."""

from cpython.pythread cimport PyThread_type_lock

cdef enum:
    LOOK = 10_000_000       # multiply-adds from one look at the clock to the next: some 0.4 ms

cdef struct Watch:
    # one stretch of work without the GIL
    volatile int stopped    # it is given up; set by the caller's thread, read by all: apart from what that writes often
    char apart[128]
    double work             # multiply-adds since the last look at the clock; -infinity: no signal can be handled here
    double looked           # seconds: the last look for signals, 0 before the first at the clock
    PyThread_type_lock done     # released when the team has no work left; NULL where no signal can be handled

cdef int begin_watch(Watch *watch, double work) except -1
cdef int end_watch(Watch *watch) except -1
cdef void look(Watch *watch) noexcept nogil
cdef void all_done(Watch *watch) noexcept nogil
cdef void wait_for_team(Watch *watch) noexcept nogil


cdef inline bint given_up(Watch *watch, int thread, double work) noexcept nogil:
    """Asked by every thread of a team before each piece of work; thread 0 is the caller's.  IN work: multiply-adds."""
    if thread == 0:
        watch.work += work
        if watch.work > LOOK:
            look(watch)
    return watch.stopped
