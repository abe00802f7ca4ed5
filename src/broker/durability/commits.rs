//! The journal of a durable broker, which is lent to a session while that is called, and what waits for batches.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use super::publication::{Content, StoredPublication};
use super::records::RetainedRecord;
use crate::broker::index::SessionIndex;
use crate::broker::policy::ConnectionId;
use crate::heap_size;
use crate::server::ServerSession;
use crate::session::Journal;
use crate::store::Key;

/// What a durable broker has beyond others.
pub(in crate::broker) struct Commits {
    /// The journal; `None` while it is lent to a session.
    journal: Option<Box<Journal>>,
    /// The message that is published now.
    publication: Option<StoredPublication>,
    /// The sessions whose first packet waits, by what it waits for: numbers of batches, and above them those of messages. A
    /// session that waits no more may be among them.
    waiting: BTreeMap<u64, Vec<SessionIndex>>,
    /// Sessions that have waited for batches, and may go on.
    released: VecDeque<SessionIndex>,
    /// Connections whose input was left, because too many changes were not committed.
    stalled: BTreeSet<ConnectionId>,
}

/// What may go on.
pub(super) enum Released {
    /// A session that has waited for batches.
    Session(SessionIndex),
    /// A connection whose input was left.
    Connection(ConnectionId),
}

/// Calls a session; the journal of a durable broker is lent to it.
#[inline]
pub(in crate::broker) fn with<T>(
    session: &mut ServerSession,
    commits: Option<&mut Commits>,
    index: SessionIndex,
    call: impl FnOnce(&mut ServerSession) -> T,
) -> T {
    let Some(commits) = commits else { return call(session) };
    commits.lend(session);
    let result = call(session);
    commits.take_back(index, session);
    result
}

impl Commits {
    pub(in crate::broker) fn new(journal: Journal) -> Self {
        Self {
            journal: Some(Box::new(journal)),
            publication: None,
            waiting: BTreeMap::new(),
            released: VecDeque::new(),
            stalled: BTreeSet::new(),
        }
    }

    /// The journal, which is not lent now.
    pub(in crate::broker) fn journal(&mut self) -> Option<&mut Journal> {
        if self.journal.is_none() {
            bug!("the journal is lent only while a session is called");
        }
        self.journal.as_deref_mut()
    }

    /// Whether there is a batch to store.
    pub(in crate::broker) fn has_batch(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.has_batch())
    }

    /// Whether the next batch should be stored at once.
    pub(in crate::broker) fn is_awaited(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.is_awaited())
    }

    /// Whether too many changes are not committed.
    pub(in crate::broker) fn is_full(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.is_full())
    }

    /// The size on the heap, in bytes.
    pub(in crate::broker) fn bytes(&self) -> usize {
        let journal = self.journal.as_ref().map_or(0, |journal| journal.heap());
        let waiting = heap_size::tree(self.waiting.len(), size_of::<(u64, Vec<SessionIndex>)>());
        let stalled = heap_size::tree(self.stalled.len(), size_of::<ConnectionId>());
        [waiting, stalled, heap_size::queue(&self.released)].into_iter().fold(journal, usize::saturating_add)
    }

    /// Lends the journal to a session.
    pub(in crate::broker) fn lend(&mut self, session: &mut ServerSession) {
        session.swap_journal(&mut self.journal);
    }

    /// Takes the journal back from a session. What the session waits for is noted.
    pub(in crate::broker) fn take_back(&mut self, index: SessionIndex, session: &mut ServerSession) {
        session.swap_journal(&mut self.journal);
        if let Some(awaited) = session.newly_awaited() {
            self.waiting.entry(awaited).or_default().push(index);
        }
    }

    // Batches.

    /// Batches are stored: the sessions that have waited for them may go on.
    pub(super) fn committed(&mut self, number: u64) {
        let Some(journal) = self.journal() else { return };
        journal.committed(number);
        while let Some(entry) = self.waiting.first_entry()
            && self.journal.as_ref().is_some_and(|journal| journal.is_committed(*entry.key()))
        {
            self.released.extend(entry.remove());
        }
    }

    /// Whether something may go on: sessions that have waited for batches, and connections whose input was left, once fewer changes
    /// are not committed. Changes that cancel each other out are not: no batch is stored then.
    pub(in crate::broker) fn has_released(&self) -> bool {
        !self.released.is_empty() || (!self.stalled.is_empty() && !self.is_full())
    }

    /// What may go on next.
    pub(super) fn next_released(&mut self) -> Option<Released> {
        if let Some(index) = self.released.pop_front() {
            return Some(Released::Session(index));
        }
        let next = if self.is_full() { None } else { self.stalled.pop_first() };
        next.map(Released::Connection)
    }

    /// The input of a connection was left, because too many changes are not committed.
    pub(in crate::broker) fn stall(&mut self, connection: ConnectionId) {
        self.stalled.insert(connection);
    }

    /// A connection is closed: its input does not wait any more.
    pub(in crate::broker) fn close(&mut self, connection: ConnectionId) {
        self.stalled.remove(&connection);
    }

    /// Whether the input of a connection was left, and is not taken yet.
    pub(in crate::broker) fn is_stalled(&self, connection: ConnectionId) -> bool {
        self.is_full() && self.stalled.contains(&connection)
    }

    // Publications.

    /// Begins to publish a message, or goes on with that.
    pub(super) fn begin_publication(&mut self, publication: StoredPublication) {
        self.publication = Some(publication);
        if let Some(journal) = self.journal() {
            journal.set_current(publication.message());
        }
    }

    /// The publication goes on in another call.
    pub(super) fn pause_publication(&mut self) -> StoredPublication {
        let message = self.journal().map_or(0, |journal| journal.set_current(0));
        self.publication.take().unwrap_or_default().with_message(message)
    }

    /// The publication is complete: its message is stored if it is needed, with the record of the retained message if it is
    /// one. Returns the number of the batch that the publisher depends on; 0 for none.
    pub(super) fn end_publication(
        &mut self,
        content: Option<Content<'_>>,
        retained: Option<RetainedRecord<'_>>,
    ) -> u64 {
        let publication = self.pause_publication();
        let (message, replaced) = (publication.message(), publication.replaced());
        let Some(journal) = self.journal() else { return 0 };
        let is_stored = content.is_some_and(|content| complete(journal, message, &content));
        if let Some(record) = retained.filter(|_| is_stored) {
            journal.insert(Key::retained(message), |out| record.write(out));
        }
        if replaced != 0 {
            remove_retained(journal, replaced);
        }
        if let Some(will) = publication.will() {
            journal.remove_will(will);
        }
        let batch = if is_stored || replaced != 0 { journal.open_number() } else { 0 };
        if message != 0 {
            self.message_completed(message);
        }
        batch
    }

    /// The publication of a message is complete: packets wait for its batch now.
    fn message_completed(&mut self, message: u64) {
        if let Some(mut sessions) = self.waiting.remove(&Journal::awaited_message(message))
            && let Some(journal) = self.journal()
        {
            let batch = journal.await_open();
            self.waiting.entry(batch).or_default().append(&mut sessions);
        }
    }

    /// Puts a retained message in place of the one with the number `replaced`, or of none (0), at the end of the present
    /// publication; returns its number.
    pub(super) fn retain(&mut self, replaced: u64) -> u64 {
        let Some(journal) = self.journal() else { return 0 };
        let number = journal.begin_message();
        journal.refer(number); // the retained message itself
        journal.set_current(number);
        self.forget_retained(replaced);
        number
    }

    /// Removes a retained message from the store: at the end of the present publication if there is one.
    pub(super) fn forget_retained(&mut self, number: u64) {
        if number == 0 {
            return;
        }
        // A publication replaces one message.
        let is_later = self.publication.as_mut().is_some_and(|publication| publication.replace(number));
        if !is_later && let Some(journal) = self.journal() {
            remove_retained(journal, number);
        }
    }

    /// Goes back to the message before. A message that has got a number is stored.
    pub(super) fn end_copies(&mut self, number: u64, outer: u64, content: &Content<'_>) {
        let Some(journal) = self.journal() else { return };
        let now = journal.set_current(outer);
        if now != number {
            complete(journal, now, content);
        }
    }

    /// Panics unless these are the references to messages in the store: as often as each occurs. For tests.
    pub(in crate::broker) fn assert_consistent(&self, references: impl Iterator<Item = u64>) {
        let mut expected = BTreeMap::<u64, u32>::new();
        for number in references {
            let count = expected.entry(number).or_default();
            *count = count.saturating_add(1);
        }
        let counted = self.journal.iter().flat_map(|journal| journal.references());
        // Those that are published now may have none.
        let counted: BTreeMap<_, _> = counted.filter(|&(_, count)| count != 0).collect();
        assert_eq!(counted, expected, "references to messages are counted right");
        assert!(self.publication.is_none(), "a publication ends or is paused");
    }
}

fn remove_retained(journal: &mut Journal, number: u64) {
    journal.remove(Key::retained(number));
    journal.release(number);
}

fn complete(journal: &mut Journal, message: u64, content: &Content<'_>) -> bool {
    let Content { message: parts, payload, since, expires_after } = content;
    message != 0 && journal.complete(message, (*since, *expires_after), parts, payload)
}
