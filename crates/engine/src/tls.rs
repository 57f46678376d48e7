//! The states of a TLS connection and the moves between them that are legal; nothing of keys or bytes.
//!
//! Asked by the room `sslproto` before each move. Calls nobody.
//!
//! [`Phase`] is what goes over the wire:
//!
//! ```text
//! Unwrapped -> Handshake -> Wrapped -> Flushing -> Shutdown
//!     ^-----------'------------'----------'-----------'
//! ```
//!
//! From everywhere the way leads back to Unwrapped: the connection was lost, or was given up. Flushing: nothing more is
//! taken to be sent, what came is still handed on. Shutdown: each side tells the other that it is done.
//!
//! [`App`] is what the program above has been told: that there is a connection, that nothing more will come, that it is
//! over; each once, in this order. The middle one may be left out.

/// Where the connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// No TLS: not begun, or over.
    #[default]
    Unwrapped,
    /// Keys are being agreed on.
    Handshake,
    /// Bytes go both ways.
    Wrapped,
    /// Nothing more is taken to be sent.
    Flushing,
    /// The ends are being exchanged.
    Shutdown,
}

impl Phase {
    /// Whether a connection that is here may go on to `next`.
    #[must_use]
    pub fn may_become(self, next: Phase) -> bool {
        use Phase::{Flushing, Handshake, Shutdown, Unwrapped, Wrapped};
        matches!(
            (self, next),
            (_, Unwrapped) | (Unwrapped, Handshake) | (Handshake, Wrapped) | (Wrapped, Flushing) | (Flushing, Shutdown)
        )
    }

    /// Whether bytes that came are handed on to the program.
    #[must_use]
    pub fn delivers(self) -> bool {
        matches!(self, Phase::Wrapped | Phase::Flushing)
    }

    /// Whether bytes are taken to be sent, now or when the handshake is over.
    #[must_use]
    pub fn accepts(self) -> bool {
        matches!(self, Phase::Handshake | Phase::Wrapped)
    }

    /// Whether the connection is on its way to the end, and not there yet.
    #[must_use]
    pub fn is_ending(self) -> bool {
        matches!(self, Phase::Flushing | Phase::Shutdown)
    }
}

/// What the program has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum App {
    /// Nothing.
    #[default]
    Init,
    /// That there is a connection.
    Made,
    /// That nothing more will come.
    Eof,
    /// That it is over.
    Lost,
}

impl App {
    /// Whether the program knows of the connection, and not yet of its end.
    #[must_use]
    pub fn is_connected(self) -> bool {
        matches!(self, App::Made | App::Eof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Phase; 5] = [Phase::Unwrapped, Phase::Handshake, Phase::Wrapped, Phase::Flushing, Phase::Shutdown];

    #[test]
    fn each_phase_leads_to_the_next_and_back_to_the_first() {
        for (at, from) in ALL.into_iter().enumerate() {
            for (to, next) in ALL.into_iter().enumerate() {
                assert_eq!(from.may_become(next), to == 0 || to == at + 1, "{from:?} -> {next:?}");
            }
        }
    }

    #[test]
    fn what_comes_is_handed_on_a_step_longer_than_what_goes_is_taken() {
        assert_eq!(ALL.map(Phase::accepts), [false, true, true, false, false]);
        assert_eq!(ALL.map(Phase::delivers), [false, false, true, true, false]);
        assert_eq!(ALL.map(Phase::is_ending), [false, false, false, true, true]);
    }

    #[test]
    fn a_program_is_connected_between_the_two_calls() {
        assert_eq!([App::Init, App::Made, App::Eof, App::Lost].map(App::is_connected), [false, true, true, false]);
    }
}
