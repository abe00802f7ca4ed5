//! The jobs of a broker: work that goes on over several calls.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};

use super::moving::Moving;
use super::publication::Publication;
use super::request::{Subscribing, Unsubscribing};
use super::resuming::Resuming;
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
    /// A session that has ended, and is taken apart.
    Teardown(Key),
    /// The values under `$SYS/broker/`: how many of them were published.
    Status(usize),
}

/// What jobs run one after the other for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Chain {
    /// A client identifier; empty for the broker itself.
    Client(Box<str>),
    /// A topic that messages are retained for.
    Retained(Box<[u8]>),
}

/// The order that a job keeps: it runs when the earlier jobs that it shares one of these with have ended.
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
    /// The open jobs that run one after the other, in order.
    chains: BTreeMap<Chain, VecDeque<JobId>>,
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
    /// The chains that the job is in.
    chains: [Option<Chain>; 2],
    /// The size on the heap when it was last counted, in bytes.
    counted: u64,
}

/// The size of the queue of a chain with a few jobs, in bytes.
const QUEUE: usize = 4 * core::mem::size_of::<JobId>();

impl State {
    /// The size on the heap, in bytes, with its places in chains.
    fn bytes(&self) -> u64 {
        let names = self.chains.iter().flatten().map(|chain| match chain {
            Chain::Client(name) => name.len(),
            Chain::Retained(name) => name.len(),
        });
        // The map of chains has the names too; the queue of a chain has mostly one entry.
        let chains = names.map(|name| name.saturating_mul(2).saturating_add(QUEUE));
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
            Self::Members(_) | Self::Walk(_) | Self::Teardown(_) | Self::Status(_) => 0,
        }
    }
}

impl Jobs {
    pub(in crate::broker) fn new(work_per_call: u64) -> Self {
        Self { slab: Slab::new(), chains: BTreeMap::new(), turns: Turns::new(work_per_call), heap: 0 }
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
        if self.chains.is_empty() {
            return 0; // most of the time
        }
        self.chains.get(&Chain::Client(client_id.into())).map_or(0, VecDeque::len)
    }

    /// Whether a job is open that others may have to wait for.
    #[inline]
    pub(in crate::broker) fn has_chains(&self) -> bool {
        !self.chains.is_empty()
    }

    /// Whether a job with this order would have to wait for others.
    pub(in crate::broker) fn has_to_wait(&self, order: Order<'_>) -> bool {
        chains(order).into_iter().flatten().any(|chain| self.chains.contains_key(&chain))
    }

    /// Adds a job. Returns `None` if no more jobs can be held.
    pub(super) fn push(&mut self, principal: PrincipalIndex, order: Order<'_>, job: Job) -> Option<JobId> {
        let chains = chains(order);
        let id = self.slab.insert(State { job: Some(job), principal, chains: chains.clone(), counted: 0 })?;
        self.turns.enter_again(principal);
        for chain in chains.into_iter().flatten() {
            self.chains.entry(chain).or_default().push_back(id);
        }
        self.wake_if_first(id);
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
        self.wake_if_first(id);
    }

    /// The size in bytes, with the principals and their turns.
    pub(in crate::broker) fn bytes(&self) -> u64 {
        let chains = heap_size::tree(self.chains.len(), core::mem::size_of::<(Chain, VecDeque<JobId>)>());
        let parts = [self.slab.bytes(), self.turns.bytes(), chains].map(|bytes| bytes as u64);
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
        let mut ended = None;
        for key in state.chains.into_iter().flatten() {
            let Some(chain) = self.chains.get_mut(&key) else {
                bug!("an open job is in its chains");
                continue;
            };
            chain.pop_front();
            match chain.front().copied() {
                Some(next) => self.wake_if_first(next),
                None => {
                    self.chains.remove(&key);
                    if let Chain::Client(client_id) = key {
                        ended = Some(client_id);
                    }
                }
            }
        }
        ended
    }

    /// The turns of principals.
    pub(in crate::broker) const fn turns(&self) -> &Turns {
        &self.turns
    }

    /// The turns of principals.
    pub(in crate::broker) const fn turns_mut(&mut self) -> &mut Turns {
        &mut self.turns
    }

    /// Lets a job wait for its turn if it is the first of its chains.
    fn wake_if_first(&mut self, id: JobId) {
        let Some(state) = self.slab.get_by_key(id) else { return bug!("a job in a chain is open") };
        let is_first = |chain: &Chain| self.chains.get(chain).and_then(VecDeque::front) == Some(&id);
        if state.chains.iter().flatten().all(is_first) {
            self.turns.push(state.principal, Entry::Job(id));
        }
    }
}

fn chains(order: Order<'_>) -> [Option<Chain>; 2] {
    [
        order.client_id.map(|client_id| Chain::Client(client_id.into())),
        order.retained.map(|topic| Chain::Retained(topic.as_bytes().into())),
    ]
}
