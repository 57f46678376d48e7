//! Bytes on their way in ([`ReadBuffer`]) and out ([`WriteBuffer`]).

mod read;
mod write;

pub use memchr::memchr as find_byte;
pub use read::ReadBuffer;
pub use write::WriteBuffer;
