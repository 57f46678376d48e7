def install() -> None:
    """Makes every later `import asyncio`, and of its submodules, give rasyncio in this process.

    A second call changes nothing.  If the standard library's asyncio has been imported before, its importers keep it, and
    share the running loop and the current task with rasyncio; imports after the call give rasyncio, those inside of
    asyncio's functions too, so that a policy it makes from then on is rasyncio's.
    """

def install_for_children() -> None:
    """Like `install()`, and for the Python processes too that this one will start in the same environment."""
