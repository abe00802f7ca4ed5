//! What the two ends of a connection have in common: deliveries and their packet identifiers, what is to be written,
//! aliases, keep-alive.
//!
//! Nothing in here knows which end it serves.

mod ack;
mod alias;
mod error;
mod id_set;
mod inbound;
mod journal;
mod keep_alive;
mod message;
mod outbound;
mod packet_id;
mod queue;
mod stored;
mod token;
mod transmit;

pub use self::error::{Breach, CommandError};
pub use self::inbound::Receipt;
pub use self::journal::{Journal, JournalError};
pub use self::message::{Message, Payload, PayloadPart, ReceivedMessage, SharedTopic, Topic};
pub use self::queue::Overflow;
pub use self::token::Token;
pub use self::transmit::Transmit;
pub(crate) use self::{
    ack::{OrderedAck, trim},
    alias::{Alias, InboundAliases, OutboundAliases},
    inbound::{Arrival, BadReceipt, Inbound},
    journal::{Record, Restored},
    keep_alive::KeepAlive,
    outbound::{Ack, Acknowledged, Outbound, Stage},
    queue::{Kind, Queue, Waiting},
    stored::Stored,
    transmit::LARGE,
};
