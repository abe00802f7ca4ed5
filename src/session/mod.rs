//! The part of a session that clients and servers share: deliveries and their packet identifiers, output, topic
//! aliases, keep-alive.
//!
//! Behaviour of only one of the endpoints is not in this module: the engine asks a [`Peer`] where client and server
//! differ. The public types, errors and outcomes, cover both endpoints.
//!
//! | part | content |
//! |---|---|
//! | [`Deliveries`](deliveries::Deliveries) | tables of messages and requests: pure transitions, no bytes, no clock |
//! | [`Link`](link::Link) | one connection: output, incomplete input, topic aliases |
//! | [`Effects`](effects::Effects) | outcomes that wait to be reported, and changes to be stored if the session is durable |
//! | [`Engine`] | these parts together, and the commands on them |
//! | [`Endpoint`] | the loop over the input, which client and server share |
//!
//! The way of a message that is published, and of its acknowledgement:
//!
//! 1. `ClientSession::publish` or `ServerSession::publish`, then [`Engine::publish`]: checks the message against the
//!    limits of the peer.
//! 2. [`Engine::admission`]: the message is sent now, queued (`Deliveries::enqueue`; `Backlog` sends it later), or
//!    refused.
//! 3. [`Link`](link::Link) encodes the packet into [`Transmit`]. QoS 1 and 2 take a packet identifier, and the packet is
//!    stored in [`Outbound`](deliveries::outbound::Outbound) until it is acknowledged.
//! 4. [`Endpoint::receive_all`] decodes the acknowledgement; `Deliveries::acknowledge` makes the transition of its
//!    `Stage`; the result is an outcome, reported as `Action::Done`, or a PUBREL.

use core::num::NonZeroU32;

mod available;
mod backlog;
mod command_error;
mod deliveries;
mod effects;
mod endpoint;
mod engine;
mod error;
mod expiry;
mod limits;
mod link;
mod message;
mod message_ref;
mod operation;
mod outcome;
mod owned_message;
mod owned_outcome;
mod payload;
mod received;
mod received_topic;
mod release;
mod report;
mod request;
mod retry;
mod store;
mod token;
mod will;

pub use self::command_error::{
    AckError, AuthenticateError, DisconnectError, PublishError, SubscribeError, UnknownToken,
};
pub use self::deliveries::inbound::AckHandle;
pub use self::deliveries::queue::Overflow;
pub use self::error::ProtocolError;
pub use self::expiry::SessionExpiry;
pub use self::link::transmit::Transmit;
pub use self::message::Message;
pub use self::message_ref::MessageRef;
pub use self::operation::{Operation, OperationKind, OperationStage};
pub use self::outcome::{AbandonReason, Codes, Outcome};
pub use self::owned_message::OwnedMessage;
pub use self::owned_outcome::OwnedOutcome;
pub use self::payload::Payload;
pub use self::received::{PayloadPart, ReceivedMessage};
pub use self::received_topic::{SharedTopic, Topic};
pub use self::token::Token;
pub use self::will::Will;
pub(crate) use self::{
    available::Available,
    command_error::InvalidText,
    deliveries::Deliveries,
    deliveries::ack::trim,
    deliveries::budget::BudgetLimits,
    deliveries::queue::Waiting,
    endpoint::{Endpoint, Peer, Stop},
    engine::{Admission, Engine},
    limits::ConnectionLimits,
    link::keep_alive::KeepAlive,
    outcome::Done,
    request::Request,
    retry::is_passing,
    store::durable::{Durable, StoredWill},
    store::records::{ClientRecord, ServerRecord},
    store::restore::{Restored, RestoredDeliveries},
};

#[allow(unused_imports, reason = "for a router: see `server::routing`")]
pub(crate) use self::store::{
    journal::{Journal, WillInStore},
    records::{DeliveryRecord, WillRecord},
    restore::{Contents, MAX_NUMBER, StoredClock, read_delivery, read_number, read_pairs, read_received, read_will},
    stored::{InStore, Stored},
};
pub(crate) use self::will::user_properties;
pub(crate) use self::{link::transmit::LARGE, store::payload::PayloadAccount};

/// The endpoint whose turn it is in an enhanced authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    Idle,
    Ours,
    Theirs,
}

/// The default maximum number of bytes in the output: 64 KiB.
pub(crate) const TRANSMIT_LIMIT: NonZeroU32 = NonZeroU32::MIN.saturating_add(64 * 1024 - 1);

/// The default maximum size of changes that are not committed, in bytes: 4 MiB.
pub(crate) const MAX_UNCOMMITTED: NonZeroU32 = NonZeroU32::MIN.saturating_add(4 * 1024 * 1024 - 1);

/// The smallest supported Maximum Packet Size of a peer, in bytes: that of the longest acknowledgement without
/// properties.
pub(crate) const SMALLEST_PACKET_SIZE: u32 = 5;
