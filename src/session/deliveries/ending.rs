//! Deliveries that end without an acknowledgement, or begin again on the next connection.

use core::num::NonZeroU8;

use super::Deliveries;
use super::outbound::Flow;
use super::queue::{Kind, Waiting};
use super::stage::Stage;
use crate::codec::{PacketId, PacketType, QoS};
use crate::session::command_error::UnknownToken;
use crate::session::effects::Effects;
use crate::session::outcome::AbandonReason;
use crate::session::store::stored::InStore;
use crate::session::token::Token;
use crate::time::Instant;

impl Deliveries {
    /// Gives up a queued message or request that was removed from the queue.
    pub(crate) fn give_up_queued(&mut self, waiting: &Waiting, reason: AbandonReason, effects: &mut Effects) {
        self.budget.remove(waiting.stored.len());
        if let (Some(durable), true) = (effects.durable_mut(), waiting.kind.is_windowed()) {
            durable.ended(waiting.token, waiting.stored.in_store());
        }
        effects.abandoned(waiting.token, reason);
    }

    /// Gives up queued messages that have expired, this many at most.
    #[inline(never)]
    pub(crate) fn drop_expired(&mut self, now: Instant, most: u32, effects: &mut Effects) {
        for _ in 0..most {
            let Some(expired) = self.queue.as_mut().and_then(|queue| queue.take_expired(now)) else { return };
            self.give_up_queued(&expired, AbandonReason::Expired, effects);
            self.drop_empty_queue();
        }
    }

    /// Gives up the operation with this token.
    pub(crate) fn withdraw(&mut self, token: Token, effects: &mut Effects) -> Result<(), UnknownToken> {
        if let Some(waiting) = self.queue.as_mut().and_then(|queue| queue.remove(token)) {
            self.give_up_queued(&waiting, AbandonReason::Withdrawn, effects);
            self.drop_empty_queue();
        } else {
            let (id, _) = self.outbound.find(token).ok_or(UnknownToken)?;
            self.abandon(id, AbandonReason::Withdrawn, effects);
        }
        Ok(())
    }

    /// Reports the outcome of an operation in flight before the peer has completed it.
    fn abandon(&mut self, id: PacketId, reason: AbandonReason, effects: &mut Effects) {
        let Some(&Flow { token, is_reported: false, ref stored, .. }) = self.outbound.get(id) else { return };
        let in_store = stored.in_store();
        if self.outbound.take_unsent(id).is_some() {
            // The message waits to be stored, so the peer cannot know its packet identifier.
            self.budget.remove(in_store.size);
            if let Some(durable) = effects.durable_mut() {
                durable.ended(token, in_store);
            }
        } else {
            let freed = self.outbound.set_reported(id);
            self.budget.remove(freed);
            self.store_reported(id, token, in_store, effects);
        }
        effects.abandoned(token, reason);
    }

    /// Stores that the outcome of a message in flight was reported. The message is not sent again.
    fn store_reported(&self, id: PacketId, token: Token, stored: InStore, effects: &mut Effects) {
        if let Some(durable) = effects.durable_mut() {
            durable.message_ended(token, stored);
            self.store(id, durable);
        }
    }

    /// Gives up an operation whose answer has the wrong type. The peer would give the same answer on every connection,
    /// so sending the packet again would never complete the operation.
    #[cold]
    pub(crate) fn mismatched(&mut self, id: PacketId, answer: PacketType, effects: &mut Effects) {
        self.abandon(id, AbandonReason::Mismatched(answer), effects);
        if self.outbound.is_message(id) {
            self.outbound.set_aside(id);
            if let Some(durable) = effects.durable_mut() {
                self.store(id, durable);
            }
        }
    }

    /// Gives up a message that was sent on an earlier connection and that the peer of this one does not support.
    pub(crate) fn give_up_resend(&mut self, id: PacketId, reason: AbandonReason, effects: &mut Effects) {
        // The peer may have taken the message back then: its packet identifier may stay in use.
        let stored = self.outbound.get(id).map(|flow| flow.stored.in_store()).unwrap_or_default();
        let Some((token, freed, stays)) = self.outbound.give_up(id) else {
            return bug!("packet identifier {id} is not in use");
        };
        self.budget.remove(freed);
        if stays {
            self.store_reported(id, token, stored, effects);
        } else if let Some(durable) = effects.durable_mut() {
            durable.ended(token, stored);
        }
        effects.abandoned(token, reason);
    }

    /// Prepares for the next connection, because this one is closed: `taken` bytes of its output have been taken.
    /// Messages of which no byte has been taken, and requests, are queued again; the other messages in flight are to be
    /// sent again.
    ///
    /// A request that was sent on `max_request_tries` connections without an answer is given up.
    pub(crate) fn rewind(&mut self, taken: u64, max_request_tries: Option<NonZeroU8>, effects: &mut Effects) {
        let max_request_tries = max_request_tries.map_or(u16::MAX, |tries| tries.get().into());
        let mut flows = self.outbound.take_requests();
        flows.retain(|flow| !flow.is_reported);
        flows.sort_by_key(|flow| core::cmp::Reverse(flow.token));
        for flow in &mut flows {
            flow.tries = flow.tries.saturating_add(u16::from(flow.starts_at < taken));
        }
        for flow in flows.extract_if(.., |flow| flow.tries >= max_request_tries) {
            self.budget.remove(flow.stored.len());
            effects.abandoned(flow.token, AbandonReason::Unanswered { tries: flow.tries });
        }
        while let Some((_, flow)) = self.outbound.take_back_message(taken) {
            if !flow.is_reported {
                flows.push(flow);
            } else if let Some(durable) = effects.durable_mut() {
                durable.ended(flow.token, InStore::default());
            }
        }
        for flow in flows {
            let kind = match flow.stage {
                Stage::PubAck => Kind::Message(QoS::AtLeastOnce),
                Stage::PubRec | Stage::PubComp { .. } | Stage::GivenUp => Kind::Message(QoS::ExactlyOnce),
                Stage::SubAck(filters) => Kind::Subscribe(filters),
                Stage::UnsubAck(filters) => Kind::Unsubscribe(filters),
            };
            let Flow { token, since, expires_after, mark, tries, stored, .. } = flow;
            let waiting = Waiting { token, since, kind, expires_after, mark, tries, stored };
            if let (Some(durable), true) = (effects.durable_mut(), kind.is_windowed()) {
                durable.queued(&waiting);
            }
            self.queue.get_or_insert_default().put_back(waiting);
        }
        self.outbound.rewind();
        self.inbound.disconnected();
    }

    /// Gives up every message in flight and frees its packet identifier, because the session ended \[MQTT-3.2.2-5\].
    pub(crate) fn forget_in_flight(&mut self, effects: &mut Effects) {
        while let Some(flow) = self.outbound.take_message() {
            if let Some(durable) = effects.durable_mut() {
                durable.ended(flow.token, flow.stored.in_store());
            }
            if !flow.is_reported {
                self.budget.remove(flow.stored.len());
                effects.abandoned(flow.token, AbandonReason::Session);
            }
        }
        let given_up = self.outbound.forget_given_up();
        if let Some(durable) = effects.durable_mut() {
            given_up.iter().for_each(|flow| durable.ended(flow.token, InStore::default()));
            self.inbound.received().for_each(|id| durable.released(id));
        }
        self.inbound.forget();
    }

    /// Gives up all queued messages and requests, because the session ended.
    pub(crate) fn forget_queued(&mut self, effects: &mut Effects) {
        while let Some(waiting) = self.queue.as_mut().and_then(|queue| queue.pop(true, true)) {
            self.give_up_queued(&waiting, AbandonReason::Session, effects);
        }
        self.queue = None;
    }

    /// Gives up the queued messages of QoS 0, which do not wait for another connection.
    pub(crate) fn drop_unacknowledged(&mut self, effects: &mut Effects) {
        while let Some(waiting) = self.queue.as_mut().and_then(|queue| queue.take_unacknowledged()) {
            self.give_up_queued(&waiting, AbandonReason::Connection, effects);
        }
        self.drop_empty_queue();
    }

    /// Takes the next message out of a session that has ended; `Some(None)` for one whose outcome was reported before,
    /// `None` after the last one.
    pub(crate) fn take_apart(&mut self, effects: &mut Effects) -> Option<Option<Waiting>> {
        if let Some(flow) = self.outbound.take_message() {
            if let Some(durable) = effects.durable_mut() {
                // The message itself stays until it was given to others.
                durable.ended(flow.token, InStore::default());
            }
            if flow.is_reported {
                return Some(None);
            }
            let Flow { token, since, expires_after, mark, stage, stored, .. } = flow;
            self.budget.remove(stored.len());
            // The client may have accepted ownership of a message of QoS 2: no other may get it [MQTT-4.8.2-5].
            let mark = if stage == Stage::PubAck { mark } else { 0 };
            let kind = Kind::Message(QoS::AtLeastOnce);
            return Some(Some(Waiting { token, since, kind, expires_after, mark, tries: 0, stored }));
        }
        if let Some(waiting) = self.queue.as_mut().and_then(|queue| queue.pop(true, true)) {
            self.budget.remove(waiting.stored.len());
            if let (Some(durable), true) = (effects.durable_mut(), waiting.kind.is_windowed()) {
                durable.ended(waiting.token, InStore::default());
            }
            return Some(Some(waiting));
        }
        self.queue = None;
        let given_up = self.outbound.forget_given_up();
        if let Some(durable) = effects.durable_mut() {
            given_up.iter().for_each(|flow| durable.ended(flow.token, InStore::default()));
            // There may be many, and each is a pair of its own.
            let received = self.inbound.received().next();
            if let Some(id) = received {
                durable.released(id);
                self.inbound.refuse(id);
                return Some(None);
            }
        }
        self.inbound.forget();
        None
    }
}
