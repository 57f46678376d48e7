"""Which loop a thread gets: the running one, the policy's, or none. Compared with the standard library's."""

import asyncio
import sys
import threading
import warnings

import pytest
import rasyncio

NEW = sys.version_info >= (3, 14)


@pytest.fixture(params=[asyncio, rasyncio], ids=["asyncio", "rasyncio"])
def package(request):
    events = request.param.events
    before, events._event_loop_policy = events._event_loop_policy, None
    yield request.param
    events._event_loop_policy = before


def default_policy(package):
    return package.unix_events._DefaultEventLoopPolicy if NEW else package.DefaultEventLoopPolicy


def set_policy(package, policy):
    (package.events._set_event_loop_policy if NEW else package.set_event_loop_policy)(policy)


def get_policy(package):
    return (package.events._get_event_loop_policy if NEW else package.get_event_loop_policy)()


def test_the_main_thread_without_a_loop(package):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        if NEW:
            with pytest.raises(RuntimeError, match="There is no current event loop in thread 'MainThread'."):
                package.get_event_loop()
        else:
            loop = package.get_event_loop()
            assert package.get_event_loop() is loop
            loop.close()
    texts = [(str(item.message), item.category, item.filename) for item in warned]
    expected = ("There is no current event loop", DeprecationWarning, __file__)
    assert texts == ([expected] if (3, 12) <= sys.version_info < (3, 14) else [])


def test_a_loop_that_was_set_and_unset(package):
    loop = package.new_event_loop()
    package.set_event_loop(loop)
    assert package.get_event_loop() is loop
    loop.close()
    package.set_event_loop(None)
    with pytest.raises(RuntimeError, match="There is no current event loop in thread 'MainThread'."):
        package.get_event_loop()


def test_another_thread_has_no_loop(package):
    raised = []

    def other():
        try:
            package.get_event_loop()
        except RuntimeError as error:
            raised.append(str(error))

    thread = threading.Thread(target=other, name="other")
    thread.start()
    thread.join()
    assert raised == ["There is no current event loop in thread 'other'."]


def test_a_thread_has_its_own_loop(package):
    loops = [package.new_event_loop() for _ in range(2)]
    package.set_event_loop(loops[0])
    seen = []

    def other():
        package.set_event_loop(loops[1])
        seen.append(package.get_event_loop())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == loops[1:] and package.get_event_loop() is loops[0]
    package.set_event_loop(None)
    for loop in loops:
        loop.close()


@pytest.mark.parametrize("by", ["method", "factory"])
def test_a_policy_of_the_users_makes_the_loops(package, by):
    class Loop(package.SelectorEventLoop):
        pass

    class Policy(default_policy(package)):
        if by == "factory":
            _loop_factory = Loop
        else:

            def new_event_loop(self):
                return Loop()

    set_policy(package, Policy())

    async def main():
        return type(package.get_running_loop())

    assert package.run(main()) is Loop
    loop = package.new_event_loop()
    assert type(loop) is Loop
    loop.close()


def test_a_policy_is_told_of_the_runners_loop(package):
    told = []

    class Policy(default_policy(package)):
        def set_event_loop(self, loop):
            told.append(loop)
            super().set_event_loop(loop)

    set_policy(package, Policy())

    async def main():
        assert package.get_event_loop() is package.get_running_loop()
        return package.get_running_loop()

    assert [package.run(main()), None] == told


def test_what_is_no_policy_and_no_loop(package):
    with pytest.raises(TypeError) as info:
        set_policy(package, 1)
    assert str(info.value) == "policy must be an instance of AbstractEventLoopPolicy or None, not 'int'"
    with pytest.raises(TypeError) as info:
        package.set_event_loop("loop")
    assert str(info.value) == "loop must be an instance of AbstractEventLoop or None, not 'str'"
    policy = default_policy(package)()
    set_policy(package, policy)
    assert get_policy(package) is policy
    set_policy(package, None)
    assert type(get_policy(package)) is default_policy(package)


@pytest.mark.skipif(not NEW, reason="policies are deprecated from 3.14 on")
def test_policies_are_deprecated(package):
    for call in (package.get_event_loop_policy, lambda: package.set_event_loop_policy(None)):
        with pytest.warns(DeprecationWarning, match="is deprecated and slated for removal in Python 3.16") as warned:
            call()
        assert warned[0].filename == __file__
