//! log: the package's logger, and what stands in where logging is not to be had (asyncio.log).
//!
//! Called by every room that logs; calls the name `logger` on a face, which programs and tests patch.
//!
//! The name is made at its first use, by an import of logging. That fails while the interpreter ends, or when descriptors are
//! used up; a report may not fail with it. If logging was not loaded before, the program has not configured it, so what an
//! unconfigured logging does is done without it: warnings and errors go to stderr, the rest goes nowhere.

use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use slots::intern;

use crate::face;

/// A logger, or its absence.
pub struct Logger<'py>(Python<'py>, Option<Bound<'py, PyAny>>);

/// The logger of a face.
pub fn logger<'py>(py: Python<'py>, name: &'static str) -> PyResult<Logger<'py>> {
    let found = face(py, name).and_then(|face| face.getattr(intern!(py, "logger")));
    slots::without(py, found).map(|found| Logger(py, found))
}

impl<'py> Logger<'py> {
    /// Logs at `level`, a method's name. `args` are a text and what its directives name.
    pub fn log<A>(&self, level: &str, args: A) -> PyResult<()>
    where
        A: IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
    {
        self.log_error(level, args, None)
    }

    /// As [`Logger::log`], with the traceback of an error.
    pub fn log_error<A>(&self, level: &str, args: A, error: Option<&Bound<'py, PyAny>>) -> PyResult<()>
    where
        A: IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
    {
        let args = args.into_pyobject(self.0).map_err(Into::into)?;
        let Some(logger) = &self.1 else { return self.write(level, &args, error) };
        let method = logger.getattr(slots::Text(level))?;
        let Some(error) = error else { return method.call1(args).map(drop) };
        let keywords = slots::dict(self.0)?;
        keywords.set_item(intern!(self.0, "exc_info"), error)?;
        method.call(args, Some(&keywords)).map(drop)
    }

    #[cold]
    fn write(&self, level: &str, args: &Bound<'py, PyTuple>, error: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
        if !matches!(level, "warning" | "error" | "critical" | "exception") {
            return Ok(());
        }
        let mut text = args.get_item(0)?;
        if args.len() > 1 {
            text = text.cast::<PyString>()?.as_any().rem(args.get_slice(1, args.len()))?;
        }
        slots::write_stderr(self.0, &format!("{}\n", text.str()?.to_str()?))?;
        // `exc_info` is a triple, or true for the error that is handled now.
        match error {
            Some(error) if error.is_instance_of::<PyTuple>() => {
                PyErr::from_value(error.get_item(1)?).display(self.0);
            }
            Some(error) if error.is_truthy()? => slots::display_handled(self.0),
            _ => {}
        }
        Ok(())
    }
}
