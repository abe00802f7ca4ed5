//! What the broker stores of its state, beside what sessions store of themselves.

use super::commits::{Commits, with};
use super::publication::{Content, StoredPublication};
use super::records::{RetainedRecord, SubscriptionRecord, number_of};
use crate::broker::index::SessionIndex;
use crate::broker::policy::ConnectionId;
use crate::broker::router::subscribers::Subscriber;
use crate::broker::sessions::Sessions;
use crate::server::ServerSession;
use crate::session::WillInStore;
use crate::store::Key;
use crate::time::Instant;
use crate::topic::TopicFilter;

impl Sessions {
    /// Calls a session; `None` if it does not exist. The journal of a durable broker is lent to it.
    #[inline]
    pub(in crate::broker) fn with<T>(
        &mut self,
        index: SessionIndex,
        call: impl FnOnce(&mut ServerSession) -> T,
    ) -> Option<T> {
        let (session, commits) = self.session_and_commits(index)?;
        Some(with(session.server_mut(), commits, index, call))
    }

    /// Begins a step at this time: what was changed before may be another batch.
    #[inline]
    pub(in crate::broker) fn begin_step(&mut self, now: Instant) {
        if self.commits().is_some() {
            self.begin_durable_step(now);
        }
    }

    // Out of line, so that brokers that are not durable do not pay for it.
    #[cold]
    #[inline(never)]
    fn begin_durable_step(&mut self, now: Instant) {
        if let Some(journal) = self.commits_mut().and_then(Commits::journal) {
            journal.begin_step(now);
        }
    }

    /// Sets whether packets wait for batches.
    pub(in crate::broker) fn set_waits_for_commits(&mut self, waits: bool) {
        if let Some(journal) = self.commits_mut().and_then(Commits::journal) {
            journal.set_waits(waits);
        }
    }

    /// Whether the input of a session is not taken until changes are committed.
    pub(in crate::broker) fn is_stalled(&self, index: SessionIndex) -> bool {
        let Some((commits, session)) = self.commits().zip(self.get(index)) else { return false };
        session.server().is_held_up() || session.connection().is_some_and(|connection| commits.is_stalled(connection))
    }

    /// Whether the first packet of a connection is not taken until changes are committed.
    #[inline]
    pub(in crate::broker) fn is_connection_stalled(&self, connection: ConnectionId) -> bool {
        self.commits().is_some_and(|commits| commits.is_stalled(connection))
    }

    /// Leaves the first packet of a connection if too many changes are not committed: it may begin a session, and end another.
    /// Returns whether it is left.
    #[inline]
    pub(in crate::broker) fn stall_connection(&mut self, connection: ConnectionId) -> bool {
        let Some(commits) = self.commits_mut().filter(|commits| commits.is_full()) else { return false };
        commits.stall(connection);
        true
    }

    /// Whether too many changes are not committed.
    #[inline]
    pub(in crate::broker) fn are_changes_full(&self) -> bool {
        self.commits().is_some_and(Commits::is_full)
    }

    // Publications.

    /// Begins to publish a message, or goes on with that.
    #[inline]
    pub(in crate::broker) fn begin_publication(&mut self, publication: StoredPublication) {
        if let Some(commits) = self.commits_mut() {
            commits.begin_publication(publication);
        }
    }

    /// The publication goes on in another call.
    pub(in crate::broker) fn pause_publication(&mut self) -> StoredPublication {
        self.commits_mut().map_or_else(StoredPublication::default, Commits::pause_publication)
    }

    /// The publication is complete: its message is stored if it is needed, with the record of the retained message if it is
    /// one. Returns the number of the batch that the publisher depends on; 0 for none.
    pub(in crate::broker) fn end_publication(
        &mut self,
        content: Option<Content<'_>>,
        retained: Option<RetainedRecord<'_>>,
    ) -> u64 {
        self.commits_mut().map_or(0, |commits| commits.end_publication(content, retained))
    }

    /// The stored will that a session has returned to be published, once.
    #[inline]
    pub(in crate::broker) fn take_published_will(&mut self) -> Option<WillInStore> {
        self.commits_mut()?.journal()?.take_published_will()
    }

    /// A retained message is put in place of the one with the number `replaced`, or of none (0); returns its number in the
    /// store, or 0.
    #[inline]
    pub(in crate::broker) fn store_retained(&mut self, replaced: u64) -> u64 {
        self.commits_mut().map_or(0, |commits| commits.retain(replaced))
    }

    /// The retained message with this number in the store, or with none (0), is no more.
    #[inline]
    pub(in crate::broker) fn forget_retained(&mut self, number: u64) {
        if let Some(commits) = self.commits_mut() {
            commits.forget_retained(number);
        }
    }

    /// Begins to give a message to sessions beside a publication; it has this number in the store, or gets one if it is
    /// stored (0). Returns what is to be given to [`end_copies`](Self::end_copies).
    #[inline]
    pub(in crate::broker) fn begin_copies(&mut self, number: u64) -> u64 {
        self.commits_mut().and_then(Commits::journal).map_or(0, |journal| journal.set_current(number))
    }

    /// Goes back to the message before. A message that has got a number is stored.
    #[inline]
    pub(in crate::broker) fn end_copies(&mut self, number: u64, outer: u64, content: &Content<'_>) {
        if let Some(commits) = self.commits_mut() {
            commits.end_copies(number, outer, content);
        }
    }

    /// Counts a reference to a stored message less; 0 is none.
    pub(in crate::broker) fn release_message(&mut self, message: u64) {
        if message != 0
            && let Some(journal) = self.commits_mut().and_then(Commits::journal)
        {
            journal.release(message);
        }
    }

    // Subscriptions.

    /// Stores a subscription of a session, which is new or replaces another one, if the session is stored. `group` is the number of
    /// the group that shares it, or 0; `walk` is the mark of its walk, or 0.
    #[inline]
    pub(in crate::broker) fn store_subscription(
        &mut self,
        filter: TopicFilter<'_>,
        subscriber: &Subscriber,
        group: u32,
        walk: u64,
        is_new: bool,
    ) {
        if self.commits().is_some() {
            let record = SubscriptionRecord::new(filter, subscriber, group, walk);
            self.put_subscription(subscriber.session, &record, is_new);
        }
    }

    #[cold]
    fn put_subscription(&mut self, index: SessionIndex, record: &SubscriptionRecord<'_>, is_new: bool) {
        let Some((session, Some(commits))) = self.session_and_commits(index) else { return };
        let Some(number) = session.server().stored_number() else { return };
        let Some(journal) = commits.journal() else { return };
        let key = Key::subscription(number, number_of(record.filter));
        if is_new {
            journal.insert(key, |out| record.write(out));
        } else {
            journal.replace(key, |out| record.write(out));
        }
        session.server_mut().depends_on(journal.open_number());
    }

    /// The number that the next message gets in the store: a walk that begins now is over messages with lower numbers. 0 in a
    /// broker that is not durable.
    #[inline]
    pub(in crate::broker) fn mark_of_walk(&mut self) -> u64 {
        self.commits_mut().and_then(Commits::journal).map_or(0, |journal| journal.next_message())
    }

    /// The walk for a subscription, which is not shared, is at its end: it does not begin again after a crash.
    #[cold]
    pub(in crate::broker) fn forget_walk(&mut self, filter: TopicFilter<'_>, subscriber: &Subscriber) {
        let Some((session, Some(commits))) = self.session_and_commits(subscriber.session) else { return };
        let Some(number) = session.server().stored_number() else { return };
        let Some(journal) = commits.journal() else { return };
        let record = SubscriptionRecord::new(filter, subscriber, 0, 0);
        // Nothing waits for this: without it some messages come again.
        journal.update(Key::subscription(number, number_of(filter)), |out| record.write(out));
    }

    /// Removes a subscription of a session from the store.
    #[inline]
    pub(in crate::broker) fn forget_subscription(&mut self, index: SessionIndex, filter: TopicFilter<'_>) {
        if self.commits().is_some() {
            self.remove_subscription(index, filter);
        }
    }

    #[cold]
    fn remove_subscription(&mut self, index: SessionIndex, filter: TopicFilter<'_>) {
        let Some((session, Some(commits))) = self.session_and_commits(index) else { return };
        let Some(number) = session.server().number_in_keys() else { return };
        let has_ended = session.has_ended();
        let Some(journal) = commits.journal() else { return };
        let key = Key::subscription(number, number_of(filter));
        if has_ended {
            journal.remove_garbage(key); // the removal of the session was noted
        } else {
            journal.remove(key);
            session.server_mut().depends_on(journal.open_number());
        }
    }

    /// Whether something is stored of the session, or was, so that it would have to be removed.
    pub(in crate::broker) fn has_pairs(&self, index: SessionIndex) -> bool {
        let session = || self.get(index).and_then(|session| session.server().number_in_keys());
        self.commits().is_some() && session().is_some()
    }
}
