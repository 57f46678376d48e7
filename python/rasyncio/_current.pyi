from collections.abc import MutableMapping
from typing import Any

current_tasks: MutableMapping[Any, Any]
