from collections.abc import Iterable
from enum import Enum
from typing import Any, NoReturn

__all__ = ()

class NodeType(Enum):
    """What stands in a tree: a function in which somebody waits, or a task."""

    COROUTINE = 1
    TASK = 2

class CycleFoundException(Exception):
    """Tasks await each other in a ring, so that there is no tree of them."""

    cycles: list[list[int]]
    id2name: dict[int, str]
    def __init__(self, cycles: list[list[int]], id2name: dict[int, str]) -> None: ...

def get_all_awaited_by(pid: int) -> list[Any]:
    """The tasks of a process, thread by thread, and who waits for them."""

def build_async_tree(result: Iterable[Any], task_emoji: str = "(T)", cor_emoji: str = "") -> list[list[str]]:
    """The trees of what get_all_awaited_by() answers, each as a list of lines.

    CycleFoundException if tasks await each other in a ring.
    """

def build_task_table(result: Iterable[Any]) -> list[list[int | str]]:
    """What get_all_awaited_by() answers as rows.

    Each has the thread, the task's id and name, its functions, those of who waits for it, and the name and id of that task.
    """

def exit_with_permission_help_text() -> NoReturn:
    """Say on stderr that the process may not be looked into, and exit."""

def display_awaited_by_tasks_table(pid: int, retries: int = 3) -> None:
    """Print the table of a process's tasks."""

def display_awaited_by_tasks_tree(pid: int, retries: int = 3) -> None:
    """Print the trees of a process's tasks."""
