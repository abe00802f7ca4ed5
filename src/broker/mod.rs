//! A whole broker as a state machine: connections, bytes and time go in; bytes for each connection come out.
//!
//! A [`Broker`] holds the sessions of its clients, routes messages between them, and keeps retained messages and wills. It
//! does no I/O: whoever embeds it, a gateway, a test, a simulator or a product, moves the bytes, and decides by a
//! [`Policy`] who may do what.
//!
//! ```
//! # use bytes::Buf;
//! # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig};
//! # use mqtt_sansio::{Instant, Message};
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! # let now = Instant::from_micros(7);
//! let mut broker = Broker::new(BrokerConfig::default(), AllowAll);
//! let id = broker.open(now); // a transport was accepted
//! # let received = b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo\x82\x0a\x00\x01\x00\x00\x04gw/#\x00";
//! let mut input = &received[..]; // what it has read
//! broker.receive(now, id, &mut input);
//! broker.publish(now, &Message::new("gw/started", "yes"))?; // the gateway's own voice
//! while let Some(id) = broker.next_ready() {
//!     let transmit = broker.transmit(id); // to be written to the transport of this connection
//!     println!("{} bytes", transmit.remaining());
//!     # assert!(transmit.chunk().starts_with(b"\x20") && transmit.chunk().ends_with(b"started\x00yes"));
//!     transmit.advance(transmit.remaining());
//!     if broker.is_over(id) {
//!         // close the transport
//!         broker.closed(now, id);
//!     }
//! }
//! println!("call poll() at {:?}", broker.deadline());
//! # Ok(())
//! # }
//! ```
//!
//! A driver does this, for each connection at its own pace:
//!
//! - What was read goes to [`receive`](Broker::receive). What that leaves is kept, and given again with more behind it. While
//!   a connection does not [take input](Broker::takes_input), nothing need be read.
//! - Each connection that [`next_ready`](Broker::next_ready) tells is written to, from [`transmit`](Broker::transmit) until
//!   there is nothing more; if the transport is not ready, when it is. Then what is left of its input is given again, if
//!   there is some.
//! - One that [is over](Broker::is_over) is written to once more, and closed.
//! - [`poll`](Broker::poll) is called when the [`deadline`](Broker::deadline) has come.
//!
//! Other servers may connect as [bridges](crate::codec::Connect::is_bridge). In 3.1 and 3.1.1 every subscription of a bridge
//! is one with No Local and Retain As Published, and the policy is shown it as that; in 5.0 a bridge asks for them itself.

mod config;
mod connecting;
mod core;
mod counters;
mod feed;
mod hub;
mod policy;
mod publication;
mod publishing;
mod questions;
mod requests;
mod resuming;
mod retained;
mod sessions;
mod slab;
mod status;
mod timers;
mod tree;
mod trie;

pub use self::config::{BrokerConfig, SharedStrategy};
pub use self::core::Broker;
pub use self::counters::{Counters, DropReason, Dropped, Status};
pub use self::policy::{
    Admission, AllowAll, Answer, AuthStep, Client, ConnectionId, Decision, Ended, Notice, Policy, Refusal, TakeOver,
    Ticket, UnknownTicket,
};
