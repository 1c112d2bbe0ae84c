"""How many threads, and which instruction set: the two decisions every kernel shares."""

cdef int current_isa() noexcept nogil
cdef int team_size(Py_ssize_t wanted) noexcept nogil
cdef void team_started() noexcept nogil
