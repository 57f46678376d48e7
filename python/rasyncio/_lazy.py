"""Names of a module that are imported when somebody asks for them.

asyncio's modules expose what they import (`asyncio.base_events.socket`, `.base_events.logger`), and people patch those
names.  A face has them too, without paying for socket, ssl or logging when rasyncio is imported: it binds its
`__getattr__` to what `lazily` makes.  The value goes into the module's dict, not through its setattr, which counts as a
patch.
"""

import sys

from ._rasyncio import _kept


def module(name):
    """The module, imported; once nothing can be imported any more, one that has the names that were kept of it."""
    try:
        __import__(name)
        return sys.modules[name]
    except (ImportError, KeyError):
        names = _kept(name)
        if names is None:
            raise
        made = type(sys)(name)
        vars(made).update(names)
        return made


def fetch(source, name):
    if callable(source):
        return source()
    module_name, _, attribute = source.partition(":")
    found = module(module_name)
    if attribute:
        return getattr(found, attribute)
    return module(name) if module_name.startswith(f"{name}.") else found


def missing(module_name, name):
    text = f"module {module_name!r} has no attribute {name!r}"
    return AttributeError(text, name=name, obj=sys.modules.get(module_name))


def lazily(module_name, deprecated=(), /, **sources):
    """A `__getattr__` for the module `module_name`, which imports `name=source` at the first use of `name`.

    A source is a module (`"socket"`), or after a colon a name in one (`"rasyncio.log:logger"`), or a function that makes
    the value.  Like the statement `import concurrent.futures`, `concurrent="concurrent.futures"` gives the package.
    Names in the dict `deprecated` warn at each use, in Python's words.
    """
    # Without the module itself: names are asked for while the interpreter ends, too, when `sys.modules` is empty.
    own = vars(sys.modules[module_name]) if module_name in sys.modules else None

    def __getattr__(name):
        if name in deprecated:
            text = f"'asyncio.{name}' is deprecated and slated for removal in Python 3.16"
            __import__("warnings").warn(text, DeprecationWarning, stacklevel=2)
            return fetch(deprecated[name], name)
        # Raised where it is made: an error in a local variable is a cycle with its traceback, which keeps the caller's frame.
        if name not in sources:
            raise missing(module_name, name)
        try:
            value = fetch(sources[name], name)
        except ModuleNotFoundError as error:
            if error.name == str(sources[name]).partition(":")[0]:
                raise missing(module_name, name) from error
            raise
        return (vars(sys.modules[module_name]) if own is None else own).setdefault(name, value)

    return __getattr__
