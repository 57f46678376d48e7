//! [`Registry`]: a weak list of native objects, entered and left in a few instructions.
//!
//! Called by `tasks`, whose `all_tasks()` has to know every task that is alive without keeping it alive. A `WeakSet` does
//! that for 300 ns a task; this does it for about five.
//!
//! An object holds a [`Registration`] as a field. Dropping it leaves the registry, which the death of the object does;
//! `leave` does it earlier. The registry holds plain addresses.
//!
//! Invariants:
//! - An address in the list belongs to an object whose `Registration`, a field of its own, says so; the memory is there until that field is
//!   dropped, which happens before the memory is given back.
//! - An object whose last reference is gone (it is on its way through `dealloc`) is never handed out.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::rc::Rc;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::class::{Native, Ref};
use crate::own::{Visit, Visitor};

#[derive(Default)]
struct List {
    places: Vec<Place>,
    free: u32,
    count: usize,
}

#[derive(Clone, Copy)]
enum Place {
    Taken(*mut ffi::PyObject),
    /// One more than the index of the next free place; 0 ends the chain.
    Free(u32),
}

/// A weak list of objects of class `T`.
pub struct Registry<T> {
    list: Rc<RefCell<List>>,
    class: PhantomData<T>,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Registry { list: Rc::default(), class: PhantomData }
    }
}

impl<T> Visit for Registry<T> {
    fn visit(&self, _: &Visitor) {}
    fn clear(&self) {}
}

/// An object's place in a [`Registry`]; a field of the object.
#[derive(Default)]
pub struct Registration {
    list: RefCell<Option<Rc<RefCell<List>>>>,
    index: Cell<u32>,
}

impl Visit for Registration {
    fn visit(&self, _: &Visitor) {}
    fn clear(&self) {}
}

impl Registration {
    /// Leaves the registry; nothing happens if the object is in none.
    #[inline]
    pub fn leave(&self) {
        if let Some(list) = self.list.borrow_mut().take() {
            let mut list = list.borrow_mut();
            let index = self.index.get();
            list.places[index as usize] = Place::Free(list.free);
            list.free = index + 1;
            list.count -= 1;
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<T: Native> Registry<T> {
    /// Enters `object`, whose own field `registration` must be (`of` picks it out of the object).
    #[inline]
    pub fn enter(&self, object: &Ref<'_, T>, of: impl Fn(&T) -> &Registration) {
        let registration = of(object);
        let offset = (&raw const *registration).addr().wrapping_sub((&raw const **object).addr());
        assert!(offset < size_of::<T>(), "a registration is a field of the object that it is for");
        registration.leave();
        let place = Place::Taken(object.any().as_ptr());
        let mut list = self.list.borrow_mut();
        let index = match list.free {
            0 => {
                list.places.push(place);
                list.places.len() as u32 - 1
            }
            free => {
                if let Place::Free(next) = list.places[free as usize - 1] {
                    list.free = next;
                }
                list.places[free as usize - 1] = place;
                free - 1
            }
        };
        list.count += 1;
        registration.index.set(index);
        *registration.list.borrow_mut() = Some(self.list.clone());
    }

    /// How many objects are entered.
    pub fn len(&self) -> usize {
        self.list.borrow().count
    }

    /// Whether no object is entered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects that are entered and alive.
    pub fn objects<'py>(&self, py: Python<'py>) -> Vec<Ref<'py, T>> {
        let list = self.list.borrow();
        let alive = list.places.iter().filter_map(|place| match place {
            // SAFETY: by the invariant the memory is there; a count of 0 means that it is dying and must not be revived.
            Place::Taken(object) if unsafe { ffi::Py_REFCNT(*object) } > 0 => Some(*object),
            _ => None,
        });
        // SAFETY: alive objects of class T, entered by `enter`; counting a reference runs no Python.
        alive.map(|o| unsafe { Ref::from_any_unchecked(Bound::from_borrowed_ptr(py, o)) }).collect()
    }
}
