//! The jobs for one topic that messages are retained for: they run one after the other.

use alloc::collections::{BTreeMap, VecDeque};

use super::turns::{JobId, PrincipalIndex};

/// The jobs for one topic. One of them is under way; the others wait, and are taken by principals in turn, so that a principal
/// with many of them does not hold the others up.
pub(super) struct TopicJobs {
    under_way: JobId,
    waiting: BTreeMap<PrincipalIndex, VecDeque<JobId>>,
    /// The principals that have a job waiting, each once, the next one first.
    in_turn: VecDeque<PrincipalIndex>,
}

impl TopicJobs {
    pub(super) const fn new(under_way: JobId) -> Self {
        Self { under_way, waiting: BTreeMap::new(), in_turn: VecDeque::new() }
    }

    pub(super) const fn under_way(&self) -> JobId {
        self.under_way
    }

    /// Adds a job that waits.
    pub(super) fn push(&mut self, principal: PrincipalIndex, id: JobId) {
        let jobs = self.waiting.entry(principal).or_default();
        if jobs.is_empty() {
            self.in_turn.push_back(principal);
        }
        jobs.push_back(id);
    }

    /// The job under way has ended; returns whether another one is under way now.
    pub(super) fn end(&mut self) -> bool {
        let Some(principal) = self.in_turn.pop_front() else { return false };
        let Some(jobs) = self.waiting.get_mut(&principal) else {
            bug!("a principal that is in turn has a job");
            return false;
        };
        if let Some(next) = jobs.pop_front() {
            self.under_way = next;
        }
        if jobs.is_empty() {
            self.waiting.remove(&principal);
        } else {
            self.in_turn.push_back(principal);
        }
        true
    }
}
