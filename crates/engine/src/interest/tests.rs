//! The interest table against a model of a kernel, in which descriptors are closed and their numbers used again.

use super::*;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use Direction::{Read, Write};
use Tenure::{Guest, Resident, Visitor};

const SAME: Tenure = Guest { same: true };
const ANOTHER: Tenure = Guest { same: false };

/// A token, and what it was registered for.
type Registered = (u64, Interest, Trigger);

/// Open files by number, and what is registered for which file, as epoll keeps it: by number *and* file.
#[derive(Default)]
struct Kernel {
    open: RefCell<HashMap<Descriptor, u32>>,
    registrations: RefCell<HashMap<(Descriptor, u32), Registered>>,
    files: Cell<u32>,
    calls: Cell<usize>,
}

impl Kernel {
    fn open(&self, fd: Descriptor) {
        self.close(fd);
        self.files.set(self.files.get() + 1);
        self.open.borrow_mut().insert(fd, self.files.get());
    }

    fn close(&self, fd: Descriptor) {
        if let Some(file) = self.open.borrow_mut().remove(&fd) {
            self.registrations.borrow_mut().remove(&(fd, file));
        }
    }

    fn calls(&self) -> usize {
        self.calls.take()
    }

    fn file(&self, fd: Descriptor) -> io::Result<(Descriptor, u32)> {
        self.calls.set(self.calls.get() + 1);
        match self.open.borrow().get(&fd) {
            Some(file) => Ok((fd, *file)),
            None => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }

    /// How the kernel reports an open descriptor.
    fn trigger(&self, fd: Descriptor) -> Option<Trigger> {
        let file = *self.open.borrow().get(&fd)?;
        self.registrations.borrow().get(&(fd, file)).map(|registration| registration.2)
    }

    /// The event that the kernel would report for an open descriptor that is ready for everything.
    fn event(&self, fd: Descriptor) -> Option<Event> {
        let file = *self.open.borrow().get(&fd)?;
        let (token, interest, _) = *self.registrations.borrow().get(&(fd, file))?;
        Some(Event { token, readable: interest.read(), writable: interest.write() })
    }
}

impl Registrar for Kernel {
    fn add(&self, fd: Descriptor, token: u64, interest: Interest, trigger: Trigger) -> io::Result<()> {
        let file = self.file(fd)?;
        let mut registrations = self.registrations.borrow_mut();
        if registrations.contains_key(&file) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        registrations.insert(file, (token, interest, trigger));
        Ok(())
    }

    fn modify(&self, fd: Descriptor, token: u64, interest: Interest, trigger: Trigger) -> io::Result<()> {
        let file = self.file(fd)?;
        match self.registrations.borrow_mut().get_mut(&file) {
            Some(registration) => *registration = (token, interest, trigger),
            None => return Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
        Ok(())
    }

    fn delete(&self, fd: Descriptor) -> io::Result<()> {
        let file = self.file(fd)?;
        match self.registrations.borrow_mut().remove(&file) {
            Some(_) => Ok(()),
            None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
    }
}

fn both<T>(reader: T, writer: T) -> Released<T> {
    Released { reader: Some(reader), writer: Some(writer) }
}

fn house() -> (Kernel, Interests<&'static str>) {
    let kernel = Kernel::default();
    kernel.open(5);
    (kernel, Interests::new())
}

#[test]
fn each_direction_has_its_own_listener() {
    let (kernel, mut table) = house();
    assert_eq!(table.watch(&kernel, 5, Read, "r", Visitor).unwrap(), Released::nothing());
    assert_eq!(table.watch(&kernel, 5, Write, "w", Visitor).unwrap(), Released::nothing());
    assert_eq!(table.watched(), 1);
    let found = table.lookup(kernel.event(5).unwrap()).unwrap();
    assert_eq!((found.fd, found.reader, found.writer), (5, Some(&"r"), Some(&"w")));
    let replaced = table.watch(&kernel, 5, Read, "r2", Visitor).unwrap();
    assert_eq!(replaced, Released { reader: Some("r"), writer: None });
    assert_eq!(table.unwatch(&kernel, 5, Write).unwrap(), Some("w"));
    assert_eq!(table.unwatch(&kernel, 5, Write).unwrap(), None);
    let found = table.lookup(kernel.event(5).unwrap()).unwrap();
    assert_eq!((found.reader, found.writer), (Some(&"r2"), None));
    assert_eq!(table.unwatch(&kernel, 5, Read).unwrap(), Some("r2"));
    assert_eq!((table.watched(), kernel.event(5)), (0, None));
    assert_eq!(table.unwatch(&kernel, 77, Read).unwrap(), None);
    assert_eq!(table.unwatch(&kernel, -1, Read).unwrap(), None);
}

#[test]
fn an_event_of_an_earlier_life_reaches_nobody() {
    let (kernel, mut table) = house();
    let _ = table.watch(&kernel, 5, Read, "old", Resident).unwrap();
    let old = kernel.event(5).unwrap();
    assert_eq!(table.release(&kernel, 5), Released { reader: Some("old"), writer: None });
    assert_eq!(table.lookup(old), None);
    kernel.open(5);
    let _ = table.watch(&kernel, 5, Read, "new", Resident).unwrap();
    assert_eq!(table.lookup(old), None);
    assert!(table.lookup(kernel.event(5).unwrap()).is_some());
    let waker = Event { token: crate::sys::WAKER_TOKEN, readable: true, writable: false };
    assert_eq!(table.lookup(waker), None);
}

#[test]
fn a_resident_that_pauses_and_resumes_in_one_turn_costs_no_call() {
    let (kernel, mut table) = house();
    let _ = table.watch(&kernel, 5, Read, "r", Resident).unwrap();
    assert_eq!(kernel.calls(), 1);
    assert_eq!(table.unwatch(&kernel, 5, Read).unwrap(), Some("r"));
    let _ = table.watch(&kernel, 5, Read, "r", Resident).unwrap();
    assert!(table.flush(&kernel).is_empty());
    assert_eq!(kernel.calls(), 0);
    assert_eq!(table.unwatch(&kernel, 5, Read).unwrap(), Some("r"));
    assert_eq!(table.watched(), 1, "the kernel still watches");
    assert_eq!(table.lookup(kernel.event(5).unwrap()), None);
    assert!(table.flush(&kernel).is_empty());
    assert_eq!((kernel.calls(), kernel.event(5), table.watched()), (1, None, 0));
    assert!(table.flush(&kernel).is_empty());
    assert_eq!(kernel.calls(), 0);
}

#[test]
fn a_resident_swaps_directions_with_one_call() {
    let (kernel, mut table) = house();
    let _ = table.watch(&kernel, 5, Read, "r", Resident).unwrap();
    let _ = table.unwatch(&kernel, 5, Read).unwrap();
    kernel.calls();
    let _ = table.watch(&kernel, 5, Write, "w", Resident).unwrap();
    assert!(table.flush(&kernel).is_empty());
    assert_eq!(kernel.calls(), 1);
    let event = kernel.event(5).unwrap();
    assert_eq!((event.readable, event.writable), (false, true));
}

#[test]
fn a_guest_comes_and_goes_without_a_call() {
    let (kernel, mut table) = house();
    let _ = table.watch(&kernel, 5, Read, "r", SAME).unwrap();
    assert_eq!((kernel.calls(), kernel.trigger(5)), (1, Some(Trigger::Edge)));
    for _ in 0..3 {
        assert!(table.lookup(kernel.event(5).unwrap()).is_some());
        assert_eq!(table.unwatch(&kernel, 5, Read).unwrap(), Some("r"));
        assert!(table.flush(&kernel).is_empty());
        assert_eq!(table.lookup(kernel.event(5).unwrap()), None);
        let _ = table.watch(&kernel, 5, Read, "r", SAME).unwrap();
    }
    assert_eq!(kernel.calls(), 0);
    // The other direction joins, and stays known.
    let _ = table.watch(&kernel, 5, Write, "w", SAME).unwrap();
    assert_eq!(kernel.calls(), 1);
    let _ = table.unwatch(&kernel, 5, Read).unwrap();
    let _ = table.unwatch(&kernel, 5, Write).unwrap();
    let _ = table.watch(&kernel, 5, Read, "r", SAME).unwrap();
    let _ = table.watch(&kernel, 5, Write, "w", SAME).unwrap();
    assert_eq!((kernel.calls(), table.watched()), (0, 1));
}

#[test]
fn a_guest_of_another_file_is_registered_anew() {
    let (kernel, mut table) = house();
    let _ = table.watch(&kernel, 5, Read, "old", SAME).unwrap();
    let old = kernel.event(5).unwrap();
    let _ = table.unwatch(&kernel, 5, Read).unwrap();
    kernel.open(5);
    let _ = table.watch(&kernel, 5, Read, "new", ANOTHER).unwrap();
    assert_eq!(table.lookup(old), None);
    assert_eq!(table.lookup(kernel.event(5).unwrap()).unwrap().reader, Some(&"new"));
}

#[test]
fn who_is_there_beside_a_guest_is_told_again_and_again() {
    let (kernel, mut table) = house();
    for other in [Visitor, Resident] {
        let _ = table.watch(&kernel, 5, Write, "w", other).unwrap();
        let _ = table.watch(&kernel, 5, Read, "r", SAME).unwrap();
        assert_eq!(kernel.trigger(5), Some(Trigger::Level));
        let _ = table.unwatch(&kernel, 5, Read).unwrap();
        let event = kernel.event(5).unwrap();
        assert_eq!((event.readable, event.writable, kernel.trigger(5)), (false, true, Some(Trigger::Level)));
        let _ = table.release(&kernel, 5);
        // The guest was there first.
        let _ = table.watch(&kernel, 5, Read, "r", SAME).unwrap();
        let _ = table.watch(&kernel, 5, Write, "w", other).unwrap();
        assert_eq!(kernel.trigger(5), Some(Trigger::Level));
        let _ = table.unwatch(&kernel, 5, Read).unwrap();
        assert_eq!(kernel.trigger(5), Some(Trigger::Level));
        let _ = table.release(&kernel, 5);
    }
}

#[test]
fn a_visitor_that_was_closed_and_reopened_is_watched_again() {
    let (kernel, mut table) = house();
    // Without a word in between: the same direction, then another one.
    for (direction, expected) in
        [(Read, Released { reader: Some("old"), writer: Some("old writer") }), (Write, both("old", "old writer"))]
    {
        let _ = table.watch(&kernel, 5, Read, "old", Visitor).unwrap();
        let _ = table.watch(&kernel, 5, Write, "old writer", Visitor).unwrap();
        kernel.open(5);
        assert_eq!(table.watch(&kernel, 5, direction, "new", Visitor).unwrap(), expected);
        let found = table.lookup(kernel.event(5).unwrap()).unwrap();
        assert_eq!(found.reader.or(found.writer), Some(&"new"));
        assert_eq!(table.iter().count(), 1);
        let _ = table.release(&kernel, 5);
    }
    // With a removal in between, which went to the kernel at once.
    let _ = table.watch(&kernel, 5, Read, "old", Visitor).unwrap();
    assert_eq!(table.unwatch(&kernel, 5, Read).unwrap(), Some("old"));
    kernel.open(5);
    let _ = table.watch(&kernel, 5, Read, "new", Visitor).unwrap();
    assert!(table.lookup(kernel.event(5).unwrap()).is_some());
}

#[test]
fn a_visitor_on_the_number_of_a_resident_is_checked() {
    let (kernel, mut table) = house();
    let _ = table.watch(&kernel, 5, Read, "transport", Resident).unwrap();
    kernel.open(5);
    let released = table.watch(&kernel, 5, Read, "user", Visitor).unwrap();
    assert_eq!(released.reader, Some("transport"));
    assert!(kernel.event(5).is_some());
}

#[test]
fn a_resident_on_the_number_of_a_visitor_is_checked() {
    let (kernel, mut table) = house();
    let _ = table.watch(&kernel, 5, Read, "user", Visitor).unwrap();
    kernel.open(5);
    let released = table.watch(&kernel, 5, Read, "transport", Resident).unwrap();
    assert_eq!(released.reader, Some("user"));
    assert!(kernel.event(5).is_some());
}

#[test]
fn refusals_give_everything_back() {
    let (kernel, mut table) = house();
    let refused = table.watch(&kernel, 9, Read, "r", Visitor).unwrap_err();
    assert_eq!(refused.error.raw_os_error(), Some(libc::EBADF));
    assert_eq!((refused.item, refused.released), (Some("r"), Released::nothing()));
    assert!(table.watch(&kernel, 1 << 30, Read, "r", Visitor).is_err());
    assert!(table.watch(&kernel, -1, Read, "r", Visitor).is_err());
    assert_eq!((table.slots.len(), table.watched()), (0, 0));

    let _ = table.watch(&kernel, 5, Read, "r", Visitor).unwrap();
    kernel.close(5);
    let refused = table.watch(&kernel, 5, Write, "w", Visitor).unwrap_err();
    assert_eq!(refused.item, Some("w"));
    assert_eq!(refused.released, Released { reader: Some("r"), writer: None });
    assert_eq!(table.watched(), 0);
}

#[test]
fn removals_from_a_closed_visitor_behave_as_in_asyncio() {
    let (kernel, mut table) = house();
    let _ = table.watch(&kernel, 5, Read, "r", Visitor).unwrap();
    kernel.close(5);
    assert_eq!(table.unwatch(&kernel, 5, Read).unwrap(), Some("r"));
    assert_eq!(table.watched(), 0);

    kernel.open(5);
    let _ = table.watch(&kernel, 5, Read, "r", Visitor).unwrap();
    let _ = table.watch(&kernel, 5, Write, "w", Visitor).unwrap();
    kernel.open(5);
    let refused = table.unwatch(&kernel, 5, Read).unwrap_err();
    assert_eq!(refused.error.raw_os_error(), Some(libc::ENOENT));
    assert_eq!(refused.released, both("r", "w"));
    assert_eq!(table.watched(), 0);
}

#[test]
fn a_resident_closed_against_its_promise_is_reported_by_flush() {
    let (kernel, mut table) = house();
    let _ = table.watch(&kernel, 5, Read, "r", Resident).unwrap();
    let _ = table.watch(&kernel, 5, Write, "w", Resident).unwrap();
    assert_eq!(table.unwatch(&kernel, 5, Write).unwrap(), Some("w"));
    kernel.close(5);
    let lost = table.flush(&kernel);
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].fd, lost[0].released.reader), (5, Some("r")));
    assert_eq!((table.watched(), table.iter().count()), (0, 0));
}

#[test]
fn a_file_registered_through_a_duplicate_is_taken_over() {
    let (kernel, mut table) = house();
    let file = *kernel.open.borrow().get(&5).unwrap();
    kernel.registrations.borrow_mut().insert((5, file), (123, Interest::Write, Trigger::Level));
    let _ = table.watch(&kernel, 5, Read, "r", Visitor).unwrap();
    assert_eq!(table.lookup(kernel.event(5).unwrap()).unwrap().reader, Some(&"r"));
}

#[test]
fn drain_takes_everything_without_a_call() {
    let (kernel, mut table) = house();
    kernel.open(6);
    let _ = table.watch(&kernel, 5, Read, "r", Resident).unwrap();
    let _ = table.watch(&kernel, 6, Write, "w", Visitor).unwrap();
    let event = kernel.event(5).unwrap();
    kernel.calls();
    assert_eq!(table.drain(), ["r", "w"]);
    assert_eq!((kernel.calls(), table.watched(), table.lookup(event)), (0, 0, None));
}

#[derive(Clone, Debug)]
enum Move {
    Watch(Descriptor, Direction),
    Unwatch(Descriptor, Direction),
    Release(Descriptor),
    Close(Descriptor),
    Open(Descriptor),
    Flush,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let fd = || 0..5 as Descriptor;
    let direction = || prop_oneof![Just(Read), Just(Write)];
    let one = prop_oneof![
        6 => (fd(), direction()).prop_map(|(fd, direction)| Move::Watch(fd, direction)),
        4 => (fd(), direction()).prop_map(|(fd, direction)| Move::Unwatch(fd, direction)),
        1 => fd().prop_map(Move::Release),
        1 => fd().prop_map(Move::Close),
        2 => fd().prop_map(Move::Open),
        2 => Just(Move::Flush),
    ];
    proptest::collection::vec(one, 0..120)
}

/// Numbers below two belong to residents, who release before they close; the last is a guest's; the others are visitors.
fn tenure(fd: Descriptor, same: bool) -> Tenure {
    match fd {
        0 | 1 => Resident,
        4 => Guest { same },
        _ => Visitor,
    }
}

proptest! {
    /// Whatever is watched on a file reaches its listener, with the listeners that were put there for this very file
    /// and no others; and no payload is lost or returned twice.
    #[test]
    fn nobody_is_forgotten_and_nobody_hears_of_another_file(moves in moves()) {
        let kernel = Kernel::default();
        let mut table: Interests<u32> = Interests::new();
        // Who should hear of the file now open under a number.
        let mut model: HashMap<(Descriptor, bool), u32> = HashMap::new();
        let mut held: Vec<u32> = Vec::new();
        let mut next = 0;
        // Whether the guest's file is that of its last watch.
        let mut same = true;
        let stale = RefCell::new(Vec::<(Event, u32)>::new());
        let leave = |held: &mut Vec<u32>, items: [Option<u32>; 2]| {
            for item in items.into_iter().flatten() {
                let at = held.iter().position(|held| *held == item).expect("returned once");
                held.swap_remove(at);
            }
        };
        for one in moves {
            match one {
                Move::Watch(fd, direction) => {
                    next += 1;
                    match table.watch(&kernel, fd, direction, next, tenure(fd, same)) {
                        Ok(released) => {
                            same |= fd == 4;
                            held.push(next);
                            leave(&mut held, [released.reader, released.writer]);
                            model.insert((fd, direction == Read), next);
                        }
                        Err(refused) => {
                            prop_assert_eq!(refused.item, Some(next));
                            prop_assert!(!kernel.open.borrow().contains_key(&fd));
                            leave(&mut held, [refused.released.reader, refused.released.writer]);
                        }
                    }
                }
                Move::Unwatch(fd, direction) => {
                    let known = model.remove(&(fd, direction == Read));
                    match table.unwatch(&kernel, fd, direction) {
                        Ok(item) => {
                            prop_assert!(known.is_none() || item == known);
                            leave(&mut held, [item, None]);
                        }
                        Err(refused) => {
                            prop_assert_eq!(known, None, "only a stale registration is refused");
                            prop_assert_eq!(tenure(fd, same), Visitor);
                            leave(&mut held, [refused.released.reader, refused.released.writer]);
                        }
                    }
                }
                Move::Release(fd) => {
                    let released = table.release(&kernel, fd);
                    leave(&mut held, [released.reader, released.writer]);
                    model.retain(|key, _| key.0 != fd);
                }
                Move::Close(fd) | Move::Open(fd) => {
                    if let Some(event) = kernel.event(fd) {
                        stale.borrow_mut().push((event, next));
                    }
                    same &= fd != 4;
                    if tenure(fd, same) == Resident {
                        let released = table.release(&kernel, fd);
                        leave(&mut held, [released.reader, released.writer]);
                    }
                    kernel.close(fd);
                    model.retain(|key, _| key.0 != fd);
                    if matches!(one, Move::Open(_)) {
                        kernel.open(fd);
                    }
                }
                Move::Flush => {
                    prop_assert!(table.flush(&kernel).is_empty());
                    let mut wanted = 0;
                    for fd in 0..5 {
                        let expected = Interest::of(model.contains_key(&(fd, true)), model.contains_key(&(fd, false)));
                        wanted += usize::from(expected.is_some());
                        let told = kernel.event(fd).and_then(|event| Interest::of(event.readable, event.writable));
                        if fd == 4 {
                            let more = told.zip(expected).map(|(told, expected)| told.with(expected));
                            prop_assert!(expected.is_none() || told == more, "what the kernel watches of the guest");
                        } else {
                            prop_assert_eq!(told, expected, "what the kernel watches of {}", fd);
                        }
                    }
                    prop_assert!(table.watched() >= wanted);
                }
            }
            for fd in 0..5 {
                let found = kernel.event(fd).and_then(|event| table.lookup(event));
                let found = found.map(|it| (it.reader.copied(), it.writer.copied()));
                let expected = (model.get(&(fd, true)).copied(), model.get(&(fd, false)).copied());
                let expected = (expected != (None, None)).then_some(expected);
                prop_assert_eq!(found, expected, "listeners of {}", fd);
            }
            prop_assert_eq!(table.writers(), table.iter().filter(|found| found.writer.is_some()).count());
            // An event of a closed file may name a visitor's leftovers, but never a listener that came after it was
            // replaced.
            for (event, age) in stale.borrow().iter() {
                if let Some(found) = table.lookup(*event) {
                    for item in [found.reader, found.writer].into_iter().flatten() {
                        prop_assert!(item <= age);
                        prop_assert_ne!(tenure(found.fd, same), Resident);
                    }
                }
            }
        }
        held.sort_unstable();
        let mut left = table.drain();
        left.sort_unstable();
        prop_assert_eq!(left, held);
    }
}
