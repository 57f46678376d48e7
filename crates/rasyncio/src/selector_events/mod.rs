//! selector_events: `BaseSelectorEventLoop`, a loop on a readiness poller (asyncio.selector_events).
//!
//! Called by users of `add_reader` and by transports; calls `engine::sys::Poller` and `engine::interest`, or the caller's
//! own `selectors` object. `unix_events` derives the loop that people use from it.
//!
//! - `watch`: who hears of which descriptor.
//! - `turn`: the native turn.
//! - `self_pipe`: what wakes the loop.
//! - `transport`: stream sockets under protocols.
//! - `datagram`: datagram sockets under protocols.
//! - `by_class`: transports made by calling their class.
//! - `flow`: the marks of a write buffer.
//! - `ends`: what transports have in common; `on_socket`: what those of sockets have.
//! - `sock`: sock_recv and its kin; `quick_sock`: the two that are called most, without a coroutine.
//! - `accept`: connections for servers.
//! - `plain`: which socket objects need not be asked.
//! - `by_number`: objects by descriptor.
//! - `sendfile`: files over transports.
//!
//! Two modes. With its own poller the loop is native throughout. With a `selectors` object, given by the caller or made
//! when somebody looks at `_selector`, it registers there with `(reader, writer)` handles as data, as CPython does, and the
//! general turn of `base_events` drives it; everything Python can do to such a selector works.
//!
//! Invariants: what wakes the loop is watched from birth to close. After close there is no poller and no descriptor.

mod accept;
mod by_class;
mod by_number;
mod datagram;
pub mod ends;
pub mod flow;
mod on_socket;
mod plain;
mod quick_sock;
mod self_pipe;
mod sendfile;
mod sock;
pub mod transport;
mod turn;
pub mod watch;

use std::cell::{Cell, RefCell, RefMut};
use std::os::fd::RawFd;
use std::rc::Rc;

use engine::interest::Interests;
use engine::sys::{Events, Poller, Waker};
use engine::turn::{Courtesy, Hunch, Portion};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyModule};
use slots::intern;
use slots::{Class, Own, Plain, Ref, Shown, Signature, Slot, Spare, Spec, Version, Visit, Visitor, class, opt};

pub use self::accept::stop_serving;
use self::by_number::WeakByNumber;
pub use self::quick_sock::{quick_recv, quick_sendall};
use self::watch::Watcher;
use crate::base_events::BaseEventLoop;
use crate::base_events::preload;
use crate::events::LoopCore;
use crate::log::logger;
use crate::{exceptions, face, library};

/// The token of the waker's events; descriptors' tokens carry a generation that does not get there.
const WAKER_TOKEN: u64 = u64::MAX;

/// The interest table as a field.
#[derive(Default)]
pub struct InterestTable(RefCell<Option<Interests<Watcher>>>);

impl Visit for InterestTable {
    fn visit(&self, visitor: &Visitor) {
        if let Ok(table) = self.0.try_borrow() {
            for listeners in table.iter().flat_map(|t| t.iter()) {
                listeners.reader.into_iter().chain(listeners.writer).for_each(|w| w.visit(visitor));
            }
        }
    }
    fn clear(&self) {
        let table = self.0.borrow_mut().take();
        drop(table);
    }
}

/// Called when the pair or the selectors object of a loop is made.
pub type PairMade = fn(&Ref<'_, BaseSelectorEventLoop>) -> PyResult<()>;

class! {
    /// A loop on a readiness poller.
    pub struct BaseSelectorEventLoop: BaseEventLoop {
        interests: InterestTable,
        poller: Plain<RefCell<Option<Rc<Poller>>>>,
        waker: Plain<RefCell<Option<Rc<Waker>>>>,
        /// The sockets that wake the loop in the waker's place, once Python code has asked for them.
        ssock: Slot,
        csock: Slot,
        has_pair: Cell<bool>,
        /// What a derived class does when the pair or the selectors object is made.
        pub(crate) pair_made: Plain<Cell<Option<PairMade>>>,
        events: Plain<RefCell<Option<Events>>>,
        courtesy: Plain<RefCell<Option<Courtesy>>>,
        /// Where received bytes stand until a bytes object is made of them.
        pub(crate) scratch: Plain<RefCell<Vec<u8>>>,
        /// Where encrypted bytes stand until they are sent.
        pub(crate) sealed: Plain<RefCell<Vec<u8>>>,
        /// As much memory that Python code can read too; made when a connection under TLS reads.
        pub(crate) shown: Plain<RefCell<Option<Rc<Shown>>>>,
        /// The bytes that a protocol was given last, for the next.
        pub(crate) spare: Plain<Spare>,
        /// The class of plain sockets, as it was found to be.
        plain_socket: Cell<Version>,
        /// Which socket object was last watched as a guest under a number.
        guests: WeakByNumber,
        /// The selectors object, if there is one.
        selector: Slot,
        /// Who uses which descriptor; once somebody has looked at `_transports`, the dictionary that he saw.
        users: WeakByNumber,
        transports: Slot,
        /// How many descriptors wake the loop: 1, or what a derived class with wakers of its own counts.
        internal_fds: Cell<i64>,
        /// Turns since the poller was last looked at.
        quiet_turns: Cell<u32>,
        /// How many of the descriptors that are watched bring nothing but signals: a loop that is busy looks at them less often.
        pub(crate) signals_watched: Cell<usize>,
        /// A signal has come since the last look, or may have: each run begins with a look.
        pub(crate) signal_seen: Cell<bool>,
        /// Whether the last turn's look at the poller brought something.
        hunch: Cell<Hunch>,
        /// How many events the next turn takes, and how many bytes the transports have read since the last look.
        portion: Cell<Portion>,
        pub(crate) bytes_read: Cell<usize>,
        /// How many entries the last batch had, and how many of them did nothing but feed what somebody waits for.
        last_batch: Cell<usize>,
        fed: Cell<usize>,
        /// Whether the last turn has looked, and nothing was left over by the look itself.
        told_all: Cell<bool>,
    }
}

impl BaseSelectorEventLoop {
    /// `object` as a loop on a poller.
    pub fn of<'a, 'py>(object: &'a Bound<'py, PyAny>) -> Option<&'a Ref<'py, BaseSelectorEventLoop>> {
        Ref::<BaseSelectorEventLoop>::cast(object)
    }

    /// An entry has done nothing but take all that a descriptor had, give it to a reader of ours, and have its waiter woken.
    #[inline]
    pub(crate) fn note_fed(&self) {
        self.fed.set(self.fed.get() + 1);
    }

    /// The loop's memory for bytes that are received, `size` bytes of it.
    #[inline]
    pub(crate) fn scratch(&self, size: usize) -> RefMut<'_, [u8]> {
        RefMut::map(self.scratch.borrow_mut(), |memory| {
            if memory.len() < size {
                memory.resize(size, 0);
            }
            &mut memory[..size]
        })
    }

    /// Bytes that a protocol has been given and may have let go of.
    #[inline]
    pub fn keep_spare(event_loop: &Bound<'_, PyAny>, bytes: Bound<'_, PyBytes>) {
        if let Some(this) = BaseSelectorEventLoop::of(event_loop) {
            this.spare.keep(bytes);
        }
    }

    /// What `BaseSelectorEventLoop.__init__` does.
    pub fn initialize(this: &Ref<'_, BaseSelectorEventLoop>, selector: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let py = this.py();
        let failed = |error| exceptions::os_error(py, error);
        preload::for_small_stacks(py)?;
        BaseEventLoop::initialize(this.base())?;
        match selector {
            Some(selector) => this.selector.set(selector.clone()),
            None => {
                let poller = Poller::new().map_err(failed)?;
                *this.poller.borrow_mut() = Some(Rc::new(poller));
                // A second __init__ forgets what was watched; what that drops may run anything.
                drop(this.interests.0.replace(Some(Interests::new())));
                *this.events.borrow_mut() = Some(Events::new());
                let now = engine::clock::Clock::now(&engine::clock::Monotonic);
                *this.courtesy.borrow_mut() = Some(Courtesy::new(now));
                this.turn.set(Some(turn::turn));
            }
        }
        // Before logging is loaded nobody can have asked to see such records, and loading it takes half of a start.
        let logging = || library(py, "sys")?.getattr(intern!(py, "modules"))?.contains(intern!(py, "logging"));
        if this.debug.get() || logging()? {
            let name = match selector {
                Some(selector) => selector.get_type().name()?.to_string(),
                None => "EpollSelector".to_owned(),
            };
            let logger = logger(py, "selector_events")?;
            logger.log("debug", ("Using selector: %s", name))?;
        }
        this.any().call_method0(intern!(py, "_make_self_pipe"))?;
        BaseSelectorEventLoop::expose_overridden(this)
    }

    /// In a forked child: a poller of its own, in place of the one that the parent goes on to use.
    fn renew_poller(this: &Ref<'_, BaseSelectorEventLoop>) -> PyResult<Rc<Poller>> {
        let poller = Rc::new(Poller::new().map_err(|error| exceptions::os_error(this.py(), error))?);
        let inherited = this.poller.borrow_mut().replace(poller.clone());
        drop(inherited);
        Ok(poller)
    }

    /// Whether the loop waits on its own poller.
    pub fn has_own_poller(&self) -> bool {
        self.poller.borrow().is_some()
    }

    /// Whether the loop waits on a selectors object.
    pub fn has_selector(&self) -> bool {
        self.selector.is_set()
    }

    /// The socket that wakes the loop, if Python code has asked for it.
    pub fn real_csock<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        if self.has_pair.get() { self.csock.get(py) } else { None }
    }

    /// The selectors object, made now if the loop had its own poller until now.
    fn expose_selector<'py>(this: &Ref<'py, BaseSelectorEventLoop>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = this.py();
        if this.selector.is_set() || this.poller.borrow().is_none() {
            return Ok(this.selector.get(py));
        }
        let selector = face(py, "selector_events")?
            .getattr(intern!(py, "selectors"))?
            .call_method0(intern!(py, "DefaultSelector"))?;
        let table = this.interests.0.borrow_mut().take();
        let mut registrations = Vec::new();
        if let Some(table) = &table {
            for listeners in table.iter() {
                let one = |w: Option<&Watcher>| w.map(|w| (w.object.clone_ref(py), w.kind));
                let files = [listeners.reader, listeners.writer].into_iter().flatten();
                let file = files.filter_map(|w| w.file.as_ref()).next().map(|file| file.bind(py).clone());
                registrations.push((listeners.fd, file, one(listeners.reader), one(listeners.writer)));
            }
        }
        let poller = this.poller.borrow_mut().take();
        this.turn.set(None);
        this.selector.set(selector.clone());
        for (fd, file, reader, writer) in registrations {
            let handle = |watcher: Option<(Own, Option<&'static crate::events::Kind>)>| -> PyResult<Bound<'py, PyAny>> {
                match watcher {
                    None => Ok(py.None().into_bound(py)),
                    Some((object, kind)) => {
                        crate::events::Entry { object, argument: None, kind }.into_handle(py, this.base().base())
                    }
                }
            };
            let mask = i32::from(reader.is_some()) | i32::from(writer.is_some()) << 1;
            let data = (handle(reader)?, handle(writer)?);
            let is_open = |file: &Bound<'_, PyAny>| watch::number(file).is_ok_and(|n| n.eq(fd).unwrap_or(false));
            match file.filter(is_open) {
                Some(file) => selector.call_method1(intern!(py, "register"), (file, mask, data))?,
                None => selector.call_method1(intern!(py, "register"), (fd, mask, data))?,
            };
        }
        drop((table, poller));
        if this.has_pair.get() {
            BaseSelectorEventLoop::tell_pair_made(this)?;
        } else {
            BaseSelectorEventLoop::expose_self_pipe(this)?;
        }
        Ok(Some(selector))
    }

    /// `_transports`: descriptors of live transports, as a dictionary from the first look on.
    pub fn transports<'py>(this: &Ref<'py, BaseSelectorEventLoop>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        if let Some(dict) = this.transports.get(py) {
            return Ok(dict);
        }
        let dict = library(py, "weakref")?.getattr(intern!(py, "WeakValueDictionary"))?.call0()?;
        for (fd, transport) in this.users.take(py) {
            dict.set_item(fd, transport)?;
        }
        this.transports.set(dict.clone());
        Ok(dict)
    }

    /// Notes that a transport uses a descriptor.
    pub fn note_transport(
        this: &Ref<'_, BaseSelectorEventLoop>,
        fd: RawFd,
        transport: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        match this.transports.get(this.py()) {
            Some(dict) => dict.set_item(fd, transport),
            None if WeakByNumber::has_place(fd) => this.users.put(fd, transport).map(drop),
            None => BaseSelectorEventLoop::transports(this)?.set_item(fd, transport),
        }
    }

    /// The transport that uses a descriptor, or did last.
    fn transport_of<'py>(this: &Ref<'py, BaseSelectorEventLoop>, fd: RawFd) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = this.py();
        match this.transports.get(py) {
            Some(dict) => Ok(Some(dict.call_method1(intern!(py, "get"), (fd,))?).filter(|found| !found.is_none())),
            None => Ok(this.users.get(py, fd)),
        }
    }

    /// What `BaseSelectorEventLoop.close` does.
    pub fn close(this: &Ref<'_, BaseSelectorEventLoop>) -> PyResult<()> {
        let py = this.py();
        if this.any().call_method0(intern!(py, "is_running"))?.is_truthy()? {
            return Err(PyRuntimeError::new_err("Cannot close a running event loop"));
        }
        if this.any().call_method0(intern!(py, "is_closed"))?.is_truthy()? {
            return Ok(());
        }
        this.any().call_method0(intern!(py, "_close_self_pipe"))?;
        BaseEventLoop::close(this.base())?;
        let listeners = this.interests.0.borrow_mut().take();
        let poller = this.poller.borrow_mut().take();
        drop((listeners, poller));
        if let Some(selector) = this.selector.take(py) {
            selector.call_method0(intern!(py, "close"))?;
        }
        Ok(())
    }
}

impl Class for BaseSelectorEventLoop {
    const NAME: &'static std::ffi::CStr = c"rasyncio.selector_events._BaseSelectorEventLoop";
    const DOC: &'static std::ffi::CStr =
        c"_BaseSelectorEventLoop(selector=None)\n--\n\nThe native half of BaseSelectorEventLoop.";
    const DICT: bool = true;
    const FINALIZER: bool = true;

    fn wants_finalizer(&self) -> bool {
        self.base.wants_finalizer()
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        BaseEventLoop::finalize(this.base())
    }

    fn define(spec: &mut Spec<Self>) {
        spec.init(|this, args| {
            const SIGNATURE: Signature<1> = Signature::method("BaseSelectorEventLoop.__init__", [opt("selector")]);
            let [selector] = args.parse(&SIGNATURE)?;
            BaseSelectorEventLoop::initialize(this, selector.filter(|s| !s.is_none()))
        })
        .method0(
            c"close",
            c"close($self, /)\n--\n\nClose the loop, its poller and its waker. It must not be running.",
            BaseSelectorEventLoop::close,
        )
        .get_set(
            c"_selector",
            c"The selectors object that the loop waits on; made when it is first looked at.",
            |this| Ok(BaseSelectorEventLoop::expose_selector(this)?.map(Own::new)),
            |this, value| {
                BaseSelectorEventLoop::expose_selector(this)?;
                match value.filter(|v| !v.is_none()) {
                    Some(selector) => this.selector.set(selector.clone()),
                    None => this.selector.unset(),
                }
                Ok(())
            },
        )
        .get_set(
            c"_internal_fds",
            c"",
            |this| Ok(this.internal_fds.get()),
            |this, value| value.map_or(Ok(()), |v| v.extract().map(|v| this.internal_fds.set(v))),
        )
        .get_set(
            c"_transports",
            c"",
            |this| Ok(Own::new(BaseSelectorEventLoop::transports(this)?)),
            |this, value| {
                if let Some(v) = value {
                    this.transports.set(v.clone())
                }
                Ok(())
            },
        );
        self_pipe::define(spec);
        sendfile::define(spec);
        sock::define(spec);
        accept::define(spec);
        datagram::define(spec);
        watch::define(spec);
    }
}

/// The core of a loop on a poller.
pub fn core<'a, 'py>(this: &'a Ref<'py, BaseSelectorEventLoop>) -> &'a Ref<'py, LoopCore> {
    this.base().base()
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<BaseSelectorEventLoop>(module)?;
    by_class::add(module)?;
    slots::add_class::<transport::SocketTransport>(module)?;
    slots::add_class::<datagram::DatagramTransport>(module)
}
