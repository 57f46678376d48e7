//! What happens to a thread's Rust frames when the thread is ended in the middle of them.
//!
//! Called by the module when it is loaded, before anything else: [`guard`]. Called by the unwinder: `personality`.
//!
//! CPython before 3.14 ends a daemon thread that wants the GIL while the interpreter finalizes by `pthread_exit`. glibc unwinds
//! the thread's stack then, frame by frame, as for an exception. In a Rust frame that would run the drops of what the frame
//! owns, nearly all of which are references to Python objects: without the GIL, and in frames whose calls of CPython are
//! declared never to unwind, so that the process ends with a crash instead of its exit status.
//!
//! Every frame with something to drop names a personality routine, and all frames of this shared object name the same, through
//! one pointer in its data, `DW.ref.rust_eh_personality`. [`guard`] replaces the routine behind that pointer by one that lets
//! no drop run:
//!
//! - while the interpreter finalizes, the thread stops for ever at the first of our frames, as CPython 3.14 stops its threads;
//! - otherwise a host program has ended the thread (`pthread_exit`, `pthread_cancel`): it passes, and what our frames own is
//!   leaked, as C frames leak it;
//! - an unwinding that is not forced is a Rust panic: the routine that was there before handles it.
//!
//! So it holds for every thread and every way in: a thread's first call, one that only frees objects, a weak reference's
//! callback. Nothing is registered for a thread, and nothing is done on the way in or out of a call. Guards around calls of
//! CPython could not do it: a drop is what must not run, and pyo3-ffi's functions, declared as `extern "C"`, have no place in
//! their callers where an unwinding could be met.
//!
//! A thread that has stopped keeps its stack, and holds nothing that the finalizing thread needs:
//! - not the GIL: CPython ends a thread where it asks for the GIL, before it has it;
//! - no borrow: no state is borrowed during a call of Python or a drop of an object (an invariant of the project), and a thread
//!   asks for the GIL nowhere else; around a wait (`Python::detach`) what is waited with is moved out of its cell;
//! - no lock of ours: the inbox's mutex is held for a push or a swap, neither of which calls Python; `OnceLock`s are filled by
//!   functions that do not let the GIL go; PyO3 drops what it has queued outside its mutex;
//! - no lock of malloc, of stdio or of the unwinder: none is held while the GIL is asked for or a personality routine runs;
//! - its levels of deallocation stay counted in `class`, where no other thread waits for them.
//!
//! The references that its frames own are never given back, so what they refer to is alive until the process ends.
//!
//! Elsewhere: CPython 3.14 ends no thread. musl's `pthread_exit` unwinds nothing, so no drop runs, as in the second case above.
//! Processors whose unwind tables do not name the routine through that pointer (32-bit ARM) are not covered.
//!
//! Differs from CPython: a host program's own `pthread_exit` out of a callback of ours while the interpreter finalizes
//! stops the thread too.

#[cfg(all(target_os = "linux", target_env = "gnu", not(target_arch = "arm")))]
mod glibc {
    use std::ffi::{c_int, c_void};
    use std::mem;
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, Ordering};

    /// A personality routine: the version of the interface, what is going on, the exception's class, the exception, the frame.
    type Personality = unsafe extern "C" fn(c_int, c_int, u64, *mut c_void, *mut c_void) -> c_int;

    /// In what is going on: the unwinding is forced.
    const FORCED: c_int = 8;
    /// The answer: this frame has nothing to do.
    const CONTINUE: c_int = 8;
    /// The answer: the unwinding cannot go on.
    const FATAL: c_int = 2;

    unsafe extern "C" {
        /// Where all frames of this shared object find their personality routine.
        #[link_name = "DW.ref.rust_eh_personality"]
        static PLACE: AtomicPtr<c_void>;

        #[cfg_attr(not(Py_3_13), link_name = "_Py_IsFinalizing")]
        fn Py_IsFinalizing() -> c_int;
    }

    /// Rust's own routine.
    static ORIGINAL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

    /// # Safety
    /// Called by the unwinder only.
    unsafe extern "C" fn personality(
        version: c_int,
        actions: c_int,
        class: u64,
        exception: *mut c_void,
        frame: *mut c_void,
    ) -> c_int {
        if actions & FORCED == 0 {
            let original = ORIGINAL.load(Ordering::Acquire);
            if original.is_null() {
                return FATAL;
            }
            // SAFETY: what stood in the place before, so a personality routine; it gets the unwinder's own arguments.
            return unsafe {
                mem::transmute::<*mut c_void, Personality>(original)(version, actions, class, exception, frame)
            };
        }
        // SAFETY: reads an atomic of the runtime; needs neither the GIL nor a thread state, and stays true when all is finalized.
        if cfg!(Py_3_14) || unsafe { Py_IsFinalizing() } == 0 {
            return CONTINUE;
        }
        loop {
            // SAFETY: always safe to call; a signal's handler may run here as on any thread.
            unsafe { libc::pause() };
        }
    }

    /// Has forced unwindings pass or stop at Rust frames without a drop. Call it before another thread can be in one.
    pub fn guard() {
        let own = personality as Personality as *mut c_void;
        // SAFETY: the compiler puts this pointer in the writable data of every shared object that has a frame with a personality
        // routine, which this one has; it is as large and as aligned as any pointer. The unwinder only reads it, in one move.
        let place = unsafe { &PLACE };
        let original = place.load(Ordering::Acquire);
        if original != own {
            ORIGINAL.store(original, Ordering::Release);
            place.store(own, Ordering::Release);
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu", not(target_arch = "arm")))]
pub use glibc::guard;

/// Nothing to do here, see above.
#[cfg(not(all(target_os = "linux", target_env = "gnu", not(target_arch = "arm"))))]
pub fn guard() {}
