//! What the two ends of a connection have in common: deliveries and their packet identifiers, what is to be written,
//! aliases, keep-alive.
//!
//! Nothing in here does what only one end does: what differs is asked of a [`Side`]. The types that a caller sees, errors
//! and outcomes, have room for both.

mod ack;
mod alias;
mod ending;
mod engine;
mod error;
mod id_set;
mod inbound;
mod journal;
mod keep_alive;
mod message;
mod outbound;
mod outcome;
mod packet_id;
mod parts;
mod payload;
mod queue;
mod receiving;
mod sending;
mod stored;
mod subscribing;
mod token;
mod transmit;
mod will;

pub use self::error::{Breach, CommandError};
pub use self::inbound::Receipt;
pub use self::journal::{Journal, JournalError};
pub use self::message::{Message, MessageRef, Payload, PayloadPart, ReceivedMessage, SharedTopic, Topic};
pub use self::outcome::{Codes, Loss, Outcome};
pub use self::queue::Overflow;
pub use self::token::Token;
pub use self::transmit::Transmit;
pub use self::will::Will;
pub(crate) use self::{
    ack::trim,
    ending::Exchange,
    engine::{End, Engine, Phase, Rules, Side, Stop},
    journal::{Record, Restored},
    keep_alive::KeepAlive,
    outbound::Stage,
    outcome::Done,
    queue::{Kind, Waiting},
    stored::UNASSIGNED,
    subscribing::Available,
    will::user_properties,
};

#[allow(unused_imports, reason = "for a router: see `server::routing`")]
pub(crate) use self::stored::Stored;
pub(crate) use self::{payload::PayloadAccount, transmit::LARGE};

/// The smallest Maximum Packet Size that one can live with: the longest acknowledgement without properties.
pub(crate) const SMALLEST_PACKET_SIZE: u32 = 5;
