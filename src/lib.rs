//! The MQTT protocol, versions 3.1, 3.1.1 and 5.0, as pure functions and state machines: bytes and time go in, actions and
//! bytes come out.
//!
//! The crate opens no socket, reads no clock and starts no thread. The program that embeds it brings the transport: TCP,
//! TLS, WebSocket, QUIC, a serial line, a simulator.
//!
//! - [`codec`]: decodes and encodes packets. Needs neither the standard library nor an allocator.
//! - [`client`]: [`ClientSession`](client::ClientSession), a client and its session across all its connections.
//! - [`server`]: [`Acceptor`](server::Acceptor), which authenticates a client, and
//!   [`ServerSession`](server::ServerSession), the server's part of a session.
//! - [`broker`]: [`Broker`](broker::Broker), which routes messages between many sessions.
//! - [`TopicName`] and [`TopicFilter`]: topics, and which filter matches which name.
//!
//! # The loop around an engine
//!
//! [`ClientSession`](client::ClientSession) and [`ServerSession`](server::ServerSession) are driven by the same calls:
//!
//! ```
//! # #[cfg(feature = "std")] {
//! # use bytes::{Buf, BytesMut};
//! # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
//! # use mqtt_sansio::{Instant, StdClock};
//! # fn write_all(bytes: &mut impl Buf) { bytes.advance(bytes.remaining()); }
//! # fn sleep_until(deadline: Option<Instant>) {}
//! # let (mut client, clock) = (ClientSession::new(ClientConfig::default()), StdClock::new());
//! # client.open(clock.now()).unwrap();
//! # let mut received = BytesMut::from(&b"\x20\x03\0\0\0"[..]);
//! let mut input = &received[..]; // the bytes that the transport has read
//! while let Some(action) = client.poll(clock.now(), &mut input) {
//!     match action {
//!         Action::Message(message) => println!("{}: {:?}", message.topic, message.payload),
//!         action => println!("{action:?}"),
//!     }
//! }
//! let used = received.len() - input.len(); // the rest is an incomplete packet
//! received.advance(used);
//! write_all(client.transmit()); // implements `bytes::Buf`, also for vectored writes
//! sleep_until(client.deadline()); // or until the transport has read something
//! # }
//! ```
//!
//! A [`Broker`](broker::Broker) has many connections, and therefore a loop of its own: see its documentation.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `std` | yes | `alloc`, [`StdClock`], and `std` in the dependencies |
//! | `alloc` | | [`client`] and [`server`], and `encode` of packets into any `bytes::BufMut` |
//! | `broker` | yes | [`broker`], and `alloc` |
//! | `arbitrary` | | the module `generators`, of valid packets for property tests and fuzzing, and `std` |
//!
//! Without features the crate is the codec alone, for `no_std` without an allocator.
//!
//! # Public dependencies
//!
//! Two dependencies are part of the interface, so a new major version of either means a new major version of this
//! crate: `bytes` 1 (`Buf` of [`Transmit`], `BufMut` of `encode`, `Bytes` of [`Payload`]; with the feature `alloc`),
//! and `arbitrary` 1 (with the feature `arbitrary`). All others may be replaced at any time.
//!
//! # Promises
//!
//! No input causes a panic, recursion, or unbounded work, and there is no unsafe code. All engines and owned values are
//! `Send` and `Sync`. The crate needs Rust 1.88 or later.
//!
//! Clauses of the specifications are cited by their numbers in MQTT 5.0, \[MQTT-3.3.1-2\], or with the version.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))] // docs.rs has a nightly compiler, which labels items with their features
// No input may cause a panic.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable,
    clippy::unwrap_used
)]

#[cfg(target_pointer_width = "16")]
compile_error!("a packet has up to 268,435,460 bytes: a usize of 16 bits cannot count them");

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

#[cfg(feature = "alloc")]
#[macro_use]
mod bug;

#[cfg(feature = "broker")]
pub mod broker;
#[cfg(feature = "alloc")]
pub mod client;
pub mod codec;
mod escaped;
#[cfg(feature = "arbitrary")]
pub mod generators;
#[cfg(feature = "broker")]
mod random;
mod redacted;
#[cfg(feature = "alloc")]
pub mod server;
#[cfg(feature = "alloc")]
mod session;
mod text;
mod time;
mod topic;

pub use codec::{PacketId, QoS, ReasonCode, Subscription, Version};
#[cfg(feature = "alloc")]
pub use session::{
    AbandonReason, AckError, AckHandle, AuthenticateError, Codes, DisconnectError, Journal, JournalError, Message,
    MessageRef, Outcome, Overflow, Payload, PayloadPart, ProtocolError, PublishError, ReceivedMessage, SessionExpiry,
    SharedTopic, Token, Topic, Transmit, UnknownToken, Will,
};
pub use text::{TextError, TextErrorKind, Utf8Str};
pub use time::Instant;
#[cfg(feature = "std")]
pub use time::StdClock;
pub use topic::{TopicError, TopicErrorKind, TopicFilter, TopicName};

#[cfg(all(doctest, feature = "std", feature = "broker"))]
#[doc = include_str!("../README.md")]
struct Readme;
