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
use crate::heap_size;
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
    /// The size of jobs on the heap, as they were last counted, in bytes.
    heap: u64,
}

/// A job, and what it belongs to.
struct State {
    /// `None` while the job runs.
    job: Option<Job>,
    /// The principal that bears the work.
    principal: PrincipalIndex,
    client_id: Option<Box<str>>,
    retained: Option<Box<[u8]>>,
    /// The size on the heap when it was last counted, in bytes.
    counted: u64,
}

/// The size of the queue of a client or a topic with a few jobs, in bytes.
const QUEUE: usize = 4 * core::mem::size_of::<JobId>();

impl State {
    /// The size on the heap, in bytes, with its places behind others.
    fn bytes(&self) -> u64 {
        let names = [self.client_id.as_deref().map(str::len), self.retained.as_deref().map(<[u8]>::len)];
        // The maps of clients and topics have the names too; a queue has mostly one entry.
        let chains = names.into_iter().flatten().map(|name| name.saturating_mul(2).saturating_add(QUEUE));
        chains.fold(self.job.as_ref().map_or(0, Job::heap), usize::saturating_add) as u64
    }
}

impl Job {
    /// The size on the heap, in bytes.
    fn heap(&self) -> usize {
        match self {
            Self::Publication(publication) => publication.heap(),
            Self::Subscribe(subscribing) => subscribing.heap(),
            Self::Unsubscribe(unsubscribing) => unsubscribing.heap(),
            Self::Resume(resuming) => resuming.as_ref().map_or(0, |resuming| resuming.heap()),
            Self::Members(_) | Self::Walk(_) | Self::Walks(_) | Self::Teardown(_) | Self::Status(_) => 0,
        }
    }
}

impl Jobs {
    pub(in crate::broker) fn new(work_per_call: u64) -> Self {
        Self {
            slab: Slab::new(),
            clients: BTreeMap::new(),
            topics: BTreeMap::new(),
            turns: Turns::new(work_per_call),
            heap: 0,
        }
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
        let state = State { job: Some(job), principal, client_id: client_id.clone(), retained, counted: 0 };
        let id = self.slab.insert(state)?;
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

    /// The size in bytes, with the principals and their turns.
    pub(in crate::broker) fn bytes(&self) -> u64 {
        let clients = heap_size::tree(self.clients.len(), core::mem::size_of::<(Box<str>, VecDeque<JobId>)>());
        let topics = heap_size::tree(self.topics.len(), core::mem::size_of::<(Box<[u8]>, TopicJobs)>());
        let parts = [self.slab.bytes(), self.turns.bytes(), clients, topics].map(|bytes| bytes as u64);
        parts.into_iter().fold(self.heap, u64::saturating_add)
    }

    /// Counts a job again, which does not run: returns its principal, and what that is charged, in bytes, before and now.
    pub(in crate::broker) fn recount(&mut self, id: JobId) -> Option<(PrincipalIndex, u64, u64)> {
        let state = self.slab.get_mut_by_key(id)?;
        let new = state.bytes();
        let old = core::mem::replace(&mut state.counted, new);
        self.heap = self.heap.saturating_sub(old).saturating_add(new);
        Some((state.principal, old, new))
    }

    /// The jobs' principals, and what they are charged, in bytes. For tests.
    pub(in crate::broker) fn charges(&self) -> impl Iterator<Item = (PrincipalIndex, u64)> {
        self.slab.iter().map(|(_, state)| (state.principal, state.counted))
    }

    /// The numbers of retained messages, in the store of a durable broker, that publications replace at their ends. For tests.
    pub(in crate::broker) fn replaced_numbers(&self) -> impl Iterator<Item = u64> {
        let publication = |job: &Job| match job {
            Job::Publication(publication) => Some(publication.stored.replaced()).filter(|&number| number != 0),
            _ => None,
        };
        self.slab.iter().filter_map(move |(_, state)| state.job.as_ref().and_then(publication))
    }

    /// The principal of a job, and what that is charged.
    pub(super) fn charge(&self, id: JobId) -> Option<(PrincipalIndex, u64)> {
        self.slab.get_by_key(id).map(|state| (state.principal, state.counted))
    }

    /// Removes a job that has ended, and lets those run that have waited for it. Returns its client identifier if no other job
    /// of that is open.
    pub(super) fn remove(&mut self, id: JobId) -> Option<Box<str>> {
        let Some(state) = self.slab.remove_by_key(id) else {
            bug!("a job ends once");
            return None;
        };
        self.heap = self.heap.saturating_sub(state.counted);
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
