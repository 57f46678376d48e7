from collections.abc import Callable
from typing import TypeVar

_Function = TypeVar("_Function", bound=Callable[..., object])

def shell(owner: type) -> Callable[[_Function], _Function]: ...
def lend(native: type, face: type) -> None: ...
