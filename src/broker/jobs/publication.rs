//! A message that was accepted, and does not get to all of its subscribers in one call.

use alloc::boxed::Box;

use crate::broker::durability::publication::StoredPublication;
use crate::broker::router::retained_message::RetainedMessage;
use crate::broker::router::spread::Spread;
use crate::broker::slab::Key;
use crate::codec::PacketId;
use crate::session::AckHandle;

/// A message that was accepted: it goes to its subscribers to the end, whatever becomes of the connection or the session that
/// it came by.
pub(in crate::broker) struct Publication {
    pub(in crate::broker) source: Source,
    pub(in crate::broker) state: State,
    /// What is stored when the message has gone to all subscribers.
    pub(in crate::broker) stored: StoredPublication,
}

impl Publication {
    /// The size on the heap, in bytes, with the box of the publication itself. A shared payload does not count.
    pub(super) fn heap(&self) -> usize {
        let client_id = match &self.source {
            Source::Will { client_id, .. } => client_id.len(),
            Source::Client { .. } | Source::Broker => 0,
        };
        let state = match &self.state {
            State::Waiting(message) => core::mem::size_of::<RetainedMessage>().saturating_add(message.heap()),
            State::Spreading(spread) => core::mem::size_of::<Spread>().saturating_add(spread.heap()),
        };
        core::mem::size_of::<Self>().saturating_add(client_id).saturating_add(state)
    }
}

/// Whoever has published a message.
#[derive(Clone, Debug)]
pub(in crate::broker) enum Source {
    /// A client, with the session that the message came by, and the packet identifier of a message of QoS 2.
    Client { session: Key, ack_handle: Option<AckHandle>, received: Option<PacketId> },
    /// A client by its will, with the session that the will belonged to.
    Will { session: Option<Key>, client_id: Box<str> },
    /// The broker itself, or the embedding program.
    Broker,
}

pub(in crate::broker) enum State {
    /// Earlier messages are on their way to the end: of the same client, or retained ones of the same topic.
    Waiting(Box<RetainedMessage>),
    /// The message is on its way to its subscribers.
    Spreading(Box<Spread>),
}
