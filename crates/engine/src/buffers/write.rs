//! The bytes that the kernel did not take yet: a queue of owned chunks, sent as slices, cut where the kernel stopped.
//!
//! A transport pushes what `write()` could not send at once ([`WriteBuffer::push`] copies: the caller may change its
//! bytearray the moment `write()` returns), and on every writable event calls [`WriteBuffer::flush_to`] with the
//! system call to make. Its flow control compares [`WriteBuffer::len`] with the watermarks.
//!
//! The memory of the last chunk that was sent is kept for the thread's next one ([`Spare`]): a connection whose every write
//! waits a little would otherwise have the allocator ask the system for fresh pages each time, and give them back.
//!
//! Small pieces are appended to the last chunk while it is below [`CHUNK`], so a thousand short writes are one slice;
//! a piece of [`LARGE`] or more that the caller can give away ([`WriteBuffer::push_owned`]) is not copied.
//!
//! Layout: `chunks[0][head..]` is next, then the other chunks whole.
//!
//! Invariants:
//! - no chunk is empty, and `head` is less than the length of the first: a slice offered to the kernel is never
//!   empty, so zero sent means that it took nothing;
//! - `len` is the number of unsent bytes, kept and not computed;
//! - bytes leave in the order in which they came, exactly once, whatever the kernel takes at a time.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};

use crate::sys::socket::MOST_SLICES;

/// A chunk that has reached this length is left alone.
const CHUNK: usize = 64 * 1024;

/// From this length on an owned piece is a chunk of its own instead of being copied.
const LARGE: usize = 4 * 1024;

/// Slices offered without an allocation; since small pieces are joined, this is 4 MB of them.
const FEW: usize = 64;

/// A chunk of up to this capacity is kept for the next.
const MOST_SPARE: usize = 4 * CHUNK;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// One empty chunk a thread, whoever used it last.
struct Spare;

impl Spare {
    /// A chunk of these bytes.
    fn chunk_of(bytes: &[u8]) -> Vec<u8> {
        // At the end of a thread there is none.
        let spare = SPARE.try_with(Cell::take).unwrap_or_default();
        if spare.capacity() < bytes.len() {
            Spare::keep(spare);
            return bytes.to_vec();
        }
        let mut chunk = spare;
        chunk.extend_from_slice(bytes);
        chunk
    }

    fn keep(mut chunk: Vec<u8>) {
        if (LARGE..=MOST_SPARE).contains(&chunk.capacity()) {
            chunk.clear();
            let _ = SPARE.try_with(|spare| spare.set(chunk));
        }
    }
}

/// A queue of bytes to send. See the module's header.
#[derive(Debug, Default)]
pub struct WriteBuffer {
    chunks: VecDeque<Vec<u8>>,
    head: usize,
    len: usize,
}

impl WriteBuffer {
    /// An empty buffer without memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of unsent bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether every byte was sent.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copy bytes to the end.
    pub fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        match self.chunks.back_mut() {
            Some(last) if last.len() + bytes.len() <= CHUNK => last.extend_from_slice(bytes),
            _ => self.chunks.push_back(Spare::chunk_of(bytes)),
        }
    }

    /// Add bytes to the end that the caller gives away; large ones are not copied.
    pub fn push_owned(&mut self, bytes: Vec<u8>) {
        if bytes.len() < LARGE {
            return self.push(&bytes);
        }
        self.len += bytes.len();
        self.chunks.push_back(bytes);
    }

    /// Offer the unsent bytes to `send`, once, and forget as many as it took; returns that count.
    ///
    /// `send` gets at least one slice and at most [`MOST_SLICES`], none of them empty, and answers how many bytes it
    /// took. An empty buffer does not call it. Its errors are returned and change nothing.
    pub fn flush_to(&mut self, send: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<usize> {
        if self.is_empty() {
            return Ok(0);
        }
        let sent = if self.chunks.len() <= FEW {
            let mut slices = [IoSlice::new(&[]); FEW];
            let mut count = 0;
            for (place, slice) in slices.iter_mut().zip(self.slices()) {
                *place = slice;
                count += 1;
            }
            send(&slices[..count])?
        } else {
            let slices: Vec<IoSlice<'_>> = self.slices().take(MOST_SLICES).collect();
            send(&slices)?
        };
        debug_assert!(sent <= self.len, "more sent than offered");
        self.advance(sent);
        Ok(sent)
    }

    /// Forget all unsent bytes.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The unsent bytes, chunk by chunk.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut head = self.head;
        self.chunks.iter().map(move |chunk| &chunk[std::mem::take(&mut head)..])
    }

    fn slices(&self) -> impl Iterator<Item = IoSlice<'_>> {
        self.iter().map(IoSlice::new)
    }

    fn advance(&mut self, count: usize) {
        let mut left = count.min(self.len);
        self.len -= left;
        while let Some(first) = self.chunks.front() {
            let unsent = first.len() - self.head;
            if left < unsent {
                self.head += left;
                return;
            }
            left -= unsent;
            self.head = 0;
            if let Some(sent) = self.chunks.pop_front() {
                Spare::keep(sent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A kernel that takes at most `room` bytes a call.
    fn take(room: usize, sent: &mut Vec<u8>) -> impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize> {
        move |slices| {
            assert!(!slices.is_empty() && slices.len() <= MOST_SLICES);
            assert!(slices.iter().all(|slice| !slice.is_empty()));
            let before = sent.len();
            let offered = slices.iter().flat_map(|slice| slice.iter().copied());
            sent.extend(offered.take(room));
            Ok(sent.len() - before)
        }
    }

    #[test]
    fn short_pieces_become_one_slice() {
        let mut buffer = WriteBuffer::new();
        for _ in 0..1000 {
            buffer.push(b"short");
            buffer.push(b"");
        }
        assert_eq!((buffer.chunks.len(), buffer.len()), (1, 5000));
        buffer.push(&[0; CHUNK]);
        buffer.push_owned(vec![0; LARGE]);
        buffer.push_owned(Vec::new());
        assert_eq!(buffer.chunks.len(), 3);
    }

    #[test]
    fn the_memory_of_a_sent_chunk_serves_the_next() {
        let mut buffer = WriteBuffer::new();
        let mut places = Vec::new();
        for _ in 0..3 {
            buffer.push(&[1; 50_000]);
            places.push(buffer.chunks[0].as_ptr());
            buffer.flush_to(take(usize::MAX, &mut Vec::new())).unwrap();
        }
        assert!(places.iter().all(|place| *place == places[0]));
        // What is too large to keep is not kept, and what is kept is not for what is larger.
        buffer.push(&[1; MOST_SPARE + 1]);
        assert_ne!(buffer.chunks[0].as_ptr(), places[0]);
        buffer.flush_to(take(usize::MAX, &mut Vec::new())).unwrap();
        buffer.push(&[1; 10]);
        assert_eq!(buffer.chunks[0].as_ptr(), places[0]);
    }

    #[test]
    fn an_error_changes_nothing() {
        let mut buffer = WriteBuffer::new();
        buffer.push(b"abc");
        let blocked = buffer.flush_to(|_| Err(io::ErrorKind::WouldBlock.into()));
        assert_eq!(blocked.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(buffer.len(), 3);
        let mut sent = Vec::new();
        assert_eq!(buffer.flush_to(take(2, &mut sent)).unwrap(), 2);
        assert_eq!(buffer.flush_to(take(2, &mut sent)).unwrap(), 1);
        assert_eq!(sent, b"abc");
        assert_eq!(buffer.flush_to(|_| panic!("nothing to send")).unwrap(), 0);
    }

    #[test]
    fn more_chunks_than_the_kernel_takes_go_in_several_calls() {
        let mut buffer = WriteBuffer::new();
        for count in 0..MOST_SLICES + 5 {
            buffer.push_owned(vec![count as u8; LARGE]);
        }
        let mut sent = Vec::new();
        let first = buffer.flush_to(take(usize::MAX, &mut sent)).unwrap();
        assert_eq!(first, MOST_SLICES * LARGE);
        assert_eq!(buffer.len(), 5 * LARGE);
        buffer.flush_to(take(usize::MAX, &mut sent)).unwrap();
        assert!(buffer.is_empty());
        let expected = (0..MOST_SLICES + 5).map(|count| count as u8);
        assert!(sent.chunks(LARGE).map(|chunk| chunk[0]).eq(expected));
    }

    #[derive(Clone, Debug)]
    enum Move {
        Push(usize),
        PushOwned(usize),
        Flush(usize),
        Clear,
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let length = || prop_oneof![5 => 0usize..20, 1 => LARGE - 2..LARGE + 20, 1 => CHUNK - 5..CHUNK + 5];
        let one = prop_oneof![
            6 => length().prop_map(Move::Push),
            4 => length().prop_map(Move::PushOwned),
            8 => prop_oneof![0usize..50, 0usize..2 * CHUNK].prop_map(Move::Flush),
            1 => Just(Move::Clear),
        ];
        proptest::collection::vec(one, 0..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn every_byte_leaves_once_and_in_order(moves in moves()) {
            let mut buffer = WriteBuffer::new();
            let mut model: Vec<u8> = Vec::new();
            let mut counter = 0u8;
            let mut fresh = |length: usize| -> Vec<u8> {
                (0..length).map(|_| { counter = counter.wrapping_mul(5).wrapping_add(1); counter }).collect()
            };
            for one in moves {
                match one {
                    Move::Push(length) => {
                        let bytes = fresh(length);
                        buffer.push(&bytes);
                        model.extend(bytes);
                    }
                    Move::PushOwned(length) => {
                        let bytes = fresh(length);
                        model.extend(&bytes);
                        buffer.push_owned(bytes);
                    }
                    Move::Flush(room) => {
                        let mut sent = Vec::new();
                        let count = buffer.flush_to(take(room, &mut sent)).unwrap();
                        let rest = model.split_off(room.min(model.len()));
                        prop_assert!(count == sent.len() && sent == std::mem::replace(&mut model, rest));
                    }
                    Move::Clear => {
                        buffer.clear();
                        model.clear();
                    }
                }
                prop_assert_eq!(buffer.len(), model.len());
                prop_assert_eq!(buffer.is_empty(), model.is_empty());
                prop_assert!(buffer.iter().all(|chunk| !chunk.is_empty()));
                prop_assert!(buffer.iter().flatten().eq(model.iter()));
            }
        }
    }
}
