//! What CPython's native objects have at the front of their data: whether a socket object still has its descriptor, without a call.
//!
//! Called by transports before each system call on a descriptor: a socket that was closed or detached behind the transport's
//! back must not have it write to whoever got the number next.
//!
//! CPython's socket objects keep the number at the front of their data. That is a fact about an implementation, so a
//! transport first asks whether the number is there ([`front_number`] is what `fileno()` answers), and calls `fileno()`
//! each time if it is not.

use std::ffi::c_int;
use std::mem::size_of;

use pyo3::ffi;
use pyo3::prelude::*;

/// The number at the front of an object's own data, whatever it means; None where there is no room for one.
#[inline]
pub fn front_number(object: &Bound<'_, PyAny>) -> Option<c_int> {
    front_numbers(object).map(|[number]| number)
}

/// The first `N` numbers of an object's own data: of a socket the descriptor, the family, the type and the protocol.
#[inline]
pub fn front_numbers<const N: usize>(object: &Bound<'_, PyAny>) -> Option<[c_int; N]> {
    const FRONT: usize = size_of::<ffi::PyObject>();
    // SAFETY: the type's basic size says how many bytes the live object has at least, all of them written at its birth;
    // the front is aligned for a pointer, and any bits are numbers. Writers hold the GIL, as the caller does.
    unsafe {
        let size = (*ffi::Py_TYPE(object.as_ptr())).tp_basicsize;
        (size >= (FRONT + size_of::<[c_int; N]>()) as ffi::Py_ssize_t)
            .then(|| object.as_ptr().byte_add(FRONT).cast::<[c_int; N]>().read())
    }
}

/// The first `N` words of an object's own data, whatever they mean; None where it has not so many.
pub(crate) fn front_words<const N: usize>(object: &Bound<'_, PyAny>) -> Option<[usize; N]> {
    const FRONT: usize = size_of::<ffi::PyObject>();
    // SAFETY: as in `front_numbers`.
    unsafe {
        let size = (*ffi::Py_TYPE(object.as_ptr())).tp_basicsize;
        (size >= (FRONT + size_of::<[usize; N]>()) as ffi::Py_ssize_t)
            .then(|| object.as_ptr().byte_add(FRONT).cast::<[usize; N]>().read())
    }
}
