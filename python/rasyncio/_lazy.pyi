from collections.abc import Callable, Mapping
from typing import Any

def lazily(
    module_name: str, deprecated: Mapping[str, str] | tuple[()] = (), /, **sources: str | Callable[[], object]
) -> Callable[[str], Any]: ...
