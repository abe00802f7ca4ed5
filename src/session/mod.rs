//! The part of a session that clients and servers share: deliveries and their packet identifiers, output, topic
//! aliases, keep-alive.
//!
//! Behaviour of only one of the endpoints is not in this module: the engine asks a [`Side`] where client and server
//! differ. The public types, errors and outcomes, cover both endpoints.

use core::num::NonZeroU32;

mod command_error;
mod deliveries;
mod ending;
mod engine;
mod error;
mod expiry;
mod link;
mod message;
mod outcome;
mod parts;
mod receiving;
mod report;
mod retry;
mod sending;
mod store;
mod subscribing;
mod token;
mod will;

pub use self::command_error::{
    AckError, AuthenticateError, DisconnectError, PublishError, SubscribeError, UnknownToken,
};
pub use self::deliveries::inbound::Receipt;
pub use self::deliveries::queue::Overflow;
pub use self::error::ProtocolError;
pub use self::expiry::SessionExpiry;
pub use self::link::transmit::Transmit;
pub use self::message::{Message, MessageRef, Payload, PayloadPart, ReceivedMessage, SharedTopic, Topic};
pub use self::outcome::{AbandonReason, Codes, Outcome};
pub use self::store::journal::{Journal, JournalError};
pub use self::token::Token;
pub use self::will::Will;
pub(crate) use self::{
    command_error::InvalidText,
    deliveries::ack::trim,
    deliveries::budget::BudgetLimits,
    deliveries::outbound::Stage,
    deliveries::queue::{Kind, Waiting},
    ending::Exchange,
    engine::{End, Engine, Phase, Rules, Side, Stop},
    link::keep_alive::KeepAlive,
    outcome::Done,
    retry::is_passing,
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

/// The default maximum number of bytes in the output: 64 KiB.
pub(crate) const TRANSMIT_LIMIT: NonZeroU32 = NonZeroU32::MIN.saturating_add(64 * 1024 - 1);

/// The smallest supported Maximum Packet Size of a peer, in bytes: that of the longest acknowledgement without
/// properties.
pub(crate) const SMALLEST_PACKET_SIZE: u32 = 5;
