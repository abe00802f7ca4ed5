//! Retained messages on their way to subscribers that walk: in the order of the walk, or before a newer message of the same
//! topic.

use super::list_id::ListId;
use super::retained::{Reference, Retained};
use super::retained_message::Publisher;
use super::retained_walk::{First, Met};
use super::subscribers::{Subscriber, SubscriptionOptions};
use super::tree::Tree;
use crate::broker::counters::DropReason;
use crate::broker::durability::publication::Content;
use crate::broker::index::SessionIndex;
use crate::broker::jobs::work::Work;
use crate::broker::session::Session;
use crate::broker::sessions::Sessions;
use crate::server::{Copies, Encoded};
use crate::session::MessageRef;
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicName};

/// What a walk waits for after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Walk {
    /// Its next turn.
    Turn,
    /// The session, which does not take the next message now, or is to get SUBACK first.
    Session,
    /// The message with this number, which is still on its way to those who were subscribed when it came.
    Message(u64),
    /// Nothing: it is at its end.
    Over,
}

/// Goes on with the walk of a session, one step at least, as far as the session takes messages and the budget goes.
pub(super) fn advance(
    retained: &mut Retained,
    tree: &Tree,
    encoded: &mut Encoded,
    sessions: &mut Sessions,
    now: Instant,
    index: SessionIndex,
) -> Walk {
    loop {
        sessions.work_mut().spend(1);
        let Some(session) = sessions.get_mut(index) else {
            bug!("a session walks while it exists");
            return Walk::Over;
        };
        let Some(walk) = session.walk_mut() else { return Walk::Over };
        let met = walk.step(retained, |list| tree.filter(list));
        let mut units = retained.take_work();
        let waits_for = match met {
            Met::Nothing { bytes, levels } => {
                units = units.saturating_add(Work::more_units_of_text(bytes, levels));
                None
            }
            Met::Message(list, reference, subscriber) => {
                let message = retained.get(reference);
                let qos = message.map_or(subscriber.options.qos, |message| message.qos().min(subscriber.options.qos));
                let size = message.map_or(0, |message| message.len());
                let has_room = session.has_room_for(qos, size);
                match session.walk_mut() {
                    Some(walk) if has_room => {
                        walk.pass(retained, list, reference);
                        send(retained, encoded, sessions, now, reference, subscriber);
                        None
                    }
                    Some(walk) => {
                        walk.set_waiting_for(Some((qos, size)));
                        Some(Walk::Session)
                    }
                    None => return Walk::Over,
                }
            }
            Met::Spreading(number) => {
                walk.set_message(Some(number));
                Some(Walk::Message(number))
            }
            Met::Held => Some(Walk::Session),
            Met::Complete(list) => {
                forget_mark(tree, sessions, index, list);
                None
            }
            Met::End => {
                sessions.work_mut().spend(units);
                sessions.end_walk(index);
                return Walk::Over;
            }
        };
        sessions.work_mut().spend(units);
        let waits_for = waits_for.or_else(|| sessions.work().is_spent().then_some(Walk::Turn));
        if let Some(waits_for) = waits_for {
            if let Some(walk) = sessions.get_mut(index).and_then(Session::walk_mut) {
                walk.pin(retained);
            }
            sessions.work_mut().spend(retained.take_work());
            return waits_for;
        }
    }
}

/// Removes the mark of a walk from the store: all messages for the subscription to a list are sent.
#[cold]
fn forget_mark(tree: &Tree, sessions: &mut Sessions, index: SessionIndex, list: ListId) {
    let position = sessions.get(index).and_then(|session| session.subscription(list));
    let Some(&subscriber) = position.and_then(|position| tree.get(list, index, position)) else {
        return bug!("a session walks for subscriptions that it has");
    };
    let filter = tree.filter(list);
    sessions.work_mut().spend_text(filter.len());
    sessions.forget_walk(TopicFilter::validated(&filter), &subscriber);
}

/// Sends a retained message, unless it has expired.
fn send(
    retained: &Retained,
    encoded: &mut Encoded,
    sessions: &mut Sessions,
    now: Instant,
    reference: Reference,
    subscriber: Subscriber,
) {
    let Some(message) = retained.get(reference).filter(|message| !message.is_expired(now)) else { return };
    if subscriber.options.no_local {
        let session = sessions.get(subscriber.session);
        let (publisher, hashed) = match session.filter(|session| !session.is_local()) {
            Some(session) => (retained.publisher(session.client_id()), session.client_id().len()),
            None => (Publisher::BROKER, 0),
        };
        sessions.work_mut().spend_more_bytes(hashed);
        if message.publisher() == publisher {
            return; // a client does not get what it has published itself, retained or not [MQTT-3.8.3-3]
        }
    }
    let Some((publish, shared, left)) = message.message(now) else {
        return bug!("a retained message is a PUBLISH packet");
    };
    // The RETAIN flag is set, whatever the subscription options say [3.1.1: MQTT-3.3.1-8].
    let options = SubscriptionOptions { retain_as_published: true, ..subscriber.options };
    let publish = MessageRef { retain: true, ..MessageRef::of(&publish) };
    // The message is decoded, and written.
    sessions.work_mut().spend_bytes(message.own_len().saturating_mul(2));
    sessions.work_mut().spend(Work::units_of_pairs(publish.properties.user_properties.len()).saturating_mul(2));
    let content = Content {
        message: publish,
        payload: shared.map_or(publish.payload, |payload| payload),
        since: now,
        expires_after: left,
    };
    let outer = sessions.begin_copies(message.number());
    let mut copies = Copies::new(now, &publish, shared.cloned(), left, sessions.account().payloads(), encoded);
    sessions.deliver_to(&Subscriber { options, ..subscriber }, &mut copies);
    sessions.end_copies(message.number(), outer, &content);
}

/// What a copy of a message may cost more for a session that walks: the retained message of the topic goes first.
pub(super) fn cost(retained: &Retained, topic: TopicName<'_>) -> u64 {
    /// The copy and a notice, besides its bytes.
    const FIRST: u64 = 4;
    let message = retained.find(topic).and_then(|reference| retained.get(reference));
    message.map_or(1, |message| Work::units_of(message.len()).saturating_add(FIRST))
}

/// The retained message of a topic, for sessions that walk: they get it before a newer message of the topic
/// \[MQTT-4.6.0-6\].
pub(super) struct RetainedFirst<'a> {
    retained: &'a Retained,
    encoded: &'a mut Encoded,
    now: Instant,
    topic: TopicName<'a>,
    /// The newer message itself, if it is retained.
    own: Option<Reference>,
    /// The retained message of the topic, once it was looked up.
    found: Option<Option<Reference>>,
}

impl<'a> RetainedFirst<'a> {
    pub(super) const fn new(
        retained: &'a Retained,
        encoded: &'a mut Encoded,
        now: Instant,
        topic: TopicName<'a>,
        own: Option<Reference>,
    ) -> Self {
        Self { retained, encoded, now, topic, own, found: None }
    }

    /// A session that walks is about to get a newer message by this subscription: sends the retained one first, if it is still
    /// to be sent. Returns whether the session may get the newer one.
    #[cold]
    pub(super) fn send(&mut self, sessions: &mut Sessions, index: SessionIndex, list: ListId) -> bool {
        let found = *self.found.get_or_insert_with(|| self.retained.find(self.topic));
        // Without a retained message of this topic there is nothing to send first.
        let Some(reference) = found else { return true };
        sessions.work_mut().spend(1);
        match sessions.get_mut(index).and_then(Session::walk_mut).map(|walk| walk.take(self.retained, list, reference))
        {
            None | Some(First::No) => true,
            // A message that another one has sent first does not come again by itself.
            Some(First::Sent) => self.own != Some(reference),
            Some(First::Now(subscriber)) => {
                // A copy of the newer message stands for itself.
                if self.own != Some(reference) {
                    send(self.retained, self.encoded, sessions, self.now, reference, subscriber);
                }
                true
            }
            Some(First::Full) => {
                sessions.drop_copy(index, DropReason::QueueFull);
                false
            }
        }
    }
}
