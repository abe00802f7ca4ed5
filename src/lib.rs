//! The MQTT protocol, versions 3.1, 3.1.1 and 5.0, without any I/O: bytes and time go in, actions and bytes come out.
//!
//! Nothing here opens a socket, reads a clock or starts a thread. Whoever embeds it brings the transport: TCP, TLS,
//! WebSocket, QUIC, a serial line, a simulator.
//!
//! - [`client`]: the client's end of a session, across all its connections.
//! - [`server`]: the server's end: an acceptor, and the session that comes of it.
//! - [`broker`]: many of them, and the messages between them.
//! - [`codec`]: the packets, and how they are decoded and encoded.
//! - [`TopicName`] and [`TopicFilter`]: what messages are published under and subscribed to.
//!
//! Whatever the engine, this is all that its caller does with it:
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
//! let mut input = &received[..]; // what the transport has read
//! while let Some(action) = client.poll(clock.now(), &mut input) {
//!     match action {
//!         Action::Message(message) => println!("{}: {:?}", message.topic, message.payload),
//!         action => println!("{action:?}"),
//!     }
//! }
//! let used = received.len() - input.len(); // what is left is an unfinished packet
//! received.advance(used);
//! write_all(client.transmit()); // a `bytes::Buf`, for vectored writes too
//! sleep_until(client.deadline()); // or until something is read
//! # }
//! ```
//!
//! Statements of the specifications are cited by their numbers in MQTT 5.0, \[MQTT-3.3.1-2\], or else with the version.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// Nothing that a peer sends may bring the program down.
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

#[cfg(feature = "arbitrary")]
pub mod arbitrary;
#[cfg(feature = "broker")]
pub mod broker;
#[cfg(feature = "alloc")]
pub mod client;
pub mod codec;
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

pub use codec::{PacketId, QoS, Version};
#[cfg(feature = "alloc")]
pub use session::{
    Breach, Codes, CommandError, Journal, JournalError, Loss, Message, MessageRef, Outcome, Overflow, Payload,
    PayloadPart, Receipt, ReceivedMessage, SharedTopic, Token, Topic, Transmit,
};
pub use text::{TextError, TextErrorKind, Utf8Str};
pub use time::Instant;
#[cfg(feature = "std")]
pub use time::StdClock;
pub use topic::{TopicError, TopicErrorKind, TopicFilter, TopicName};

#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct Readme;
