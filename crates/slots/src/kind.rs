//! Questions to type objects: has this class changed since I last looked?
//!
//! Called by rooms that take a straight path as long as nobody overrides or patches a method (`base_events`, `tasks`).
//!
//! CPython gives every type a version tag that changes when the type, or one it derives from, is modified. A room looks
//! the methods up once, notes the [`Version`], and from then on compares two words. That notices subclasses, assignments
//! to a class after the fact and patches by `unittest.mock` alike, without a metaclass. It does not notice attributes of an
//! instance; `Spec::on_set_attribute` does.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::class::Ref;

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
        // SAFETY: the type of a live object.
        unsafe {
            let kind = ffi::Py_TYPE(object.any().as_ptr());
            kind == self.kind && self.tag != 0 && (*kind).tp_version_tag == self.tag
        }
    }
}
