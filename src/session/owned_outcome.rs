//! Outcomes that own their content.

use core::fmt;

use super::outcome::{AbandonReason, Outcome};
use crate::codec::{
    AckProperties, List, Packet, PacketBuf, PacketId, PubAck, PubAckReasonCode, ReasonCode, SubAck, UnsubAck, Version,
};

/// An [`Outcome`] that owns its content, and can be passed to another thread, task or queue: `Send + 'static`. Made by
/// [`Outcome::to_owned`]; [`outcome`](Self::outcome) lends the content.
///
/// ```
/// # use mqtt_sansio::{Outcome, OwnedOutcome};
/// let owned: OwnedOutcome = Outcome::Sent.to_owned();
/// assert_eq!(owned.outcome(), Outcome::Sent);
/// assert!(owned.is_success());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct OwnedOutcome(Repr);

#[derive(Clone, PartialEq, Eq)]
enum Repr {
    Sent,
    Acknowledged(Codes),
    AtLeastOnce(Codes),
    /// A SUBACK of 5.0.
    Subscribed(PacketBuf),
    /// An UNSUBACK of 5.0; `None` if it has neither reason codes nor properties.
    Unsubscribed(Option<PacketBuf>),
    Abandoned(AbandonReason),
}

/// The content of an acknowledgement.
#[derive(Clone, PartialEq, Eq)]
struct Codes {
    reason_code: ReasonCode,
    /// A PUBACK of 5.0 with the properties; `None` if there are none.
    properties: Option<PacketBuf>,
}

impl Codes {
    fn new(reason_code: ReasonCode, properties: AckProperties<'_>) -> Self {
        let packet = || PubAck { id: PacketId::MIN, reason_code: PubAckReasonCode::Success, properties }.into();
        Self { reason_code, properties: if properties.is_empty() { None } else { encode(packet()) } }
    }

    fn parts(&self) -> (ReasonCode, AckProperties<'_>) {
        let properties = match self.properties.as_ref().map(PacketBuf::packet) {
            Some(Packet::PubAck(ack)) => ack.properties,
            _ => AckProperties::default(),
        };
        (self.reason_code, properties)
    }
}

/// Encodes what was received, which can always be encoded again.
fn encode(packet: Packet<'_>) -> Option<PacketBuf> {
    match PacketBuf::encode(&packet, Version::V5) {
        Ok(packet) => Some(packet),
        Err(error) => {
            bug!("a received acknowledgement can be encoded: {error}");
            None
        }
    }
}

impl Outcome<'_> {
    /// Returns the outcome with a copy of its content. Without reason strings and user properties, the outcome of a
    /// message allocates nothing.
    pub fn to_owned(&self) -> OwnedOutcome {
        let id = PacketId::MIN; // not used
        OwnedOutcome(match *self {
            Self::Sent => Repr::Sent,
            Self::Acknowledged { reason_code, properties } => Repr::Acknowledged(Codes::new(reason_code, properties)),
            Self::AtLeastOnce { reason_code, properties } => Repr::AtLeastOnce(Codes::new(reason_code, properties)),
            Self::Subscribed { reason_codes, properties } => {
                match encode(SubAck { id, reason_codes, properties }.into()) {
                    Some(packet) => Repr::Subscribed(packet),
                    None => Repr::Abandoned(AbandonReason::Session),
                }
            }
            Self::Unsubscribed { reason_codes, properties } => {
                let packet = || UnsubAck { id, reason_codes, properties }.into();
                Repr::Unsubscribed(if reason_codes.is_empty() { None } else { encode(packet()) })
            }
            Self::Abandoned(reason) => Repr::Abandoned(reason),
        })
    }
}

impl OwnedOutcome {
    /// Returns the outcome, which borrows from this value.
    pub fn outcome(&self) -> Outcome<'_> {
        match &self.0 {
            Repr::Sent => Outcome::Sent,
            Repr::Acknowledged(codes) => {
                let (reason_code, properties) = codes.parts();
                Outcome::Acknowledged { reason_code, properties }
            }
            Repr::AtLeastOnce(codes) => {
                let (reason_code, properties) = codes.parts();
                Outcome::AtLeastOnce { reason_code, properties }
            }
            Repr::Subscribed(packet) => match packet.packet() {
                Packet::SubAck(SubAck { reason_codes, properties, .. }) => {
                    Outcome::Subscribed { reason_codes, properties }
                }
                _ => Outcome::Subscribed { reason_codes: List::EMPTY, properties: AckProperties::default() },
            },
            Repr::Unsubscribed(packet) => match packet.as_ref().map(PacketBuf::packet) {
                Some(Packet::UnsubAck(UnsubAck { reason_codes, properties, .. })) => {
                    Outcome::Unsubscribed { reason_codes, properties }
                }
                _ => Outcome::Unsubscribed { reason_codes: List::EMPTY, properties: AckProperties::default() },
            },
            Repr::Abandoned(reason) => Outcome::Abandoned(*reason),
        }
    }

    /// Returns whether the operation succeeded: see [`Outcome::is_success`].
    pub fn is_success(&self) -> bool {
        match &self.0 {
            Repr::Sent => true,
            Repr::Acknowledged(codes) | Repr::AtLeastOnce(codes) => !codes.reason_code.is_error(),
            Repr::Subscribed(_) | Repr::Unsubscribed(_) => self.outcome().is_success(),
            Repr::Abandoned(_) => false,
        }
    }
}

/// Prints the [`Outcome`].
impl fmt::Debug for OwnedOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.outcome(), f)
    }
}
