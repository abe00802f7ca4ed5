//! Decisions of the policy that come later.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::jobs::request::Subscribing;
use super::mount::MountPoint;
use super::pending_codes::PendingCodes;
use super::policy::{Answer, DecisionId};
use crate::codec::{self, Decoded, EncodeError, Limits, Packet, SubAckReasonCode, Version};
use crate::heap_size;
use crate::server::Accept;
use crate::session::{AckHandle, MessageRef, Stored};
use crate::sync::Arc;
use crate::time::Instant;

/// A decision that a connection waits for, with what the connection goes on with afterwards.
pub(super) enum PendingDecision {
    /// Whether a client is accepted.
    Connect(DecisionId),
    /// Whether an accepted client has authenticated again.
    Reauthenticate(DecisionId),
    /// Whether a client that is not accepted yet may have the session of another user.
    TakeOver { id: DecisionId, owner: Option<Arc<str>>, grant: Grant },
    /// Which subscriptions of the session that a client resumes go on; the grant is `None` while a job works on that.
    Resubscribe { decisions: Decisions, grant: Option<Grant> },
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
    /// The decisions about the subscriptions of the session.
    pub(super) decisions: Decisions,
    /// The topic under which the client lives.
    pub(super) mount: Option<MountPoint>,
}

/// The decisions about the stored subscriptions of a session.
#[derive(Default)]
pub(super) struct Decisions {
    /// The decisions that have come, by filter.
    known: BTreeMap<Vec<u8>, SubAckReasonCode>,
    /// The filters that decisions are still to come about.
    missing: BTreeMap<DecisionId, Vec<u8>>,
    /// The size of the filters, in bytes.
    filters: usize,
}

impl Grant {
    pub(super) fn new(accept: Box<Accept>, user_name: Option<Arc<str>>) -> Self {
        Self { accept, user_name, owner: None, decisions: Decisions::default(), mount: None }
    }

    /// The size on the heap, in bytes, as far as the client causes it.
    pub(super) fn heap(&self) -> usize {
        self.decisions.heap().saturating_add(core::mem::size_of::<Accept>())
    }
}

impl Decisions {
    /// Whether the decision about a filter has come.
    pub(super) fn is_known(&self, filter: &[u8]) -> bool {
        self.known.contains_key(filter)
    }

    /// Adds a decision.
    pub(super) fn add(&mut self, filter: Vec<u8>, code: SubAckReasonCode) {
        self.filters = self.filters.saturating_add(filter.capacity());
        self.known.insert(filter, code);
    }

    /// A decision comes later.
    pub(super) fn wait_for(&mut self, id: DecisionId, filter: Vec<u8>) {
        self.filters = self.filters.saturating_add(filter.capacity());
        self.missing.insert(id, filter);
    }

    /// Enters a decision that has come.
    pub(super) fn set(&mut self, id: DecisionId, code: SubAckReasonCode) {
        match self.missing.remove(&id) {
            Some(filter) => {
                self.known.insert(filter, code);
            }
            None => bug!("a decision is entered that was waited for"),
        }
    }

    /// Whether all decisions have come.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Takes the decision about a filter out.
    pub(super) fn take(&mut self, filter: &[u8]) -> Option<SubAckReasonCode> {
        let (known, code) = self.known.remove_entry(filter)?;
        self.filters = self.filters.saturating_sub(known.capacity());
        Some(code)
    }

    /// The size on the heap, in bytes.
    fn heap(&self) -> usize {
        let known = heap_size::tree(self.known.len(), size_of::<(Vec<u8>, SubAckReasonCode)>());
        let missing = heap_size::tree(self.missing.len(), size_of::<(DecisionId, Vec<u8>)>());
        self.filters.saturating_add(known).saturating_add(missing)
    }
}

impl PendingPacket {
    pub(super) fn message(message: &MessageRef<'_>, version: Version) -> Result<Self, EncodeError> {
        let stored = Stored::message(message, None, version)?;
        Ok(Self { version, bytes: stored.bytes().into() })
    }

    /// The size of the packet, in bytes.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
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
            Self::Resubscribe { decisions, grant } => {
                decisions.heap().saturating_add(grant.as_ref().map_or(0, Grant::heap))
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
            (Self::Subscribe { decisions, .. }, Answer::Subscribe(_)) => decisions.waits_for(id),
            (Self::Resubscribe { decisions, .. }, Answer::Subscribe(_)) => decisions.missing.contains_key(&id),
            _ => false,
        }
    }
}
