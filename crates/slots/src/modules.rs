//! Modules by name: the loaded one, without the machinery of an import, and what is left of it when the interpreter ends.
//!
//! Called by rooms that look names up in a face or in the standard library at each use; an import statement of a loaded module
//! costs ten times as much. Calls `sys.modules`, and the import machinery where a module is not loaded.
//!
//! Finalizers run loops and write reports after CPython has emptied `sys.modules` and switched imports off. So each module
//! that is found once is kept by its namespace, and found again by that.
//!
//! States of an entry: unknown -> known (its name is interned) -> kept (its namespace is held).
//!
//! Invariant: what is held is the namespace (the dict), never the module object. CPython sets all names of a module to None
//! when the module object outlives `sys.modules`; a dict that only outlives its module keeps its names.

use std::cell::RefCell;

use pyo3::BoundObject;
use pyo3::call::PyCallArgs;
use pyo3::exceptions::{PyAttributeError, PyException};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyString};

use crate::intern;
use crate::objects::interned;
use crate::own::{Own, Visit, Visitor};

/// The names of a module: by the module that is loaded, or by what was kept of it.
pub enum Namespace<'py> {
    /// The entry in `sys.modules`, of whatever class it is.
    Loaded(Bound<'py, PyAny>),
    /// The dict of a module that is not in `sys.modules` any more.
    Kept(Bound<'py, PyDict>),
}

impl<'py> Namespace<'py> {
    fn py(&self) -> Python<'py> {
        match self {
            Namespace::Loaded(module) => module.py(),
            Namespace::Kept(names) => names.py(),
        }
    }

    /// The attribute `name`, by the module's own `__getattr__` (PEP 562) where its dict has none.
    pub fn getattr<N: IntoPyObject<'py, Target = PyString>>(&self, name: N) -> PyResult<Bound<'py, PyAny>> {
        let names = match self {
            Namespace::Loaded(module) => return module.getattr(name),
            Namespace::Kept(names) => names,
        };
        let name = name.into_pyobject(self.py()).map_err(Into::into)?;
        let name = name.as_borrowed();
        match (names.get_item(name)?, names.get_item(intern!(self.py(), "__getattr__"))?) {
            (Some(value), _) => Ok(value),
            (None, Some(getattr)) => getattr.call1((name,)),
            (None, None) => Err(PyAttributeError::new_err(format!("module has no attribute '{}'", name.str()?))),
        }
    }

    /// Calls the attribute `name` with `args`.
    pub fn call_method1<N, A>(&self, name: N, args: A) -> PyResult<Bound<'py, PyAny>>
    where
        N: IntoPyObject<'py, Target = PyString>,
        A: PyCallArgs<'py>,
    {
        self.getattr(name)?.call1(args)
    }

    /// Calls the attribute `name`.
    pub fn call_method0<N: IntoPyObject<'py, Target = PyString>>(&self, name: N) -> PyResult<Bound<'py, PyAny>> {
        self.getattr(name)?.call0()
    }

    /// Sets the attribute `name`.
    pub fn setattr<N: IntoPyObject<'py, Target = PyString>>(&self, name: N, value: &Bound<'py, PyAny>) -> PyResult<()> {
        match self {
            Namespace::Loaded(module) => module.setattr(name, value),
            Namespace::Kept(names) => {
                names.set_item(name.into_pyobject(self.py()).map_err(Into::into)?.as_borrowed(), value)
            }
        }
    }

    /// What the module's dict has under `name`; its `__getattr__` is not called.
    pub fn own<N: IntoPyObject<'py, Target = PyString>>(&self, name: N) -> PyResult<Option<Bound<'py, PyAny>>> {
        let name = name.into_pyobject(self.py()).map_err(Into::into)?;
        let name = &*name.as_borrowed();
        match self {
            Namespace::Kept(names) => names.get_item(name),
            Namespace::Loaded(module) => match module.cast::<PyModule>() {
                Ok(module) => module.dict().get_item(name),
                Err(_) => module.getattr_opt(name),
            },
        }
    }
}

struct Entry {
    package: &'static str,
    name: &'static str,
    full: Own,
    names: Option<Own>,
}

/// The modules that were asked for, and what is kept of them.
#[derive(Default)]
pub struct Modules(RefCell<Vec<Entry>>);

// A cycle through a module's namespace lives as long as the process, as modules do.
impl Visit for Modules {
    fn visit(&self, _: &Visitor) {}
    fn clear(&self) {}
}

impl Modules {
    /// The module `name` of `package` (`""` for a module of no package), if it is loaded or kept. Imports nothing.
    pub fn known<'py>(
        &self,
        py: Python<'py>,
        package: &'static str,
        name: &'static str,
    ) -> PyResult<Option<Namespace<'py>>> {
        let (full, kept) = self.entry(py, package, name)?;
        if let Some(module) = loaded(&full) {
            if kept.is_none() {
                self.keep(package, name, &module);
            }
            return Ok(Some(Namespace::Loaded(module)));
        }
        Ok(kept.map(Namespace::Kept))
    }

    /// The module `name` of `package`, imported if it is neither loaded nor kept.
    pub fn get<'py>(&self, py: Python<'py>, package: &'static str, name: &'static str) -> PyResult<Namespace<'py>> {
        if let Some(known) = self.known(py, package, name)? {
            return Ok(known);
        }
        let (full, _) = self.entry(py, package, name)?;
        let module = py.import(full)?.into_any();
        self.keep(package, name, &module);
        Ok(Namespace::Loaded(module))
    }

    /// Keeps those of these modules that are loaded; `names` are separated by spaces.
    pub fn keep_loaded(&self, py: Python<'_>, package: &'static str, names: &'static str) -> PyResult<()> {
        for name in names.split_ascii_whitespace() {
            let (full, kept) = self.entry(py, package, name)?;
            if let (None, Some(module)) = (kept, loaded(&full)) {
                self.keep(package, name, &module);
            }
        }
        Ok(())
    }

    /// What is kept of the module with this full name.
    pub fn kept<'py>(&self, name: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let py = name.py();
        let name = name.to_str()?;
        let is = |entry: &&Entry| match name.strip_suffix(entry.name) {
            Some("") => entry.package.is_empty(),
            Some(package) => package.strip_suffix('.') == Some(entry.package),
            None => false,
        };
        let names = self.0.borrow().iter().find(is).and_then(|entry| entry.names.as_ref().map(|n| n.clone_ref(py)));
        Ok(names.map(|names| names.into_bound(py).cast_into::<PyDict>()).transpose()?)
    }

    fn entry<'py>(
        &self,
        py: Python<'py>,
        package: &'static str,
        name: &'static str,
    ) -> PyResult<(Bound<'py, PyString>, Option<Bound<'py, PyDict>>)> {
        let known = self.0.borrow().iter().find(|entry| entry.name == name && entry.package == package).map(|entry| {
            (entry.full.clone_ref(py).into_bound(py), entry.names.as_ref().map(|n| n.clone_ref(py).into_bound(py)))
        });
        if let Some((full, names)) = known {
            // SAFETY: `keep` and the end of this function are the only ways in, with a dict and a str.
            return unsafe { Ok((full.cast_into_unchecked(), names.map(|names| names.cast_into_unchecked()))) };
        }
        let full = if package.is_empty() { interned(py, name)? } else { interned(py, &format!("{package}.{name}"))? };
        self.0.borrow_mut().push(Entry { package, name, full: Own::new(full.clone().into_any()), names: None });
        Ok((full, None))
    }

    fn keep(&self, package: &'static str, name: &'static str, module: &Bound<'_, PyAny>) {
        let Ok(module) = module.cast::<PyModule>() else { return };
        let names = Own::new(module.dict().into_any());
        let mut entries = self.0.borrow_mut();
        let entry = entries.iter_mut().find(|entry| entry.name == name && entry.package == package);
        let old = entry.and_then(|entry| entry.names.replace(names));
        drop(entries);
        drop(old);
    }
}

/// The module of that name, imported if it is not loaded.
pub(crate) fn module<'py>(name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
    match loaded(name) {
        Some(module) => Ok(module),
        None => name.py().import(name).map(Bound::into_any),
    }
}

/// The entry of that name in `sys.modules`, if there is one that is not None.
fn loaded<'py>(name: &Bound<'py, PyString>) -> Option<Bound<'py, PyAny>> {
    let py = name.py();
    // SAFETY: a live str, under the GIL; the call returns a new reference, or null with or without an exception.
    let module = unsafe { Bound::from_owned_ptr_or_opt(py, ffi::PyImport_GetModule(name.as_ptr())) };
    if module.is_none() {
        // After the end of `sys.modules` that is an exception from 3.12 on.
        drop(PyErr::take(py));
    }
    module.filter(|module| !module.is_none())
}

/// `result`, or None where it failed by an Exception: for what is done without, rather than not reported at all. What is no Exception,
/// such as KeyboardInterrupt, is passed on.
pub fn without<'py, R>(py: Python<'py>, result: PyResult<R>) -> PyResult<Option<R>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_instance_of::<PyException>(py) => Ok(None),
        Err(error) => Err(error),
    }
}
