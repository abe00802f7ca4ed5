//! The changes of a session that are stored.

use alloc::vec::Vec;

use super::super::journal::Journal;
use super::super::pairs::{flow_record, put_deliveries, put_will, queued_record, remove_message, write_delivery};
use super::super::stored::InStore;
use super::{Durable, SESSION, StoredWill};
use crate::codec::{PacketId, Version};
use crate::session::deliveries::Deliveries;
use crate::session::deliveries::outbound::Flow;
use crate::session::deliveries::queue::Waiting;
use crate::session::token::Token;
use crate::session::will::Will;
use crate::store::Key;
use crate::time::Instant;

impl Durable {
    /// Changes pairs of the session: `change` gets the journal and the number of the session.
    fn change(&mut self, change: impl FnOnce(&mut Journal, u64)) {
        let Some(journal) = &mut self.journal else { return bug!("a session changes while it has the journal") };
        change(journal, self.number);
        self.changed_in = journal.log.number();
    }

    /// Returns whether pairs are removed: those of a session that is stored, or was.
    const fn has_pairs(&self) -> bool {
        self.is_stored || self.number != SESSION
    }

    /// Sets whether the session is stored from now on, and stores its deliveries when that begins. When it ends, the
    /// record of the session and its wills are removed. Its deliveries have ended before, or mean nothing without the
    /// record. A session with marked messages is stored until it ends, because they go to other sessions then. Returns
    /// whether it begins.
    pub(crate) fn set_stored(&mut self, is_stored: bool, deliveries: &Deliveries) -> bool {
        let was_stored = self.is_stored;
        let is_stored = is_stored || (was_stored && self.has_marked);
        let begins = is_stored && !was_stored;
        if begins {
            self.is_stored = true;
            if self.is_shared && self.number == SESSION {
                self.number = self.journal.as_mut().map_or(SESSION, |journal| journal.new_session_number());
            }
            let (version, is_shared) = (self.version, self.is_shared);
            self.change(|Journal { log, scratch, .. }, _| {
                if is_shared {
                    return; // the session is new
                }
                put_deliveries(deliveries, version, scratch, &mut |key, value| log.put(key, value));
            });
        } else if was_stored && !is_stored {
            let wills = core::mem::take(&mut self.wills);
            self.change(|journal, session| wills.iter().for_each(|will| journal.remove_will(will.of(session))));
            self.remove_session();
        }
        self.is_stored = is_stored;
        begins
    }

    /// Sets the version in which messages are encoded from now on.
    pub(crate) const fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Stores the record of the session.
    pub(crate) fn set_session(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.is_stored {
            return;
        }
        let is_shared = self.is_shared;
        let Some(journal) = &mut self.journal else { return bug!("a session changes while it has the journal") };
        let Journal { scratch, session, .. } = &mut **journal;
        scratch.clear();
        write(scratch);
        if !is_shared {
            if scratch == session {
                return;
            }
            core::mem::swap(scratch, session);
        }
        self.change(|Journal { log, scratch, session, .. }, number| {
            log.put(Key::session(number), if is_shared { scratch } else { session });
        });
    }

    /// Removes the record of the session, which has ended. Whatever else is stored of it means nothing then.
    pub(crate) fn remove_session(&mut self) {
        let has_record = self.is_stored
            && match &mut self.journal {
                Some(journal) if !self.is_shared => !core::mem::take(&mut journal.session).is_empty(),
                _ => true,
            };
        if has_record {
            self.change(|journal, number| journal.remove(Key::session(number)));
        }
        if self.is_shared {
            self.is_stored = false;
        }
    }

    /// Stores that the session has ended. If it may have marked messages, `write` writes its record, which stays until the
    /// messages were given to others, see [`forget_ended`](Self::forget_ended): that goes on after a crash.
    pub(crate) fn end_session(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.is_stored || !self.has_marked {
            return self.remove_session();
        }
        self.change(|journal, number| journal.replace(Key::session(number), write));
        self.is_stored = false;
    }

    /// Removes the record of a session that has ended, whose messages were given to others.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn forget_ended(&mut self) {
        if core::mem::take(&mut self.has_marked) {
            self.change(|journal, number| journal.remove_garbage(Key::session(number)));
        }
    }

    // Wills.

    /// Stores a will, which becomes due after all others.
    pub(crate) fn add_will(&mut self, token: Token, will: &Will, now: Instant) {
        if !self.is_stored {
            return;
        }
        let is_shared = self.is_shared;
        let Some(journal) = &mut self.journal else { return bug!("a session changes while it has the journal") };
        let number = if is_shared { journal.new_message_number() } else { token.get() };
        self.wills.push(StoredWill::new(number, will));
        self.change(|Journal { log, scratch, .. }, session| {
            put_will((session, number), will, now, scratch, &mut |key, value| log.insert(key, value));
        });
    }

    /// Removes the will that is due first and is going to be published.
    pub(crate) fn publish_first_will(&mut self) {
        if !self.wills.is_empty() {
            let will = self.wills.remove(0);
            self.publish_will(will);
        }
    }

    /// Removes the will that is due last and is going to be published.
    pub(crate) fn publish_last_will(&mut self) {
        if let Some(will) = self.wills.pop() {
            self.publish_will(will);
        }
    }

    /// Removes the will that would be due last and is discarded.
    pub(crate) fn discard_last_will(&mut self) {
        if let Some(will) = self.wills.pop() {
            self.change(|journal, session| journal.remove_will(will.of(session)));
        }
    }

    /// In a shared store, a will is removed with the end of its publication.
    fn publish_will(&mut self, will: StoredWill) {
        let is_shared = self.is_shared;
        self.change(|journal, session| {
            let will = will.of(session);
            if is_shared { journal.set_published_will(will) } else { journal.remove_will(will) }
        });
    }

    // Deliveries.

    /// Returns the number of the message of a delivery.
    const fn message_of(&self, token: Token, stored: InStore) -> u64 {
        if self.is_shared { stored.number } else { token.get() }
    }

    /// Stores a message that was accepted and is not sent yet. In a shared store it is the current one of the journal,
    /// which is stored when its publication is complete.
    pub(crate) fn accepted(&mut self, waiting: &mut Waiting) {
        if !self.is_stored {
            return;
        }
        let (version, is_shared) = (self.version, self.is_shared);
        self.change(|journal, session| {
            let Waiting { token, since, expires_after, .. } = *waiting;
            let number = journal.accept(is_shared, token, (since, expires_after), &mut waiting.stored, version);
            if is_shared {
                waiting.mark = journal.mark;
            }
            let Journal { log, scratch, .. } = journal;
            write_delivery(&queued_record(waiting, number, version), scratch);
            log.insert(Key::delivery(session, token.get()), scratch);
        });
        self.has_marked |= waiting.mark != 0;
    }

    /// As [`accepted`](Self::accepted), of a message that was sent at once.
    pub(crate) fn accepted_and_sent(&mut self, id: PacketId, flow: &mut Flow) {
        if !self.is_stored {
            return;
        }
        let (version, is_shared) = (self.version, self.is_shared);
        self.change(|journal, session| {
            let Flow { token, since, expires_after, .. } = *flow;
            let number = journal.accept(is_shared, token, (since, expires_after), &mut flow.stored, version);
            if is_shared {
                flow.mark = journal.mark;
            }
            let Some(record) = flow_record(id, flow, number, version) else { return };
            let Journal { log, scratch, .. } = journal;
            write_delivery(&record, scratch);
            log.insert(Key::delivery(session, token.get()), scratch);
        });
        self.has_marked |= flow.mark != 0;
    }

    /// Stores that a message is not sent yet.
    pub(crate) fn queued(&mut self, waiting: &Waiting) {
        if self.is_stored {
            let (version, number) = (self.version, self.message_of(waiting.token, waiting.stored.in_store()));
            self.change(|Journal { log, scratch, .. }, session| {
                write_delivery(&queued_record(waiting, number, version), scratch);
                log.put(Key::delivery(session, waiting.token.get()), scratch);
            });
        }
    }

    /// Stores the stage of a message that was sent.
    pub(crate) fn sent(&mut self, id: PacketId, flow: &Flow) {
        if self.is_stored {
            let number = self.message_of(flow.token, flow.stored.in_store());
            let Some(record) = flow_record(id, flow, number, self.version) else { return };
            self.change(|Journal { log, scratch, .. }, session| {
                write_delivery(&record, scratch);
                log.put(Key::delivery(session, flow.token.get()), scratch);
            });
        }
    }

    /// Removes a delivery that has ended, with its message if that is still stored.
    pub(crate) fn ended(&mut self, token: Token, stored: InStore) {
        if self.has_pairs() {
            self.change(|journal, session| journal.log.remove(Key::delivery(session, token.get())));
        }
        self.message_ended(token, stored);
    }

    /// Removes the message of a delivery that continues without it, unless it was removed before.
    pub(crate) fn message_ended(&mut self, token: Token, stored: InStore) {
        if self.is_shared {
            if stored.number != 0 {
                self.change(|journal, _| journal.release(stored.number));
            }
        } else if self.is_stored && stored.size != 0 {
            self.change(|journal, _| remove_message(&mut journal.log, token.get(), stored.size));
        }
    }

    /// Returns whether the changes of the session are stored.
    pub(crate) const fn is_stored(&self) -> bool {
        self.is_stored
    }

    /// Returns the order of the next PUBREL.
    pub(crate) const fn next_order(&self) -> u32 {
        self.next_order
    }

    /// Notes that the order of the next PUBREL was used.
    pub(crate) const fn order_used(&mut self) {
        self.next_order = self.next_order.wrapping_add(1);
    }

    /// Stores that ownership of a received message of QoS 2 was accepted.
    pub(crate) fn received(&mut self, id: PacketId) {
        if self.is_stored {
            self.change(|journal, session| journal.log.insert(Key::received(session, id), &[]));
        }
    }

    /// Stores that a received message of QoS 2 was released.
    pub(crate) fn released(&mut self, id: PacketId) {
        if self.has_pairs() {
            self.change(|journal, session| journal.log.remove(Key::received(session, id)));
        }
    }
}
