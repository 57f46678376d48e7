//! Native classes: Rust data behind a CPython type made by `PyType_FromSpec`.
//!
//! Called by rooms through [`class!`], [`Class`] and [`Ref`]; calls CPython's allocator, collector and finalizer.
//!
//! An object is `[PyObject][dict][weak list][data]`; `data` is the room's struct, written the moment the memory exists
//! (`Default`, or the value given to [`Ref::create`]), so no code ever sees it unset, whatever a Python subclass leaves
//! out. Room code gets `&T` only: state is in `Cell`s, `Slot`s and `RefCell`s, and the GIL orders the accesses.
//!
//! Life of an object:
//! - born by a Python call (`tp_new`), or from Rust (`Ref::create`), there from the free list where the class has one;
//! - tracked by the collector, `traverse` showing every field, `clear` emptying them;
//! - at its last reference: the finalizer runs if the class wants it (it may resurrect), the collector forgets the
//!   object, weak references are cleared, the data is dropped in place, and the memory goes to the free list or back.
//!
//! Invariants:
//! - A free list holds objects of exactly its type, with refcount 1, untracked, data dropped, dict and weak list null.
//! - An object that the collector has finalized never goes to a free list (its header remembers the finalization).
//! - Deallocation nests at most `DEPTH` levels; what is deeper waits in a queue that the deepest levels empty, so
//!   a chain of 100,000 futures frees without a deep stack. CPython's own trashcan does the same for its types.
//! - A derived class has its base's data as first field (`class!` makes it so), so a `Ref<Task>` is a `Ref<Future>`.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::mem::{offset_of, size_of};
use std::ops::Deref;
use std::ptr;

use pyo3::prelude::*;
use pyo3::types::{PyModule, PyType};
use pyo3::{PyTypeInfo, ffi};

use crate::depth;
use crate::door;
use crate::own::{Visit, Visitor};
use crate::spec::Spec;

/// A class whose instances carry a Rust value.
pub trait Class: Visit + Default + Sized + 'static {
    /// The dotted name: module, then class.
    const NAME: &'static CStr;
    /// The docstring, with a `Name(args)\n--\n\n` head if it has a signature.
    const DOC: &'static CStr = c"";
    /// How many dead objects are kept for reuse.
    const FREE_LIST: usize = 0;
    /// Whether instances have a `__dict__` of their own.
    const DICT: bool = false;
    /// Whether instances can be referenced weakly.
    const WEAK: bool = true;
    /// Whether Python code may derive from it.
    const SUBCLASSABLE: bool = true;
    /// Whether attributes of the class itself are fixed, as for CPython's C classes.
    const IMMUTABLE: bool = false;
    /// Whether Python code may make instances by calling the class.
    const CALLABLE: bool = true;
    /// Whether instances are machines whose results mostly go to `await` itself, and are seldom None.
    const RETURNS: bool = false;
    /// Whether [`Class::finalize`] is to be called.
    const FINALIZER: bool = false;
    /// Whether it is methods and nothing else, for a Python class that derives from it and from one whose layout is its own.
    /// The struct has no fields, and there are no instances of the class itself.
    const BARE: bool = false;

    /// Names the methods, attributes and slots.
    fn define(spec: &mut Spec<Self>);

    /// A quick look at whether the finalizer has anything to do; if not, it is not called.
    #[inline]
    fn wants_finalizer(&self) -> bool {
        true
    }

    /// The finalizer: called at most once in an object's life, may resurrect; what it raises is reported as unraisable.
    fn finalize(_this: &Ref<'_, Self>) -> PyResult<()> {
        Ok(())
    }

    /// Whether somebody awaits it already, so that nobody else may begin to.
    #[inline]
    fn is_awaited(&self) -> bool {
        false
    }

    /// Called first when the object is deallocated: the place to leave registries. No Python may run here.
    #[inline]
    fn retire(&self) {}
}

/// What [`class!`] adds to a [`Class`].
///
/// # Safety
/// `cell` answers the same cell at each call, and no other class answers it. `Base` is `()` or the type of the first
/// field of a `repr(C)` struct.
pub unsafe trait Native: Class {
    /// The class that this one derives from, or `()`.
    type Base: BaseOf;
    /// The place of the type object.
    fn cell() -> &'static TypeCell;
}

/// A possible base: a native class, or `()` for `object`.
pub trait BaseOf {
    /// The type object to derive from.
    fn base(py: Python<'_>) -> PyResult<Option<Bound<'_, PyType>>>;
}

impl BaseOf for () {
    fn base(_: Python<'_>) -> PyResult<Option<Bound<'_, PyType>>> {
        Ok(None)
    }
}

impl<T: Native> BaseOf for T {
    fn base(py: Python<'_>) -> PyResult<Option<Bound<'_, PyType>>> {
        type_of::<T>(py).map(Some)
    }
}

/// Where a native class keeps its type object and its free list.
pub struct TypeCell {
    kind: Cell<*mut ffi::PyTypeObject>,
    /// A derived class that was met last, and its version: a class of the same address and version is the same class.
    derived: Cell<(*mut ffi::PyTypeObject, u32)>,
    free: UnsafeCell<Vec<*mut ffi::PyObject>>,
}

// SAFETY: every access is made under the GIL; the module refuses free-threaded interpreters and sub-interpreters.
unsafe impl Sync for TypeCell {}

impl TypeCell {
    /// An empty cell.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> TypeCell {
        TypeCell {
            kind: Cell::new(ptr::null_mut()),
            derived: Cell::new((ptr::null_mut(), 0)),
            free: UnsafeCell::new(Vec::new()),
        }
    }
}

impl TypeCell {
    /// Whether `own` derives from this class; remembered if it does.
    ///
    /// # Safety
    /// `own` is a live type object, and the thread holds the GIL.
    #[inline(never)]
    unsafe fn is_base_of(&self, own: *mut ffi::PyTypeObject) -> bool {
        let kind = self.kind.get();
        // SAFETY: both are live type objects; a class that does not exist yet has no derived ones.
        unsafe {
            let is = !kind.is_null() && ffi::PyType_IsSubtype(own, kind) != 0;
            if is && (*own).tp_version_tag != 0 {
                self.derived.set((own, (*own).tp_version_tag));
            }
            is
        }
    }
}

#[repr(C)]
pub(crate) struct Object<T> {
    head: ffi::PyObject,
    dict: *mut ffi::PyObject,
    weak: *mut ffi::PyObject,
    data: T,
}

impl<T> Object<T> {
    pub(crate) const DICT: usize = offset_of!(Object<T>, dict);
    pub(crate) const WEAK: usize = offset_of!(Object<T>, weak);
    const DATA: usize = offset_of!(Object<T>, data);
}

/// A strong reference to an object that is a native `T` or of a class derived from it.
#[repr(transparent)]
pub struct Ref<'py, T>(Bound<'py, PyAny>, PhantomData<T>);

impl<T> Clone for Ref<'_, T> {
    #[inline]
    fn clone(&self) -> Self {
        Ref(self.0.clone(), PhantomData)
    }
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        if const { size_of::<T>() == 0 } {
            // SAFETY: a value without size has no bytes; an object's address is aligned for it.
            return unsafe { &*self.0.as_ptr().cast::<T>() };
        }
        // SAFETY: a `Ref<T>` is only made of objects whose layout begins with `Object<T>`, data written at birth.
        unsafe { &*self.0.as_ptr().byte_add(Object::<T>::DATA).cast::<T>() }
    }
}

impl<'py, T: Native> Ref<'py, T> {
    /// A new object of exactly this class with `data` in it.
    #[inline]
    pub fn create(py: Python<'py>, data: T) -> PyResult<Ref<'py, T>> {
        if T::BARE {
            return Err(pyo3::exceptions::PySystemError::new_err("a class of methods only has no instances"));
        }
        let kind = type_ptr::<T>(py)?;
        if T::FREE_LIST > 0 {
            // SAFETY: under the GIL (`py`); no reference into the vector outlives this statement.
            let free = unsafe { (*T::cell().free.get()).pop() };
            if let Some(object) = free {
                // SAFETY: by the free list's invariant this is memory of an `Object<T>` with refcount 1 whose data was
                // dropped; writing it makes the object whole, and it is tracked only then.
                unsafe {
                    (&raw mut (*object.cast::<Object<T>>()).data).write(data);
                    ffi::PyObject_GC_Track(object.cast());
                    return Ok(Ref::from_any_unchecked(Bound::from_owned_ptr(py, object)));
                }
            }
        }
        // SAFETY: `kind` is a ready heap type of basic size `Object<T>`; the allocator zeroes the memory and tracks the
        // object, and nothing runs before the data is written.
        unsafe {
            let object = ffi::PyType_GenericAlloc(kind, 0);
            if object.is_null() {
                return Err(PyErr::fetch(py));
            }
            (&raw mut (*object.cast::<Object<T>>()).data).write(data);
            Ok(Ref::from_any_unchecked(Bound::from_owned_ptr(py, object)))
        }
    }

    /// `object` as a `T`, if it is one (or of a derived class).
    #[inline]
    pub fn cast<'a>(object: &'a Bound<'py, PyAny>) -> Option<&'a Ref<'py, T>> {
        // SAFETY: the type of a live object; versions are given once in a process's life, 0 to none, so the address and
        // the version together tell a class from one that was freed.
        let is = unsafe {
            let own = ffi::Py_TYPE(object.as_ptr());
            let cell = T::cell();
            own == cell.kind.get() || cell.derived.get() == (own, (*own).tp_version_tag) || cell.is_base_of(own)
        };
        // SAFETY: just checked; `Ref` is a transparent `Bound`.
        is.then(|| unsafe { &*ptr::from_ref(object).cast() })
    }

    /// `object` as a `T`, if it is one of exactly this class.
    #[inline]
    pub fn cast_exact<'a>(object: &'a Bound<'py, PyAny>) -> Option<&'a Ref<'py, T>> {
        // SAFETY: `Py_TYPE` of a live object; the cast is right where the type is the class's own.
        unsafe { (ffi::Py_TYPE(object.as_ptr()) == T::cell().kind.get()).then(|| &*ptr::from_ref(object).cast()) }
    }

    /// Whether the object is of exactly this class, not of one derived from it.
    #[inline]
    pub fn is_exact(&self) -> bool {
        // SAFETY: `Py_TYPE` of a live object.
        unsafe { ffi::Py_TYPE(self.0.as_ptr()) == T::cell().kind.get() }
    }
}

impl<'py, T> Ref<'py, T> {
    /// # Safety
    /// `object` is an instance of `T`'s type or of one derived from it.
    #[inline]
    pub(crate) unsafe fn from_any_unchecked(object: Bound<'py, PyAny>) -> Ref<'py, T> {
        Ref(object, PhantomData)
    }

    /// # Safety
    /// `object` points to an instance of `T`'s type or of one derived from it, alive for 'a.
    #[inline]
    pub(crate) unsafe fn from_ptr_ref<'a>(object: &'a *mut ffi::PyObject) -> &'a Ref<'py, T> {
        // SAFETY: `Ref` is a transparent non-null object pointer; the caller vouches for the rest.
        unsafe { &*ptr::from_ref(object).cast() }
    }

    /// The token that proves that the thread is attached.
    #[inline]
    pub fn py(&self) -> Python<'py> {
        self.0.py()
    }

    /// The object as any object.
    #[inline]
    pub fn any(&self) -> &Bound<'py, PyAny> {
        &self.0
    }

    /// The object as any object, by value.
    #[inline]
    pub fn into_any(self) -> Bound<'py, PyAny> {
        self.0
    }

    /// Whether both are the same object.
    #[inline]
    pub fn is(&self, other: &Bound<'py, PyAny>) -> bool {
        self.0.is(other)
    }
}

impl<'py, T: Native> Ref<'py, T>
where
    T::Base: Native,
{
    /// The object as one of its base class.
    #[inline]
    pub fn base(&self) -> &Ref<'py, T::Base> {
        // SAFETY: `Native` promises that the base's data is the first field of T's, so the layouts begin alike.
        unsafe { &*ptr::from_ref(self).cast() }
    }
}

/// The type object of `T`, made at the first call.
pub fn type_of<T: Native>(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let kind = type_ptr::<T>(py)?;
    // SAFETY: `kind` is a type object that the cell keeps alive for ever.
    unsafe { Ok(Bound::from_borrowed_ptr(py, kind.cast()).cast_into_unchecked()) }
}

#[inline]
pub(crate) fn type_ptr<T: Native>(py: Python<'_>) -> PyResult<*mut ffi::PyTypeObject> {
    let kind = T::cell().kind.get();
    if kind.is_null() { make::<T>(py) } else { Ok(kind) }
}

/// Makes the class and puts it in `module` under its own name.
pub fn add_class<T: Native>(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let kind = type_of::<T>(module.py())?;
    module.add(kind.name()?, &kind)
}

#[cold]
fn make<T: Native>(py: Python<'_>) -> PyResult<*mut ffi::PyTypeObject> {
    const { assert!(align_of::<T>() <= align_of::<*mut ffi::PyObject>()) };
    let base = <T::Base as BaseOf>::base(py)?;
    let mut spec = Spec::<T>::new();
    T::define(&mut spec);
    let mut flags = ffi::Py_TPFLAGS_DEFAULT;
    let mut size = size_of::<ffi::PyObject>();
    if T::BARE {
        const { assert!(!T::BARE || (size_of::<T>() == 0 && !T::DICT && !T::FINALIZER && T::SUBCLASSABLE)) };
    } else {
        spec.lifecycle(traverse::<T>, clear::<T>, dealloc::<T>, T::FINALIZER.then_some(finalize::<T> as _), new::<T>);
        flags |= ffi::Py_TPFLAGS_HAVE_GC;
        size = size_of::<Object<T>>();
    }
    if T::SUBCLASSABLE {
        flags |= ffi::Py_TPFLAGS_BASETYPE;
    }
    if T::IMMUTABLE {
        flags |= ffi::Py_TPFLAGS_IMMUTABLETYPE;
    }
    if !T::CALLABLE {
        flags |= ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    }
    let kind = spec.make(py, base, size as c_int, flags as std::ffi::c_uint)?;
    if T::CALLABLE && T::IMMUTABLE && spec.has_init() {
        // SAFETY: a fresh heap type that no one has called yet; the field is not inherited by derived types.
        unsafe { (*kind).tp_vectorcall = Some(spec.vectorcall()) };
    }
    if !T::IMMUTABLE {
        // A class that stands for one written in Python is called by its bare name in error texts, as those are.
        let name = T::NAME.to_bytes();
        let last = name.iter().rposition(|byte| *byte == b'.').map_or(0, |dot| dot + 1);
        // SAFETY: CPython has made a copy of the name, which the type owns; its tail is as long-lived and as terminated.
        unsafe { (*kind).tp_name = (*kind).tp_name.add(last) };
    }
    T::cell().kind.set(kind);
    Ok(kind)
}

/// # Safety
/// A `newfunc`: `kind` is `T`'s type or one derived from it.
unsafe extern "C" fn new<T: Native>(
    kind: *mut ffi::PyTypeObject,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython calls `tp_new` under the GIL.
    unsafe { door::enter(ptr::null_mut(), |py| raw_new::<T>(py, kind).map(Bound::into_ptr)) }
}

/// # Safety
/// `kind` is `T`'s type or one derived from it.
pub(crate) unsafe fn raw_new<'py, T: Native>(
    py: Python<'py>,
    kind: *mut ffi::PyTypeObject,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: `tp_alloc` of a ready type answers zeroed memory that begins with an `Object<T>`; the data is written
    // before anything else runs.
    unsafe {
        let alloc = (*kind).tp_alloc.unwrap_or(ffi::PyType_GenericAlloc);
        let object = alloc(kind, 0);
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        (&raw mut (*object.cast::<Object<T>>()).data).write(T::default());
        Ok(Bound::from_owned_ptr(py, object))
    }
}

/// # Safety
/// A `traverseproc` of `T`'s type or of one derived from it.
unsafe extern "C" fn traverse<T: Native>(object: *mut ffi::PyObject, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    let visitor = Visitor::new(visit, arg);
    // SAFETY: the collector hands a live object of the type; only addresses are read, no Python runs.
    unsafe {
        visitor.object(ffi::Py_TYPE(object).cast());
        let own = object.cast::<Object<T>>();
        visitor.object((*own).dict);
        (*own).data.visit(&visitor);
    }
    visitor.answer()
}

/// # Safety
/// An `inquiry` of `T`'s type or of one derived from it.
unsafe extern "C" fn clear<T: Native>(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: a live object of the type, under the GIL; each field is emptied before what it held is dropped.
    unsafe {
        let own = object.cast::<Object<T>>();
        (*own).data.retire();
        (*own).data.clear();
        ffi::Py_CLEAR(&raw mut (*own).dict);
    }
    0
}

/// # Safety
/// A `destructor` used as `tp_finalize`.
unsafe extern "C" fn finalize<T: Native>(object: *mut ffi::PyObject) {
    // SAFETY: a live object of the type, under the GIL; an exception in flight is put aside and brought back, since a
    // finalizer may run in the middle of anything.
    unsafe {
        let own = object.cast::<Object<T>>();
        if !(*own).data.wants_finalizer() {
            return;
        }
        door::aside(|py| {
            if let Err(error) = T::finalize(Ref::from_ptr_ref(&object)) {
                error.write_unraisable(py, Some(Ref::<T>::from_ptr_ref(&object).any()));
            }
        });
    }
}

/// How deep deallocations nest before they queue.
const DEPTH: u32 = 40;

/// So many fit on any stack; from there on they queue where the stack is short.
const SHALLOW: u32 = 4;

/// Deallocations that wait until the deepest one is through. One for the process, not for a thread: a look at thread-local
/// state would cost more than all the rest here. Another thread may run in the middle of a deallocation, when a weak
/// reference's callback lets it; then both count as nested, and what one queues the other may bury.
///
/// Every level from `SHALLOW - 1` on empties the queue when it is through. Where something is queued the level that was entered last
/// is such a level, and still there. The outermost level would not do: of a thread that never goes on (`forced_unwind`) the
/// levels stay counted, and no level would be outermost again.
struct Trashcan {
    depth: Cell<u32>,
    waiting: UnsafeCell<Vec<(*mut ffi::PyObject, ffi::destructor)>>,
}

// SAFETY: every access is made under the GIL; the module refuses free-threaded interpreters and sub-interpreters.
unsafe impl Sync for Trashcan {}

static TRASHCAN: Trashcan = Trashcan { depth: Cell::new(0), waiting: UnsafeCell::new(Vec::new()) };

/// # Safety
/// A `destructor` of `T`'s type, or called by a derived type's: the object has no references left.
unsafe extern "C" fn dealloc<T: Native>(object: *mut ffi::PyObject) {
    // SAFETY: the object is alive but unreferenced, under the GIL.
    unsafe {
        let own = object.cast::<Object<T>>();
        if T::FINALIZER && (*own).data.wants_finalizer() && ffi::PyObject_CallFinalizerFromDealloc(object) < 0 {
            return;
        }
        (*own).data.retire();
        ffi::PyObject_GC_UnTrack(object.cast());
    }
    let depth = TRASHCAN.depth.get();
    if depth >= SHALLOW && (depth >= DEPTH || depth::is_stack_short()) {
        // SAFETY: under the GIL; no reference into the vector outlives the statement.
        unsafe { (*TRASHCAN.waiting.get()).push((object, bury::<T>)) };
        return;
    }
    TRASHCAN.depth.set(depth + 1);
    // SAFETY: untracked and unreferenced; nobody else can reach the object.
    unsafe { bury::<T>(object) };
    #[cfg(Py_3_12)]
    if T::RETURNS {
        // What this lets go of may run anything, so the object is out of everybody's sight by now.
        // SAFETY: under the GIL, as every destructor.
        crate::stop::settle(unsafe { Python::assume_attached() });
    }
    if depth + 1 >= SHALLOW {
        // SAFETY: as above; the element is out of the vector before its destructor runs.
        while let Some((object, bury)) = unsafe { (*TRASHCAN.waiting.get()).pop() } {
            // SAFETY: queued by `dealloc` of its own type, untracked and unreferenced.
            unsafe { bury(object) };
        }
    }
    TRASHCAN.depth.set(TRASHCAN.depth.get() - 1);
}

/// The second half of `dealloc`.
///
/// # Safety
/// The object is untracked and unreferenced.
unsafe extern "C" fn bury<T: Native>(object: *mut ffi::PyObject) {
    // SAFETY: see above. The data is dropped exactly once; the memory then goes to one of two places.
    unsafe {
        let own = object.cast::<Object<T>>();
        if !(*own).weak.is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        ffi::Py_CLEAR(&raw mut (*own).dict);
        ptr::drop_in_place(&raw mut (*own).data);
        let kind = ffi::Py_TYPE(object);
        if T::FREE_LIST > 0 && kind == T::cell().kind.get() && ffi::PyObject_GC_IsFinalized(object) == 0 {
            let free = &mut *T::cell().free.get();
            if free.len() < T::FREE_LIST {
                ffi::Py_INCREF(object);
                free.push(object);
                return;
            }
        }
        let release = (*kind).tp_free.unwrap_or(ffi::PyObject_GC_Del);
        release(object.cast());
        ffi::Py_DECREF(kind.cast());
    }
}

/// Whether `object` is an instance of the Python class `kind`, without asking `__instancecheck__`.
#[inline]
pub fn is_of<T: PyTypeInfo>(object: &Bound<'_, PyAny>) -> bool {
    T::is_type_of(object)
}

/// Declares the data of a native class.
///
/// ```ignore
/// class! {
///     /// What it is.
///     pub struct Task: Future { coroutine: Slot, cancels: Cell<u32> }
/// }
/// ```
/// makes a `Default`, `Visit` struct whose every field the collector sees; `: Future` puts the base's data first and
/// lets the struct dereference to it. The room then writes `impl Class for Task`.
#[macro_export]
macro_rules! class {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$fmeta:meta])* $fvis:vis $field:ident : $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Default)]
        #[repr(C)]
        $vis struct $name { $($(#[$fmeta])* $fvis $field: $type),* }
        $crate::class!(@visit $name $(, $field)*);
        $crate::class!(@native $name, ());
    };
    ($(#[$meta:meta])* $vis:vis struct $name:ident : $base:ty { $($(#[$fmeta:meta])* $fvis:vis $field:ident : $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Default)]
        #[repr(C)]
        $vis struct $name { pub base: $base, $($(#[$fmeta])* $fvis $field: $type),* }
        $crate::class!(@visit $name, base $(, $field)*);
        $crate::class!(@native $name, $base);
        impl ::std::ops::Deref for $name {
            type Target = $base;
            fn deref(&self) -> &$base { &self.base }
        }
    };
    (@visit $name:ident $(, $field:ident)*) => {
        impl $crate::Visit for $name {
            fn visit(&self, _visitor: &$crate::Visitor) { $($crate::Visit::visit(&self.$field, _visitor);)* }
            fn clear(&self) { $($crate::Visit::clear(&self.$field);)* }
        }
    };
    (@native $name:ident, $base:ty) => {
        // SAFETY: the cell is a static of this expansion alone; the struct is `repr(C)` with the base as first field.
        unsafe impl $crate::Native for $name {
            type Base = $base;
            #[inline]
            fn cell() -> &'static $crate::TypeCell {
                static CELL: $crate::TypeCell = $crate::TypeCell::new();
                &CELL
            }
        }
    };
}
