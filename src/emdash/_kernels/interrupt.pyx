"""Signals in the middle of a kernel: Ctrl-C ends it within a tenth of a second, not when an array of 8 GB is through.

Never knows what is computed.  Python runs the handler of a signal in its main thread, between bytecodes, and a kernel
is one bytecode.  So where the main thread is the caller, it takes the GIL ten times a second and runs the handlers that
are due.  If one raises, all threads leave out what is left, and the exception is raised when the GIL is held again; if
none does, the kernel goes on, to the same bits.  A kernel can be interrupted, and still cannot fail.
The other threads of the team never take the GIL.  Nor does a caller that is not the main thread (a part of a file, a
task of Dask): whoever waits for it is interrupted at once, and ends it after the chunk.
The caller's thread goes on looking while it waits for the last blocks of the others: with 12 threads and 16 blocks that
may be half of the pass.
Not noticed before it is over: one tile or matrix that takes longer (thousands of features).
Cost: per tile an addition; the clock (20 ns) after LOOK multiply-adds; the GIL a microsecond, or where another thread
of Python holds it the 5 ms after which that gives it up.  A call of less than LOOK is not watched: 30 ns in all.
Lost: asking Python in every tile; a signal handler of our own (the user has one); cutting an array into several calls
(other bits).
"""

from threading import get_ident, main_thread

from cpython.pythread cimport (
    NOWAIT_LOCK, PY_LOCK_ACQUIRED, PyLockStatus, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock,
    PyThread_release_lock,
)
from libc.math cimport INFINITY, fabs

cdef extern from *:
    """
    #include <time.h>
    static double emdash_seconds(void) {
        struct timespec now;
    #ifdef CLOCK_MONOTONIC
        clock_gettime(CLOCK_MONOTONIC, &now);
    #else
        timespec_get(&now, TIME_UTC);   /* standard C, and all that MSVC has */
    #endif
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    }
    """
    double emdash_seconds() noexcept nogil

cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int or_signal) nogil

cdef double INTERVAL = 0.1      # seconds from one look for signals to the next


cdef int begin_watch(Watch *watch, double work) except -1:
    """To be called just before the GIL is released; `end_watch` must follow.  IN work: multiply-adds, roughly."""
    watch.stopped = False
    watch.work = -INFINITY
    watch.looked = 0.0
    watch.done = NULL
    if work > LOOK and get_ident() == main_thread().ident:
        watch.done = PyThread_allocate_lock()
        if watch.done == NULL:
            raise MemoryError
        PyThread_acquire_lock(watch.done, NOWAIT_LOCK)
        watch.work = 0.0
    return 0


cdef int end_watch(Watch *watch) except -1:
    """To be called when the GIL is held again, before anything that could raise.  Raises what a handler has raised."""
    if watch.done != NULL:
        PyThread_acquire_lock(watch.done, NOWAIT_LOCK)  # only to be sure that it is held, and can be released
        PyThread_release_lock(watch.done)
        PyThread_free_lock(watch.done)
    return -1 if watch.stopped else 0


cdef void look(Watch *watch) noexcept nogil:
    """Run the handlers of signals if it is time to."""
    watch.work = 0.0
    if watch.looked == 0.0:
        watch.looked = emdash_seconds()
    elif fabs(emdash_seconds() - watch.looked) > INTERVAL:  # a clock may be set back
        _run_handlers(watch)
        watch.looked = emdash_seconds()


cdef void _run_handlers(Watch *watch) noexcept nogil:
    with gil:
        watch.stopped = watch.stopped or PyErr_CheckSignals() != 0  # its exception stays set, for end_watch


cdef void all_done(Watch *watch) noexcept nogil:
    """To be called once, by whichever thread does the last piece of work."""
    if watch.done != NULL:
        PyThread_release_lock(watch.done)


cdef void wait_for_team(Watch *watch) noexcept nogil:
    """To be called by the caller's thread when no work is left for it, if `all_done` will be called."""
    if watch.done == NULL:
        return
    while not watch.stopped:
        if PyThread_acquire_lock_timed(watch.done, <long long>(1e6 * INTERVAL), True) == PY_LOCK_ACQUIRED:
            return
        _run_handlers(watch)
