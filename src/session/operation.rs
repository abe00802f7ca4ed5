//! Operations without an outcome, as the application sees them.

use super::deliveries::queue::Kind;
use super::deliveries::stage::Stage;
use super::store::stored::Stored;
use super::token::Token;
use crate::codec::{QoS, Version};
use crate::topic::TopicName;

/// An operation that has no outcome yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operation<'a> {
    /// The token that the command returned.
    pub token: Token,
    /// The kind of the operation.
    pub kind: OperationKind<'a>,
    /// How far the operation has come.
    pub stage: OperationStage,
}

/// The kind of an [`Operation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OperationKind<'a> {
    /// A message is published.
    Publish {
        /// The topic; `None` once the peer has received a message of QoS 2, which is then no longer stored.
        topic: Option<TopicName<'a>>,
        /// The QoS.
        qos: QoS,
    },
    /// A SUBSCRIBE.
    Subscribe,
    /// An UNSUBSCRIBE.
    Unsubscribe,
}

/// How far an [`Operation`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OperationStage {
    /// The packet is not sent.
    Queued,
    /// The packet was sent, on this connection or an earlier one, and the peer has not acknowledged it. A message of
    /// QoS 2 counts as sent while it waits to be stored.
    Sent,
    /// The peer has received a message of QoS 2, and has not completed its delivery.
    Released,
}

impl<'a> Operation<'a> {
    /// Returns the queued operation of this kind.
    pub(super) fn queued(token: Token, kind: Kind, stored: &'a Stored, version: Version) -> Self {
        let kind = match kind {
            Kind::Message(qos) => publish(stored, qos, version),
            Kind::Subscribe(_) => OperationKind::Subscribe,
            Kind::Unsubscribe(_) => OperationKind::Unsubscribe,
        };
        Self { token, kind, stage: OperationStage::Queued }
    }

    /// Returns the operation in this stage; `None` if it was given up.
    pub(super) fn in_flight(token: Token, stage: Stage, stored: &'a Stored, version: Version) -> Option<Self> {
        let (kind, stage) = match stage {
            Stage::PubAck => (publish(stored, QoS::AtLeastOnce, version), OperationStage::Sent),
            Stage::PubRec => (publish(stored, QoS::ExactlyOnce, version), OperationStage::Sent),
            Stage::PubComp { .. } => {
                (OperationKind::Publish { topic: None, qos: QoS::ExactlyOnce }, OperationStage::Released)
            }
            Stage::SubAck(_) => (OperationKind::Subscribe, OperationStage::Sent),
            Stage::UnsubAck(_) => (OperationKind::Unsubscribe, OperationStage::Sent),
            Stage::GivenUp => return None,
        };
        Some(Self { token, kind, stage })
    }
}

fn publish(stored: &Stored, qos: QoS, version: Version) -> OperationKind<'_> {
    OperationKind::Publish { topic: stored.as_publish(version).map(|publish| publish.topic), qos }
}
