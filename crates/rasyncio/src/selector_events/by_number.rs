//! [`WeakByNumber`]: objects by descriptor, which it keeps nobody alive for.
//!
//! Fields of a loop: which transport uses a descriptor (asyncio's `_transports`), and which socket object was last watched as a
//! guest under it (`watch::add_guest`).
//!
//! Invariants: no borrow is open while an object is dropped. What died is found dead, and never mistaken for an object
//! that came to its address: the weak references are held, so theirs are not used again.

use std::cell::RefCell;
use std::os::fd::RawFd;

use pyo3::prelude::*;
use pyo3::types::{PyWeakref, PyWeakrefMethods, PyWeakrefReference};
use slots::{Own, Visit, Visitor};

/// No table is made for higher numbers: the system gives the lowest that are free, but anybody can say anything.
const MOST: usize = 1 << 20;

/// Weak references by descriptor.
#[derive(Default)]
pub struct WeakByNumber(RefCell<Vec<Option<Own>>>);

impl Visit for WeakByNumber {
    fn visit(&self, visitor: &Visitor) {
        if let Ok(all) = self.0.try_borrow() {
            all.iter().flatten().for_each(|reference| reference.visit(visitor));
        }
    }
    fn clear(&self) {
        let all = self.0.take();
        drop(all);
    }
}

fn alive<'py>(reference: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    reference.cast::<PyWeakref>().ok()?.upgrade()
}

impl WeakByNumber {
    /// Whether there is a place for this number.
    pub fn has_place(fd: RawFd) -> bool {
        usize::try_from(fd).is_ok_and(|index| index < MOST)
    }

    /// Puts an object under a number, if there is a place for it; answers whether it was there already.
    pub fn put(&self, fd: RawFd, object: &Bound<'_, PyAny>) -> PyResult<bool> {
        if !WeakByNumber::has_place(fd) {
            return Ok(false);
        }
        let reference = PyWeakrefReference::new(object)?;
        let index = fd as usize;
        let replaced = {
            let mut all = self.0.borrow_mut();
            if all.len() <= index {
                all.resize_with(index + 1, || None);
            }
            match &all[index] {
                Some(last) if last.bind(object.py()).is(&reference) => return Ok(true),
                _ => all[index].replace(Own::new(reference.into_any())),
            }
        };
        drop(replaced);
        Ok(false)
    }

    /// The object under a number, if it is alive.
    pub fn get<'py>(&self, py: Python<'py>, fd: RawFd) -> Option<Bound<'py, PyAny>> {
        let index = usize::try_from(fd).ok()?;
        let reference = self.0.borrow().get(index)?.as_ref()?.bind(py).clone();
        alive(&reference)
    }

    /// Takes out all that are alive, with their numbers.
    pub fn take<'py>(&self, py: Python<'py>) -> Vec<(usize, Bound<'py, PyAny>)> {
        let all = self.0.take();
        let present = all.into_iter().enumerate().filter_map(|(fd, reference)| Some((fd, reference?.into_bound(py))));
        present.filter_map(|(fd, reference)| Some((fd, alive(&reference)?))).collect()
    }
}
