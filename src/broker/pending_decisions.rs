//! Decisions of the policy that come later.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::jobs::request::Subscribing;
use super::pending_codes::PendingCodes;
use super::policy::{Answer, DecisionId};
use crate::codec::{self, Decoded, EncodeError, Limits, Packet, SubAckReasonCode, Version};
use crate::server::Accept;
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
    /// Whether a client may subscribe; `None` while a job still asks about other filters of the packet.
    Subscribe { request: Option<Box<Subscribing>>, decisions: PendingCodes },
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

    /// The size on the heap, in bytes, as far as the client causes it.
    fn heap(&self) -> usize {
        let size = |(filter, _): &(Vec<u8>, SubAckReasonCode)| {
            filter.capacity().saturating_add(core::mem::size_of::<(Vec<u8>, SubAckReasonCode)>())
        };
        let subscriptions = self.subscriptions.iter().map(size).fold(0, usize::saturating_add);
        subscriptions.saturating_add(core::mem::size_of::<Accept>())
    }

    /// Adds decisions about stored subscriptions.
    pub(super) fn add_decisions(&mut self, decisions: impl Iterator<Item = (Vec<u8>, SubAckReasonCode)>) {
        self.subscriptions.extend(decisions);
        self.subscriptions.sort();
    }
}

impl PendingPacket {
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
    /// The size on the heap, in bytes.
    pub(super) fn heap(&self) -> usize {
        match self {
            Self::Connect(_) | Self::Reauthenticate(_) => 0,
            Self::TakeOver { owner, grant, .. } => {
                owner.as_ref().map_or(0, |owner| owner.len()).saturating_add(grant.heap())
            }
            Self::Resubscribe { filters, decisions, grant } => {
                let size = |filter: &Vec<u8>| filter.capacity().saturating_add(core::mem::size_of::<Vec<u8>>());
                let filters = filters.iter().map(size).fold(0, usize::saturating_add);
                filters.saturating_add(decisions.heap()).saturating_add(grant.heap())
            }
            Self::Publish { packet, .. } => packet.bytes.capacity(),
            Self::Subscribe { request, decisions } => {
                decisions.heap().saturating_add(request.as_ref().map_or(0, |request| request.heap()))
            }
        }
    }

    pub(super) const fn is_subscribe(&self) -> bool {
        matches!(self, Self::Subscribe { .. })
    }

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
