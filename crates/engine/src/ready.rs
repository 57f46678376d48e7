//! The ring of things to run: one first-in-first-out queue, drained in batches.
//!
//! The rooms push whatever is runnable (a Handle, a Task to step, a native completion) and `run_once` drains it. The
//! element type is theirs; here it is only moved.
//!
//! A turn of the loop runs exactly the entries it found when it began: [`Ready::batch`] takes the count, and
//! [`Batch::next`] hands out that many. What is pushed meanwhile waits for the next turn, after another look at the kernel, so a
//! callback that reschedules itself cannot starve the descriptors. The batch counts entries rather than marking a place in the ring,
//! as CPython does: an entry pushed at the front during the turn is run by it, at the cost of the last one.
//!
//! Invariants:
//! - entries leave in the order in which they came, but for those pushed at the front;
//! - nothing is dropped here: [`Ready::take`] gives all of it back.
//!
//! It is a `VecDeque` because that measured as fast as a hand-made ring (see the commit that added it) and needs no `unsafe`.
//! Capacity is kept after a burst: the next burst is then free, and an entry is two words.

use std::collections::{VecDeque, vec_deque};

/// The queue of runnable entries. See the module's header.
#[derive(Debug)]
pub struct Ready<T> {
    entries: VecDeque<T>,
}

/// How many entries the current turn may still run.
///
/// It borrows nothing, so the ring is free for pushes while an entry runs.
#[derive(Debug)]
#[must_use = "a batch runs nothing by itself"]
pub struct Batch {
    left: usize,
}

impl<T> Ready<T> {
    /// An empty ring with room for a first burst.
    pub fn new() -> Self {
        Self { entries: VecDeque::with_capacity(64) }
    }

    /// The number of entries waiting.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is waiting.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Add an entry to run after all others.
    #[inline]
    pub fn push_back(&mut self, entry: T) {
        self.entries.push_back(entry);
    }

    /// Add an entry to run before all others.
    #[inline]
    pub fn push_front(&mut self, entry: T) {
        self.entries.push_front(entry);
    }

    /// Take the entry to run next.
    #[inline]
    pub fn pop_front(&mut self) -> Option<T> {
        self.entries.pop_front()
    }

    /// Take the entry that would run last.
    pub fn pop_back(&mut self) -> Option<T> {
        self.entries.pop_back()
    }

    /// The entry that runs after `index` others.
    pub fn get(&self, index: usize) -> Option<&T> {
        self.entries.get(index)
    }

    /// Take out the entry that runs after `index` others; later ones move up.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        self.entries.remove(index)
    }

    /// Put `entry` behind `index` others; `index` beyond the end means the end.
    pub fn insert(&mut self, index: usize, entry: T) {
        let index = index.min(self.entries.len());
        self.entries.insert(index, entry);
    }

    /// The entries in the order in which they will run.
    pub fn iter(&self) -> vec_deque::Iter<'_, T> {
        self.entries.iter()
    }

    /// Take all entries, leaving the ring empty; the caller drops them when it holds no borrow.
    #[must_use = "dropping the entries may run any code: do it when no borrow is open"]
    pub fn take(&mut self) -> VecDeque<T> {
        std::mem::take(&mut self.entries)
    }

    /// Begin a turn: a count of the entries waiting now.
    #[inline]
    pub fn batch(&self) -> Batch {
        Batch { left: self.entries.len() }
    }
}

impl<T> Default for Ready<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a, T> IntoIterator for &'a Ready<T> {
    type Item = &'a T;
    type IntoIter = vec_deque::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Batch {
    /// The next entry of this turn, or None when the turn is over.
    ///
    /// It is also over when somebody emptied the ring meanwhile.
    #[inline]
    pub fn next<T>(&mut self, ready: &mut Ready<T>) -> Option<T> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        ready.pop_front()
    }

    /// How many entries the turn may still run.
    pub fn left(&self) -> usize {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_batch_leaves_what_was_pushed_during_it() {
        let mut ready = Ready::new();
        ready.push_back(1);
        ready.push_back(2);
        let mut batch = ready.batch();
        let mut ran = Vec::new();
        while let Some(entry) = batch.next(&mut ready) {
            ran.push(entry);
            ready.push_back(entry + 10);
        }
        assert_eq!(ran, [1, 2]);
        assert_eq!(ready.iter().copied().collect::<Vec<_>>(), [11, 12]);
    }

    #[test]
    fn a_batch_runs_its_count_when_the_front_is_pushed() {
        let mut ready = Ready::new();
        ready.push_back(1);
        ready.push_back(2);
        let mut batch = ready.batch();
        assert_eq!(batch.next(&mut ready), Some(1));
        ready.push_front(9);
        assert_eq!(batch.next(&mut ready), Some(9));
        assert_eq!(batch.next(&mut ready), None);
        assert_eq!(ready.pop_front(), Some(2));
    }

    #[test]
    fn a_batch_ends_when_the_ring_was_emptied() {
        let mut ready = Ready::new();
        ready.push_back(1);
        ready.push_back(2);
        let mut batch = ready.batch();
        assert_eq!(batch.next(&mut ready), Some(1));
        assert_eq!(ready.take().len(), 1);
        assert_eq!(batch.next(&mut ready), None);
    }

    #[derive(Clone, Debug)]
    enum Move {
        PushBack(u16),
        PushFront(u16),
        PopFront,
        PopBack,
        Remove(usize),
        Insert(usize, u16),
        Take,
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            8 => any::<u16>().prop_map(Move::PushBack),
            4 => any::<u16>().prop_map(Move::PushFront),
            8 => Just(Move::PopFront),
            1 => Just(Move::PopBack),
            1 => (0usize..40).prop_map(Move::Remove),
            1 => ((0usize..40), any::<u16>()).prop_map(|(at, entry)| Move::Insert(at, entry)),
            1 => Just(Move::Take),
        ];
        proptest::collection::vec(one, 0..300)
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_list(moves in moves()) {
            let mut ready = Ready::new();
            let mut model: Vec<u16> = Vec::new();
            for one in moves {
                match one {
                    Move::PushBack(entry) => {
                        ready.push_back(entry);
                        model.push(entry);
                    }
                    Move::PushFront(entry) => {
                        ready.push_front(entry);
                        model.insert(0, entry);
                    }
                    Move::PopFront => {
                        let expected = (!model.is_empty()).then(|| model.remove(0));
                        prop_assert_eq!(ready.pop_front(), expected);
                    }
                    Move::PopBack => prop_assert_eq!(ready.pop_back(), model.pop()),
                    Move::Remove(at) => {
                        let expected = (at < model.len()).then(|| model.remove(at));
                        prop_assert_eq!(ready.remove(at), expected);
                    }
                    Move::Insert(at, entry) => {
                        ready.insert(at, entry);
                        model.insert(at.min(model.len()), entry);
                    }
                    Move::Take => {
                        let taken: Vec<u16> = ready.take().into();
                        prop_assert_eq!(taken, std::mem::take(&mut model));
                    }
                }
                prop_assert_eq!(ready.len(), model.len());
                prop_assert_eq!(ready.batch().left(), model.len());
                prop_assert!(ready.iter().eq(model.iter()));
            }
        }
    }
}
