//! Owned references that may stand in a native object: [`Own`], [`Slot`], [`Link`] and what the collector sees of them.
//!
//! Called by every room for its fields; calls CPython's reference counts and nothing else.
//!
//! PyO3's `Py<T>` may be dropped anywhere and therefore asks at every drop whether the thread is attached. The fields of
//! a native object are only ever touched under the GIL, so `Own` leaves the question out. It is neither `Send` nor
//! `Sync`: it cannot enter a `Python::detach` closure nor another thread, and `make check` refuses `thread_local!` and
//! statics outside this crate, which are the other ways out of the GIL.
//!
//! - [`Own`]: one strong reference. For collections (`RefCell<Vec<Own>>`) and for what crosses a function.
//! - [`Slot`]: an optional strong reference in a `Cell`: get, set, take. A value that is replaced is dropped after the
//!   new one stands, so a destructor that looks at the slot sees it whole.
//! - [`Link`]: a `Slot` whose object is known to be a native `T`.
//! - [`Visit`]: what a field tells the collector. `class!` calls it on every field; a room never writes a traverse.
//!
//! Invariant: no Python call and no drop of an object while a `RefCell` of a field is borrowed. `clear` moves the
//! content out, closes the borrow, and drops then; `visit` on a borrowed cell visits nothing, which tells the collector
//! that somebody outside holds the object: true at that moment, and safe.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::rc::Rc;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::class::{Class, Ref};

/// One strong reference to a Python object, dropped under the GIL.
#[repr(transparent)]
pub struct Own(NonNull<ffi::PyObject>, PhantomData<*mut ()>);

impl Own {
    /// Takes over the strong reference of `object`.
    #[inline]
    pub fn new(object: Bound<'_, PyAny>) -> Own {
        // SAFETY: a `Bound` is never null; `into_ptr` hands its reference to us.
        Own(unsafe { NonNull::new_unchecked(object.into_ptr()) }, PhantomData)
    }

    /// The object, for as long as `self` lives.
    #[inline]
    pub fn bind<'a, 'py>(&'a self, _py: Python<'py>) -> &'a Bound<'py, PyAny> {
        // SAFETY: `Bound` is a transparent non-null pointer like `Own`; `self` keeps the object alive for 'a.
        unsafe { &*(&raw const self.0).cast::<Bound<'py, PyAny>>() }
    }

    /// Hands the strong reference out.
    #[inline]
    pub fn into_bound(self, py: Python<'_>) -> Bound<'_, PyAny> {
        let this = ManuallyDrop::new(self);
        // SAFETY: `self` held one strong reference and, being forgotten, gives it up.
        unsafe { Bound::from_owned_ptr(py, this.0.as_ptr()) }
    }

    /// A second strong reference.
    #[inline]
    pub fn clone_ref(&self, _py: Python<'_>) -> Own {
        // SAFETY: alive, because `self` holds a reference; the GIL is held, as `_py` proves.
        unsafe { ffi::Py_INCREF(self.0.as_ptr()) };
        Own(self.0, PhantomData)
    }

    /// Whether this is the very object `other`.
    #[inline]
    pub fn is(&self, other: &Bound<'_, PyAny>) -> bool {
        self.0.as_ptr() == other.as_ptr()
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }
}

impl Drop for Own {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `Own` is not `Send` and is only dropped by code that runs under the GIL (see the header).
        unsafe { ffi::Py_DECREF(self.0.as_ptr()) };
    }
}

impl From<Bound<'_, PyAny>> for Own {
    #[inline]
    fn from(object: Bound<'_, PyAny>) -> Own {
        Own::new(object)
    }
}

/// An optional strong reference in a field of a native object.
#[derive(Default)]
pub struct Slot(Cell<Option<Own>>);

impl Slot {
    /// A slot that holds nothing.
    pub const fn empty() -> Slot {
        Slot(Cell::new(None))
    }

    /// A slot that holds `object`.
    #[inline]
    pub fn of(object: Bound<'_, PyAny>) -> Slot {
        Slot(Cell::new(Some(Own::new(object))))
    }

    #[inline]
    fn raw(&self) -> Option<NonNull<ffi::PyObject>> {
        // SAFETY: `Option<Own>` is a nullable pointer; reading it copies the address only, no reference is made, and
        // nothing else runs between the read and its use by the methods here.
        unsafe { *self.0.as_ptr().cast::<Option<NonNull<ffi::PyObject>>>() }
    }

    /// The object, if there is one, with a reference of its own.
    #[inline]
    pub fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        // SAFETY: the slot's reference keeps the object alive until ours is counted.
        self.raw().map(|p| unsafe { Bound::from_borrowed_ptr(py, p.as_ptr()) })
    }

    /// The object, or Python's None.
    #[inline]
    pub fn get_or_none<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.get(py).unwrap_or_else(|| py.None().into_bound(py))
    }

    /// Puts `object` in; the old one is dropped afterwards.
    #[inline]
    pub fn set(&self, object: Bound<'_, PyAny>) {
        drop(self.0.replace(Some(Own::new(object))));
    }

    /// Puts `object` in and hands the old one out.
    #[inline]
    pub fn replace<'py>(&self, py: Python<'py>, object: Option<Bound<'py, PyAny>>) -> Option<Bound<'py, PyAny>> {
        self.0.replace(object.map(Own::new)).map(|o| o.into_bound(py))
    }

    /// Takes the object out.
    #[inline]
    pub fn take<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.0.take().map(|o| o.into_bound(py))
    }

    /// Empties the slot.
    #[inline]
    pub fn unset(&self) {
        drop(self.0.take());
    }

    /// Whether there is an object.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.raw().is_some()
    }

    /// Whether the slot holds the very object `other`.
    #[inline]
    pub fn is(&self, other: &Bound<'_, PyAny>) -> bool {
        self.raw().is_some_and(|p| p.as_ptr() == other.as_ptr())
    }
}

/// A [`Slot`] for an object known to be a native `T`.
pub struct Link<T: Class>(Slot, PhantomData<T>);

impl<T: Class> Default for Link<T> {
    fn default() -> Self {
        Link(Slot::default(), PhantomData)
    }
}

impl<T: Class> Link<T> {
    /// A link that holds `object`.
    #[inline]
    pub fn of(object: Ref<'_, T>) -> Self {
        Link(Slot::of(object.into_any()), PhantomData)
    }

    /// The object, if there is one.
    #[inline]
    pub fn get<'py>(&self, py: Python<'py>) -> Option<Ref<'py, T>> {
        // SAFETY: `set` and `of` are the only ways in and take a `Ref<T>`.
        self.0.get(py).map(|o| unsafe { Ref::from_any_unchecked(o) })
    }

    /// Puts `object` in; the old one is dropped afterwards.
    #[inline]
    pub fn set(&self, object: Ref<'_, T>) {
        self.0.set(object.into_any());
    }

    /// Takes the object out.
    #[inline]
    pub fn take<'py>(&self, py: Python<'py>) -> Option<Ref<'py, T>> {
        // SAFETY: as in `get`.
        self.0.take(py).map(|o| unsafe { Ref::from_any_unchecked(o) })
    }

    /// Empties the link.
    #[inline]
    pub fn unset(&self) {
        self.0.unset();
    }

    /// Whether there is an object.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.0.is_set()
    }

    /// The object as any object.
    #[inline]
    pub fn any(&self) -> &Slot {
        &self.0
    }
}

/// The collector's question to a field: which objects do you hold?
pub struct Visitor {
    visit: ffi::visitproc,
    arg: *mut c_void,
    answer: Cell<c_int>,
}

impl Visitor {
    pub(crate) fn new(visit: ffi::visitproc, arg: *mut c_void) -> Visitor {
        Visitor { visit, arg, answer: Cell::new(0) }
    }

    pub(crate) fn answer(&self) -> c_int {
        self.answer.get()
    }

    pub(crate) fn object(&self, object: *mut ffi::PyObject) {
        if self.answer.get() == 0 && !object.is_null() {
            // SAFETY: `visit` and `arg` are the collector's own pair, handed to tp_traverse; `object` is alive, as a
            // field of an object under traversal holds it.
            self.answer.set(unsafe { (self.visit)(object, self.arg) });
        }
    }
}

/// What a field tells the collector, and how it lets go.
///
/// Written once for each kind of field here; a room implements it for an enum or struct of its own by calling it on the
/// parts. A part that is left out can keep a cycle alive; it cannot make anything unsound.
pub trait Visit {
    /// Shows every object that is held.
    fn visit(&self, visitor: &Visitor);
    /// Lets go of every object, leaving an empty but valid value.
    fn clear(&self);
}

impl Visit for Own {
    fn visit(&self, visitor: &Visitor) {
        visitor.object(self.as_ptr());
    }
    fn clear(&self) {}
}

impl Visit for Py<PyAny> {
    fn visit(&self, visitor: &Visitor) {
        visitor.object(self.as_ptr());
    }
    fn clear(&self) {}
}

impl Visit for Slot {
    fn visit(&self, visitor: &Visitor) {
        if let Some(p) = self.raw() {
            visitor.object(p.as_ptr());
        }
    }
    fn clear(&self) {
        self.unset();
    }
}

impl<T: Class> Visit for Link<T> {
    fn visit(&self, visitor: &Visitor) {
        self.0.visit(visitor);
    }
    fn clear(&self) {
        self.0.unset();
    }
}

impl<C: Visit + Default> Visit for RefCell<C> {
    fn visit(&self, visitor: &Visitor) {
        if let Ok(content) = self.try_borrow() {
            content.visit(visitor);
        }
    }
    fn clear(&self) {
        let content = self.try_borrow_mut().map(|mut c| std::mem::take(&mut *c));
        drop(content);
    }
}

impl<C: Visit> Visit for Option<C> {
    fn visit(&self, visitor: &Visitor) {
        if let Some(content) = self {
            content.visit(visitor);
        }
    }
    fn clear(&self) {
        if let Some(content) = self {
            content.clear();
        }
    }
}

macro_rules! visit_elements {
    ($($container:ident),*) => {$(
        impl<C: Visit> Visit for $container<C> {
            fn visit(&self, visitor: &Visitor) {
                self.iter().for_each(|c| c.visit(visitor));
            }
            fn clear(&self) {
                self.iter().for_each(|c| c.clear());
            }
        }
    )*};
}
visit_elements!(Vec, VecDeque);

impl<K, V: Visit> Visit for HashMap<K, V> {
    fn visit(&self, visitor: &Visitor) {
        self.values().for_each(|c| c.visit(visitor));
    }
    fn clear(&self) {
        self.values().for_each(|c| c.clear());
    }
}

impl<A: Visit, B: Visit> Visit for (A, B) {
    fn visit(&self, visitor: &Visitor) {
        self.0.visit(visitor);
        self.1.visit(visitor);
    }
    fn clear(&self) {
        self.0.clear();
        self.1.clear();
    }
}

/// Shared Rust state: visited only by an owner that is alone with it, since each visit counts one reference.
impl<C: Visit> Visit for Rc<C> {
    fn visit(&self, visitor: &Visitor) {
        if Rc::strong_count(self) == 1 {
            (**self).visit(visitor);
        }
    }
    fn clear(&self) {
        (**self).clear();
    }
}

impl<T: Copy> Visit for Cell<T> {
    fn visit(&self, _: &Visitor) {}
    fn clear(&self) {}
}

impl<T> Visit for PhantomData<T> {
    fn visit(&self, _: &Visitor) {}
    fn clear(&self) {}
}

/// A field that holds no Python object.
#[derive(Default)]
pub struct Plain<T>(pub T);

impl<T> std::ops::Deref for Plain<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> std::ops::DerefMut for Plain<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Visit for Plain<T> {
    fn visit(&self, _: &Visitor) {}
    fn clear(&self) {}
}

/// Borrows what a C array of object pointers holds.
///
/// # Safety
/// `ptr` points to `len` non-null objects that stay alive, and in place, for 'a.
pub(crate) unsafe fn borrowed<'a, 'py>(
    _py: Python<'py>,
    ptr: *const *mut ffi::PyObject,
    len: usize,
) -> &'a [Bound<'py, PyAny>] {
    const { assert!(size_of::<Bound<'_, PyAny>>() == size_of::<*mut ffi::PyObject>()) };
    if len == 0 {
        return &[];
    }
    // SAFETY: `Bound` is a transparent non-null object pointer, and behind a shared reference it is never dropped; the
    // caller vouches for the array.
    unsafe { std::slice::from_raw_parts(ptr.cast(), len) }
}
