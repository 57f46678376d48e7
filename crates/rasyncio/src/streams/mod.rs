//! streams: readers and writers on top of transports (asyncio.streams).
//!
//! Called by the shells on the face and by the socket transport, which writes from the kernel straight into a reader's buffer.
//!
//! - `reader`: StreamReader: the buffer and the five ways to read from it.
//! - `protocol`: FlowControlMixin and StreamReaderProtocol, between transport and reader.
//! - `writer`: StreamWriter.

pub mod protocol;
pub mod reader;
mod writer;

use pyo3::prelude::*;
use pyo3::types::PyModule;

pub use self::protocol::{FlowControl, StreamReaderProtocol};
pub use self::reader::{StreamReader, quick_read, quick_readexactly, quick_readline};
pub use self::writer::{StreamWriter, quick_drain};

/// The default of `limit`, in bytes.
pub const DEFAULT_LIMIT: usize = 1 << 16;

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<StreamReader>(module)?;
    slots::add_class::<reader::Reading>(module)?;
    slots::add_class::<FlowControl>(module)?;
    slots::add_class::<StreamReaderProtocol>(module)?;
    slots::add_class::<protocol::ClientTask>(module)?;
    slots::add_class::<protocol::StreamFactory>(module)?;
    slots::add_class::<StreamWriter>(module)
}
