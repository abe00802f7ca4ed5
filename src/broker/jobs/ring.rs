//! The jobs of a broker: work that goes on over several calls.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};

use super::moving::Moving;
use super::publication::Publication;
use super::request::{Subscribing, Unsubscribing};
use super::resuming::Resuming;
use super::topic_jobs::TopicJobs;
use super::turns::{Entry, JobId, PrincipalIndex, Turns};
use crate::broker::slab::{Key, Slab};
use crate::topic::TopicName;

/// Work that goes on over several calls.
pub(in crate::broker) enum Job {
    /// A message on its way to its subscribers.
    Publication(Box<Publication>),
    /// A SUBSCRIBE of many filters.
    Subscribe(Box<Subscribing>),
    /// An UNSUBSCRIBE of many filters.
    Unsubscribe(Box<Unsubscribing>),
    /// A client that resumes a session with many subscriptions; `None` while the job runs.
    Resume(Option<Box<Resuming>>),
    /// A session that has got or lost its connection, and moves in its groups.
    Members(Moving),
    /// The walk of a session over retained messages.
    Walk(Key),
    /// A message has gone to all of its subscribers: walks that have waited for that go on.
    Walks(u64),
    /// A session that has ended, and is taken apart.
    Teardown(Key),
    /// The values under `$SYS/broker/`: how many of them were published.
    Status(usize),
}

/// The order that a job keeps: it runs when the earlier jobs of the same client have ended, and when no other one for the same
/// topic is under way. Those that wait for a topic are taken by principals in turn: the order of different publishers is free.
#[derive(Clone, Copy, Default)]
pub(in crate::broker) struct Order<'a> {
    /// The client identifier; empty for the broker itself.
    pub(in crate::broker) client_id: Option<&'a str>,
    /// The topic that a message is retained for.
    pub(in crate::broker) retained: Option<TopicName<'a>>,
}

/// What became of a job in its turn.
pub(in crate::broker) enum Progress {
    /// The job has more to do, and waits for its next turn.
    More,
    /// The job has ended.
    Done,
}

/// The jobs of a broker, and whose turn it is.
pub(in crate::broker) struct Jobs {
    slab: Slab<State>,
    /// The open jobs of each client identifier, in order; empty for the broker itself.
    clients: BTreeMap<Box<str>, VecDeque<JobId>>,
    /// The open jobs of each topic that messages are retained for, without those that wait for others of their client.
    topics: BTreeMap<Box<[u8]>, TopicJobs>,
    turns: Turns,
}

/// A job, and what it belongs to.
struct State {
    /// `None` while the job runs.
    job: Option<Job>,
    /// The principal that bears the work.
    principal: PrincipalIndex,
    client_id: Option<Box<str>>,
    retained: Option<Box<[u8]>>,
}

impl Jobs {
    pub(in crate::broker) fn new(work_per_call: u64) -> Self {
        Self { slab: Slab::new(), clients: BTreeMap::new(), topics: BTreeMap::new(), turns: Turns::new(work_per_call) }
    }

    /// Number of open jobs.
    pub(in crate::broker) const fn len(&self) -> u32 {
        self.slab.len()
    }

    /// Whether something waits for its turn, so that the next [`poll`](crate::broker::Broker::poll) has something to do.
    #[inline]
    pub(in crate::broker) const fn is_waiting(&self) -> bool {
        self.turns.is_waiting()
    }

    /// Number of open jobs of a client identifier, or of the broker itself.
    pub(in crate::broker) fn open_of(&self, client_id: &str) -> usize {
        if self.clients.is_empty() {
            return 0; // most of the time
        }
        self.clients.get(client_id).map_or(0, VecDeque::len)
    }

    /// Whether a job is open that others may have to wait for.
    #[inline]
    pub(in crate::broker) fn has_chains(&self) -> bool {
        !self.clients.is_empty() || !self.topics.is_empty()
    }

    /// Whether a job with this order would have to wait for others.
    pub(in crate::broker) fn has_to_wait(&self, order: Order<'_>) -> bool {
        order.client_id.is_some_and(|client_id| self.clients.contains_key(client_id))
            || order.retained.is_some_and(|topic| self.topics.contains_key(topic.as_bytes()))
    }

    /// Adds a job. Returns `None` if no more jobs can be held.
    pub(super) fn push(&mut self, principal: PrincipalIndex, order: Order<'_>, job: Job) -> Option<JobId> {
        let client_id = order.client_id.map(Box::<str>::from);
        let retained = order.retained.map(|topic| Box::<[u8]>::from(topic.as_bytes()));
        let id = self.slab.insert(State { job: Some(job), principal, client_id: client_id.clone(), retained })?;
        self.turns.enter_again(principal);
        let mut is_first = true;
        if let Some(client_id) = client_id {
            let chain = self.clients.entry(client_id).or_default();
            is_first = chain.is_empty();
            chain.push_back(id);
        }
        if is_first {
            self.set_first(id);
        }
        Some(id)
    }

    /// A job is the first one of its client: from now on it has turns. While another one is under way for its topic, it uses
    /// them for that one.
    fn set_first(&mut self, id: JobId) {
        let Some(state) = self.slab.get_by_key(id) else { return bug!("a job in a chain is open") };
        if let Some(topic) = &state.retained {
            match self.topics.get_mut(topic) {
                Some(jobs) => jobs.push(state.principal, id),
                None => {
                    self.topics.insert(topic.clone(), TopicJobs::new(id));
                }
            }
        }
        self.turns.push(state.principal, Entry::Job(id));
    }

    /// The job that runs when a job has its turn: the one that it waits for, if there is one. `None` if the job has ended
    /// because another one has used its own turns for it.
    pub(super) fn to_run(&self, id: JobId) -> Option<JobId> {
        let state = self.slab.get_by_key(id)?;
        let under_way = state.retained.as_ref().and_then(|topic| self.topics.get(topic)).map(TopicJobs::under_way);
        Some(under_way.unwrap_or(id))
    }

    /// Takes a job out that runs now.
    pub(super) fn take(&mut self, id: JobId) -> Option<Job> {
        self.slab.get_mut_by_key(id)?.job.take()
    }

    /// Puts a job back that has more to do.
    pub(super) fn put_back(&mut self, id: JobId, job: Job) {
        match self.slab.get_mut_by_key(id) {
            Some(state) => state.job = Some(job),
            None => bug!("a job is open until it ends"),
        }
    }

    /// Lets a job that has had its turn wait for its next one, if it has not ended.
    pub(super) fn wait(&mut self, id: JobId) {
        if let Some(state) = self.slab.get_by_key(id) {
            self.turns.push(state.principal, Entry::Job(id));
        }
    }

    /// Removes a job that has ended, and lets those run that have waited for it. Returns its client identifier if no other job
    /// of that is open.
    pub(super) fn remove(&mut self, id: JobId) -> Option<Box<str>> {
        let Some(state) = self.slab.remove_by_key(id) else {
            bug!("a job ends once");
            return None;
        };
        self.turns.leave(state.principal);
        if let Some(topic) = state.retained {
            match self.topics.get_mut(&topic) {
                Some(jobs) if jobs.under_way() == id => {
                    if !jobs.end() {
                        self.topics.remove(&topic);
                    }
                }
                _ => bug!("a job that ends is the one under way for its topic"),
            }
        }
        let client_id = state.client_id?;
        let Some(chain) = self.clients.get_mut(&client_id) else {
            bug!("an open job is in the chain of its client");
            return None;
        };
        chain.pop_front();
        match chain.front().copied() {
            Some(next) => {
                self.set_first(next);
                None
            }
            None => {
                self.clients.remove(&client_id);
                Some(client_id)
            }
        }
    }

    /// The turns of principals.
    pub(in crate::broker) const fn turns(&self) -> &Turns {
        &self.turns
    }

    /// The turns of principals.
    pub(in crate::broker) const fn turns_mut(&mut self) -> &mut Turns {
        &mut self.turns
    }
}
