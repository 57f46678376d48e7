//! The engine: the part of rasyncio that knows the operating system and nothing of Python.
//!
//! Everything an event loop needs below the language: what to run, when, and what the kernel has to say. The rooms of
//! `crates/rasyncio` put references to Python objects into these structures and drive them from one place,
//! `run_once`; nothing here calls back into a room except through a closure given for one call.
//!
//! | module | is | invariant to rely on |
//! |---|---|---|
//! | [`ready`] | the ring of things to run | first in, first out; a turn runs the count it found at its start |
//! | [`inbox`] | what other threads hand over | no wake-up is lost; a wake is asked for only while the loop is blocked, once |
//! | [`timers`] | what to run at a time | by deadline, equal deadlines in the order of insertion; never early |
//! | [`clock`] | where the time comes from | [`clock::Monotonic`] is Python's `time.monotonic()` |
//! | [`turn`] | whether and how long to wait | a wait never ends before its deadline and never spins towards it |
//! | [`interest`] | who wants to hear of which descriptor | an event of an earlier life of a descriptor reaches nobody |
//! | [`tls`] | where a TLS connection is | only legal moves are made |
//! | [`buffers`] | bytes on their way in and out | amortised constant cost a byte; no empty chunk is stored |
//! | [`sys`] | the kernel | the only module with `unsafe`; its header lists what a platform owes |
//!
//! Two rules hold for the whole crate:
//!
//! - **A payload is never dropped inside.** The payload type may be a Python reference, whose drop can run any code,
//!   this crate's caller included. So whatever leaves a structure is returned, by value, and the caller drops it when
//!   its own borrow is closed. Closures that a method takes look at payloads and must not call out.
//! - **One thread.** All of it is used by the loop's thread alone, except [`inbox::Inbox`], [`sys::Waker`] and
//!   [`sys::Poller`], which say so.
//!
//! Tests: unit and property tests beside the code, a mini loop on a manual clock in `tests/simulation.rs`, the inbox
//! under every interleaving in `tests/loom.rs` (`RUSTFLAGS="--cfg loom" cargo test -p rasyncio-engine --test loom
//! --release`).
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod buffers;
pub mod clock;
pub mod inbox;
pub mod interest;
pub mod ready;
#[allow(unsafe_code)]
pub mod sys;
pub mod timers;
pub mod tls;
pub mod turn;
