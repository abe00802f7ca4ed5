//! The stages of an operation in flight, and the transitions between them (sections 4.3.2 and 4.3.3).

use crate::codec::QoS;

/// The packet that an operation waits for.
#[allow(clippy::enum_variant_names)] // they are what the specification calls them
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A message of QoS 1 waits for PUBACK.
    PubAck,
    /// A message of QoS 2 waits for PUBREC.
    PubRec,
    /// A message of QoS 2 has its PUBREC, with this reason code, and waits for PUBCOMP. Where PUBRELs have to be sent
    /// in the same order after a restart, `order` ascends, and wraps; elsewhere it is 0.
    PubComp { code: u8, order: u32 },
    /// A SUBSCRIBE waits for SUBACK with this number of reason codes.
    SubAck(u32),
    /// An UNSUBSCRIBE waits for UNSUBACK with this number of reason codes.
    UnsubAck(u32),
    /// A message was given up after the peer may have received it, and is not sent again. Until the session ends, the
    /// packet identifier stays in use: the peer could take another message with the same identifier for a duplicate.
    GivenUp,
}

/// An acknowledgement of a message.
#[allow(clippy::enum_variant_names)] // they are what the specification calls them
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ack {
    PubAck,
    /// PUBREC with this reason code.
    PubRec(u8),
    PubComp,
}

/// The effect of an acknowledgement on an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The operation is complete.
    Finished,
    /// The peer has received the message: PUBREL is sent.
    Release,
    /// PUBREL is sent again.
    ReleaseAgain,
    /// The operation was given up: the acknowledgement is ignored.
    Ignored,
    /// A message of QoS 2 was acknowledged with PUBACK, so that its delivery exactly once is not guaranteed.
    Downgraded,
    /// The packet is not an acknowledgement of this operation.
    Mismatch,
}

impl Stage {
    /// Returns the first stage of a message of QoS 1 or 2.
    pub(crate) const fn of(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce | QoS::AtLeastOnce => Self::PubAck,
            QoS::ExactlyOnce => Self::PubRec,
        }
    }

    /// Returns the transition of sections 4.3.2 and 4.3.3.
    #[inline]
    pub(super) const fn step(self, ack: Ack) -> Step {
        match (self, ack) {
            (Self::PubAck, Ack::PubAck) | (Self::PubComp { .. }, Ack::PubComp) => Step::Finished,
            (Self::PubRec, Ack::PubRec(0x80..)) => Step::Finished, // no PUBREL [MQTT-4.3.3-4, MQTT-4.4.0-2]
            (Self::PubRec, Ack::PubRec(_)) => Step::Release,       // with PUBREL [MQTT-4.3.3-4]
            (Self::PubComp { .. }, Ack::PubRec(_)) => Step::ReleaseAgain, // it was sent again in spite of our PUBREL
            (Self::PubRec, Ack::PubAck) => Step::Downgraded,
            (Self::GivenUp, _) => Step::Ignored,
            _ => Step::Mismatch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests every combination of stage and acknowledgement.
    #[test]
    fn transitions() {
        use Stage::{PubAck, PubComp, PubRec, SubAck, UnsubAck};
        use Step::{Downgraded, Finished, Ignored, Mismatch, Release, ReleaseAgain};
        let acks = [Ack::PubAck, Ack::PubRec(0), Ack::PubRec(0x10), Ack::PubRec(0x80), Ack::PubComp];
        let table = [
            (PubAck, [Finished, Mismatch, Mismatch, Mismatch, Mismatch]),
            (PubRec, [Downgraded, Release, Release, Finished, Mismatch]),
            (PubComp { code: 0, order: 0 }, [Mismatch, ReleaseAgain, ReleaseAgain, ReleaseAgain, Finished]),
            (SubAck(1), [Mismatch; 5]),
            (UnsubAck(1), [Mismatch; 5]),
            (Stage::GivenUp, [Ignored; 5]),
        ];
        for (stage, steps) in table {
            for (ack, step) in acks.into_iter().zip(steps) {
                assert_eq!(stage.step(ack), step, "{stage:?} {ack:?}");
            }
        }
    }
}
