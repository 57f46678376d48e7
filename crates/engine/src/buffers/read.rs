//! The bytes that arrived and that nobody has read yet: contiguous, taken from the front, added at the back.
//!
//! A StreamReader owns one, for what is not one whole piece. What arrives is copied to its end ([`ReadBuffer::append`]);
//! `read`, `readuntil` and `readexactly` look at [`ReadBuffer::as_slice`], search with [`ReadBuffer::find`] and take with [`ReadBuffer::consume`].
//!
//! Layout: `bytes[..head]` was consumed, `bytes[head..]` is live.
//!
//! Invariants:
//! - `head <= bytes.len()`, and an empty buffer has `head == 0`: the whole capacity is ready for the next bytes;
//! - live bytes are moved only when room is needed, and only when no more of them are live than were consumed since
//!   they were moved last; else the memory grows by doubling. Either way each byte is moved a constant number of
//!   times on average, however small the pieces in which it comes and goes (CPython's `del bytearray[:n]` has the
//!   same price);
//! - memory beyond [`KEPT_WHEN_EMPTY`] is returned when the buffer becomes empty, so that an idle connection does not
//!   keep what its busiest moment needed.

use memchr::{memchr, memmem};

/// How much memory an empty buffer keeps for the next bytes.
pub const KEPT_WHEN_EMPTY: usize = 256 * 1024;

/// A queue of bytes that is always one slice. See the module's header.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    bytes: Vec<u8>,
    head: usize,
}

impl ReadBuffer {
    /// An empty buffer without memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of unread bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    /// Whether every byte was read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == self.bytes.len()
    }

    /// The unread bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    /// How many bytes can be added without moving or growing.
    pub fn spare(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Copy bytes to the end.
    pub fn append(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Where `needle` first occurs in the unread bytes, looking from `from` on (which may lie beyond the end).
    ///
    /// An empty needle is found at once.
    pub fn find(&self, needle: &[u8], from: usize) -> Option<usize> {
        let haystack = self.as_slice().get(from..)?;
        let found = match needle {
            [byte] => memchr(*byte, haystack),
            _ => memmem::find(haystack, needle),
        };
        found.map(|index| from + index)
    }

    /// Forget the first `count` unread bytes, or all if there are fewer.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        if count >= self.len() {
            self.clear();
        } else {
            self.head += count;
        }
    }

    /// Forget all unread bytes.
    pub fn clear(&mut self) {
        self.head = 0;
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_WHEN_EMPTY {
            self.bytes = Vec::new();
        }
    }

    /// Make room for `count` more bytes behind the last.
    pub fn reserve(&mut self, count: usize) {
        if self.spare() >= count {
            return;
        }
        let live = self.len();
        // Moving pays for itself when at least as many bytes were consumed; and it must give the room, or the memory
        // grows anyway.
        if self.head >= live && self.bytes.capacity() - live >= count {
            self.bytes.copy_within(self.head.., 0);
            self.bytes.truncate(live);
            self.head = 0;
        } else if self.head == 0 {
            self.bytes.reserve(count);
        } else {
            let mut bytes = Vec::with_capacity((live + count).max(live * 2));
            bytes.extend_from_slice(self.as_slice());
            self.bytes = bytes;
            self.head = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_from_a_place_on() {
        let mut buffer = ReadBuffer::new();
        buffer.append(b"..a\r\nb\r\n");
        buffer.consume(2);
        assert_eq!(buffer.find(b"\r\n", 0), Some(1));
        assert_eq!(buffer.find(b"\r\n", 2), Some(4));
        assert_eq!(buffer.find(b"\n", 3), Some(5));
        assert_eq!(buffer.find(b"\n", 6), None);
        assert_eq!(buffer.find(b"\n", 7), None);
        assert_eq!(buffer.find(b"", 6), Some(6));
        assert_eq!(buffer.find(b"x", 0), None);
    }

    #[test]
    fn bytes_that_come_and_go_cost_no_growing_memory_and_few_moves() {
        let mut buffer = ReadBuffer::new();
        let mut moved = 0;
        buffer.append(&[0; 1000]);
        for _ in 0..100_000 {
            buffer.consume(10);
            let before = (buffer.head, buffer.len());
            buffer.append(&[1; 10]);
            if buffer.head == 0 {
                moved += before.1;
            }
        }
        assert_eq!(buffer.len(), 1000);
        assert!(buffer.bytes.capacity() <= 8192, "{}", buffer.bytes.capacity());
        assert!(moved <= 2_000_000, "{moved} bytes moved for 1,000,000");
    }

    #[test]
    fn an_empty_buffer_returns_much_memory_and_keeps_little() {
        let mut buffer = ReadBuffer::new();
        buffer.append(&[0; 1000]);
        buffer.consume(1000);
        assert!(buffer.spare() >= 1000);
        buffer.append(&vec![0; KEPT_WHEN_EMPTY + 1]);
        buffer.consume(usize::MAX);
        assert_eq!(buffer.spare(), 0);
    }

    #[derive(Clone, Debug)]
    enum Move {
        Append(Vec<u8>),
        Consume(usize),
        Find(Vec<u8>, usize),
        Reserve(usize),
        Clear,
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let letters = |most| proptest::collection::vec(0u8..3, 0..most);
        let one = prop_oneof![
            6 => letters(40).prop_map(Move::Append),
            6 => (0usize..50).prop_map(Move::Consume),
            4 => (letters(4), 0usize..60).prop_map(|(needle, from)| Move::Find(needle, from)),
            1 => (0usize..300).prop_map(Move::Reserve),
            1 => Just(Move::Clear),
        ];
        proptest::collection::vec(one, 0..200)
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_vector(moves in moves()) {
            let mut buffer = ReadBuffer::new();
            let mut model: Vec<u8> = Vec::new();
            for one in moves {
                match one {
                    Move::Append(bytes) => {
                        buffer.append(&bytes);
                        model.extend(bytes);
                    }
                    Move::Consume(count) => {
                        buffer.consume(count);
                        model.drain(..count.min(model.len()));
                    }
                    Move::Find(needle, from) => {
                        let expected = (from..=model.len()).find(|&at| model[at..].starts_with(&needle));
                        prop_assert_eq!(buffer.find(&needle, from), expected);
                    }
                    Move::Reserve(count) => {
                        buffer.reserve(count);
                        prop_assert!(buffer.spare() >= count);
                    }
                    Move::Clear => {
                        buffer.clear();
                        model.clear();
                    }
                }
                prop_assert_eq!(buffer.as_slice(), &model[..]);
                prop_assert_eq!(buffer.len(), model.len());
                prop_assert_eq!(buffer.is_empty(), model.is_empty());
                prop_assert!(!buffer.is_empty() || buffer.head == 0);
            }
        }
    }
}
