//! Which request is permitted in which phase of the conversation.

use crate::message::Request;

/// Where the conversation with one manager stands, seen from the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was said yet.
    Greeting,
    /// The inventory was sent; the manager takes it in.
    Adopting,
    /// The manager is live.
    Live,
    /// The keeper ends everything.
    Ending,
}

/// Whether `request` may be made in `phase`. What may not be made is a malformed message: the manager that sent it
/// counts as dead.
pub fn permitted(phase: Phase, request: &Request) -> bool {
    use Request as R;
    match (phase, request) {
        (Phase::Greeting, R::Hello { .. }) => true,
        (Phase::Greeting, _) => false,
        (_, R::Hello { .. }) => false,
        (Phase::Adopting, R::Ready | R::Pong | R::Hold { .. } | R::TellHost { .. } | R::Exit { .. }) => true,
        (Phase::Adopting, _) => false,
        (Phase::Live, R::Ready) => false,
        (Phase::Live, _) => true,
        (Phase::Ending, _) => false,
    }
}
