//! Who hears of which descriptor: `add_reader` and its kin, for users and for transports.
//!
//! Called by users with a callback, and by native rooms with an object and its `Kind`; calls `engine::interest`, or the
//! selectors object where the loop has one, or the loop's own `_add_reader` where that is overridden.
//!
//! When a descriptor is ready, the watcher's entry goes to the end of the queue: a Handle for a user's callback, the native
//! object itself for a transport. It is level-triggered: as long as there is something to read, each turn says so.
//!
//! For native rooms:
//! - [`add_reader`], [`add_writer`], [`remove_reader`], [`remove_writer`] take any loop of ours. They treat the descriptor as one
//!   that may be closed without a word: every change goes to the kernel at once.
//! - [`add_resident_reader`], [`add_resident_writer`] may put removals off and save system calls; who uses them must
//!   call [`release`] before the descriptor is closed.
//! - [`add_guest`] is for calls that wait again and again on a socket object which may be closed at any time: as long as it is
//!   the same object, neither removing nor adding it again costs a system call.
//!
//! An object that is given for a descriptor is kept as long as it is watched for, and found again when it is closed.

use std::os::fd::RawFd;

use engine::interest::{Direction, Refused, Tenure};
use pyo3::exceptions::{PyAttributeError, PyOverflowError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyInt;
use slots::intern;
use slots::{Args, Own, Ref, Signature, Spec, Visit, Visitor, arg, kw_opt};

use super::{BaseSelectorEventLoop, core};
use crate::events::{Entry, Handle, Hook, Kind, LoopCore, NativeCallback};
use crate::exceptions;
use crate::futures::given_context;

/// Who hears of one direction of a descriptor.
pub struct Watcher {
    pub(super) object: Own,
    /// None for a Handle.
    pub(super) kind: Option<&'static Kind>,
    /// What was given for the descriptor, if it was no number: it lives as long as it is watched, and means the same
    /// descriptor when it is closed.
    pub(super) file: Option<Own>,
}

impl Watcher {
    fn native(object: Bound<'_, PyAny>, kind: &'static Kind) -> Watcher {
        Watcher { object: object.into(), kind: Some(kind), file: None }
    }

    pub(super) fn visit(&self, visitor: &Visitor) {
        self.object.visit(visitor);
        self.file.iter().for_each(|file| file.visit(visitor));
    }
}

const EVENT_READ: i32 = 1;
const EVENT_WRITE: i32 = 2;

fn bit(direction: Direction) -> i32 {
    match direction {
        Direction::Read => EVENT_READ,
        Direction::Write => EVENT_WRITE,
    }
}

/// Has `object` run, as its kind says, whenever `fd` can be read.
pub fn add_reader<'py>(
    core: &Ref<'py, LoopCore>,
    fd: RawFd,
    object: Bound<'py, PyAny>,
    kind: &'static Kind,
) -> PyResult<()> {
    add(core, fd, Direction::Read, object, kind, Tenure::Visitor)
}

/// Has `object` run, as its kind says, whenever `fd` can be written.
pub fn add_writer<'py>(
    core: &Ref<'py, LoopCore>,
    fd: RawFd,
    object: Bound<'py, PyAny>,
    kind: &'static Kind,
) -> PyResult<()> {
    add(core, fd, Direction::Write, object, kind, Tenure::Visitor)
}

/// As [`add_reader`], for an owner that calls [`release`] before it closes the descriptor.
pub fn add_resident_reader<'py>(
    core: &Ref<'py, LoopCore>,
    fd: RawFd,
    object: Bound<'py, PyAny>,
    kind: &'static Kind,
) -> PyResult<()> {
    add(core, fd, Direction::Read, object, kind, Tenure::Resident)
}

/// As [`add_writer`], for an owner that calls [`release`] before it closes the descriptor.
pub fn add_resident_writer<'py>(
    core: &Ref<'py, LoopCore>,
    fd: RawFd,
    object: Bound<'py, PyAny>,
    kind: &'static Kind,
) -> PyResult<()> {
    add(core, fd, Direction::Write, object, kind, Tenure::Resident)
}

/// As [`add_reader`] or [`add_writer`] on a loop that watches natively, for a plain socket object that has the descriptor. Whoever
/// waits has found that nothing is there, and tries again before it waits again.
pub(super) fn add_guest<'py>(
    this: &Ref<'py, BaseSelectorEventLoop>,
    fd: RawFd,
    socket: &Bound<'py, PyAny>,
    object: Bound<'py, PyAny>,
    kind: &'static Kind,
    reads: bool,
) -> PyResult<()> {
    this.check_closed()?;
    // A socket object that is alive still has the file that it had: one that was closed never gets a number again.
    let same = this.guests.put(fd, socket)?;
    let direction = if reads { Direction::Read } else { Direction::Write };
    watch(this, fd, direction, Watcher::native(object, kind), Tenure::Guest { same })
}

/// Ends what `add_reader` began; answers whether there was a reader.
pub fn remove_reader(core: &Ref<'_, LoopCore>, fd: RawFd) -> PyResult<bool> {
    remove(core, fd, Direction::Read)
}

/// Ends what `add_writer` began; answers whether there was a writer.
pub fn remove_writer(core: &Ref<'_, LoopCore>, fd: RawFd) -> PyResult<bool> {
    remove(core, fd, Direction::Write)
}

/// Forgets a descriptor that is about to be closed.
pub fn release(core: &Ref<'_, LoopCore>, fd: RawFd) -> PyResult<()> {
    if let Some(this) = BaseSelectorEventLoop::of(core.any()) {
        let poller = this.poller.borrow().clone();
        if let Some(poller) = poller {
            let released = this.interests.0.borrow_mut().as_mut().map(|table| table.release(&*poller, fd));
            drop(released);
        }
    }
    Ok(())
}

/// Forgets the watching of `object`, whose descriptor was closed without a word; another that has the number by now stays.
/// Where it is not known who watches, `remove` is called.
pub fn let_go(
    core: &Ref<'_, LoopCore>,
    fd: RawFd,
    object: &Bound<'_, PyAny>,
    remove: fn(&Ref<'_, LoopCore>, i32) -> PyResult<bool>,
) -> PyResult<()> {
    let Some(this) = BaseSelectorEventLoop::of(core.any()).filter(|this| !this.selector.is_set()) else {
        return remove(core, fd).map(drop);
    };
    let of_others = |direction| match this.interests.0.borrow().as_ref().and_then(|table| table.get(fd, direction)) {
        Some(watcher) => !watcher.object.is(object),
        None => false,
    };
    // What another registers displaces all that was here.
    if of_others(Direction::Read) || of_others(Direction::Write) { Ok(()) } else { release(core, fd) }
}

fn hook(direction: Direction, adds: bool) -> (Hook, &'static str) {
    match (direction, adds) {
        (Direction::Read, true) => (Hook::AddReader, "_add_reader"),
        (Direction::Write, true) => (Hook::AddWriter, "_add_writer"),
        (Direction::Read, false) => (Hook::RemoveReader, "_remove_reader"),
        (Direction::Write, false) => (Hook::RemoveWriter, "_remove_writer"),
    }
}

/// The loop, if it watches natively and nobody overrides how.
fn native<'a, 'py>(core: &'a Ref<'py, LoopCore>, hook: Hook) -> Option<&'a Ref<'py, BaseSelectorEventLoop>> {
    BaseSelectorEventLoop::of(core.any()).filter(|this| !this.selector.is_set() && !LoopCore::overrides(core, hook))
}

fn add<'py>(
    core: &Ref<'py, LoopCore>,
    fd: RawFd,
    direction: Direction,
    object: Bound<'py, PyAny>,
    kind: &'static Kind,
    tenure: Tenure,
) -> PyResult<()> {
    let (hook, name) = hook(direction, true);
    match native(core, hook) {
        Some(this) => {
            this.check_closed()?;
            watch(this, fd, direction, Watcher::native(object, kind), tenure)
        }
        None => {
            let callback = NativeCallback::make(core.py(), object, kind)?;
            core.any().call_method1(slots::Text(name), (fd, callback)).map(drop)
        }
    }
}

fn remove(core: &Ref<'_, LoopCore>, fd: RawFd, direction: Direction) -> PyResult<bool> {
    let (hook, name) = hook(direction, false);
    match native(core, hook) {
        Some(this) => unwatch(this, fd, direction),
        None => core.any().call_method1(slots::Text(name), (fd,))?.is_truthy(),
    }
}

fn cancel(py: Python<'_>, watcher: Option<Watcher>) -> PyResult<bool> {
    let Some(watcher) = watcher else { return Ok(false) };
    if watcher.kind.is_none() {
        let object = watcher.object.bind(py);
        match Ref::<Handle>::cast_exact(object) {
            Some(handle) => Handle::cancel(handle)?,
            None => drop(object.call_method0(intern!(py, "cancel"))?),
        }
    }
    Ok(true)
}

fn watch(
    this: &Ref<'_, BaseSelectorEventLoop>,
    fd: RawFd,
    direction: Direction,
    watcher: Watcher,
    tenure: Tenure,
) -> PyResult<()> {
    let py = this.py();
    let poller = this.poller.borrow().clone();
    let Some(poller) = poller else { return Err(PyRuntimeError::new_err("Event loop is closed")) };
    let answer =
        this.interests.0.borrow_mut().as_mut().map(|table| table.watch(&*poller, fd, direction, watcher, tenure));
    match answer {
        None => Err(PyRuntimeError::new_err("Event loop is closed")),
        Some(Ok(released)) => {
            for watcher in [released.reader, released.writer].into_iter().flatten() {
                match watcher.kind {
                    // A transport whose socket was closed behind its back, and whose number another got: it finds out by trying.
                    Some(kind) if tenure == Tenure::Resident => {
                        let entry = Entry { object: watcher.object, argument: None, kind: Some(kind) };
                        LoopCore::push(core(this), entry)?;
                    }
                    _ => drop(cancel(py, Some(watcher))?),
                }
            }
            Ok(())
        }
        Some(Err(refused)) => Err(refusal(py, refused)),
    }
}

fn refusal(py: Python<'_>, refused: Refused<Watcher>) -> PyErr {
    let error = exceptions::os_error(py, refused.error);
    let released = refused.released;
    match cancel(py, released.reader).and_then(|_| cancel(py, released.writer)) {
        Ok(_) => error,
        Err(other) => other,
    }
}

fn unwatch(this: &Ref<'_, BaseSelectorEventLoop>, fd: RawFd, direction: Direction) -> PyResult<bool> {
    let py = this.py();
    if this.closed.get() {
        return Ok(false);
    }
    let poller = this.poller.borrow().clone();
    let Some(poller) = poller else { return Ok(false) };
    let answer = this.interests.0.borrow_mut().as_mut().map(|table| table.unwatch(&*poller, fd, direction));
    match answer {
        None => Ok(false),
        Some(Ok(watcher)) => cancel(py, watcher),
        Some(Err(refused)) => Err(refusal(py, refused)),
    }
}

/// The number of a descriptor given as int or as an object with `fileno()`; whether it can be one is not asked.
pub(super) fn number<'py>(given: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = given.py();
    if given.is_instance_of::<PyInt>() {
        return Ok(given.clone());
    }
    let asked = given.call_method0(intern!(py, "fileno")).and_then(|number| py.get_type::<PyInt>().call1((number,)));
    match asked {
        Err(error)
            if error.is_instance_of::<PyAttributeError>(py)
                || error.is_instance_of::<PyTypeError>(py)
                || error.is_instance_of::<PyValueError>(py) =>
        {
            let text = format!("Invalid file object: {}", given.repr()?);
            Err(slots::raised_from_none(py, error, PyValueError::new_err(text)))
        }
        other => other,
    }
}

/// What a number says that no descriptor can have: None for one that is too large for the system.
fn descriptor(number: &Bound<'_, PyAny>) -> PyResult<Option<RawFd>> {
    if number.lt(0)? {
        return Err(PyValueError::new_err(format!("Invalid file descriptor: {}", number.str()?)));
    }
    Ok(number.extract::<RawFd>().ok())
}

/// The descriptor of a file object, which may be closed by now: then the one that is watched for it.
fn descriptor_of(this: &Ref<'_, BaseSelectorEventLoop>, file: &Bound<'_, PyAny>) -> PyResult<Option<RawFd>> {
    let error = match number(file).and_then(|number| descriptor(&number)) {
        Err(error) if error.is_instance_of::<PyValueError>(this.py()) => error,
        known => return known,
    };
    let found = {
        let table = this.interests.0.borrow();
        let is_of = |watcher: Option<&Watcher>| watcher.and_then(|w| w.file.as_ref()).is_some_and(|f| f.is(file));
        let mut all = table.iter().flat_map(|table| table.iter());
        all.find(|listeners| is_of(listeners.reader) || is_of(listeners.writer)).map(|listeners| listeners.fd)
    };
    if found.is_some() { Ok(found) } else { Err(error) }
}

/// Whether `object` is what hears of the descriptor.
pub(super) fn is_watched_by(
    this: &Ref<'_, BaseSelectorEventLoop>,
    fd: RawFd,
    reads: bool,
    object: &Bound<'_, PyAny>,
) -> bool {
    let direction = if reads { Direction::Read } else { Direction::Write };
    let table = this.interests.0.borrow();
    table.as_ref().and_then(|table| table.get(fd, direction)).is_some_and(|watcher| watcher.object.is(object))
}

/// RuntimeError if a transport uses the descriptor.
pub(super) fn ensure_no_transport_number(this: &Ref<'_, BaseSelectorEventLoop>, fd: RawFd) -> PyResult<()> {
    ensure_free(this, fd, fd.into_pyobject(this.py())?.as_any())
}

pub(super) fn ensure_no_transport(this: &Ref<'_, BaseSelectorEventLoop>, given: &Bound<'_, PyAny>) -> PyResult<()> {
    match number(given)?.extract() {
        Ok(fd) => ensure_free(this, fd, given),
        // No transport has such a number.
        Err(_) => Ok(()),
    }
}

fn ensure_free(this: &Ref<'_, BaseSelectorEventLoop>, fd: RawFd, given: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = this.py();
    let Some(transport) = BaseSelectorEventLoop::transport_of(this, fd)? else { return Ok(()) };
    if transport.call_method0(intern!(py, "is_closing"))?.is_truthy()? {
        return Ok(());
    }
    Err(PyRuntimeError::new_err(format!(
        "File descriptor {} is used by transport {}",
        given.repr()?,
        transport.repr()?
    )))
}

/// `_add_reader` and `_add_writer`.
fn add_callback(this: &Ref<'_, BaseSelectorEventLoop>, args: &Args<'_, '_>, direction: Direction) -> PyResult<Own> {
    let py = this.py();
    const SIGNATURE: Signature<3> = Signature::method("_add_reader", [arg("fd"), arg("callback"), kw_opt("context")]);
    let ([Some(given), Some(callback), context], rest) = args.parse_rest(&SIGNATURE)? else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    this.check_closed()?;
    let context = given_context(py, &context)?;
    let handle = Handle::create(py, callback.clone(), rest, this.any().clone(), context)?;
    if this.debug.get() {
        Handle::note_source(&handle)?;
    }
    match this.selector.get(py) {
        None => {
            let Some(fd) = descriptor(&number(given)?)? else {
                return Err(PyOverflowError::new_err("Python int too large to convert to C int"));
            };
            let file = (!given.is_instance_of::<PyInt>()).then(|| given.clone().into());
            let watcher = Watcher { object: handle.any().clone().into(), kind: None, file };
            watch(this, fd, direction, watcher, Tenure::Visitor)?;
        }
        Some(selector) => register(&selector, given, direction, handle.any())?,
    }
    Ok(handle.into_any().into())
}

/// Registers a handle with a selectors object beside what is there.
fn register<'py>(
    selector: &Bound<'py, PyAny>,
    fd: &Bound<'py, PyAny>,
    direction: Direction,
    handle: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let py = selector.py();
    let key = selector.call_method0(intern!(py, "get_map"))?.call_method1(intern!(py, "get"), (fd,))?;
    let none = || py.None().into_bound(py);
    let pair = |reader, writer| slots::tuple(py, [reader, writer]);
    if key.is_none() {
        let data = match direction {
            Direction::Read => pair(handle.clone(), none())?,
            Direction::Write => pair(none(), handle.clone())?,
        };
        return selector.call_method1(intern!(py, "register"), (fd, bit(direction), data)).map(drop);
    }
    let mask: i32 = key.getattr(intern!(py, "events"))?.extract()?;
    let data = key.getattr(intern!(py, "data"))?;
    let (reader, writer) = (data.get_item(0)?, data.get_item(1)?);
    let (data, replaced) = match direction {
        Direction::Read => (pair(handle.clone(), writer)?, reader),
        Direction::Write => (pair(reader, handle.clone())?, writer),
    };
    selector.call_method1(intern!(py, "modify"), (fd, mask | bit(direction), data))?;
    if !replaced.is_none() {
        replaced.call_method0(intern!(py, "cancel"))?;
    }
    Ok(())
}

/// `_remove_reader` and `_remove_writer`.
fn remove_callback(
    this: &Ref<'_, BaseSelectorEventLoop>,
    given: &Bound<'_, PyAny>,
    direction: Direction,
) -> PyResult<bool> {
    let py = this.py();
    if this.any().call_method0(intern!(py, "is_closed"))?.is_truthy()? {
        return Ok(false);
    }
    let Some(selector) = this.selector.get(py) else {
        return descriptor_of(this, given)?.map_or(Ok(false), |fd| unwatch(this, fd, direction));
    };
    let key = selector.call_method0(intern!(py, "get_map"))?.call_method1(intern!(py, "get"), (given,))?;
    if key.is_none() {
        return Ok(false);
    }
    let mask: i32 = key.getattr(intern!(py, "events"))?.extract::<i32>()? & !bit(direction);
    let data = key.getattr(intern!(py, "data"))?;
    let (reader, writer) = (data.get_item(0)?, data.get_item(1)?);
    let none = || py.None().into_bound(py);
    let (data, removed) = match direction {
        Direction::Read => ((none(), writer), reader),
        Direction::Write => ((reader, none()), writer),
    };
    if mask == 0 {
        selector.call_method1(intern!(py, "unregister"), (given,))?;
    } else {
        selector.call_method1(intern!(py, "modify"), (given, mask, data))?;
    }
    if removed.is_none() {
        return Ok(false);
    }
    removed.call_method0(intern!(py, "cancel"))?;
    Ok(true)
}

/// The events of a selectors object become entries.
fn process_events(this: &Ref<'_, BaseSelectorEventLoop>, events: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = this.py();
    for event in events.try_iter()? {
        let event = event?;
        let (key, mask) = (event.get_item(0)?, event.get_item(1)?.extract::<i32>()?);
        let fd = key.getattr(intern!(py, "fileobj"))?;
        let data = key.getattr(intern!(py, "data"))?;
        for (at, direction, remove) in [(0, Direction::Read, "_remove_reader"), (1, Direction::Write, "_remove_writer")]
        {
            let handle = data.get_item(at)?;
            if mask & bit(direction) == 0 || handle.is_none() {
                continue;
            }
            if handle.getattr(intern!(py, "_cancelled"))?.is_truthy()? {
                this.any().call_method1(slots::Text(remove), (&fd,))?;
            } else {
                this.any().call_method1(intern!(py, "_add_callback"), (handle,))?;
            }
        }
    }
    Ok(())
}

/// `add_reader` and `add_writer`, for users.
fn add_public(this: &Ref<'_, BaseSelectorEventLoop>, args: &Args<'_, '_>, name: &str) -> PyResult<()> {
    const SIGNATURE: Signature<2> = Signature::method("add_reader", [arg("fd"), arg("callback")]);
    let ([Some(fd), Some(callback)], rest) = args.parse_rest(&SIGNATURE)? else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    this.any().call_method1(intern!(this.py(), "_ensure_fd_no_transport"), (fd,))?;
    let mut all = vec![fd.clone(), callback.clone()];
    all.extend(rest.iter().cloned());
    this.any().call_method1(slots::Text(name), slots::tuple(this.py(), all)?).map(drop)
}

fn remove_public(this: &Ref<'_, BaseSelectorEventLoop>, fd: &Bound<'_, PyAny>, name: &str) -> PyResult<Own> {
    this.any().call_method1(intern!(this.py(), "_ensure_fd_no_transport"), (fd,))?;
    this.any().call_method1(slots::Text(name), (fd,)).map(Own::new)
}

pub(super) fn define(spec: &mut Spec<BaseSelectorEventLoop>) {
    spec.method(
        c"add_reader",
        c"add_reader($self, /, fd, callback, *args)\n--\n\nHave callback(*args) called whenever fd can be read. fd is an int or has fileno();\nRuntimeError if a transport uses it. Not thread-safe.",
        |this, args| add_public(this, args, "_add_reader"),
    )
    .method(
        c"add_writer",
        c"add_writer($self, /, fd, callback, *args)\n--\n\nHave callback(*args) called whenever fd can be written; otherwise as add_reader().",
        |this, args| add_public(this, args, "_add_writer"),
    )
    .method1_named(
        c"remove_reader",
        c"remove_reader($self, /, fd)\n--\n\nEnd what add_reader() began; answer whether there was a reader.", || ("BaseSelectorEventLoop.remove_reader", "fd"),
        |this, fd| remove_public(this, fd, "_remove_reader"),
    )
    .method1_named(
        c"remove_writer",
        c"remove_writer($self, /, fd)\n--\n\nEnd what add_writer() began; answer whether there was a writer.", || ("BaseSelectorEventLoop.remove_writer", "fd"),
        |this, fd| remove_public(this, fd, "_remove_writer"),
    )
    .method(c"_add_reader", if cfg!(Py_3_15) { c"_add_reader($self, /, fd, callback, *args, context=None)\n--\n\nadd_reader() without the check; answers the handle." } else { c"_add_reader($self, /, fd, callback, *args)\n--\n\nadd_reader() without the check; answers the handle." }, |this, args| {
        add_callback(this, args, Direction::Read)
    })
    .method(c"_add_writer", if cfg!(Py_3_15) { c"_add_writer($self, /, fd, callback, *args, context=None)\n--\n\nadd_writer() without the check; answers the handle." } else { c"_add_writer($self, /, fd, callback, *args)\n--\n\nadd_writer() without the check; answers the handle." }, |this, args| {
        add_callback(this, args, Direction::Write)
    })
    .method1_named(c"_remove_reader", c"_remove_reader($self, /, fd)\n--\n\nremove_reader() without the check.", || ("BaseSelectorEventLoop._remove_reader", "fd"), |this, fd| {
        remove_callback(this, fd, Direction::Read)
    })
    .method1_named(c"_remove_writer", c"_remove_writer($self, /, fd)\n--\n\nremove_writer() without the check.", || ("BaseSelectorEventLoop._remove_writer", "fd"), |this, fd| {
        remove_callback(this, fd, Direction::Write)
    })
    .method1_named(
        c"_ensure_fd_no_transport",
        c"_ensure_fd_no_transport($self, /, fd)\n--\n\nRuntimeError if a transport uses fd.",
        || ("BaseSelectorEventLoop._ensure_fd_no_transport", "fd"),
        ensure_no_transport,
    )
    .method1_named(c"_process_events", c"_process_events($self, /, event_list)\n--\n\nTurn the events of a selectors object into entries.", || ("BaseSelectorEventLoop._process_events", "event_list"), process_events);
}
