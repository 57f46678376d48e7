//! queues: `Queue`, `PriorityQueue`, `LifoQueue` (asyncio.queues).
//!
//! Called by the shells `get`, `put`, `join` on the face, which ask `_get_or` and `_put_now` first; calls `mixins` for waiters
//! and `futures::Wait` to wait.
//!
//! A queue of exactly one of the three classes works natively. One of a derived class is asked by the methods that asyncio
//! documents for that (`_init`, `_get`, `_put`, `empty`, `full`, `get_nowait`, `put_nowait`), as CPython asks them. The items
//! of a plain queue are native until somebody looks at `_queue`; then they are a deque. Those of the other two are a list.
//!
//! States: open -> shut down (`shutdown()`, on every Python here): no item can be put, and none be waited for.
//!
//! Invariants: `unfinished` counts items put and not yet declared done. An item is handed to whoever waits longest: putting
//! wakes one getter, getting one putter; a woken one that is cancelled hands its turn on.

use std::cell::Cell;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, arg, class, opt};

use crate::coroutines::{Shell, plain, stand_in};
use crate::futures::{Future, Next, State, Wait};
use crate::mixins::{LoopBoundMixin, Waiters, is_done, set_result};
use crate::{exceptions, face, library};

class! {
    /// Items on their way from task to task, first in, first out.
    pub struct Queue: LoopBoundMixin {
        items: Waiters,
        getters: Waiters,
        putters: Waiters,
        maxsize: Slot,
        /// The Event that `join` waits for, made when it is first needed.
        finished: Slot,
        limit: Cell<i64>,
        unfinished: Cell<i64>,
        shut_down: Cell<bool>,
    }
}

class! {
    /// The smallest item first.
    pub struct PriorityQueue: Queue {}
}

class! {
    /// The newest item first.
    pub struct LifoQueue: Queue {}
}

/// How the items of a queue are kept.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Fifo,
    Lifo,
    Heap,
    /// A derived class: by its methods.
    Own,
}

fn order(this: &Ref<'_, Queue>) -> Order {
    if this.is_exact() {
        Order::Fifo
    } else if Ref::<PriorityQueue>::cast_exact(this.any()).is_some() {
        Order::Heap
    } else if Ref::<LifoQueue>::cast_exact(this.any()).is_some() {
        Order::Lifo
    } else {
        Order::Own
    }
}

fn raise(class: PyResult<&Bound<'_, pyo3::types::PyType>>) -> PyErr {
    match class {
        Ok(class) => PyErr::from_type(class.clone(), ()),
        Err(error) => error,
    }
}

fn is_empty(this: &Ref<'_, Queue>) -> PyResult<bool> {
    let py = this.py();
    match order(this) {
        Order::Own => this.any().call_method0(intern!(py, "empty"))?.is_truthy(),
        _ => Ok(this.items.len(py)? == 0),
    }
}

fn is_full(this: &Ref<'_, Queue>) -> PyResult<bool> {
    let py = this.py();
    match order(this) {
        Order::Own => this.any().call_method0(intern!(py, "full"))?.is_truthy(),
        _ => Ok(this.limit.get() > 0 && this.items.len(py)? as i64 >= this.limit.get()),
    }
}

fn heapq<'py>(py: Python<'py>, function: &str, args: impl pyo3::call::PyCallArgs<'py>) -> PyResult<Bound<'py, PyAny>> {
    library(py, "heapq")?.call_method1(slots::Text(function), args)
}

fn take_item<'py>(this: &Ref<'py, Queue>, order: Order) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    match order {
        Order::Own => this.any().call_method0(intern!(py, "_get")),
        Order::Fifo => match this.items.pop(py)? {
            Some(item) => Ok(item),
            None => Err(pyo3::exceptions::PyIndexError::new_err("pop from an empty deque")),
        },
        Order::Lifo => this.items.expose(py)?.call_method0(intern!(py, "pop")),
        Order::Heap => heapq(py, "heappop", (this.items.expose(py)?,)),
    }
}

fn add_item<'py>(this: &Ref<'py, Queue>, order: Order, item: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    match order {
        Order::Own => this.any().call_method1(intern!(py, "_put"), (item,)).map(drop),
        Order::Fifo => this.items.push(item),
        Order::Lifo => this.items.expose(py)?.call_method1(intern!(py, "append"), (item,)).map(drop),
        Order::Heap => heapq(py, "heappush", (this.items.expose(py)?, item)).map(drop),
    }
}

/// Wakes the waiter that waits longest.
fn wake_next(waiters: &Waiters, py: Python<'_>) -> PyResult<()> {
    while let Some(waiter) = waiters.pop(py)? {
        if !is_done(&waiter)? {
            return set_result(&waiter, py.None().into_bound(py));
        }
    }
    Ok(())
}

fn set_finished(this: &Ref<'_, Queue>, finished: bool) -> PyResult<()> {
    let py = this.py();
    match this.finished.get(py) {
        Some(event) => event.call_method0(if finished { "set" } else { "clear" }).map(drop),
        None => Ok(()),
    }
}

fn finished<'py>(this: &Ref<'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if let Some(event) = this.finished.get(py) {
        return Ok(event);
    }
    let event = face(py, "locks")?.getattr(intern!(py, "Event"))?.call0()?;
    if this.unfinished.get() == 0 {
        event.call_method0(intern!(py, "set"))?;
    }
    this.finished.set(event.clone());
    Ok(event)
}

fn put_nowait<'py>(this: &Ref<'py, Queue>, item: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    if this.shut_down.get() {
        return Err(raise(exceptions::queue_shut_down(py)));
    }
    if is_full(this)? {
        return Err(raise(exceptions::queue_full(py)));
    }
    add_item(this, order(this), item)?;
    this.unfinished.set(this.unfinished.get() + 1);
    if this.finished.is_set() {
        set_finished(this, false)?;
    }
    wake_next(&this.getters, py)
}

fn get_nowait<'py>(this: &Ref<'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if is_empty(this)? {
        return Err(raise(if this.shut_down.get() {
            exceptions::queue_shut_down(py)
        } else {
            exceptions::queue_empty(py)
        }));
    }
    let item = take_item(this, order(this))?;
    wake_next(&this.putters, py)?;
    Ok(item)
}

/// What `get()` and `put()` do last: by the derived class's own method where there is one.
fn finish_get<'py>(this: &Ref<'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
    match order(this) {
        Order::Own => this.any().call_method0(intern!(this.py(), "get_nowait")),
        _ => get_nowait(this),
    }
}

fn finish_put<'py>(this: &Ref<'py, Queue>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    match order(this) {
        Order::Own => this.any().call_method1(intern!(py, "put_nowait"), (item,)),
        _ => put_nowait(this, item).map(|()| py.None().into_bound(py)),
    }
}

/// Undoes a wait that ended with an exception: the turn goes to the next.
fn give_up(waiters: &Waiters, future: &Ref<'_, Future>, usable: impl FnOnce() -> PyResult<bool>) -> PyResult<()> {
    Future::cancel(future, None)?;
    let waiting = waiters.all(future.py())?;
    if waiting.iter().any(|w| w.is(future.any())) {
        waiters.remove(future.any())?;
    }
    if usable()? && future.state() != State::Cancelled {
        wake_next(waiters, future.py())?;
    }
    Ok(())
}

fn next_waiter<'py>(this: &Ref<'py, Queue>, waiters: &Waiters) -> PyResult<Ref<'py, Future>> {
    if this.shut_down.get() {
        return Err(raise(exceptions::queue_shut_down(this.py())));
    }
    let future = this.event_loop.create_future(this.any())?;
    waiters.push(future.any())?;
    Ok(future)
}

fn got<'py>(wait: &Ref<'py, Wait>, outcome: PyResult<Bound<'py, PyAny>>) -> PyResult<Next<'py>> {
    let py = wait.py();
    let owner = wait.owner.get_or_none(py);
    let (Some(this), Some(future)) = (Ref::<Queue>::cast(&owner), wait.future(py)) else {
        return outcome.map(Next::Return);
    };
    if let Err(error) = outcome {
        give_up(&this.getters, &future, || Ok(!is_empty(this)?))?;
        return Err(error);
    }
    if is_empty(this)? {
        return next_waiter(this, &this.getters).map(Next::Await);
    }
    finish_get(this).map(Next::Return)
}

fn put<'py>(wait: &Ref<'py, Wait>, outcome: PyResult<Bound<'py, PyAny>>) -> PyResult<Next<'py>> {
    let py = wait.py();
    let owner = wait.owner.get_or_none(py);
    let (Some(this), Some(future)) = (Ref::<Queue>::cast(&owner), wait.future(py)) else {
        return outcome.map(Next::Return);
    };
    if let Err(error) = outcome {
        give_up(&this.putters, &future, || Ok(!is_full(this)?))?;
        return Err(error);
    }
    if is_full(this)? {
        return next_waiter(this, &this.putters).map(Next::Await);
    }
    finish_put(this, &wait.extra.get_or_none(py)).map(Next::Return)
}

static GET: Shell = Shell {
    room: "queues",
    name: "Queue.get",
    begin: |wait| {
        let owner = wait.owner.get_or_none(wait.py());
        let Some(this) = Ref::<Queue>::cast(&owner) else { return Ok(Next::Return(owner)) };
        if is_empty(this)? {
            next_waiter(this, &this.getters).map(Next::Await)
        } else {
            finish_get(this).map(Next::Return)
        }
    },
    then: got,
};

static PUT: Shell = Shell {
    room: "queues",
    name: "Queue.put",
    begin: |wait| {
        let owner = wait.owner.get_or_none(wait.py());
        let Some(this) = Ref::<Queue>::cast(&owner) else { return Ok(Next::Return(owner)) };
        if is_full(this)? {
            return next_waiter(this, &this.putters).map(Next::Await);
        }
        finish_put(this, &wait.extra.get_or_none(wait.py())).map(Next::Return)
    },
    then: put,
};

/// `get()` on a queue that is no derived class's.
pub fn quick_get<'py>(_: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Option<Own>> {
    match plain(args) {
        Some([this]) if Ref::<Queue>::cast(this).is_some_and(|queue| order(queue) != Order::Own) => {
            stand_in(&GET, this, None)
        }
        _ => Ok(None),
    }
}

/// `put(item)` likewise.
pub fn quick_put<'py>(_: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Option<Own>> {
    match plain(args) {
        Some([this, item]) if Ref::<Queue>::cast(this).is_some_and(|queue| order(queue) != Order::Own) => {
            stand_in(&PUT, this, Some(item))
        }
        _ => Ok(None),
    }
}

fn shutdown(this: &Ref<'_, Queue>, immediate: bool) -> PyResult<()> {
    let py = this.py();
    this.shut_down.set(true);
    if immediate {
        while !is_empty(this)? {
            take_item(this, order(this))?;
            if this.unfinished.get() > 0 {
                this.unfinished.set(this.unfinished.get() - 1);
            }
        }
        if this.unfinished.get() == 0 {
            set_finished(this, true)?;
        }
    }
    for waiters in [&this.getters, &this.putters] {
        while let Some(waiter) = waiters.pop(py)? {
            if !is_done(&waiter)? {
                set_result(&waiter, py.None().into_bound(py))?;
            }
        }
    }
    Ok(())
}

fn init(this: &Ref<'_, Queue>, args: &Args<'_, '_>) -> PyResult<()> {
    const INIT: Signature<1> = Signature::method("Queue.__init__", [opt("maxsize")]);
    let py = this.py();
    let [maxsize] = args.parse(&INIT)?;
    let maxsize = maxsize.map_or_else(|| 0i32.into_pyobject(py).map(Bound::into_any), |m| Ok(m.clone()))?;
    set_maxsize(this, &maxsize);
    this.unfinished.set(0);
    this.shut_down.set(false);
    match order(this) {
        Order::Own => this.any().call_method1(intern!(py, "_init"), (maxsize,)).map(drop),
        order => reset_items(this, order),
    }
}

fn set_maxsize(this: &Ref<'_, Queue>, maxsize: &Bound<'_, PyAny>) {
    // A size that is no int (inf, say) is kept and shown; a huge one is no limit.
    let limit = maxsize.extract::<i64>().or_else(|_| maxsize.extract::<f64>().map(|f| f.ceil() as i64)).unwrap_or(0);
    this.limit.set(limit);
    this.maxsize.set(maxsize.clone());
}

fn reset_items(this: &Ref<'_, Queue>, order: Order) -> PyResult<()> {
    match order {
        Order::Lifo | Order::Heap => this.items.replace(Some(slots::list(this.py())?.as_any())),
        _ => this.items.replace(None),
    }
    Ok(())
}

fn format(this: &Ref<'_, Queue>) -> PyResult<String> {
    let py = this.py();
    let mut text = format!("maxsize={}", this.maxsize.get_or_none(py).repr()?);
    if let Some(items) = this.any().getattr_opt(intern!(py, "_queue"))? {
        if items.is_truthy()? {
            let list = slots::list_of(py, slots::items(&items)?)?;
            text.push_str(&format!(" _queue={}", list.repr()?));
        }
    }
    for (name, waiters) in [("_getters", &this.getters), ("_putters", &this.putters)] {
        match waiters.len(py)? {
            0 => {}
            count => text.push_str(&format!(" {name}[{count}]")),
        }
    }
    if this.unfinished.get() > 0 {
        text.push_str(&format!(" tasks={}", this.unfinished.get()));
    }
    if this.shut_down.get() {
        text.push_str(" shutdown");
    }
    Ok(text)
}

impl Class for Queue {
    const NAME: &'static std::ffi::CStr = c"rasyncio.queues.Queue";
    const DOC: &'static std::ffi::CStr = c"Queue(maxsize=0)\n--\n\n\
        Items on their way from task to task, first in, first out. With a maxsize above 0, put() waits while the queue\n\
        is full. Not thread-safe.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        const PUT: Signature<1> = Signature::method("Queue.put_nowait", [arg("item")]);
        const SHUTDOWN: Signature<1> = Signature::method("Queue.shutdown", [opt("immediate")]);
        spec.init(init)
            .generic()
            .repr(|this| {
                let text: String = this.any().call_method0(intern!(this.py(), "_format"))?.extract()?;
                Ok(format!("<{} at {:p} {text}>", this.any().get_type().name()?, this.any().as_ptr()))
            })
            .str(|this| {
                let text: String = this.any().call_method0(intern!(this.py(), "_format"))?.extract()?;
                Ok(format!("<{} {text}>", this.any().get_type().name()?))
            })
            .method0(c"_format", c"_format($self, /)\n--\n\nThe inside of the repr.", format)
            .method0(c"qsize", c"qsize($self, /)\n--\n\nHow many items there are.", |this| {
                let py = this.py();
                match order(this) {
                    Order::Own => this.any().getattr(intern!(py, "_queue"))?.len(),
                    _ => this.items.len(py),
                }
            })
            .get(c"maxsize", c"How many items there may be; 0 for any number.", |this| {
                Ok(Own::new(this.maxsize.get_or_none(this.py())))
            })
            .method0(c"empty", c"empty($self, /)\n--\n\nWhether there is no item.", |this| Ok(this.items.len(this.py())? == 0))
            .method0(c"full", c"full($self, /)\n--\n\nWhether there are maxsize items.", |this| {
                if this.limit.get() <= 0 {
                    return Ok(false);
                }
                let size: i64 = this.any().call_method0(intern!(this.py(), "qsize"))?.extract()?;
                Ok(size >= this.limit.get())
            })
            .method(
                c"put_nowait",
                c"put_nowait($self, /, item)\n--\n\nPut an item in; QueueFull if there is no room, QueueShutDown after shutdown().",
                |this, args| match args.parse(&PUT)? {
                    [Some(item)] => put_nowait(this, item),
                    _ => Err(PyTypeError::new_err("item is missing")),
                },
            )
            .method0(
                c"get_nowait",
                c"get_nowait($self, /)\n--\n\nTake an item out; QueueEmpty if there is none, QueueShutDown after shutdown().",
                |this| get_nowait(this).map(Own::new),
            )
            .method1(c"_get_or", c"_get_or($self, default, /)\n--\n\nTake an item out, or answer default if get() must wait.", |this, default| {
                if is_empty(this)? { Ok(Own::new(default.clone())) } else { finish_get(this).map(Own::new) }
            })
            .method0(c"_get_wait", c"_get_wait($self, /)\n--\n\nThe wait for an item.", |this| {
                let future = next_waiter(this, &this.getters)?;
                Wait::create(&future, this.any().clone(), None, got)
            })
            .method1(c"_put_now", c"_put_now($self, item, /)\n--\n\nPut an item in if that needs no waiting; answer whether it did.", |this, item| {
                if is_full(this)? {
                    return Ok(false);
                }
                finish_put(this, item).map(|_| true)
            })
            .method1(c"_put_wait", c"_put_wait($self, item, /)\n--\n\nThe wait for room.", |this, item| {
                let future = next_waiter(this, &this.putters)?;
                Wait::create(&future, this.any().clone(), Some(item.clone()), put)
            })
            .method0(
                c"task_done",
                c"task_done($self, /)\n--\n\nSay that an item that was taken is dealt with. ValueError if said too often.",
                |this| {
                    if this.unfinished.get() <= 0 {
                        return Err(PyValueError::new_err("task_done() called too many times"));
                    }
                    this.unfinished.set(this.unfinished.get() - 1);
                    if this.unfinished.get() == 0 { set_finished(this, true) } else { Ok(()) }
                },
            )
            .method(
                c"shutdown",
                c"shutdown($self, /, immediate=False)\n--\n\nTake no more items; get() raises QueueShutDown when none is left.\n\
                  With immediate, throw the items away.",
                |this, args| {
                    let [immediate] = args.parse(&SHUTDOWN)?;
                    shutdown(this, immediate.map_or(Ok(false), |i| i.is_truthy())?)
                },
            )
            .method1_named(c"_init", c"_init($self, /, maxsize)\n--\n\nFor derived classes: make the container.", || ("Queue._init", "maxsize"), |this, _| {
                this.items.replace(None);
                this.items.expose(this.py()).map(drop)
            })
            .method0(c"_get", c"_get($self, /)\n--\n\nFor derived classes: take an item out of the container.", |this| {
                take_item(this, Order::Fifo).map(Own::new)
            })
            .method1_named(c"_put", c"_put($self, /, item)\n--\n\nFor derived classes: put an item into the container.", || ("Queue._put", "item"), |this, item| {
                add_item(this, Order::Fifo, item)
            })
            .method1_named(c"_wakeup_next", c"_wakeup_next($self, /, waiters)\n--\n\nWake the first of waiters, a deque, that is not done.", || ("Queue._wakeup_next", "waiters"), |this, waiters| {
                let py = this.py();
                while waiters.is_truthy()? {
                    let waiter = waiters.call_method0(intern!(py, "popleft"))?;
                    if !is_done(&waiter)? {
                        return set_result(&waiter, py.None().into_bound(py));
                    }
                }
                Ok(())
            })
            .get_set(
                c"_queue",
                c"",
                |this| Ok(Own::new(this.items.expose(this.py())?)),
                |this, value| {
                    this.items.replace(value);
                    Ok(())
                },
            )
            .get_set(
                c"_getters",
                c"",
                |this| Ok(Own::new(this.getters.expose(this.py())?)),
                |this, value| {
                    this.getters.replace(value);
                    Ok(())
                },
            )
            .get_set(
                c"_putters",
                c"",
                |this| Ok(Own::new(this.putters.expose(this.py())?)),
                |this, value| {
                    this.putters.replace(value);
                    Ok(())
                },
            )
            .get_set(
                c"_maxsize",
                c"",
                |this| Ok(Own::new(this.maxsize.get_or_none(this.py()))),
                |this, value| {
                    if let Some(value) = value {
                        set_maxsize(this, value);
                    }
                    Ok(())
                },
            )
            .get_set(
                c"_unfinished_tasks",
                c"",
                |this| Ok(this.unfinished.get()),
                |this, value| value.map_or(Ok(()), |v| v.extract().map(|v| this.unfinished.set(v))),
            )
            .get(c"_finished", c"", |this| finished(this).map(Own::new))
            .get(c"_is_shutdown", c"", |this| Ok(this.shut_down.get()));
    }
}

impl Class for PriorityQueue {
    const NAME: &'static std::ffi::CStr = c"rasyncio.queues.PriorityQueue";
    const DOC: &'static std::ffi::CStr = c"PriorityQueue(maxsize=0)\n--\n\nA Queue that gives the smallest item first.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.method1_named(
            c"_init",
            c"_init($self, /, maxsize)\n--\n\nFor derived classes: make the container.",
            || ("PriorityQueue._init", "maxsize"),
            |this, _| reset_items(this.base(), Order::Heap),
        )
        .method0(c"_get", c"_get($self, /)\n--\n\nFor derived classes: take an item out of the container.", |this| {
            take_item(this.base(), Order::Heap).map(Own::new)
        })
        .method1_named(
            c"_put",
            c"_put($self, /, item)\n--\n\nFor derived classes: put an item into the container.",
            || ("PriorityQueue._put", "item"),
            |this, item| add_item(this.base(), Order::Heap, item),
        );
    }
}

impl Class for LifoQueue {
    const NAME: &'static std::ffi::CStr = c"rasyncio.queues.LifoQueue";
    const DOC: &'static std::ffi::CStr = c"LifoQueue(maxsize=0)\n--\n\nA Queue that gives the newest item first.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.method1_named(
            c"_init",
            c"_init($self, /, maxsize)\n--\n\nFor derived classes: make the container.",
            || ("LifoQueue._init", "maxsize"),
            |this, _| reset_items(this.base(), Order::Lifo),
        )
        .method0(c"_get", c"_get($self, /)\n--\n\nFor derived classes: take an item out of the container.", |this| {
            take_item(this.base(), Order::Lifo).map(Own::new)
        })
        .method1_named(
            c"_put",
            c"_put($self, /, item)\n--\n\nFor derived classes: put an item into the container.",
            || ("LifoQueue._put", "item"),
            |this, item| add_item(this.base(), Order::Lifo, item),
        );
    }
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<Queue>(module)?;
    slots::add_class::<PriorityQueue>(module)?;
    slots::add_class::<LifoQueue>(module)
}
