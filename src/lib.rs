#![cfg_attr(all(feature = "std", feature = "broker"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(feature = "std", feature = "broker")),
    doc = "The MQTT protocol, versions 3.1, 3.1.1 and 5.0, without any I/O. The README describes the crate with all its features."
)]
//!
//! ## Modules
//!
//! - [`guide`]: how the parts are used together, page by page, from packets to migrating from other crates.
//! - [`codec`]: decodes and encodes packets. Needs neither the standard library nor an allocator.
//! - [`client`]: [`ClientSession`](client::ClientSession), a client and its session across all its connections.
//! - [`server`]: [`Acceptor`](server::Acceptor), which authenticates a client, and
//!   [`ServerSession`](server::ServerSession), the server's part of a session.
//! - [`broker`]: [`Broker`](broker::Broker), which routes messages between many sessions, under a
//!   [`Policy`](broker::Policy).
//! - [`store`]: what a durable session stores, so that it survives a crash: batches of changes, and their form in a file.
//! - The root has the types that these modules share: [`Message`] and [`ReceivedMessage`], [`Token`] and [`Outcome`],
//!   [`Will`], [`TopicName`] and [`TopicFilter`], [`Instant`], and the errors of the commands.
//!
//! ## The loop around a session
//!
//! [`ClientSession`](client::ClientSession) and [`ServerSession`](server::ServerSession) are driven by the same calls.
//! `poll` takes complete packets from the input and leaves an incomplete one, which the caller passes again together
//! with the bytes that follow:
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
//! Three rules cover all sessions and acceptors:
//!
//! - Call `poll` until it returns `None`: after each read, after each write, and at the deadline.
//! - Write the output after each `poll` and after each command (`publish`, `subscribe`, `ack`, …): a command only puts its
//!   packet into `transmit()`.
//! - After `Action::Close`, write the rest of the output, close the transport, and call `closed`. The session remains, for
//!   the next connection.
//!
//! A [`Broker`](broker::Broker) has many connections, and therefore a loop of its own: see its documentation.
//!
//! ## Targets
//!
//! The codec runs on every target with pointers of 32 bits or more. Sessions and brokers also need an allocator, and atomic
//! compare-and-swap, which `bytes` and `Arc` use. On targets without it, such as `thumbv6m-none-eabi` and
//! `riscv32imc-unknown-none-elf`, the feature `portable-atomic` provides it for sessions: the program chooses how
//! [`portable-atomic`](https://docs.rs/portable-atomic) makes atomic operations there, by its feature `critical-section` or
//! `unsafe-assume-single-core`. The `Arc` of [`Acceptor::new`](server::Acceptor::new) and
//! [`ServerSession::restore`](server::ServerSession::restore) is that of `portable-atomic-util` there. On all other targets the
//! feature changes no type.
//!
//! ## Citations
//!
//! Clauses of the specifications are cited by their numbers in MQTT 5.0, \[MQTT-3.3.1-2\], or with the version.

// The documentation describes the crate with its default features, and links to items that other builds do not have.
#![cfg_attr(not(all(feature = "std", feature = "broker")), allow(rustdoc::broken_intra_doc_links))]
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
#[cfg(feature = "defmt")]
mod defmt;
mod escaped;
#[cfg(feature = "arbitrary")]
pub mod generators;
#[cfg(all(any(doc, doctest), feature = "std", feature = "broker"))]
pub mod guide;
#[cfg(feature = "alloc")]
mod heap_size;
#[cfg(feature = "broker")]
mod random;
mod redacted;
#[cfg(feature = "alloc")]
pub mod server;
#[cfg(feature = "alloc")]
mod session;
#[cfg(feature = "alloc")]
pub mod store;
#[cfg(feature = "alloc")]
mod sync;
mod text;
mod time;
mod topic;

pub use codec::{PacketId, QoS, ReasonCode, Subscription, Version};
#[cfg(feature = "alloc")]
pub use session::{
    AbandonReason, AckError, AckHandle, AuthenticateError, Codes, DisconnectError, Message, MessageRef, Operation,
    OperationKind, OperationStage, Outcome, Overflow, OwnedMessage, OwnedOutcome, Payload, PayloadPart, ProtocolError,
    PublishError, ReceivedMessage, SessionExpiry, SharedTopic, Token, Topic, Transmit, UnknownToken, Will,
};
pub use text::{TextError, TextErrorKind, Utf8Str};
pub use time::Instant;
#[cfg(feature = "std")]
pub use time::StdClock;
pub use topic::{TopicError, TopicErrorKind, TopicFilter, TopicName};
