//! The slots.
