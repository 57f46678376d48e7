//! The extension module `rasyncio._rasyncio`.
#![forbid(unsafe_code)]
use pyo3::pymodule;

/// The native floor of rasyncio.
#[pymodule(gil_used = true)]
mod _rasyncio {}
