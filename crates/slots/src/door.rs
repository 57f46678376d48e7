//! The one door between CPython and Rust: every function that CPython calls goes through [`enter`] or [`aside`].
//!
//! Called by the trampolines of `class`, `spec` and `send`; calls the function behind it.
//!
//! The door does three things. It tells PyO3 that the thread is attached, so that a `PyErr` dropped inside is dropped at
//! once. It turns an `Err` into a raised exception. And it stops panics: unwinding into C is undefined behaviour and an
//! abort kills the user's process for our mistake, so a panic becomes a SystemError with the panic's text and its place in the
//! source. PyO3 panics where CPython has no memory for an object; that becomes the MemoryError that it is. Whoever must undo
//! something first catches panics himself ([`caught`]).
//!
//! Nothing is printed for a panic: [`quiet_panics`] replaces the hook that would print. The standard library of Rust is linked
//! into the extension statically, so this hook is called for the extension's own panics and for no other library's.
//!
//! Telling PyO3 is three looks at thread-local state, more than the rest of a short call, and all that depends on it is when a
//! dropped `PyErr` lets go of its exception: at once, or when PyO3 is next told. So a thread that runs a loop tells it once
//! ([`stay`]) and claims to have done so, each turn anew, since of two threads with loops either may have the claim. Every
//! other call tells it at its end.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::ffi;
use pyo3::prelude::*;

/// The state of the thread that has told PyO3.
struct Claim(Cell<*mut ffi::PyThreadState>);

// SAFETY: every access is made under the GIL; the module refuses free-threaded interpreters and sub-interpreters.
unsafe impl Sync for Claim {}

static CLAIM: Claim = Claim(Cell::new(std::ptr::null_mut()));

/// A thread's stay behind the door.
pub struct Stay(*mut ffi::PyThreadState);

impl Stay {
    /// Spares the calls of this thread the telling, until the stay ends or another thread claims the same.
    #[inline]
    pub fn claim(&self) {
        CLAIM.0.set(self.0);
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if CLAIM.0.get() == self.0 {
            CLAIM.0.set(std::ptr::null_mut());
        }
    }
}

/// Runs `f`, which will call and be called much, on a thread of which PyO3 knows that it is attached.
pub fn stay<R>(_py: Python<'_>, f: impl FnOnce(&Stay) -> R) -> R {
    // SAFETY: the token proves that the thread holds the GIL, so it has a state, and the interpreter is there to attach to.
    unsafe { Python::attach_unchecked(|_| f(&Stay(ffi::PyThreadState_Get()))) }
}

/// Tells PyO3 that the thread is attached; what was dropped before is let go of.
#[cold]
fn tell() {
    // SAFETY: called at the end of `enter`, whose caller holds the GIL.
    unsafe { Python::attach_unchecked(|_| ()) }
}

/// Runs `f`; answers `failed` with the exception set if it fails or panics.
///
/// # Safety
/// The thread holds the GIL.
#[inline]
pub(crate) unsafe fn enter<R>(failed: R, f: impl FnOnce(Python<'_>) -> PyResult<R>) -> R {
    // SAFETY: the caller holds the GIL, of which the token is the proof; the thread has a state.
    unsafe {
        let answer = guarded(Python::assume_attached(), failed, f);
        if ffi::PyThreadState_Get() != CLAIM.0.get() {
            tell();
        }
        answer
    }
}

#[inline(always)]
fn guarded<R>(py: Python<'_>, failed: R, f: impl FnOnce(Python<'_>) -> PyResult<R>) -> R {
    // Making the exception is inside too: without memory that panics.
    match catch_unwind(AssertUnwindSafe(|| f(py).map_err(|error| error.restore(py)))) {
        Ok(Ok(answer)) => answer,
        Ok(Err(())) => failed,
        Err(payload) => {
            raise_panic(py, payload);
            failed
        }
    }
}

/// Runs `f`, a panic of which is an error like any other, so that the caller can undo what he has begun.
pub fn caught<R>(py: Python<'_>, f: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        raise_panic(py, payload);
        Err(PyErr::fetch(py))
    })
}

/// What PyO3's panic says where CPython returned no object, which for the objects that PyO3 makes means no memory.
const NO_OBJECT: &str = "PyObject pointer is null";

/// What the panics say that PyO3 and `Result::expect` make of a MemoryError: its debug form, or its text after PyO3's words.
const NO_MEMORY: [&str; 2] = ["PyErr { type: <class 'MemoryError'>", "Converting PyErr arguments failed: MemoryError"];

thread_local! {
    /// Where the last panic of this thread began.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on a panic prints nothing: its text and place go into the exception that it becomes.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // A thread that is about to end has no place for it any more.
        let _ = PLACE.try_with(|cell| cell.replace(place));
    }));
}

/// Runs `f` with any exception in flight put aside; for finalizers, which may run in the middle of anything.
///
/// # Safety
/// The thread holds the GIL.
pub(crate) unsafe fn aside(f: impl FnOnce(Python<'_>)) {
    // SAFETY: the caller holds the GIL. What is fetched is restored, so the exception in flight is the same afterwards.
    unsafe {
        let (mut kind, mut value, mut trace) = Default::default();
        fetch(&mut kind, &mut value, &mut trace);
        Python::attach_unchecked(|py| {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| f(py))) {
                raise_panic(py, payload);
                ffi::PyErr_WriteUnraisable(std::ptr::null_mut());
            }
        });
        restore(kind, value, trace);
    }
}

struct Pointer(*mut ffi::PyObject);
impl Default for Pointer {
    fn default() -> Self {
        Pointer(std::ptr::null_mut())
    }
}

#[allow(deprecated)]
unsafe fn fetch(kind: &mut Pointer, value: &mut Pointer, trace: &mut Pointer) {
    // SAFETY: three places to write to; the caller holds the GIL.
    unsafe { ffi::PyErr_Fetch(&mut kind.0, &mut value.0, &mut trace.0) }
}

#[allow(deprecated)]
unsafe fn restore(kind: Pointer, value: Pointer, trace: Pointer) {
    // SAFETY: gives back what `fetch` handed out; the caller holds the GIL.
    unsafe { ffi::PyErr_Restore(kind.0, value.0, trace.0) }
}

/// Raises the exception that stands for a panic; with nothing of PyO3's, which may panic again.
#[cold]
fn raise_panic(_py: Python<'_>, payload: Box<dyn Any + Send>) {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let place = PLACE.try_with(|cell| std::mem::take(&mut *cell.borrow_mut())).unwrap_or_default();
    if text == NO_OBJECT || NO_MEMORY.iter().any(|words| text.contains(words)) {
        // SAFETY: the token proves that the GIL is held. The exception is one that was made at the interpreter's start.
        unsafe { ffi::PyErr_NoMemory() };
        return;
    }
    let place = if place.is_empty() { place } else { format!(" (at {place})") };
    let text = format!("internal error, please report it: {text}{place}").replace('\0', "\\0");
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: the token proves that the GIL is held; a C string. An exception that the panic left set is replaced.
    unsafe { ffi::PyErr_SetString(ffi::PyExc_SystemError, text.as_ptr()) };
}
