"""Names of a module that are imported when somebody asks for them.

asyncio's modules expose what they import (`asyncio.base_events.socket`, `.base_events.logger`), and people patch those
names.  A face has them too, without paying for socket, ssl or logging when rasyncio is imported: it binds its
`__getattr__` to what `lazily` makes.  The value goes into the module's dict, not through its setattr, which counts as a
patch.
"""

import sys


def fetch(source, name):
    if callable(source):
        return source()
    module_name, _, attribute = source.partition(":")
    package = __import__(module_name)
    if attribute:
        return getattr(sys.modules[module_name], attribute)
    return package if module_name.startswith(f"{name}.") else sys.modules[module_name]


def missing(module_name, name):
    return AttributeError(f"module {module_name!r} has no attribute {name!r}", name=name, obj=sys.modules[module_name])


def lazily(module_name, deprecated=(), /, **sources):
    """A `__getattr__` for the module `module_name`, which imports `name=source` at the first use of `name`.

    A source is a module (`"socket"`), or after a colon a name in one (`"rasyncio.log:logger"`), or a function that makes
    the value.  Like the statement `import concurrent.futures`, `concurrent="concurrent.futures"` gives the package.
    Names in the dict `deprecated` warn at each use, in Python's words.
    """

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
        return vars(sys.modules[module_name]).setdefault(name, value)

    return __getattr__
