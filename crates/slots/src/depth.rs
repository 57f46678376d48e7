//! How deep native code may nest: RecursionError before the C stack ends.
//!
//! Called by `send` for machines that resume machines, by `kind` for reprs in reprs, by `spec` for each native repr, hash and
//! comparison (the values that these use are the program's, and may be the very object), by `class` for objects that free objects,
//! and by rooms where one object's method calls that of the next ([`recursion`]).
//!
//! What is written in Python nests on the heap and is counted against `sys.getrecursionlimit()`. Native code nests on the C
//! stack. CPython 3.11 counts that against the same limit; what 3.12 and 3.13 count has nothing to do with the stack, and 3.14
//! looks at the stack alone, and not at ours where an error would end it. So the stack is looked at here on all versions, and chains of
//! awaits are counted too from 3.12 on.
//!
//! How large a stack is differs from thread to thread: `threading.stack_size()` allows 32 KiB. It is measured when a
//! thread first nests; from then on a look is the comparison of two addresses.
//!
//! Invariant: what is counted on the way in is counted back on every way out.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::PyRecursionError;
use pyo3::ffi;
use pyo3::prelude::*;

const PLACE: &CStr = c" while awaiting";

/// What must be left of a large stack, in bytes, for a level itself and for whatever it calls. Of a small stack it is a quarter.
const RESERVE: usize = 96 * 1024;

/// A stack on which CPython's own import of a module is not certain to fit.
const SMALL: usize = 256 * 1024;

/// How far the main thread's stack may grow until it is measured, for which the C library reads a file.
const UNMEASURED: usize = 128 * 1024;

/// What is known of a thread's stack.
struct Depth {
    /// Awaits inside each other.
    levels: Cell<u32>,
    /// Below this address the stack is short, or has to be measured.
    short: Cell<usize>,
    /// The stack's lowest address.
    floor: Cell<usize>,
    size: Cell<Option<usize>>,
}

thread_local! {
    static DEPTH: Depth = const {
        Depth { levels: Cell::new(0), short: Cell::new(usize::MAX), floor: Cell::new(0), size: Cell::new(None) }
    };
}

/// An address in the caller's frame.
#[inline(always)]
fn here() -> usize {
    let mark = 0_u8;
    std::ptr::from_ref(&mark).addr()
}

impl Depth {
    #[inline(always)]
    fn is_short(&self) -> bool {
        let here = here();
        here < self.short.get() && self.is_short_at(here)
    }

    /// The slow half: measures the stack if that has to be done. A stack of which the thread knows nothing, as programs make that switch
    /// stacks themselves, is never short.
    #[cold]
    fn is_short_at(&self, here: usize) -> bool {
        if self.size.get().is_none() {
            if self.short.get() == usize::MAX && is_main_thread() {
                self.short.set(here.saturating_sub(UNMEASURED));
                return false;
            }
            self.measure();
        }
        (self.floor.get()..self.short.get()).contains(&here)
    }

    #[cold]
    fn measure(&self) {
        let (floor, size) = stack().unwrap_or((0, 0));
        self.floor.set(floor);
        self.size.set(Some(size));
        self.short.set(floor + RESERVE.min(size / 4));
    }
}

/// Whether this thread's stack has little room left.
#[inline]
pub(crate) fn is_stack_short() -> bool {
    DEPTH.with(Depth::is_short)
}

/// Whether this thread's stack is one of the small ones that a program has to ask for.
pub fn is_stack_small() -> bool {
    DEPTH.with(|depth| {
        if depth.size.get().is_none() && !is_main_thread() {
            depth.measure();
        }
        (1..SMALL).contains(&depth.size.get().unwrap_or(0))
    })
}

/// Runs `f` on a stack of ordinary size: on another thread, for which this one waits. None where there can be no such thread.
pub fn on_a_large_stack<R: Send>(py: Python<'_>, f: impl FnOnce(Python<'_>) -> R + Send) -> Option<R> {
    const LARGE: usize = 8 << 20;
    py.detach(|| {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(LARGE).spawn_scoped(scope, || Python::try_attach(f));
            thread.ok()?.join().ok()?
        })
    })
}

#[cold]
fn too_deep(place: &CStr) -> PyErr {
    PyRecursionError::new_err(format!("maximum recursion depth exceeded{}", place.to_str().unwrap_or_default()))
}

/// Runs `f` one level deeper in the interpreter's recursion count; RecursionError with `place` in its text at the limit, and where
/// the stack is short.
#[inline]
pub fn recursion<R>(py: Python<'_>, place: &CStr, f: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    if is_stack_short() {
        return Err(too_deep(place));
    }
    counted(py, place, f)
}

#[inline]
fn counted<R>(py: Python<'_>, place: &CStr, f: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            // SAFETY: pairs with the successful enter below.
            unsafe { ffi::Py_LeaveRecursiveCall() }
        }
    }
    // SAFETY: the GIL is held, as `py` proves; a C string.
    if unsafe { ffi::Py_EnterRecursiveCall(place.as_ptr()) } != 0 {
        return Err(PyErr::fetch(py));
    }
    let _leave = Leave;
    f()
}

/// Runs `f` one level deeper in a chain of awaits.
#[inline]
pub(crate) fn deeper<R>(py: Python<'_>, f: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    let _level = Level::enter()?;
    counted(py, PLACE, f)
}

/// One await inside another; to be left on the same thread, which a raw pointer sees to.
struct Level(*const Depth);

impl Level {
    /// Levels below any limit that programs set.
    const SAFE: u32 = 64;

    #[inline]
    fn enter() -> PyResult<Level> {
        DEPTH.with(|depth| {
            let levels = depth.levels.get();
            if depth.is_short() || (levels >= Level::SAFE && is_over_limit(levels)) {
                return Err(too_deep(PLACE));
            }
            depth.levels.set(levels + 1);
            Ok(Level(depth))
        })
    }
}

impl Drop for Level {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this thread's own, as a level is not `Send`; a thread-local without a destructor is there until the thread ends.
        let depth = unsafe { &*self.0 };
        depth.levels.set(depth.levels.get() - 1);
    }
}

#[cold]
fn is_over_limit(levels: u32) -> bool {
    // SAFETY: reads a number of the interpreter's; the GIL is held by whoever resumes a machine.
    let limit = unsafe { ffi::Py_GetRecursionLimit() };
    // 3.11 counts these levels itself.
    cfg!(Py_3_12) && i64::from(levels) >= i64::from(limit)
}

#[cfg(target_os = "linux")]
fn is_main_thread() -> bool {
    // SAFETY: always safe to call.
    unsafe { libc::getpid() == libc::syscall(libc::SYS_gettid) as libc::pid_t }
}

#[cfg(not(target_os = "linux"))]
fn is_main_thread() -> bool {
    false
}

/// The lowest address of this thread's stack, and its size; None where they are not known.
#[cfg(target_os = "linux")]
fn stack() -> Option<(usize, usize)> {
    let mut low = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: the attributes are written by the first call and freed by the last; the answers go to places of ours.
    unsafe {
        let mut attributes = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
            return None;
        }
        libc::pthread_attr_getstack(&attributes, &mut low, &mut size);
        libc::pthread_attr_destroy(&mut attributes);
    }
    Some((low.addr(), size))
}

#[cfg(not(target_os = "linux"))]
fn stack() -> Option<(usize, usize)> {
    None
}
