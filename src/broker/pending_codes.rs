//! Decisions of the policy about several subscriptions.

use alloc::vec::Vec;

use super::policy::DecisionId;
use crate::codec::SubAckReasonCode;

/// Decisions about several subscriptions, some of which have come. Their ids have numbers one after the other.
#[derive(Default)]
pub(super) struct PendingCodes {
    first: Option<DecisionId>,
    codes: Vec<Option<SubAckReasonCode>>,
    /// Number of decisions that have not come.
    missing: u32,
}

impl PendingCodes {
    /// Makes an empty list; `first` is the id of the first decision.
    pub(super) const fn new(first: DecisionId) -> Self {
        Self { first: Some(first), codes: Vec::new(), missing: 0 }
    }

    /// The size on the heap, in bytes.
    pub(super) const fn heap(&self) -> usize {
        self.codes.capacity().saturating_mul(core::mem::size_of::<Option<SubAckReasonCode>>())
    }

    /// The id of the next decision.
    pub(super) fn next_id(&self) -> Option<DecisionId> {
        self.first.map(|first| first.behind(self.codes.len() as u32))
    }

    /// Adds a decision, `None` if it comes later.
    pub(super) fn push(&mut self, code: Option<SubAckReasonCode>) {
        self.missing = self.missing.saturating_add(u32::from(code.is_none()));
        self.codes.push(code);
    }

    /// Whether all decisions have come.
    pub(super) const fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// The decisions that have come, in order.
    pub(super) fn codes(&self) -> &[Option<SubAckReasonCode>] {
        &self.codes
    }

    fn position(&self, id: DecisionId) -> Option<usize> {
        self.first.map(|first| id.distance(first) as usize)
    }

    pub(super) fn waits_for(&self, id: DecisionId) -> bool {
        self.position(id).and_then(|position| self.codes.get(position)).is_some_and(Option::is_none)
    }

    /// Enters a decision that has come.
    pub(super) fn set(&mut self, id: DecisionId, code: SubAckReasonCode) {
        match self.position(id).and_then(|position| self.codes.get_mut(position)) {
            Some(entry) => {
                self.missing = self.missing.saturating_sub(u32::from(entry.is_none()));
                *entry = Some(code);
            }
            None => bug!("a decision is entered that was waited for"),
        }
    }
}
