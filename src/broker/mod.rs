//! A whole broker as a state machine: connections, bytes and time go in; bytes for each connection come out.
//!
//! A [`Broker`] holds the sessions of its clients, routes messages between them, and keeps retained messages and wills. It
//! does no I/O: whoever embeds it, a gateway, a test, a simulator or a product, moves the bytes, and decides by a
//! [`Policy`] who may do what.
//!
//! ```
//! # use bytes::Buf;
//! # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin};
//! # use mqtt_sansio::{Instant, Message};
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! # let now = Instant::from_micros(7);
//! let mut broker = Broker::new(BrokerConfig::default(), AllowAll);
//! let id = broker.open(now, Origin::UNKNOWN); // a transport was accepted
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
//! A program that serves all connections in one loop lets a [`Host`] do this. A driver does, for each connection at its own pace:
//!
//! - What was read goes to [`receive`](Broker::receive). What that leaves is given again, with more behind it. While
//!   a connection does not [take input](Broker::takes_input), nothing need be read.
//! - Each connection that [`next_ready`](Broker::next_ready) tells is written to, from [`transmit`](Broker::transmit) until
//!   there is nothing more; if the transport is not ready, when it is. Then what is left of its input is given again, if
//!   there is some.
//! - One that [is over](Broker::is_over) is written to once more, and closed.
//! - Where the program has [subscribed](Broker::subscribe) itself, it takes the messages by [`next_message`](Broker::next_message).
//! - [`poll`](Broker::poll) is called when the [`deadline`](Broker::deadline) has come. A call does a bounded amount of
//!   [work](BrokerConfig::work_per_call); while some is left, the deadline is at once, and the driver serves its transports
//!   between two calls of `poll`.
//!
//! # What survives a crash
//!
//! A [durable](BrokerConfig::durable) broker reports what must survive a crash, and sends nothing that promises more than what
//! is stored. The driver stores each batch atomically, and confirms it; the broker goes on meanwhile:
//!
//! ```
//! # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
//! # use mqtt_sansio::store::Pairs;
//! # use mqtt_sansio::{Instant, Message, QoS};
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! # let (now, mut store) = (Instant::from_micros(1), Pairs::default());
//! # let config = BrokerConfig::new(Secret::new([7; 16]));
//! let mut broker = Broker::restore(config.clone(), AllowAll, now, store.iter())?; // all pairs, in the order of their keys
//! broker.publish(now, &Message::new("gw/started", "yes").retain(true))?;
//! while let Some(batch) = broker.changes() {
//!     store.apply(&batch); // one transaction
//!     broker.committed(now, batch.number());
//! }
//! # assert_eq!(Broker::restore(config, AllowAll, now, store.iter())?.status().retained, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Stored are the sessions that outlive their connections, with their subscriptions, the messages of QoS 1 and 2 to their
//! clients, the identifiers of received messages of QoS 2, and their wills; and retained messages, but for those under `$SYS`.
//!
//! | packet | waits |
//! |---|---|
//! | CONNACK, with all that follows it | until the session is stored as connected |
//! | PUBACK, PUBREC with success | until the message is stored for all sessions that get it, or is retained |
//! | SUBACK, UNSUBACK | until the subscriptions are stored, or removed |
//! | PUBREL, PUBCOMP, PUBLISH of QoS 2 | until its identifier and its stage are stored; PUBLISH also until the message has gone to all sessions |
//! | PUBLISH of QoS 1 | only behind a PUBLISH that waits |
//! | PUBLISH of QoS 0, PINGRESP, AUTH, DISCONNECT, refusals | no |
//!
//! What waits does so too for the last batch in which a subscription, a session or a retained message was removed or replaced:
//! a client may have seen the effect of that. Nothing else waits, and packets that wait keep their order. Nothing waits at all
//! without [`waits_for_commits`](BrokerConfig::waits_for_commits): a crash then loses what is not committed.
//!
//! A message of QoS 2 comes once, whatever crashes and whenever, if it is granted QoS 2 and the sessions of both clients
//! outlive their connections; of QoS 1 at least once. In sessions that end with their connections, wills and messages of the
//! embedding program, a copy may come again, and so may retained messages for a new subscription:
//!
//! Those that are not sent yet when the broker crashes are sent after that, if the session outlives its connection and the
//! subscription has QoS 1 or 2; SUBACK waits until that is stored. The broker begins anew with the messages that were retained
//! before SUBSCRIBE and are so still, without those that are queued or in flight in the session. Messages that the client has
//! acknowledged, of QoS 2 with PUBREC, come a second time then. That ends with the call that finds no more to send; if one call
//! sends all messages, they are stored with the end in one batch, and those of QoS 2 come once.
//!
//! A message that waits for a member of a shared subscription goes to another member when the session of this one ends
//! (section 4.8.2), also if the broker crashes before or meanwhile; but a session that ends with its connection stores nothing,
//! and what it has got as a member is lost with the broker. [`store`](crate::store) says how keys are made, and which stores
//! there are.
//!
//! While more changes than [`BrokerConfig::max_uncommitted`] are not committed, nothing is taken that begins new state: no first
//! packet of a connection, no retained, QoS 1 or QoS 2 message, no SUBSCRIBE and no UNSUBSCRIBE; [`Broker::publish`] refuses such
//! messages. What there is goes on, because it changes no more than it is: acknowledgements, messages on their way, wills that
//! are due, the ends of connections and sessions, and answers of the policy, of which a connection waits for those to one packet.
//!
//! Other servers may connect as [bridges](crate::codec::Connect::is_bridge). In 3.1 and 3.1.1 every subscription of a bridge
//! is one with No Local and Retain As Published, and the policy is shown it as that; in 5.0 a bridge asks for them itself.

mod accept;
mod account;
mod administration;
mod admission;
mod config;
mod connections;
mod context;
mod counters;
mod dispatch;
mod durability;
mod embedder;
mod facade;
mod host;
mod inbox;
mod index;
mod jobs;
mod lifecycle;
mod listing;
mod local;
mod memory_use;
mod mount;
mod pending_codes;
mod pending_decisions;
mod pieces;
mod policy;
mod pool;
mod principal;
mod publish;
mod ready;
mod registry;
mod resume;
mod router;
mod secret;
mod session;
mod sessions;
mod slab;
mod subscribe;
mod sys;
mod table;
mod timers;

pub use self::config::{BrokerConfig, SharedStrategy};
pub use self::counters::{Counters, DropReason, Dropped, MemoryUse, Status};
pub use self::facade::Broker;
pub use self::host::Host;
pub use self::listing::{Cursor, Page, SessionInfo, SubscriptionInfo};
pub use self::local::{LocalMessage, LocalSubscription, SubscribeError, SubscribeOptions};
pub use self::mount::{MountPoint, MountPointError};
pub use self::policy::{
    Admission, AllowAll, Answer, AuthStep, Client, ConnectionId, Decision, DecisionId, Ended, Notice, Policy, Refusal,
    TakeOver, UnknownDecision,
};
pub use self::principal::{Origin, Principal};
pub use self::secret::Secret;
