//! The jobs of a broker: work that goes on over several calls.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};

use super::turns::{Entry, JobId, PrincipalIndex, Turns};
use crate::broker::slab::Slab;

/// Work that goes on over several calls.
pub(in crate::broker) enum Job {}

/// What became of a job in its turn.
#[expect(dead_code, reason = "no kind of job exists yet")]
pub(in crate::broker) enum Progress {
    /// The job has more to do, and waits for its next turn.
    More,
    /// The job has ended.
    Done,
}

/// The jobs of a broker, and whose turn it is.
pub(in crate::broker) struct Jobs {
    slab: Slab<State>,
    /// The open jobs of each client identifier that has some, in order: the first one runs.
    chains: BTreeMap<Box<str>, VecDeque<JobId>>,
    turns: Turns,
}

/// A job, and what it belongs to.
struct State {
    /// `None` while the job runs.
    job: Option<Job>,
    /// The principal that bears the work.
    principal: PrincipalIndex,
    /// The client identifier whose jobs run one after the other.
    client_id: Option<Box<str>>,
}

impl Jobs {
    pub(in crate::broker) fn new(work_per_call: u64) -> Self {
        Self { slab: Slab::new(), chains: BTreeMap::new(), turns: Turns::new(work_per_call) }
    }

    /// Number of open jobs.
    #[expect(dead_code, reason = "no kind of job exists yet")]
    pub(in crate::broker) const fn len(&self) -> u32 {
        self.slab.len()
    }

    /// Whether something waits for its turn, so that the next [`poll`](crate::broker::Broker::poll) has something to do.
    #[inline]
    pub(in crate::broker) const fn is_waiting(&self) -> bool {
        self.turns.is_waiting()
    }

    /// Whether jobs of a client identifier are open.
    pub(in crate::broker) fn has_open(&self, client_id: &str) -> bool {
        !self.chains.is_empty() && self.chains.contains_key(client_id)
    }

    /// Adds a job. With a client identifier it runs when the earlier jobs of that have ended. Returns `None` if no more jobs
    /// can be held.
    pub(super) fn push(&mut self, principal: PrincipalIndex, client_id: Option<&str>, job: Job) -> Option<JobId> {
        let state = State { job: Some(job), principal, client_id: client_id.map(Box::from) };
        let id = self.slab.insert(state)?;
        let chain = client_id.map(|client_id| self.chains.entry(client_id.into()).or_default());
        let is_first = chain.as_ref().is_none_or(|chain| chain.is_empty());
        if let Some(chain) = chain {
            chain.push_back(id);
        }
        if is_first {
            self.wake(id);
        }
        Some(id)
    }

    /// Takes a job out that has its turn.
    pub(super) fn take(&mut self, id: JobId) -> Option<Job> {
        self.slab.get_mut_by_key(id)?.job.take()
    }

    /// Puts a job back that has more to do: it waits for its next turn.
    pub(super) fn put_back(&mut self, id: JobId, job: Job) {
        match self.slab.get_mut_by_key(id) {
            Some(state) => state.job = Some(job),
            None => return bug!("a job is open until it ends"),
        }
        self.wake(id);
    }

    /// Removes a job that has ended, and lets the next job of its client identifier run. Returns the client identifier if the
    /// job was the last one of it.
    pub(super) fn remove(&mut self, id: JobId) -> Option<Box<str>> {
        let Some(state) = self.slab.remove_by_key(id) else {
            bug!("a job ends once");
            return None;
        };
        let client_id = state.client_id?;
        let chain = self.chains.get_mut(&client_id)?;
        chain.pop_front();
        match chain.front().copied() {
            Some(next) => {
                self.wake(next);
                None
            }
            None => {
                self.chains.remove(&client_id);
                Some(client_id)
            }
        }
    }

    /// The turns of principals.
    pub(super) const fn turns_mut(&mut self) -> &mut Turns {
        &mut self.turns
    }

    /// Lets the first job of a chain wait for its turn.
    fn wake(&mut self, id: JobId) {
        match self.slab.get_by_key(id).map(|state| state.principal) {
            Some(principal) => self.turns.push(principal, Entry::Job(id)),
            None => bug!("a job in a chain is open"),
        }
    }
}
