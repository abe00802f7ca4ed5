//! A session with many subscriptions that is resumed.

use alloc::vec::Vec;

use crate::broker::pending_decisions::Grant;
use crate::broker::policy::ConnectionId;
use crate::broker::router::list_id::ListId;
use crate::broker::slab::Key;
use crate::codec::SubAckReasonCode;

/// A client that resumes a session with subscriptions.
pub(in crate::broker) struct Resuming {
    pub(in crate::broker) connection: ConnectionId,
    pub(in crate::broker) session: Key,
    pub(in crate::broker) step: Step,
    /// The list of the last subscription that this step has looked at.
    pub(in crate::broker) last: Option<ListId>,
    /// The filters of the subscriptions that are not granted any more, with the reason codes.
    pub(in crate::broker) refused: Vec<(Vec<u8>, SubAckReasonCode)>,
}

impl Resuming {
    /// The size on the heap, in bytes, as far as the client causes it. While the connection waits, the decisions are with it.
    pub(super) fn heap(&self) -> usize {
        let refused = self.refused.capacity().saturating_mul(core::mem::size_of::<(Vec<u8>, SubAckReasonCode)>());
        let grant = match &self.step {
            Step::Ask(grant) | Step::Restrict(grant) => grant.heap(),
            Step::Notify => 0,
        };
        core::mem::size_of::<Self>().saturating_add(refused).saturating_add(grant)
    }
}

/// What is done for each subscription. The grant is there until the client is accepted.
pub(in crate::broker) enum Step {
    /// The policy is asked.
    Ask(Grant),
    /// The older connection is over, and what is not granted any more ends.
    Restrict(Grant),
    /// The client is accepted, and the policy gets a notice for each subscription that has ended.
    Notify,
}
