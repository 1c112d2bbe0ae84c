"""How many threads, and which instruction set: the two decisions every kernel shares.  Work for a team; a lock."""

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define emdash_lock omp_lock_t
    #define emdash_lock_init omp_init_lock
    #define emdash_lock_set omp_set_lock
    #define emdash_lock_unset omp_unset_lock
    #define emdash_lock_destroy omp_destroy_lock
    #else
    #define emdash_lock int
    #define emdash_lock_init(lock) (*(lock) = 0)
    #define emdash_lock_set(lock) ((void)(lock))
    #define emdash_lock_unset(lock) ((void)(lock))
    #define emdash_lock_destroy(lock) ((void)(lock))
    #endif
    """
    ctypedef struct emdash_lock:
        pass
    void emdash_lock_init(emdash_lock *lock) noexcept nogil
    void emdash_lock_set(emdash_lock *lock) noexcept nogil
    void emdash_lock_unset(emdash_lock *lock) noexcept nogil
    void emdash_lock_destroy(emdash_lock *lock) noexcept nogil

cdef int current_isa() noexcept nogil
cdef int team_size(Py_ssize_t wanted) noexcept nogil
cdef void team_started() noexcept nogil


cdef class Items:
    """Independent pieces of work, numbered from 0; whoever has time takes the next."""
    cdef void run(self, Py_ssize_t index, int thread) noexcept nogil

cdef int run_items(Items items, Py_ssize_t n, int threads, double work) except -1
