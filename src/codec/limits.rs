//! What a receiver is ready to take.

use super::header::MAX_PACKET_SIZE;
use super::version::Sender;
use crate::text::DisallowedCodePoints;

/// What a receiver is ready to take, where that is its own choice.
///
/// The default takes all that the specification allows. It is eight bytes large, so that it travels in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The largest packet, in bytes, fixed header included; 268,435,460 by default. A larger one is refused as
    /// soon as its fixed header is there.
    ///
    /// The decoder itself keeps nothing: the limit protects whoever collects bytes until a packet is complete.
    pub max_packet_size: u32,
    /// How many user properties a packet, or its will, may carry; 65,535 by default.
    pub max_user_properties: u16,
    /// Whether the code points that need not be accepted are; they are by default.
    pub disallowed_code_points: DisallowedCodePoints,
    /// Which end the bytes come from, if that is known: packets and properties that this end may not send are
    /// refused.
    pub sender: Option<Sender>,
}

impl Limits {
    /// The default, as a constant.
    pub const DEFAULT: Self = Self {
        max_packet_size: MAX_PACKET_SIZE,
        max_user_properties: u16::MAX,
        disallowed_code_points: DisallowedCodePoints::Accept,
        sender: None,
    };

    /// The default, for what a client has sent.
    pub const fn from_client() -> Self {
        Self { sender: Some(Sender::Client), ..Self::DEFAULT }
    }

    /// The default, for what a server has sent.
    pub const fn from_server() -> Self {
        Self { sender: Some(Sender::Server), ..Self::DEFAULT }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
