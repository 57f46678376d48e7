//! Bytes on their way in ([`ReadBuffer`]) and out ([`WriteBuffer`]).

mod read;
mod write;

pub use read::ReadBuffer;
pub use write::WriteBuffer;
