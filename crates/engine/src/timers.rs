//! What to run at a time: a heap of entries by deadline, those of equal deadline in the order of insertion.
//!
//! base_events pushes a TimerHandle for `call_later` and `call_at`; every turn `run_once` asks for the first deadline
//! and moves the due ones to the ready ring. Deadlines are seconds of the loop's clock.
//!
//! Cancelled entries stay where they are, because finding one in a heap is linear. The caller counts them with
//! [`Timers::note_cancelled`], takes those at the top out with [`Timers::pop_cancelled`] before it looks at the first
//! deadline (or the loop would wake for nothing), and takes all of them out with [`Timers::compact`] when
//! [`Timers::wants_compacting`]: more than half, and more than a few. (asyncio waits for a hundred timers, which is its
//! concern with a list in Python; nobody can see the difference here.)
//!
//! Invariants:
//! - entries come out by deadline, then by insertion. In CPython the order of equal deadlines is an accident of its
//!   heap;
//! - every deadline is accepted. Infinite ones sort last and are never due. NaN sorts behind infinity and is never
//!   due (in CPython it is due at once or breaks the selector, by position in the heap). Minus zero is zero;
//! - an entry leaves only by being returned, never by being dropped here;
//! - the count of cancelled entries is the caller's word. When it is wrong, the loop wakes once too often or compacts
//!   too early, and compaction sets it right.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::turn::is_due;

/// So few cancelled entries are not worth a compaction: they leave one by one when they come to the top.
pub const COMPACT_ABOVE: usize = 8;

/// The timer heap. See the module's header.
#[derive(Debug)]
pub struct Timers<T> {
    heap: BinaryHeap<Entry<T>>,
    inserted: u64,
    cancelled: usize,
}

#[derive(Debug)]
struct Entry<T> {
    deadline: f64,
    sequence: u64,
    item: T,
}

impl<T> Ord for Entry<T> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        // Backwards, since the standard heap has its greatest on top.
        other.deadline.total_cmp(&self.deadline).then_with(|| other.sequence.cmp(&self.sequence))
    }
}

impl<T> PartialOrd for Entry<T> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl<T> Timers<T> {
    /// An empty heap.
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), inserted: 0, cancelled: 0 }
    }

    /// The number of entries, cancelled ones included.
    #[inline]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there is no entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// How many entries are cancelled, as far as the caller said.
    pub fn cancelled(&self) -> usize {
        self.cancelled
    }

    /// Add an entry that falls due at `deadline`.
    #[inline]
    pub fn push(&mut self, deadline: f64, item: T) {
        let deadline = if deadline.is_nan() { f64::NAN } else { deadline + 0.0 };
        let sequence = self.inserted;
        self.inserted += 1;
        self.heap.push(Entry { deadline, sequence, item });
    }

    /// The first deadline. Take the cancelled entries at the top out first.
    #[inline]
    pub fn peek_deadline(&self) -> Option<f64> {
        self.heap.peek().map(|entry| entry.deadline)
    }

    /// The entry of the first deadline.
    pub fn peek(&self) -> Option<&T> {
        self.heap.peek().map(|entry| &entry.item)
    }

    /// Take the first entry if it is due at `now` (see [`is_due`]).
    #[inline]
    pub fn pop_due(&mut self, now: f64, resolution: f64) -> Option<T> {
        let deadline = self.peek_deadline()?;
        if !is_due(deadline, now, resolution) {
            return None;
        }
        self.pop()
    }

    /// Take the first entry, due or not.
    pub fn pop(&mut self) -> Option<T> {
        self.heap.pop().map(|entry| entry.item)
    }

    /// Take the first entry if it is cancelled; its count goes with it.
    ///
    /// Call it until it gives None, before [`Timers::peek_deadline`].
    #[inline]
    pub fn pop_cancelled(&mut self, is_cancelled: impl FnOnce(&T) -> bool) -> Option<T> {
        if self.cancelled == 0 || !is_cancelled(&self.heap.peek()?.item) {
            return None;
        }
        self.note_cancelled_taken();
        self.pop()
    }

    /// Note that an entry still in here was cancelled.
    #[inline]
    pub fn note_cancelled(&mut self) {
        self.cancelled += 1;
    }

    /// Note that an entry that was counted as cancelled came out through [`Timers::pop_due`] or [`Timers::pop`].
    pub fn note_cancelled_taken(&mut self) {
        self.cancelled = self.cancelled.saturating_sub(1);
    }

    /// Whether so many entries are cancelled that [`Timers::compact`] pays.
    #[inline]
    pub fn wants_compacting(&self) -> bool {
        self.cancelled > COMPACT_ABOVE && self.cancelled * 2 > self.heap.len()
    }

    /// Take all cancelled entries out, in linear time.
    ///
    /// `is_cancelled` must only look. The entries are returned for the caller to drop when it holds no borrow.
    #[must_use = "dropping the entries may run any code: do it when no borrow is open"]
    pub fn compact(&mut self, is_cancelled: impl FnMut(&T) -> bool) -> Vec<T> {
        let removed = self.extract(is_cancelled);
        self.cancelled = 0;
        removed
    }

    /// Take out all entries that `wanted` names, in linear time; the others keep their order.
    ///
    /// Those that were counted as cancelled are to be followed by as many [`Timers::note_cancelled_taken`].
    #[must_use = "dropping the entries may run any code: do it when no borrow is open"]
    pub fn extract(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut removed = Vec::new();
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        let mut at = 0;
        while at < entries.len() {
            if wanted(&entries[at].item) {
                removed.push(entries.swap_remove(at).item);
            } else {
                at += 1;
            }
        }
        self.heap = BinaryHeap::from(entries);
        removed
    }

    /// The entries with their deadlines, the first one first and the others in no order to rely on.
    pub fn iter(&self) -> impl Iterator<Item = (f64, &T)> {
        self.heap.iter().map(|entry| (entry.deadline, &entry.item))
    }

    /// The entries with their deadlines, in the order in which they fall due; costs a sort.
    pub fn in_order(&self) -> impl Iterator<Item = (f64, &T)> {
        let mut entries: Vec<&Entry<T>> = self.heap.iter().collect();
        entries.sort_unstable_by(|one, other| other.cmp(one));
        entries.into_iter().map(|entry| (entry.deadline, &entry.item))
    }

    /// Take all entries out, in the order in which they would fall due.
    #[must_use = "dropping the entries may run any code: do it when no borrow is open"]
    pub fn drain(&mut self) -> Vec<T> {
        self.cancelled = 0;
        let sorted = std::mem::take(&mut self.heap).into_sorted_vec();
        sorted.into_iter().rev().map(|entry| entry.item).collect()
    }
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const RESOLUTION: f64 = 1e-9;

    fn due(timers: &mut Timers<u32>, now: f64) -> Vec<u32> {
        std::iter::from_fn(|| timers.pop_due(now, RESOLUTION)).collect()
    }

    #[test]
    fn equal_deadlines_come_out_as_they_went_in() {
        let mut timers = Timers::new();
        for (item, deadline) in [2.0, 1.0, 2.0, 1.0, 2.0, 0.0, -0.0, 0.0].into_iter().enumerate() {
            timers.push(deadline, item as u32);
        }
        assert_eq!(due(&mut timers, 0.5), [5, 6, 7]);
        assert_eq!(due(&mut timers, 2.0), [1, 3, 0, 2, 4]);
    }

    #[test]
    fn infinite_and_absurd_deadlines_wait_at_the_end() {
        let mut timers = Timers::new();
        timers.push(f64::NAN, 1);
        timers.push(-f64::NAN, 2);
        timers.push(f64::INFINITY, 3);
        timers.push(1e308, 4);
        timers.push(f64::NEG_INFINITY, 5);
        timers.push(1.0, 6);
        assert_eq!(due(&mut timers, 1e9), [5, 6]);
        assert_eq!(timers.peek_deadline(), Some(1e308));
        assert_eq!(timers.drain(), [4, 3, 1, 2]);
        assert_eq!(timers.peek_deadline(), None);
    }

    #[test]
    fn cancelled_entries_leave_from_the_top_and_by_compaction() {
        let mut timers = Timers::new();
        for item in 0..300u32 {
            timers.push(f64::from(item), item);
        }
        let cancelled = |item: &u32| *item < 2 || *item >= 100;
        for _ in (0..300).filter(cancelled) {
            timers.note_cancelled();
        }
        assert!(timers.wants_compacting());
        assert_eq!(timers.pop_cancelled(cancelled), Some(0));
        assert_eq!(timers.pop_cancelled(cancelled), Some(1));
        assert_eq!(timers.pop_cancelled(cancelled), None);
        assert_eq!(timers.peek_deadline(), Some(2.0));
        assert_eq!(timers.cancelled(), 200);
        let removed: HashSet<u32> = timers.compact(cancelled).into_iter().collect();
        assert_eq!(removed, (100..300).collect());
        assert_eq!((timers.len(), timers.cancelled()), (98, 0));
        assert!(!timers.wants_compacting());
        assert_eq!(due(&mut timers, 1e3), (2..100).collect::<Vec<_>>());
    }

    #[test]
    fn compaction_waits_for_more_than_half_and_for_more_than_a_few() {
        let mut timers = Timers::new();
        for item in 0..COMPACT_ABOVE as u32 {
            timers.push(1.0, item);
            timers.note_cancelled();
        }
        assert!(!timers.wants_compacting());
        timers.push(1.0, 100);
        timers.note_cancelled();
        assert!(timers.wants_compacting());
        for item in 0..=COMPACT_ABOVE as u32 {
            timers.push(1.0, item);
        }
        assert!(!timers.wants_compacting(), "exactly half is not more than half");
    }

    #[test]
    fn a_wrong_count_of_cancelled_entries_does_no_harm() {
        let mut timers = Timers::new();
        timers.note_cancelled_taken();
        assert_eq!(timers.cancelled(), 0);
        timers.push(1.0, 1);
        timers.note_cancelled();
        timers.note_cancelled();
        assert_eq!(timers.pop_cancelled(|_| true), Some(1));
        assert_eq!(timers.pop_cancelled(|_| true), None);
        assert!(timers.compact(|_| true).is_empty());
        assert_eq!(timers.cancelled(), 0);
    }

    #[derive(Clone, Debug)]
    enum Move {
        Push(f64),
        Due(f64),
        Cancel(usize),
        Trim,
        Compact,
        Drain,
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let deadline = prop_oneof![
            10 => (0i32..20).prop_map(f64::from),
            2 => any::<f64>(),
            1 => Just(f64::NAN),
            1 => Just(f64::INFINITY),
            1 => Just(-0.0),
        ];
        let one = prop_oneof![
            20 => deadline.prop_map(Move::Push),
            5 => (-1i32..20).prop_map(|now| Move::Due(f64::from(now))),
            8 => any::<usize>().prop_map(Move::Cancel),
            3 => Just(Move::Trim),
            1 => Just(Move::Compact),
            1 => Just(Move::Drain),
        ];
        proptest::collection::vec(one, 0..400)
    }

    /// Sorted by deadline with NaN last, stable.
    #[derive(Default)]
    struct Model {
        entries: Vec<(f64, u32)>,
    }

    impl Model {
        fn push(&mut self, deadline: f64, item: u32) {
            let before = |other: f64| {
                other <= deadline || (deadline.is_nan() && !other.is_nan()) || other.is_nan() && deadline.is_nan()
            };
            let at = self.entries.iter().take_while(|entry| before(entry.0)).count();
            self.entries.insert(at, (deadline, item));
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_list(moves in moves()) {
            let mut timers = Timers::new();
            let mut model = Model::default();
            let mut cancelled: HashSet<u32> = HashSet::new();
            let mut next = 0u32;
            for one in moves {
                match one {
                    Move::Push(deadline) => {
                        timers.push(deadline, next);
                        model.push(deadline, next);
                        next += 1;
                    }
                    Move::Due(now) => {
                        while let Some(item) = timers.pop_due(now, RESOLUTION) {
                            let (deadline, expected) = model.entries.remove(0);
                            prop_assert_eq!(item, expected);
                            prop_assert!(deadline < now + RESOLUTION);
                            if cancelled.remove(&item) {
                                timers.note_cancelled_taken();
                            }
                        }
                        let left = model.entries.first().map(|entry| entry.0);
                        prop_assert!(left.is_none_or(|deadline| deadline.is_nan() || deadline >= now + RESOLUTION));
                    }
                    Move::Cancel(pick) if !model.entries.is_empty() => {
                        let item = model.entries[pick % model.entries.len()].1;
                        if cancelled.insert(item) {
                            timers.note_cancelled();
                        }
                    }
                    Move::Cancel(_) => {}
                    Move::Trim => {
                        while let Some(item) = timers.pop_cancelled(|item| cancelled.contains(item)) {
                            prop_assert_eq!(item, model.entries.remove(0).1);
                            prop_assert!(cancelled.remove(&item));
                        }
                        prop_assert!(timers.peek().is_none_or(|item| !cancelled.contains(item)));
                    }
                    Move::Compact => {
                        let removed: HashSet<u32> =
                            timers.compact(|item| cancelled.contains(item)).into_iter().collect();
                        model.entries.retain(|entry| !removed.contains(&entry.1));
                        prop_assert_eq!(&removed, &std::mem::take(&mut cancelled));
                    }
                    Move::Drain => {
                        let expected: Vec<u32> = model.entries.drain(..).map(|entry| entry.1).collect();
                        prop_assert_eq!(timers.drain(), expected);
                        cancelled.clear();
                    }
                }
                prop_assert_eq!(timers.len(), model.entries.len());
                prop_assert_eq!(timers.cancelled(), cancelled.len());
                prop_assert!(timers.in_order().map(|entry| *entry.1).eq(model.entries.iter().map(|entry| entry.1)));
            }
        }
    }
}
