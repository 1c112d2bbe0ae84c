from typing import Any

from numpy.typing import NDArray

def sort_by_pattern(X: NDArray[Any], numbers: NDArray[Any], rows: NDArray[Any]) -> int: ...
