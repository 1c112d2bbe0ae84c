import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `import twins`, whatever pytest's import mode

from emdash._kernels import threads


@pytest.fixture(params=threads.available_isas())
def isa(request):
    """Every instruction set of this machine, one after the other."""
    before = threads.isa()
    threads._select_isa(request.param)
    yield request.param
    threads._select_isa(before)
