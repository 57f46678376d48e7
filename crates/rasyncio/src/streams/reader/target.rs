//! A large read of exactly so many bytes: the kernel writes into the bytes object that the read answers.
//!
//! Called by the socket transport when it has an event for a reader on which such a read waits ([`StreamReader::has_target`],
//! [`StreamReader::receive`]), and by the reader itself when somebody wants its bytes otherwise ([`StreamReader::drop_target`]).
//!
//! Without it each piece is copied into the buffer as it comes, and all of them once more into what the read answers, which is as
//! much work as the kernel's. The object is made when the first bytes come, not when the read begins to wait, so that idle
//! connections hold no memory for it.
//!
//! States: none -> partly written -> all written, which wakes the read -> the piece. A read that is cancelled, an end or an exception
//! makes what was written the piece: no byte is lost.
//!
//! Invariants: while there is a target, piece and buffer are empty and nobody has looked at `_buffer`. What the read asks for is no
//! more than what would pause the transport, so that flow control is as without it. One system call reads as much as another
//! would: what comes beyond goes to the buffer.

use std::io;

use engine::buffers::LARGE;
use engine::sys::{Descriptor, socket};
use pyo3::prelude::*;
use slots::{Filling, Ref};

use super::StreamReader;

impl StreamReader {
    /// Whether the read that waits is one of exactly so many bytes, and many; then there is a target. Not without memory for it.
    #[inline]
    pub fn has_target(this: &Ref<'_, StreamReader>) -> bool {
        let wanted = this.wanted.get();
        wanted >= LARGE
            && wanted / 2 <= this.limit.get()
            && this.waiter.is_set()
            && !this.exposed.is_set()
            && (this.target.borrow().is_some() || StreamReader::make_target(this, wanted))
    }

    fn make_target(this: &Ref<'_, StreamReader>, wanted: usize) -> bool {
        let py = this.py();
        let Ok(mut target) = Filling::new(py, wanted) else { return false };
        let moved = StreamReader::with(this, |buffer| {
            target.extend(py, buffer.as_slice());
            buffer.clear();
        });
        *this.target.borrow_mut() = Some(target);
        moved.is_ok()
    }

    /// Receives into the target; what is beyond it goes by `scratch`. Answers how many bytes came.
    pub fn receive(this: &Ref<'_, StreamReader>, fd: Descriptor, scratch: &mut [u8]) -> PyResult<io::Result<usize>> {
        let py = this.py();
        let (received, begun, written) = {
            let mut target = this.target.borrow_mut();
            let Some(target) = &mut *target else { return Ok(Err(io::ErrorKind::WouldBlock.into())) };
            let begun = target.written();
            let received = target.fill(py, |room| socket::receive_both(fd, room, scratch));
            (received, begun, target.written())
        };
        if written == 0 {
            // An idle connection keeps no memory.
            let unused = this.target.borrow_mut().take();
            drop(unused);
        }
        Ok(match received {
            Ok(beyond) => {
                if beyond > 0 {
                    StreamReader::with(this, |buffer| buffer.append(&scratch[..beyond]))?;
                }
                Ok(written - begun + beyond)
            }
            Err(error) => Err(error),
        })
    }

    /// What was written becomes the piece.
    #[inline]
    pub(super) fn drop_target(this: &Ref<'_, StreamReader>) -> PyResult<()> {
        let target = this.target.borrow_mut().take();
        if let Some(target) = target {
            this.set_piece(target.finish(this.py())?);
        }
        Ok(())
    }
}
