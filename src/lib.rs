//! The MQTT protocol, versions 3.1, 3.1.1 and 5.0, as pure functions and state machines: bytes and time go in, packets and actions come out.
//!
//! Nothing here opens a socket, reads a clock or starts a thread. Whoever embeds it brings the transport: TCP, TLS, WebSocket, QUIC, a
//! serial line, a simulator.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(feature = "std")]
extern crate std;

pub mod codec;
mod text;
mod topic;

pub use codec::{PacketId, QoS, Version};
pub use text::{CodePoints, Flaw, TextError, Utf8Str};
pub use topic::{TopicFilter, TopicName};
