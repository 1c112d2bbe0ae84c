"""No byte outside the caller's array is read: arrays between two pages that may not be touched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import ctypes, mmap, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from kernel_calls import KERNELS, posterior, statistics
from emdash._kernels import threads
from emdash._kernels.patterns import sort_by_pattern
page = mmap.PAGESIZE
middle = 4 * page
memory = mmap.mmap(-1, middle + 2 * page)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
protect = ctypes.CDLL(None, use_errno=True).mprotect
protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
for guard in (address, address + page + middle):
    assert protect(guard, page, 0) == 0
bytes_ = np.frombuffer(memory, dtype=np.uint8)[page : page + middle]
for isa in threads.available_isas():
    threads._select_isa(isa)
    for d in [*range(1, 14), 15, 16, 17, 23]:
        kernel = KERNELS["diag"](np.zeros(2), np.zeros((2, d)), np.ones((2, d)))
        for n in (1, 2, 7, 8, 9, 25, 50):
            for dtype in (np.float64, np.float32):
                size = n * d * np.dtype(dtype).itemsize
                for place in (bytes_[-size:], bytes_[:size]):
                    for order in "CF":
                        X = place.view(dtype).reshape((n, d), order=order)
                        for view in (X, X[::-1], X[:, ::-1], X[::2]):
                            statistics(kernel, view)
                            posterior(kernel, view)
                            sort_by_pattern(view, np.arange(len(view)), np.empty(view.shape))
print("done")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect as Linux has it")
def test_nothing_outside_the_array_is_read():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(Path(__file__).parent)],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "done", (done.returncode, done.stderr)
