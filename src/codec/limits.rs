//! What a receiver is ready to take.

use super::header::MAX_PACKET_SIZE;
use super::types::Sender;
use crate::text::CodePoints;

/// What a receiver is ready to take, where that is its own choice.
///
/// The default takes all that the specification allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest packet, in bytes, fixed header included; 268,435,460 by default. A larger one is refused as
    /// soon as its fixed header is there.
    ///
    /// The decoder itself keeps nothing: the limit protects whoever collects bytes until a packet is complete.
    pub max_packet_size: u32,
    /// How many user properties a packet, or its will, may carry; 65,535 by default.
    pub max_user_properties: u16,
    /// The code points that are refused of those that need not be accepted; none by default, because a refusal costs
    /// the whole connection.
    pub code_points: CodePoints,
    /// Which end the bytes come from, if that is known: packets and properties that this end may not send are
    /// refused.
    pub sender: Option<Sender>,
}

impl Limits {
    /// The default, for what a client has sent.
    pub fn from_client() -> Self {
        Self { sender: Some(Sender::Client), ..Self::default() }
    }

    /// The default, for what a server has sent.
    pub fn from_server() -> Self {
        Self { sender: Some(Sender::Server), ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_packet_size: MAX_PACKET_SIZE,
            max_user_properties: u16::MAX,
            code_points: CodePoints::default(),
            sender: None,
        }
    }
}
