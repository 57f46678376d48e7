//! Who wants to hear of which descriptor: the table between the poller's events and the rooms' callbacks.
//!
//! `add_reader`, `remove_writer` and the transports call [`Interests::watch`] and [`Interests::unwatch`]; `run_once`
//! calls [`Interests::flush`] before it waits and [`Interests::lookup`] for each event. The table makes the poller's
//! calls itself (through [`Registrar`], so that tests can put a model of a kernel there), since only it knows what
//! the kernel was told last.
//!
//! A descriptor has a payload for each [`Direction`], and in the kernel one registration:
//!
//! ```text
//!   absent     --watch-->    registered   add, under a fresh generation
//!   registered --watch-->    registered   modify, or nothing when the kernel already reports that direction
//!   registered --unwatch-->  registered | absent     modify | delete: at once (Visitor), or in flush (Resident);
//!                                                    nothing (Guest)
//!   registered --release-->  absent       delete; the descriptor is about to be closed
//! ```
//!
//! Descriptors are numbers that the system hands out again, so three things are easy to get wrong:
//! - **Stale events.** A token carries the generation of the registration. An event of an earlier one finds nothing.
//! - **Closed behind our back.** The kernel then forgot the registration, and the number may mean another file. When
//!   it says so (`ENOENT` to a modify), a watch begins afresh with the new payload alone and hands the old ones back,
//!   which belonged to the other file. A modify under an unwatch has nothing to begin with and is refused, as
//!   asyncio's selectors do. `EEXIST` to an add (a duplicate kept the file registered) becomes a modify.
//! - **Too lazy.** Leaving an unwanted registration in the kernel saves calls when the same descriptor is watched
//!   again, but is wrong when the descriptor was closed in between and nobody told us. So only two are treated so. A
//!   [`Tenure::Resident`] is a transport that promises to call [`Interests::release`] before it closes. A
//!   [`Tenure::Guest`] comes again and again and says at each watch whether it is the file of the last time; it is
//!   registered for edges, so that what happens while nobody listens wakes the loop once and not for ever.
//!   Numbers that users pass in are [`Tenure::Visitor`]: their removals go to the kernel at once, and replacing their
//!   callback asks the kernel whether it is still the same file.
//!
//! Invariants: a payload leaves only by being returned. After `flush`, the kernel watches exactly what has payloads,
//! but for guests, of whom it may watch more.
//!
//! Differs from CPython: there, a watch on a number that was closed and reopened raises FileNotFoundError or, when
//! the mask happens to be the same, stays silent for ever. A file that is registered through a duplicate while its
//! own number is closed keeps reporting stale events in both; nothing but a new poller helps against that.

use std::io;

use crate::sys::{Descriptor, Event, Interest, Refusal, Registrar, Trigger};

/// One of the two things to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// That the descriptor can be read.
    Read,
    /// That it can be written.
    Write,
}

/// How far the owner of a descriptor can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenure {
    /// It may be closed at any time without a word.
    Visitor,
    /// [`Interests::release`] will be called before it is closed.
    Resident,
    /// It may be closed without a word. Whoever watches has just tried in vain what it waits for, and tries again
    /// before each further watch: so edges are enough.
    Guest {
        /// The number means the file that it meant at the guest's last watch of it. True where there was none.
        same: bool,
    },
}

/// Payloads that left the table, for the caller to drop when it holds no borrow.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "dropping the payloads may run any code: do it when no borrow is open"]
pub struct Released<T> {
    /// What waited to read.
    pub reader: Option<T>,
    /// What waited to write.
    pub writer: Option<T>,
}

/// A change that the kernel refused. The descriptor is not watched any more.
#[derive(Debug)]
pub struct Refused<T> {
    /// The kernel's answer, for the room to raise.
    pub error: io::Error,
    /// The payload that was to be added.
    pub item: Option<T>,
    /// Those that were there.
    pub released: Released<T>,
}

/// A descriptor that [`Interests::flush`] found to be lost: closed by somebody who had promised not to.
#[derive(Debug)]
pub struct Lost<T> {
    /// Its number.
    pub fd: Descriptor,
    /// The kernel's answer.
    pub error: io::Error,
    /// The payloads that would have waited for ever.
    pub released: Released<T>,
}

/// Whom an event is for.
#[derive(Debug, PartialEq, Eq)]
pub struct Listeners<'a, T> {
    /// The descriptor that the event is about.
    pub fd: Descriptor,
    /// What waits to read, if it can be read.
    pub reader: Option<&'a T>,
    /// What waits to write, if it can be written.
    pub writer: Option<&'a T>,
}

/// The table. See the module's header.
#[derive(Debug)]
pub struct Interests<T> {
    /// By descriptor; those that the kernel gives out are small and dense.
    slots: Vec<Slot<T>>,
    registered: usize,
    writers: usize,
    /// Descriptors whose kernel registration may exceed their payloads.
    deferred: Vec<Descriptor>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    tenure: Tenure,
    /// What the kernel was told.
    known: Option<(Interest, Trigger)>,
    reader: Option<T>,
    writer: Option<T>,
}

impl<T> Interests<T> {
    /// A table without descriptors.
    pub fn new() -> Self {
        Self { slots: Vec::new(), registered: 0, writers: 0, deferred: Vec::new() }
    }

    /// How many descriptors the kernel watches for this table.
    #[inline]
    pub fn watched(&self) -> usize {
        self.registered
    }

    /// How many descriptors somebody waits to write to.
    #[inline]
    pub fn writers(&self) -> usize {
        self.writers
    }

    /// Whether a payload waits for this direction of the descriptor.
    pub fn is_watched(&self, fd: Descriptor, direction: Direction) -> bool {
        self.get(fd, direction).is_some()
    }

    /// The payload that waits for this direction of the descriptor.
    pub fn get(&self, fd: Descriptor, direction: Direction) -> Option<&T> {
        let slot = self.slots.get(usize::try_from(fd).ok()?)?;
        match direction {
            Direction::Read => slot.reader.as_ref(),
            Direction::Write => slot.writer.as_ref(),
        }
    }

    /// Let `item` hear of one direction of a descriptor, and return what it replaces.
    ///
    /// `Released` holds the other direction's payload too when that belonged to an earlier file of this number.
    pub fn watch(
        &mut self,
        poller: &impl Registrar,
        fd: Descriptor,
        direction: Direction,
        item: T,
        tenure: Tenure,
    ) -> Result<Released<T>, Refused<T>> {
        let known = self.slot(fd).and_then(|slot| slot.known);
        let Some(known) = known else {
            return match self.register(poller, fd, direction, tenure) {
                Ok(slot) => {
                    *slot.payload(direction) = Some(item);
                    self.writers += usize::from(direction == Direction::Write);
                    Ok(Released::nothing())
                }
                Err(error) => Err(Refused { error, item: Some(item), released: Released::nothing() }),
            };
        };
        let slot = &mut self.slots[fd as usize];
        let (tenure, wanted) = slot.wanted_with(direction, tenure);
        // A file that is still the same need not be asked for when the kernel was told the right thing already.
        let told = match tenure {
            Tenure::Visitor => false,
            Tenure::Resident => slot.tenure == tenure && known == wanted,
            Tenure::Guest { same } => same && known == wanted,
        };
        let (interest, trigger) = wanted;
        let answer = if told { Ok(()) } else { poller.modify(fd, token(fd, slot.generation), interest, trigger) };
        match answer {
            Ok(()) => {
                slot.known = Some(wanted);
                slot.tenure = tenure;
                let replaced = slot.payload(direction).replace(item);
                self.writers += usize::from(direction == Direction::Write && replaced.is_none());
                Ok(Released::one(direction, replaced))
            }
            Err(error) if Refusal::of(&error) == Refusal::NotWatched => {
                let released = self.vacate(fd);
                match self.register(poller, fd, direction, tenure) {
                    Ok(slot) => {
                        *slot.payload(direction) = Some(item);
                        self.writers += usize::from(direction == Direction::Write);
                        Ok(released)
                    }
                    Err(error) => Err(Refused { error, item: Some(item), released }),
                }
            }
            Err(error) => Err(Refused { error, item: Some(item), released: self.vacate(fd) }),
        }
    }

    /// Let nobody hear of one direction of a descriptor any more, and return who did.
    ///
    /// Nobody is no error. A visitor's last direction ends without error even if the kernel had forgotten it, as in
    /// asyncio.
    pub fn unwatch(
        &mut self,
        poller: &impl Registrar,
        fd: Descriptor,
        direction: Direction,
    ) -> Result<Option<T>, Refused<T>> {
        let Some(slot) = self.slot(fd) else {
            return Ok(None);
        };
        let Some(item) = slot.payload(direction).take() else {
            return Ok(None);
        };
        let tenure = slot.tenure;
        self.writers -= usize::from(direction == Direction::Write);
        match tenure {
            Tenure::Visitor => {}
            Tenure::Resident => {
                self.defer(fd);
                return Ok(Some(item));
            }
            Tenure::Guest { .. } => return Ok(Some(item)),
        }
        match self.settle(poller, fd) {
            Ok(()) => Ok(Some(item)),
            Err(error) => {
                let mut released = self.vacate(fd);
                *released.payload(direction) = Some(item);
                Err(Refused { error, item: None, released })
            }
        }
    }

    /// Cease to watch a descriptor that is about to be closed, and return who heard of it.
    pub fn release(&mut self, poller: &impl Registrar, fd: Descriptor) -> Released<T> {
        if self.slot(fd).is_none_or(|slot| slot.known.is_none()) {
            return Released::nothing();
        }
        // An error means that the kernel has forgotten it already, which is what we want.
        let _ = poller.delete(fd);
        self.vacate(fd)
    }

    /// Tell the kernel of the removals that were put off. To be called before each wait.
    ///
    /// Returns descriptors that turn out to be closed although listeners were left; usually none.
    #[must_use = "the listeners of a lost descriptor would wait for ever"]
    pub fn flush(&mut self, poller: &impl Registrar) -> Vec<Lost<T>> {
        let mut lost = Vec::new();
        if self.deferred.is_empty() {
            return lost;
        }
        let mut deferred = std::mem::take(&mut self.deferred);
        for fd in deferred.drain(..) {
            if let Err(error) = self.settle(poller, fd) {
                lost.push(Lost { fd, error, released: self.vacate(fd) });
            }
        }
        self.deferred = deferred;
        lost
    }

    /// Tell a new poller, which watches nothing, of everything. What it refuses is vacant afterwards, as in [`Interests::flush`].
    #[must_use = "the listeners of a lost descriptor would wait for ever"]
    pub fn adopt(&mut self, poller: &impl Registrar) -> Vec<Lost<T>> {
        let mut lost = Vec::new();
        for index in 0..self.slots.len() {
            let fd = index as Descriptor;
            let slot = &self.slots[index];
            let Some((interest, trigger)) = slot.known else { continue };
            if let Err(error) = poller.add(fd, token(fd, slot.generation), interest, trigger) {
                lost.push(Lost { fd, error, released: self.vacate(fd) });
            }
        }
        lost
    }

    /// Whom an event is for; None when it is stale.
    #[inline]
    pub fn lookup(&self, event: Event) -> Option<Listeners<'_, T>> {
        let fd = event.token as u32;
        let slot = self.slots.get(fd as usize)?;
        if slot.known.is_none() || slot.generation != (event.token >> 32) as u32 {
            return None;
        }
        let reader = slot.reader.as_ref().filter(|_| event.readable);
        let writer = slot.writer.as_ref().filter(|_| event.writable);
        if reader.is_none() && writer.is_none() {
            return None;
        }
        Some(Listeners { fd: fd as Descriptor, reader, writer })
    }

    /// Every descriptor with listeners, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = Listeners<'_, T>> {
        let all = self.slots.iter().enumerate();
        all.filter(|(_, slot)| slot.reader.is_some() || slot.writer.is_some()).map(|(fd, slot)| Listeners {
            fd: fd as Descriptor,
            reader: slot.reader.as_ref(),
            writer: slot.writer.as_ref(),
        })
    }

    /// Take all payloads out and forget all descriptors, without a word to the kernel: the poller is about to be
    /// closed.
    #[must_use = "dropping the payloads may run any code: do it when no borrow is open"]
    pub fn drain(&mut self) -> Vec<T> {
        (self.registered, self.writers) = (0, 0);
        self.deferred.clear();
        let slots = std::mem::take(&mut self.slots);
        slots.into_iter().flat_map(|slot| [slot.reader, slot.writer]).flatten().collect()
    }

    fn slot(&mut self, fd: Descriptor) -> Option<&mut Slot<T>> {
        self.slots.get_mut(usize::try_from(fd).ok()?)
    }

    /// Add a descriptor that is not registered to the kernel's list, under a fresh generation, and return its slot
    /// without payloads.
    fn register(
        &mut self,
        poller: &impl Registrar,
        fd: Descriptor,
        direction: Direction,
        tenure: Tenure,
    ) -> io::Result<&mut Slot<T>> {
        let generation = self.slot(fd).map_or(0, |slot| slot.generation.wrapping_add(1));
        let (interest, trigger) = (Interest::from(direction), tenure.trigger());
        let token = token(fd, generation);
        match poller.add(fd, token, interest, trigger) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => poller.modify(fd, token, interest, trigger),
            other => other,
        }?;
        // Only now: the kernel vouches for the number, so a wild one does not make the table huge.
        let index = fd as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Slot::vacant);
        }
        self.registered += 1;
        let slot = &mut self.slots[index];
        slot.generation = generation;
        slot.tenure = tenure;
        slot.known = Some((interest, trigger));
        Ok(slot)
    }

    /// Make the kernel's registration what the payloads want.
    fn settle(&mut self, poller: &impl Registrar, fd: Descriptor) -> io::Result<()> {
        let Some(slot) = self.slot(fd) else {
            return Ok(());
        };
        let wanted = Interest::of(slot.reader.is_some(), slot.writer.is_some());
        let trigger = slot.tenure.trigger();
        let wanted = wanted.map(|interest| (interest, trigger));
        if slot.known == wanted {
            return Ok(());
        }
        match wanted {
            Some((interest, trigger)) => {
                poller.modify(fd, token(fd, slot.generation), interest, trigger)?;
                slot.known = wanted;
                Ok(())
            }
            None => {
                slot.known = None;
                self.registered -= 1;
                match poller.delete(fd) {
                    Err(error) if Refusal::of(&error) == Refusal::Other => Err(error),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Put a descriptor on the list for flush. It may be there twice: settling is idempotent.
    fn defer(&mut self, fd: Descriptor) {
        if self.deferred.last() != Some(&fd) {
            self.deferred.push(fd);
        }
    }

    /// Make a slot absent and return its payloads.
    fn vacate(&mut self, fd: Descriptor) -> Released<T> {
        let Some(slot) = self.slot(fd) else {
            return Released::nothing();
        };
        let released = Released { reader: slot.reader.take(), writer: slot.writer.take() };
        if slot.known.take().is_some() {
            self.registered -= 1;
        }
        self.writers -= usize::from(released.writer.is_some());
        released
    }
}

impl<T> Default for Interests<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Slot<T> {
    fn vacant() -> Self {
        Self { generation: 0, tenure: Tenure::Visitor, known: None, reader: None, writer: None }
    }

    /// What the kernel has to be told when a payload for `direction` joins those that are here, and how the owner of
    /// them all can be relied on.
    fn wanted_with(&self, direction: Direction, tenure: Tenure) -> (Tenure, (Interest, Trigger)) {
        let other = match direction {
            Direction::Read => &self.writer,
            Direction::Write => &self.reader,
        };
        let joined = if other.is_some() { Interest::Both } else { direction.into() };
        match (tenure, self.tenure) {
            // What the kernel reports beyond that costs nothing: guests let it be.
            (Tenure::Guest { .. }, Tenure::Guest { .. }) => {
                let lingering = self.known.map_or(joined, |(known, _)| known.with(joined));
                (tenure, (lingering, Trigger::Edge))
            }
            // Whoever is here beside the guest counts on being told again.
            (Tenure::Guest { .. }, _) if other.is_some() => (Tenure::Visitor, (joined, Trigger::Level)),
            _ => (tenure, (joined, tenure.trigger())),
        }
    }

    fn payload(&mut self, direction: Direction) -> &mut Option<T> {
        match direction {
            Direction::Read => &mut self.reader,
            Direction::Write => &mut self.writer,
        }
    }
}

impl Tenure {
    fn trigger(self) -> Trigger {
        match self {
            Tenure::Visitor | Tenure::Resident => Trigger::Level,
            Tenure::Guest { .. } => Trigger::Edge,
        }
    }
}

impl<T> Released<T> {
    fn nothing() -> Self {
        Self { reader: None, writer: None }
    }

    fn one(direction: Direction, item: Option<T>) -> Self {
        let mut released = Self::nothing();
        *released.payload(direction) = item;
        released
    }

    fn payload(&mut self, direction: Direction) -> &mut Option<T> {
        match direction {
            Direction::Read => &mut self.reader,
            Direction::Write => &mut self.writer,
        }
    }
}

impl From<Direction> for Interest {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Read => Interest::Read,
            Direction::Write => Interest::Write,
        }
    }
}

/// The token of a registration: the generation above the number, so that `sys::WAKER_TOKEN` (number -1) cannot occur.
fn token(fd: Descriptor, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(fd as u32)
}

#[cfg(test)]
mod tests;
