//! Bytes on their way in ([`ReadBuffer`]) and out ([`WriteBuffer`]).

mod read;
mod write;

pub use memchr::memchr as find_byte;
pub use read::ReadBuffer;
pub use write::WriteBuffer;

/// The most bytes that one read of a stream takes.
pub const MOST_BYTES: usize = 256 * 1024;

/// A read of so many bytes is a large one: a copy of them is worth avoiding, and the next is expected to be as large.
pub const LARGE: usize = 16 * 1024;

/// The room for a read after one of `last` bytes: of the most that a read takes, the allocator would get fresh pages from the
/// system each time.
#[inline]
pub fn room_after(last: usize) -> usize {
    if last >= LARGE { (last + last / 16 + 4096).min(MOST_BYTES) } else { MOST_BYTES }
}
