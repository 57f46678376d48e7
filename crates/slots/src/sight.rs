//! Objects that the collector does not see for a while.
//!
//! Called by `events` for handles that other threads send in great numbers; calls the collector's lists.
//!
//! The collector looks at every young object several times. One that is certainly alive, because only something that is alive has
//! it, need not be looked at: [`Ref::hide`] takes it out, [`Ref::show`] puts it back.
//!
//! States: seen -> hidden -> seen. A hidden object is freed like any other when its last reference goes.
//!
//! Invariant: what a hidden object refers to is held for certain, so a circle through it is never collected. Whoever hides one shows it
//! before somebody else can have it ([`Ref::is_sole`]), and when what holds it may itself become garbage.

use pyo3::ffi;

use crate::class::Ref;

impl<T> Ref<'_, T> {
    /// Takes the object out of the collector's sight until `show`: for one that is kept alive by something that lives anyhow.
    /// Whatever it refers to is then held for certain, so it is to be shown as soon as somebody else may have it.
    #[inline]
    pub fn hide(&self) {
        // SAFETY: a live object with a collector's head, as every native class has; an untracked one is left as it is.
        unsafe { ffi::PyObject_GC_UnTrack(self.any().as_ptr().cast()) };
    }

    /// Ends `hide`.
    #[inline]
    pub fn show(&self) {
        // SAFETY: as in `hide`; an object is tracked once only.
        unsafe {
            if ffi::PyObject_GC_IsTracked(self.any().as_ptr()) == 0 {
                ffi::PyObject_GC_Track(self.any().as_ptr().cast());
            }
        }
    }

    /// Whether the object is known to nobody but the owner of one reference.
    #[inline]
    pub fn is_sole(&self) -> bool {
        // SAFETY: a live object; its count is read under the GIL.
        unsafe { ffi::Py_REFCNT(self.any().as_ptr()) == 1 }
    }
}
