"""Sums of blocks join the total in block order, whoever finishes first, and nobody waits.

A thread whose block is not next leaves its sums behind and goes on; whoever finishes the missing one folds them too.
Never knows rows or densities.  Cost: a lock taken twice per block of some thousand rows.  One thread takes none: in the
forked child of a process that ran a team, LLVM's runtime dies of its first lock.
"""

from emdash._kernels.threads cimport (
    emdash_lock, emdash_lock_destroy, emdash_lock_init, emdash_lock_set, emdash_lock_unset,
)
from emdash._kernels.tile cimport FamilyKernel


cdef enum:
    # what a block leaves in front of its sums, and their size
    LOG_LIKELIHOOD, WEIGHT, BAD_ROW, LEFT_OUT
    HEADER = 8
    MARKED = -2     # for BAD_ROW: no row is bad, but incomplete ones were set aside


cdef struct Turns:
    # the sums of finished blocks, on their way into the total in block order; everything below is under the lock
    emdash_lock lock
    bint shared                 # by more than one thread; else there is no lock
    Py_ssize_t blocks, taken, next      # how many there are; how many have been begun; whose turn it is
    bint folding                # somebody is at it
    int *waiting                # (blocks) the sums of a finished block, -1 before
    int *free                   # (blocks) a stack: the last used are in the cache
    int n_free
    double *sums                # blocks x size
    Py_ssize_t size
    double *total               # (statistics_size); touched by whoever is folding
    Py_ssize_t bad              # first bad row; else MARKED if rows were set aside, else -1
    double left_out


cdef struct Turn:
    # the block that a thread is at
    Py_ssize_t block
    int where               # its place among the sums
    double *sums            # there; NULL: no block is left


cdef inline void begin_turns(Turns *turns, Py_ssize_t blocks, bint shared) noexcept nogil:
    """IN turns: `sums`, `size`, `total`, and the memory of the two lists.  `end_turns` must follow."""
    cdef Py_ssize_t block
    turns.shared = shared
    turns.blocks, turns.taken, turns.next, turns.folding, turns.bad, turns.left_out = blocks, 0, 0, False, -1, 0.0
    turns.n_free = <int>blocks
    for block in range(blocks):
        turns.waiting[block] = -1
        turns.free[block] = <int>(blocks - 1 - block)
    if shared:
        emdash_lock_init(&turns.lock)


cdef inline void end_turns(Turns *turns) noexcept nogil:
    if turns.shared:
        emdash_lock_destroy(&turns.lock)


cdef inline void _lock(Turns *turns) noexcept nogil:
    if turns.shared:
        emdash_lock_set(&turns.lock)


cdef inline void _unlock(Turns *turns) noexcept nogil:
    if turns.shared:
        emdash_lock_unset(&turns.lock)


cdef inline void _take(Turns *turns, Turn *turn) noexcept nogil:
    """The next block, under the lock."""
    turn.sums = NULL
    if turns.taken == turns.blocks:
        return
    turn.block = turns.taken
    turns.taken += 1
    turns.n_free -= 1
    turn.where = turns.free[turns.n_free]
    turn.sums = turns.sums + turn.where * turns.size


cdef inline void take_first(Turns *turns, Turn *turn) noexcept nogil:
    _lock(turns)
    _take(turns, turn)
    _unlock(turns)


cdef inline void _add(Turns *turns, FamilyKernel kernel, const double *sums) noexcept nogil:
    turns.total[0] += sums[LOG_LIKELIHOOD]
    turns.total[1] += sums[WEIGHT]
    turns.left_out += sums[LEFT_OUT]
    if turns.bad < 0 and sums[BAD_ROW] != -1.0:
        turns.bad = <Py_ssize_t>sums[BAD_ROW]
    kernel.fold(sums + HEADER, turns.total + 2)


cdef inline bint hand_in(Turns *turns, FamilyKernel kernel, Turn *turn) noexcept nogil:
    """The block's sums join the total, now or when all blocks before it have; nobody waits.  OUT turn: the next block.
    Returns whether all have now."""
    cdef int where
    cdef bint complete = False
    _lock(turns)
    turns.waiting[turn.block] = turn.where
    if not turns.folding:
        turns.folding = True
        while turns.next < turns.blocks and turns.waiting[turns.next] >= 0:
            where = turns.waiting[turns.next]
            _unlock(turns)
            _add(turns, kernel, turns.sums + where * turns.size)
            _lock(turns)
            turns.free[turns.n_free] = where
            turns.n_free += 1
            turns.next += 1
        turns.folding = False
        complete = turns.next == turns.blocks
    _take(turns, turn)
    _unlock(turns)
    return complete
