//! Decisions of the policy that come later.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::policy::{Answer, DecisionId};
use crate::codec::{self, Decoded, EncodeError, Limits, Packet, SubAckReasonCode, Version};
use crate::server::{Accept, RequestId};
use crate::session::{AckHandle, MessageRef, Stored};
use crate::time::Instant;

/// A decision that a connection waits for, with what the connection goes on with afterwards.
pub(super) enum PendingDecision {
    /// Whether a client is accepted.
    Connect(DecisionId),
    /// Whether an accepted client has authenticated again.
    Reauthenticate(DecisionId),
    /// Whether a client that is not accepted yet may have the session of another user.
    TakeOver { id: DecisionId, owner: Option<Arc<str>>, grant: Grant },
    /// Which subscriptions of the session that a client resumes go on.
    Resubscribe { filters: Vec<Vec<u8>>, decisions: PendingCodes, grant: Grant },
    /// Whether a message may be published: the packet, and since when it waits.
    Publish { id: DecisionId, packet: PendingPacket, ack_handle: Option<AckHandle>, since: Instant },
    /// Whether a client may subscribe.
    Subscribe { packet: PendingPacket, request: RequestId, decisions: PendingCodes },
}

/// Decisions about several subscriptions, some of which have come. Their ids have numbers one after the other.
#[derive(Default)]
pub(super) struct PendingCodes {
    first: Option<DecisionId>,
    codes: Vec<Option<SubAckReasonCode>>,
}

/// A packet that waits for a decision, encoded in the version of its client: each version allows what others do not, such as
/// a filter `$share/x` in 3.1.1.
pub(super) struct PendingPacket {
    version: Version,
    bytes: Vec<u8>,
}

/// A client that the policy has accepted, and what the policy has decided about the session that the client would get.
pub(super) struct Grant {
    /// On the heap, where the policy has put it: it is large, and a grant is moved several times.
    pub(super) accept: Box<Accept>,
    /// The user that the client is accepted as.
    pub(super) user_name: Option<Arc<str>>,
    /// The user whose session the client may have, if the policy has decided so.
    pub(super) owner: Option<Option<Arc<str>>>,
    /// The decisions about stored subscriptions, sorted by filter.
    subscriptions: Vec<(Vec<u8>, SubAckReasonCode)>,
}

impl Grant {
    pub(super) const fn new(accept: Box<Accept>, user_name: Option<Arc<str>>) -> Self {
        Self { accept, user_name, owner: None, subscriptions: Vec::new() }
    }

    /// The decision about a stored subscription.
    pub(super) fn decision(&self, filter: &[u8]) -> Option<SubAckReasonCode> {
        let find = self.subscriptions.binary_search_by(|(of, _)| (**of).cmp(filter));
        find.ok().and_then(|at| self.subscriptions.get(at)).map(|&(_, code)| code)
    }

    /// Adds decisions about stored subscriptions.
    pub(super) fn add_decisions(&mut self, decisions: impl Iterator<Item = (Vec<u8>, SubAckReasonCode)>) {
        self.subscriptions.extend(decisions);
        self.subscriptions.sort();
    }
}

impl PendingCodes {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { first: None, codes: Vec::with_capacity(capacity) }
    }

    /// Adds a decision, `None` if it comes later.
    pub(super) fn push(&mut self, id: DecisionId, code: Option<SubAckReasonCode>) {
        self.first.get_or_insert(id);
        self.codes.push(code);
    }

    /// Whether all decisions have come.
    pub(super) fn is_complete(&self) -> bool {
        self.codes.iter().all(Option::is_some)
    }

    /// The decisions that have come, in order.
    pub(super) fn codes(&self) -> &[Option<SubAckReasonCode>] {
        &self.codes
    }

    fn position(&self, id: DecisionId) -> Option<usize> {
        self.first.map(|first| id.distance(first) as usize)
    }

    fn waits_for(&self, id: DecisionId) -> bool {
        self.position(id).and_then(|position| self.codes.get(position)).is_some_and(Option::is_none)
    }

    /// Enters a decision that has come.
    pub(super) fn set(&mut self, id: DecisionId, code: SubAckReasonCode) {
        match self.position(id).and_then(|position| self.codes.get_mut(position)) {
            Some(entry) => *entry = Some(code),
            None => bug!("a decision is entered that was waited for"),
        }
    }
}

impl PendingPacket {
    pub(super) fn new(packet: &Packet<'_>, version: Version) -> Result<Self, EncodeError> {
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes)?;
        Ok(Self { version, bytes })
    }

    pub(super) fn message(message: &MessageRef<'_>, version: Version) -> Result<Self, EncodeError> {
        let stored = Stored::message(message, None, version)?;
        Ok(Self { version, bytes: stored.bytes().into() })
    }

    pub(super) fn decode(&self) -> Option<Packet<'_>> {
        match codec::decode(&self.bytes, self.version, Limits::DEFAULT) {
            Ok(Decoded::Packet { packet, .. }) => Some(packet),
            _ => {
                bug!("a packet that was encoded can be decoded");
                None
            }
        }
    }
}

impl PendingDecision {
    /// Whether the decision is waited for, and the answer is of its kind.
    pub(super) fn is_answered_by(&self, id: DecisionId, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Connect(own) | Self::Reauthenticate(own), Answer::Connect(_))
            | (Self::Publish { id: own, .. }, Answer::Publish(_))
            | (Self::TakeOver { id: own, .. }, Answer::TakeOver(_)) => *own == id,
            (Self::Subscribe { decisions, .. } | Self::Resubscribe { decisions, .. }, Answer::Subscribe(_)) => {
                decisions.waits_for(id)
            }
            _ => false,
        }
    }
}
