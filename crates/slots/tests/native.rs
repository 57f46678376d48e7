//! Native classes as Python sees them: an interpreter in this process, classes made with `class!`, programs that use them.
//!
//! Each test is a Python program with assertions, run with the classes below in its globals. What the programs try is what
//! `slots` promises: collection of cycles, finalizers that resurrect, derived classes, weak references, free lists, the texts
//! of wrong calls, machines and coroutines resumed by every road, panics as exceptions.
//!
//! `make valgrind` runs this under memcheck, with CPython's own allocator off.

use std::cell::Cell;
use std::ffi::CString;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};
use slots::{
    Args, Class, Input, Link, Own, Ref, Sent, Signature, Slot, Spec, add_class, add_function, arg, class, coroutine,
    kw_opt, opt,
};

class! {
    /// Holds another object; may come back from the dead.
    pub struct Node { other: Slot, friend: Link<Node>, value: Cell<i64>, grave: Slot }
}

impl Class for Node {
    const NAME: &'static std::ffi::CStr = c"native.Node";
    const DOC: &'static std::ffi::CStr = c"Node(value=0)\n--\n\nHolds another object.";
    const DICT: bool = true;
    const FREE_LIST: usize = 2;
    const FINALIZER: bool = true;

    fn wants_finalizer(&self) -> bool {
        self.grave.is_set()
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        match this.grave.take(this.py()) {
            Some(grave) if grave.is_callable() => grave.call1((this.any(),)).map(drop),
            Some(grave) => grave.call_method1("append", (this.any(),)).map(drop),
            None => Ok(()),
        }
    }

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<1> = Signature::method("Node.__init__", [opt("value")]);
        const MIX: Signature<3> = Signature::method("Node.mix", [arg("a"), opt("b"), kw_opt("c")]);
        spec.init(|this, args| {
            let [value] = args.parse(&INIT)?;
            if let Some(value) = value {
                this.value.set(value.extract()?);
            }
            Ok(())
        })
        .repr(|this| Ok(format!("<Node {}>", this.value.get())))
        .method(c"mix", c"mix($self, /, a, b=None, *, c=None)\n--\n\n", |_, args| {
            let values = args.parse(&MIX)?;
            let text = values.map(|v| v.map_or(Ok("-".to_owned()), |v| v.str().map(|s| s.to_string())));
            let [a, b, c] = text;
            Ok(format!("{} {} {}", a?, b?, c?)) as PyResult<String>
        })
        .method0(c"boom", c"", |_| -> PyResult<()> { panic!("the floor gave way") })
        .method0(c"lack", c"", |_| -> PyResult<()> {
            let lacking: PyResult<()> = std::hint::black_box(Err(pyo3::exceptions::PyMemoryError::new_err(())));
            lacking.expect("there should be memory");
            Ok(())
        })
        .method0(c"refuse", c"", |_| -> PyResult<()> { Err(PyValueError::new_err("no")) })
        .get_set(
            c"other",
            c"",
            |this| Ok(this.other.get(this.py()).map(Own::new)),
            |this, value| {
                match value {
                    Some(value) => this.other.set(value.clone()),
                    None => this.other.unset(),
                }
                Ok(())
            },
        )
        .get_set(
            c"friend",
            c"",
            |this| Ok(this.friend.get(this.py()).map(|f| Own::new(f.into_any()))),
            |this, value| {
                match value.and_then(|v| Ref::<Node>::cast(v)) {
                    Some(friend) => this.friend.set(friend.clone()),
                    None => this.friend.unset(),
                }
                Ok(())
            },
        )
        .get_set(
            c"grave",
            c"",
            |this| Ok(this.grave.get(this.py()).map(Own::new)),
            |this, value| {
                match value {
                    Some(value) => this.grave.set(value.clone()),
                    None => this.grave.unset(),
                }
                Ok(())
            },
        );
    }
}

class! {
    /// A node with a mark, to derive natively.
    pub struct Marked: Node { mark: Cell<i64> }
}

impl Class for Marked {
    const NAME: &'static std::ffi::CStr = c"native.Marked";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.get_set(
            c"mark",
            c"",
            |this| Ok(this.mark.get()),
            |this, value| value.map_or(Ok(()), |v| v.extract().map(|v| this.mark.set(v))),
        )
        .method0(c"total", c"", |this| Ok(this.mark.get() + this.base().value.get()));
    }
}

class! {
    /// Yields so many times, then returns what it was given.
    pub struct Countdown { left: Cell<i64>, result: Slot }
}

impl Class for Countdown {
    const NAME: &'static std::ffi::CStr = c"native.Countdown";
    const FREE_LIST: usize = 2;
    const RETURNS: bool = true;
    const SUBCLASSABLE: bool = false;

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<2> = Signature::method("Countdown.__init__", [arg("left"), opt("result")]);
        spec.init(|this, args| {
            let [left, result] = args.parse(&INIT)?;
            left.map_or(Ok(()), |l| l.extract().map(|l| this.left.set(l)))?;
            if let Some(result) = result {
                this.result.set(result.clone());
            }
            Ok(())
        })
        .machine(|this, input| match input {
            Input::Throw(error) => Err(error),
            Input::Send(value) if this.left.get() > 0 => {
                this.left.set(this.left.get() - 1);
                Ok(Sent::Yield(value))
            }
            Input::Send(_) => Ok(Sent::Return(this.result.get_or_none(this.py()))),
        });
    }
}

fn twice<'py>(py: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Own> {
    let Some(awaitable) = args.positional().first() else { return Err(PyValueError::new_err("nothing to await")) };
    coroutine(py, "twice", [awaitable.clone()], |co, [awaitable]| async move {
        let first = co.wait(awaitable).await?;
        let first = co.keep(first.bind(co.py()).clone());
        let sum = co.get(first).add(co.get(first))?;
        Ok(Own::new(sum))
    })
    .map(Own::new)
}

fn run(program: &str) {
    Python::initialize();
    Python::attach(|py| {
        let module = PyModule::new(py, "native").expect("a module");
        add_class::<Node>(&module).expect("Node");
        add_class::<Marked>(&module).expect("Marked");
        add_class::<Countdown>(&module).expect("Countdown");
        add_function(&module, c"twice", c"twice(awaitable)\n--\n\n", twice).expect("twice");
        let globals = PyDict::new(py);
        for name in ["Node", "Marked", "Countdown", "twice"] {
            globals.set_item(name, module.getattr(name).expect(name)).expect("a global");
        }
        let head = "import gc, sys, weakref, warnings\n\
                    def raises(kind, call, *args, **kwargs):\n    \
                    try: call(*args, **kwargs)\n    \
                    except kind as error: return str(error)\n    \
                    raise AssertionError(f'{kind} was not raised')\n";
        let code = CString::new(format!("{head}{program}")).expect("a program");
        if let Err(error) = py.run(&code, Some(&globals), None) {
            error.print(py);
            panic!("the program failed");
        }
    });
}

#[test]
fn cycles_are_collected_whatever_they_lead_through() {
    run("
gone = []
def ring(make):
    a, b = make(), make()
    a.other, b.other = b, a
    a.friend, b.friend = b, b
    a.extra = [a]
    weakref.finalize(a, gone.append, 1)
class Own(Node):
    pass
class Slotted(Node):
    __slots__ = ('more',)
for make in (Node, Marked, Own, Slotted):
    ring(make)
gc.collect()
assert len(gone) == 4, gone
");
}

#[test]
fn a_finalizer_may_bring_an_object_back_once() {
    run("
grave = []
node = Node(7)
node.grave = grave
first = id(node)
del node
assert len(grave) == 1 and id(grave[0]) == first and repr(grave[0]) == '<Node 7>'
again = grave.pop()
again.other = again
again.grave = None
del again
gc.collect()
a = Node(1); b = Node(2)
a.other, b.other = b, a
a.grave = grave
del a, b
gc.collect()
assert [repr(n) for n in grave] == ['<Node 1>'] and repr(grave[0].other) == '<Node 2>'
# What raises in a finalizer is reported, not lost, and an exception in flight is not touched.
seen = []
sys.unraisablehook = lambda info: seen.append(info.exc_type)
node = Node()
node.grave = lambda node: 1 / 0
try:
    raise KeyError('in flight')
except KeyError as error:
    del node
    assert error.args == ('in flight',)
assert seen == [ZeroDivisionError]
");
}

#[test]
fn freed_objects_are_used_again_and_hold_nothing() {
    run("
class Thing: pass
things = []
for _ in range(100):
    nodes = [Node(i) for i in range(5)]
    for node in nodes:
        thing = Thing()
        things.append(weakref.ref(thing))
        node.other = thing
        node.attribute = thing
    assert all(n.friend is None for n in nodes)
    del nodes, node, thing
assert not any(ref() for ref in things)
fresh = Node()
assert fresh.other is None and fresh.__dict__ == {} and repr(fresh) == '<Node 0>'
reference = weakref.ref(fresh)
assert reference() is fresh
del fresh
assert reference() is None
assert Node().__dict__ == {}
");
}

#[test]
fn derived_classes_have_both_halves() {
    run("
class Deep(Marked):
    def __init__(self, value, mark):
        super().__init__(value)
        self.mark = mark
deep = Deep(3, 4)
assert deep.total() == 7 and isinstance(deep, Node) and repr(deep) == '<Node 3>'
bare = Deep.__new__(Deep)
assert bare.total() == 0 and bare.other is None
deep.friend = Node(5)
assert repr(deep.friend) == '<Node 5>'
deep.friend = object()
assert deep.friend is None
assert 'is not an acceptable base type' in raises(TypeError, type, 'Sub', (Countdown,), {})
assert raises(TypeError, Node.mix, 3, 1)
class Mixed(Node, object): pass
assert Mixed(2).mix(1) == '1 - -'
assert raises(TypeError, Node, 'x')
");
}

#[test]
fn wrong_calls_get_python_s_texts() {
    run("
def mix(self, a, b=None, *, c=None): pass
node = Node()
def both(*args, **kwargs):
    def ours(): return node.mix(*args, **kwargs)
    def theirs(): return mix(node, *args, **kwargs)
    return raises(TypeError, ours).replace('Node.', ''), raises(TypeError, theirs)
for args, kwargs in [((), {}), ((1, 2, 3), {}), ((1,), {'d': 1}), ((1,), {'a': 2}), ((), {'c': 1})]:
    ours, theirs = both(*args, **kwargs)
    assert ours.split(' Did you')[0] == theirs.split(' Did you')[0], (ours, theirs)
assert node.mix(1, c=3) == '1 - 3' and node.mix(b=2, a=1) == '1 2 -'
assert node.mix(*(1,), **{'c': 4}) == '1 - 4'
");
}

#[test]
fn a_panic_is_a_system_error_and_an_error_is_itself() {
    let hook = std::panic::take_hook();
    slots::quiet_panics();
    let ran = std::panic::catch_unwind(|| {
        run("
text = raises(SystemError, Node().boom)
assert 'the floor gave way' in text and 'native.rs:' in text, text
assert raises(MemoryError, Node().lack) == ''
assert raises(ValueError, Node().refuse) == 'no'
");
    });
    std::panic::set_hook(hook);
    ran.expect("the program");
}

#[test]
fn machines_are_resumed_by_every_road() {
    run("
async def wait(left, result): return await Countdown(left, result)
for result in (None, 5, (), (1, 2), ValueError('a value'), StopIteration(3)):
    for left in (0, 1, 3):
        coroutine = wait(left, result)
        for _ in range(left):
            assert coroutine.send(None) is None
        try: coroutine.send(None)
        except StopIteration as stop: assert stop.value is result
        else: raise AssertionError
machine = Countdown(2, 'end')
assert machine.send('a') == 'a' and next(machine) is None
try: next(machine)
except StopIteration as stop: kept = stop
assert kept.value == 'end' and kept.args == ('end',)
try: next(Countdown(0, 'other'))
except StopIteration as stop: assert stop.args == ('other',) and stop is not kept
assert kept.args == ('end',) and kept.value == 'end'
assert raises(KeyError, Countdown(1).throw, KeyError('thrown')) == \"'thrown'\"
assert raises(TypeError, Countdown(1).throw, 1) == 'exceptions must be classes or instances deriving from BaseException, not int'
Countdown(3).close()
# The exception that carries a result is used again, and nothing of the last use shows: not the hash of its tuple either.
for number in (5, 6):
    try: next(Countdown(0, number))
    except StopIteration as stop: assert hash(stop.args) == hash((number,)); stop.__traceback__ = None
class Big: pass
big = Big(); gone = weakref.ref(big)
try: wait(0, big).send(None)
except StopIteration: pass
del big
assert gone() is None
def delegate(): return (yield from Countdown(1, 'through'))
generator = delegate(); next(generator)
try: next(generator)
except StopIteration as stop: assert stop.value == 'through'
assert list(Countdown(3)) == [None] * 3
");
}

#[test]
fn coroutines_end_as_python_s_do() {
    run("
coroutine = twice(Countdown(1, 21))
assert coroutine.send(None) is None
try: coroutine.send(None)
except StopIteration as stop: assert stop.value == 42
else: raise AssertionError
assert 'cannot reuse' in raises(RuntimeError, coroutine.send, None)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    twice(Countdown(1))
    gc.collect()
assert [str(w.message) for w in caught] == [\"coroutine 'twice' was never awaited\"]
closed = []
class Noting:
    def __await__(self): return self
    def __iter__(self): return self
    def __next__(self): return None
    def close(self): closed.append(1)
coroutine = twice(Noting()); coroutine.send(None); coroutine.close()
assert closed == [1]
coroutine = twice(Noting()); coroutine.send(None); del coroutine; gc.collect()
assert closed == [1, 1]
class Cyclic(Noting): pass
cyclic = Cyclic(); cyclic.holder = twice(cyclic); cyclic.holder.send(None); gone = weakref.ref(cyclic)
del cyclic
gc.collect()
assert gone() is None and closed == [1, 1, 1]
class Nosy(Noting):
    def __next__(self): return raises(ValueError, self.holder.send, None)
nosy = Nosy(); nosy.holder = twice(nosy)
assert nosy.holder.send(None) == 'coroutine already executing'
nosy.holder.close()
assert raises(ZeroDivisionError, lambda: (c := twice(Countdown(1)), c.send(None), c.throw(ZeroDivisionError('x')))) == 'x'
");
}

#[test]
fn long_chains_are_freed_without_a_deep_stack() {
    run("
first = None
for _ in range(100_000):
    node = Node()
    node.other = first
    first = node
del node
del first
");
}
