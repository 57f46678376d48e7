//! Questions to type objects: has this class changed since I last looked?
//!
//! Called by rooms that take a straight path as long as nobody overrides or patches a method (`base_events`, `tasks`).
//!
//! CPython gives every type a version tag that changes when the type, or one it derives from, is modified. A room looks
//! the methods up once, notes the [`Version`], and from then on compares two words. That notices subclasses, assignments
//! to a class after the fact and patches by `unittest.mock` alike, without a metaclass. It does not notice attributes of an
//! instance; `Spec::on_set_attribute` does.

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr;

use pyo3::exceptions::PyRecursionError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::class::Ref;
use crate::depth::recursion;

/// A type and the version of its attributes; the default is equal to none.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    kind: *mut ffi::PyTypeObject,
    tag: u32,
}

impl Default for Version {
    fn default() -> Self {
        Version { kind: ptr::null_mut(), tag: 0 }
    }
}

impl Version {
    /// The present version of `object`'s class. Look the attributes up first: a class that was never asked for an attribute
    /// since its last change has no version.
    pub fn of(object: &Bound<'_, PyAny>) -> Version {
        // SAFETY: the type of a live object.
        unsafe {
            let kind = ffi::Py_TYPE(object.as_ptr());
            Version { kind, tag: (*kind).tp_version_tag }
        }
    }

    /// Whether `object` is of the same class and that class has not changed.
    #[inline]
    pub fn is_of<T>(&self, object: &Ref<'_, T>) -> bool {
        self.is_of_any(object.any())
    }

    /// As [`Version::is_of`], for objects of any kind.
    #[inline]
    pub fn is_of_any(&self, object: &Bound<'_, PyAny>) -> bool {
        // SAFETY: the type of a live object.
        unsafe {
            let kind = ffi::Py_TYPE(object.as_ptr());
            kind == self.kind && self.tag != 0 && (*kind).tp_version_tag == self.tag
        }
    }
}

thread_local! {
    /// How many reprs are being written inside each other on this thread.
    static REPRS: Cell<c_int> = const { Cell::new(0) };
}

/// Runs `f` to write the repr of `object`, or answers `...` if that is being written already further out.
///
/// A repr in a repr counts for three levels of recursion, as one that is written in Python: a chain of a thousand objects
/// that show each other would make a text of a megabyte for each of them. RecursionError then.
pub fn recursive_repr(object: &Bound<'_, PyAny>, f: impl FnOnce() -> PyResult<String>) -> PyResult<String> {
    struct Leave<'a, 'py>(&'a Bound<'py, PyAny>);
    impl Drop for Leave<'_, '_> {
        fn drop(&mut self) {
            REPRS.set(REPRS.get() - 1);
            // SAFETY: pairs with the enter below, on the same live object.
            unsafe { ffi::Py_ReprLeave(self.0.as_ptr()) }
        }
    }
    // SAFETY: reads a number; the GIL is held.
    if REPRS.get() >= unsafe { ffi::Py_GetRecursionLimit() } / 3 {
        let text = "maximum recursion depth exceeded while getting the repr of an object";
        return Err(PyRecursionError::new_err(text));
    }
    // SAFETY: a live object, under the GIL.
    match unsafe { ffi::Py_ReprEnter(object.as_ptr()) } {
        0 => {
            REPRS.set(REPRS.get() + 1);
            let _leave = Leave(object);
            // CPython 3.12 and 3.13 count the levels of C up to a limit of their own and reckon with less stack for one than a
            // repr takes here; a program may have raised the other limit.
            const PLACE: &std::ffi::CStr = c" while getting the repr of an object";
            let py = object.py();
            recursion(py, PLACE, f)
        }
        1.. => Ok("...".to_owned()),
        _ => Err(PyErr::fetch(object.py())),
    }
}

/// Whether `object` is a coroutine object made by an `async def`, or by a native room.
#[inline]
pub fn is_exact_coroutine(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a type check of a live object.
    unsafe { ffi::PyCoro_CheckExact(object.as_ptr()) != 0 || Ref::<crate::Coroutine>::cast_exact(object).is_some() }
}

/// Whether `object` is a generator that a function written in Python has made.
pub fn is_generator(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a type check of a live object.
    unsafe { ffi::PyGen_CheckExact(object.as_ptr()) != 0 }
}

/// The Python that this was built for: its major and minor version. An extension module works with no other.
pub const VERSION: (u8, u8) = (
    3,
    if cfg!(Py_3_15) {
        15
    } else if cfg!(Py_3_14) {
        14
    } else if cfg!(Py_3_13) {
        13
    } else if cfg!(Py_3_12) {
        12
    } else {
        11
    },
);
