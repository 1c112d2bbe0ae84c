import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `import fuzz_tables` in any import mode


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where examples leave their files; the next example writes over them."""
    return tmp_path_factory.mktemp("fuzz")
