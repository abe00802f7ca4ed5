//! What the two ends of a connection have in common: deliveries and their packet identifiers, what is to be written,
//! aliases, keep-alive.
//!
//! Nothing in here does what only one end does: what differs is asked of a [`Side`]. The types that a caller sees, errors
//! and outcomes, have room for both.

mod deliveries;
mod ending;
mod engine;
mod error;
mod link;
mod message;
mod outcome;
mod parts;
mod receiving;
mod report;
mod sending;
mod store;
mod subscribing;
mod token;
mod will;

pub use self::deliveries::inbound::Receipt;
pub use self::deliveries::queue::Overflow;
pub use self::error::{CommandError, ProtocolError};
pub use self::link::transmit::Transmit;
pub use self::message::{Message, MessageRef, Payload, PayloadPart, ReceivedMessage, SharedTopic, Topic};
pub use self::outcome::{AbandonReason, Codes, Outcome};
pub use self::store::journal::{Journal, JournalError};
pub use self::token::Token;
pub use self::will::Will;
pub(crate) use self::{
    deliveries::ack::trim,
    deliveries::budget::BudgetLimits,
    deliveries::outbound::Stage,
    deliveries::queue::{Kind, Waiting},
    ending::Exchange,
    engine::{End, Engine, Phase, Rules, Side, Stop},
    link::keep_alive::KeepAlive,
    outcome::Done,
    sending::Admission,
    store::journal::Record,
    store::restore::Restored,
    store::stored::UNASSIGNED,
    subscribing::Available,
    will::user_properties,
};

#[allow(unused_imports, reason = "for a router: see `server::routing`")]
pub(crate) use self::store::stored::Stored;
pub(crate) use self::{link::transmit::LARGE, store::payload::PayloadAccount};

/// The smallest Maximum Packet Size that one can live with: the longest acknowledgement without properties.
pub(crate) const SMALLEST_PACKET_SIZE: u32 = 5;
