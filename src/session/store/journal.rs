//! The changes of a store, and what the sessions in it share.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use super::messages::Messages;
use super::pairs::{put_content, put_stored, remove_message};
use super::stored::Stored;
use crate::codec::Version;
use crate::session::link::held::WaitsFor;
use crate::session::message_ref::MessageRef;
use crate::session::token::Token;
use crate::session::will::Will;
use crate::store::{Batch, ChangeLog, Counter, Key};
use crate::time::Instant;

/// The changes of a store that are not committed, and what the sessions in the store share.
///
/// A session of a client, or of a server without a router, has a store and a journal of its own. The sessions of a router
/// share one: it is lent to a session while that is called.
#[derive(Clone)]
pub(crate) struct Journal {
    pub(super) log: ChangeLog,
    max_uncommitted: u32,
    /// Whether packets wait for batches at all.
    waits: bool,
    /// The time that is added to the time of the caller, in microseconds: the clock of this process may be behind that
    /// of the process before.
    pub(super) skew: u64,
    pub(super) scratch: Vec<u8>,
    /// Of a store of one session: the tokens below this number are covered by the stored high-water mark.
    pub(super) high_water: u64,
    /// Of a store of one session: the value of its record.
    pub(super) session: Vec<u8>,
    /// The mark of the messages that are stored now; 0 for none.
    pub(super) mark: u32,
    shared: Option<Box<Shared>>,
}

/// What many sessions share.
#[derive(Clone, Default)]
struct Shared {
    messages: Messages,
    message_numbers: Numbers,
    session_numbers: Numbers,
    /// The message that is published now, or sent to a new subscriber: copies refer to it.
    current: u64,
    /// The will that a session has returned last to be published.
    will: Option<WillInStore>,
}

/// A stored will, which is removed with the end of its publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WillInStore {
    pub(super) session: u64,
    pub(super) number: u64,
    /// The size of the content in bytes, about.
    pub(super) size: usize,
}

impl WillInStore {
    /// Names the stored will of a session that is restored.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn new(session: u64, number: u64, will: &Will) -> Self {
        Self { session, number, size: will.heap() }
    }
}

/// Numbers that are used once.
#[derive(Clone, Copy, Default)]
struct Numbers {
    next: u64,
    /// The numbers below this one are covered by the stored high-water mark.
    mark: u64,
}

/// A high-water mark covers numbers in blocks of this size.
pub(super) const BLOCK: u64 = 1024;

/// Flag of a number that a packet waits for: the message with the number is to be complete. Others are those of batches.
const MESSAGE: u64 = 1 << 63;

impl Numbers {
    /// Returns the next number, after the mark that covers it is put.
    fn take(&mut self, counter: Counter, log: &mut ChangeLog) -> u64 {
        let number = self.next.max(1);
        self.next = number.saturating_add(1);
        if self.next > self.mark {
            self.mark = self.next.saturating_add(BLOCK);
            log.put(Key::high_water(counter), &self.mark.to_be_bytes());
        }
        number
    }
}

impl Journal {
    /// Creates the journal of a store of one session.
    pub(super) fn of_one(log: ChangeLog, max_uncommitted: NonZeroU32, skew: u64) -> Self {
        let max_uncommitted = max_uncommitted.get();
        let (scratch, session) = (Vec::new(), Vec::new());
        Self { log, max_uncommitted, waits: true, skew, scratch, high_water: 1, session, mark: 0, shared: None }
    }

    /// Accepts a message that is stored for a session, and returns its number. In a shared store the message is the current
    /// one, and its number is set; else it is put.
    pub(super) fn accept(
        &mut self,
        is_shared: bool,
        token: Token,
        (since, expires_after): (Instant, u32),
        stored: &mut Stored,
        version: Version,
    ) -> u64 {
        if is_shared {
            let number = self.refer_to_current();
            stored.set_number(number);
            return number;
        }
        let Self { log, scratch, .. } = self;
        let put = &mut |key, value: &[u8]| log.insert(key, value);
        put_stored(token.get(), since, expires_after, stored, version, scratch, put);
        token.get()
    }
}

/// The interface for a router, see `server::routing`.
#[allow(dead_code, reason = "for a router: see `server::routing`")]
impl Journal {
    /// Creates the journal of a new store that sessions share.
    pub(crate) fn of_many(max_uncommitted: NonZeroU32) -> Self {
        Self { shared: Some(Box::default()), ..Self::of_one(ChangeLog::new(), max_uncommitted, 0) }
    }

    /// Continues the journal of a store that sessions share, after the batch with this number. The next message and the
    /// next session have at least these numbers, which the stored high-water marks cover up to `marks`.
    pub(crate) fn restored(
        batch: u64,
        max_uncommitted: NonZeroU32,
        (message, session): (u64, u64),
        marks: (u64, u64),
    ) -> Self {
        let shared = Shared {
            message_numbers: Numbers { next: message, mark: marks.0 },
            session_numbers: Numbers { next: session, mark: marks.1 },
            ..Shared::default()
        };
        Self { shared: Some(Box::new(shared)), ..Self::of_one(ChangeLog::after(batch), max_uncommitted, 0) }
    }

    /// Sets whether packets wait for batches.
    pub(crate) const fn set_waits(&mut self, waits: bool) {
        self.waits = waits;
    }

    /// Returns the size in bytes on the heap: of the changes that are not committed, and of what is known of messages.
    pub(crate) fn heap(&self) -> usize {
        let messages = self.shared.as_ref().map_or(0, |shared| shared.messages.heap());
        self.log.heap().saturating_add(messages).saturating_add(self.scratch.capacity())
    }

    // Batches.

    /// Closes the open batch if it is large. Called between two steps, at the time `before` of the step before.
    #[inline]
    pub(crate) fn begin_step(&mut self, before: Instant) {
        self.log.begin_step(before);
    }

    /// Returns the next batch to store; `None` if nothing has changed.
    pub(crate) fn next_batch(&mut self, now: Instant) -> Option<Batch> {
        self.log.next_batch(now)
    }

    /// Returns whether there is a batch to store.
    pub(crate) fn has_batch(&self) -> bool {
        self.log.has_batch()
    }

    /// Returns whether the next batch should be stored at once: a packet waits for it, or it is large.
    pub(crate) fn is_awaited(&self) -> bool {
        self.log.is_awaited() || self.is_full()
    }

    /// Notes that the batches up to this number are stored.
    pub(crate) fn committed(&mut self, number: u64) {
        self.log.committed(number);
    }

    /// Returns whether the changes that are not committed exceed their maximum size, so that no input is taken that
    /// makes more of them.
    pub(crate) fn is_full(&self) -> bool {
        self.log.uncommitted() > self.max_uncommitted as usize
    }

    /// Returns whether packets wait for batches.
    pub(super) const fn waits(&self) -> bool {
        self.waits
    }

    /// Returns the number that a packet waits for, of a session that was last changed in the batch `changed_in`.
    pub(super) fn wait(&mut self, changed_in: u64, waits_for: WaitsFor) -> u64 {
        let Self { log, shared, .. } = self;
        let Some(shared) = shared else {
            return match waits_for {
                WaitsFor::Nothing => 0,
                WaitsFor::Changes | WaitsFor::Message(_) => log.wait(),
                WaitsFor::Batch => log.wait_for_open(),
            };
        };
        let own = match waits_for {
            WaitsFor::Nothing => return 0,
            WaitsFor::Changes | WaitsFor::Batch => changed_in,
            WaitsFor::Message(number) => match shared.messages.completed_in(number) {
                u64::MAX => return MESSAGE | number,
                completed_in => completed_in.max(changed_in),
            },
        };
        let batch = own.max(log.removed_in());
        log.await_batch(batch);
        batch
    }

    /// Returns whether a packet does not have to wait any longer, by the number that it waits for.
    pub(crate) fn is_committed(&self, awaited: u64) -> bool {
        let batch = match &self.shared {
            Some(shared) if awaited & MESSAGE != 0 => shared.messages.completed_in(awaited & !MESSAGE),
            _ => awaited,
        };
        self.log.is_committed(batch)
    }

    /// Returns the number that packets wait for until the message with this number is complete.
    pub(crate) const fn awaited_message(message: u64) -> u64 {
        MESSAGE | message
    }

    /// Returns the number of the open batch.
    pub(crate) const fn open_number(&self) -> u64 {
        self.log.number()
    }

    /// Notes that packets wait for the open batch, and returns its number.
    pub(crate) const fn await_open(&mut self) -> u64 {
        self.log.wait_for_open()
    }

    // Messages.

    /// Returns the number of a new message, whose publication is not complete.
    pub(crate) fn begin_message(&mut self) -> u64 {
        let number = self.new_message_number();
        if let Some(shared) = &mut self.shared {
            shared.messages.begin(number);
        }
        number
    }

    /// Returns the number that the next message gets.
    pub(crate) fn next_message(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.message_numbers.next.max(1))
    }

    pub(super) fn new_message_number(&mut self) -> u64 {
        match &mut self.shared {
            Some(shared) => shared.message_numbers.take(Counter::Message, &mut self.log),
            None => {
                bug!("the messages of a store of one session have the numbers of their tokens");
                0
            }
        }
    }

    pub(super) fn new_session_number(&mut self) -> u64 {
        self.shared.as_mut().map_or(0, |shared| shared.session_numbers.take(Counter::Session, &mut self.log))
    }

    /// Sets the message that copies refer to from now on, 0 for one that gets its number with the first reference.
    /// Returns the one before.
    pub(crate) fn set_current(&mut self, message: u64) -> u64 {
        self.shared.as_mut().map_or(0, |shared| core::mem::replace(&mut shared.current, message))
    }

    /// Returns a reference to the current message, which gets a number if it has none.
    pub(super) fn refer_to_current(&mut self) -> u64 {
        let current = self.shared.as_ref().map_or(0, |shared| shared.current);
        let number = if current == 0 { self.begin_message() } else { current };
        self.set_current(number);
        self.refer(number);
        number
    }

    /// Counts a reference to a message.
    pub(crate) fn refer(&mut self, message: u64) {
        if let Some(shared) = &mut self.shared {
            shared.messages.refer(message);
        }
    }

    /// Counts a reference to a message less. A message that nothing refers to is removed.
    pub(crate) fn release(&mut self, message: u64) {
        let Self { log, shared: Some(shared), .. } = self else { return };
        if let Some(size) = shared.messages.release(message) {
            remove_message(log, message, size);
        }
    }

    /// Stores a message whose publication is complete: its head comes last. Returns whether something refers to the
    /// message; else it is not stored.
    pub(crate) fn complete(
        &mut self,
        number: u64,
        (since, expires_after): (Instant, u32),
        message: &MessageRef<'_>,
        payload: &[u8],
    ) -> bool {
        let Self { log, shared: Some(shared), scratch, .. } = self else { return false };
        if !shared.messages.is_needed(number) {
            return false;
        }
        let put = &mut |key, value: &[u8]| log.insert(key, value);
        let size = put_content(number, since, expires_after, message, payload, scratch, put);
        shared.messages.complete(number, size, log.number());
        true
    }

    /// Adds a message of a restored store, without references.
    pub(crate) fn restore_message(&mut self, number: u64, size: usize) {
        if let Some(shared) = &mut self.shared {
            shared.messages.restore(number, size);
        }
    }

    /// Removes the messages of a restored store that nothing refers to.
    pub(crate) fn remove_unused(&mut self, now: Instant) {
        let Self { log, shared: Some(shared), .. } = self else { return };
        for (number, size) in shared.messages.take_unused() {
            log.begin_step(now);
            remove_message(log, number, size);
        }
    }

    /// Returns the number of references to each message, for tests.
    pub(crate) fn references(&self) -> impl Iterator<Item = (u64, u32)> {
        self.shared.iter().flat_map(|shared| shared.messages.references())
    }

    // Other pairs.

    /// Puts a pair whose key has had no value before.
    pub(crate) fn insert(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>)) {
        self.scratch.clear();
        write(&mut self.scratch);
        self.log.insert(key, &self.scratch);
    }

    /// Puts a pair in place of another one, or removes one, on which packets depend that promise nothing of it.
    pub(crate) fn replace(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>)) {
        self.log.note_removal();
        self.update(key, write);
    }

    /// Puts a pair in place of another one, on which no packet depends.
    pub(crate) fn update(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>)) {
        self.scratch.clear();
        write(&mut self.scratch);
        self.log.put(key, &self.scratch);
    }

    /// Removes a pair on which packets depend that promise nothing of it.
    pub(crate) fn remove(&mut self, key: Key) {
        self.log.note_removal();
        self.log.remove(key);
    }

    /// Removes a pair that means nothing any more.
    pub(crate) fn remove_garbage(&mut self, key: Key) {
        self.log.remove(key);
    }

    // Wills.

    pub(super) fn set_published_will(&mut self, will: WillInStore) {
        if let Some(shared) = &mut self.shared {
            shared.will = Some(will);
        }
    }

    /// Returns the stored will that a session has returned to be published, once.
    pub(crate) fn take_published_will(&mut self) -> Option<WillInStore> {
        self.shared.as_mut()?.will.take()
    }

    /// Removes a will whose publication is complete.
    pub(crate) fn remove_will(&mut self, will: WillInStore) {
        self.log.remove(Key::will(will.session, will.number));
        remove_message(&mut self.log, will.number, will.size);
    }
}
