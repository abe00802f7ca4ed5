//! The MQTT protocol, versions 3.1, 3.1.1 and 5.0, without any I/O: bytes go in and packets come out, packets go in and
//! bytes come out.
//!
//! Nothing here opens a socket, reads a clock or starts a thread. Whoever embeds it brings the transport: TCP, TLS,
//! WebSocket, QUIC, a serial line, a simulator.
//!
//! - [`codec`]: the packets, and how they are decoded and encoded.
//! - [`TopicName`] and [`TopicFilter`]: what messages are published under and subscribed to.
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

#[cfg(feature = "arbitrary")]
pub mod arbitrary;
#[cfg(feature = "alloc")]
pub mod client;
pub mod codec;
#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "__pair")]
#[doc(hidden)]
pub mod pair;
#[cfg(feature = "alloc")]
mod session;
mod text;
mod time;
mod topic;

pub use codec::{PacketId, QoS, Version};
#[cfg(feature = "alloc")]
pub use session::{
    Breach, Codes, CommandError, Journal, JournalError, Loss, Message, Outcome, Overflow, Payload, PayloadPart,
    Receipt, ReceivedMessage, SharedTopic, Token, Topic, Transmit,
};
pub use text::{Flaw, TextError, Utf8Str};
pub use time::Instant;
#[cfg(feature = "std")]
pub use time::StdClock;
pub use topic::{TopicFilter, TopicName};

#[cfg(all(doctest, feature = "alloc"))]
#[doc = include_str!("../README.md")]
struct Readme;
