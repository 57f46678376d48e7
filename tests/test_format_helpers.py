"""How callbacks are written."""

import functools
import sys

import rasyncio as asyncio
from rasyncio import format_helpers


def callback(value):
    pass


def test_a_callback_is_written_with_its_place():
    line = callback.__code__.co_firstlineno
    shown = "1" if sys.version_info < (3, 13) else ""
    assert format_helpers._format_callback_source(callback, (1,)) == f"callback({shown}) at {__file__}:{line}"
    assert format_helpers._format_callback_source(callback, (1,), debug=True) == f"callback(1) at {__file__}:{line}"


def test_a_partial_is_written_as_what_it_calls():
    text = format_helpers._format_callback(functools.partial(callback, 1), (2,), None, debug=True)
    assert text == "callback(1)(2)"


def test_a_stack_ends_with_the_caller():
    stack = format_helpers.extract_stack()
    assert stack[-1].name == "test_a_stack_ends_with_the_caller"
    assert len(stack) <= asyncio.constants.DEBUG_STACK_DEPTH
