class Installation:
    """What `install()` did, and as text all of it in plain words."""

    @property
    def complete(self) -> bool:
        """Whether nobody had imported asyncio before, so that nothing of it is left."""

    @property
    def replaced(self) -> tuple[str, ...]:
        """The names in other modules that stood for asyncio or something of it, and give rasyncio now."""

    @property
    def kept(self) -> tuple[str, ...]:
        """What could not be replaced, in plain words."""

def install(*, children: bool = False, stock_ps: bool = False) -> Installation:
    """Makes every later `import asyncio`, and of its submodules, give rasyncio in this process; a report of what was done.

    If nobody has imported the standard library's asyncio before, that is complete.  Otherwise the names that other modules
    have of it are replaced as well, its package's and its entry points too; a RuntimeWarning says in words what was replaced and
    what could not be, and so does the report, as text.

    With `children` the Python processes that this one starts in the same environment are on rasyncio, too, and so on:
    multiprocessing's, process pools', `sys.executable`'s.

    With `stock_ps` the standard library's own `python -m asyncio ps PID` and `pstree`, which are there from 3.14 on, see the
    tasks of this process, too.  A RuntimeWarning says why if that cannot be; before 3.14 it means nothing.  It is not
    carried to children.  A second call changes nothing but these two.
    """

def uninstall() -> None:
    """Undoes `install()`: a later `import asyncio` gives the standard library's, and what was replaced is as it was before.

    Modules that have imported rasyncio under asyncio's name in between keep it; so do loops that run.
    """
