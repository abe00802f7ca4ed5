//! Sending of messages and requests: at once if possible, else from the queue.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use super::command_error::{NotQueued, PublishError, SubscribeError, UnknownToken};
use super::deliveries::budget::Budget;
use super::deliveries::outbound::{Flow, Stage};
use super::deliveries::queue::{Kind, Overflow, Waiting};
use super::engine::{Engine, Phase, Rules, Side};
use super::link::alias::{Alias, OutboundAliases};
use super::link::transmit::Transmit;
use super::message::{Message, MessageRef};
use super::outcome::AbandonReason;
use super::store::journal::Record;
use super::store::stored::Stored;
use super::token::Token;
use crate::codec::{
    Delivery, EncodeError, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode, Subscribe, Unsubscribe,
    Version,
};
use crate::topic::TopicName;

impl Engine {
    /// Publishes a message, at once if possible.
    #[inline]
    pub(crate) fn publish(&mut self, side: &mut impl Side, message: &Message<'_>) -> Result<Token, PublishError> {
        let message = message.checked()?;
        if self.phase == Phase::Open {
            // The limits of the peer are valid for this connection only: the next connection may support the message.
            side.takes(message.qos, message.retain)?;
        }
        let rules = side.rules();
        let expires_after = message.properties.message_expiry_interval.unwrap_or(u32::MAX);
        self.publish_checked(&rules, &message, message.large(), expires_after)
    }

    /// Publishes a checked message. `large` replaces the payload of the message. The message expires after
    /// `expires_after` seconds, even if the version has no Message Expiry Interval; `u32::MAX` means never.
    #[inline]
    pub(crate) fn publish_checked(
        &mut self,
        rules: &Rules,
        message: &MessageRef<'_>,
        large: Option<&Bytes>,
        expires_after: u32,
    ) -> Result<Token, PublishError> {
        match self.admission(rules, message.qos) {
            Admission::Send if message.qos == QoS::AtMostOnce => self.send_unacknowledged(rules, message, large),
            Admission::Send => self.send_acknowledged(rules, message, large, expires_after),
            Admission::Wait => self.keep_message(rules, message, large, expires_after),
            Admission::Refuse(why) => Err(why),
        }
    }

    /// Returns whether a message of this QoS can be sent at once, is queued or is refused.
    #[inline]
    pub(crate) fn admission(&self, rules: &Rules, qos: QoS) -> Admission {
        let is_windowed = qos != QoS::AtMostOnce;
        if self.phase != Phase::Open {
            let waits = is_windowed || rules.keeps_qos_0;
            return if waits { Admission::Wait } else { Admission::Refuse(PublishError::NotConnected) };
        }
        let can_send = self.has_room(rules)
            && self.queue.as_ref().is_none_or(|queue| !queue.holds_up(is_windowed))
            && (!is_windowed || (self.window_is_open(rules) && self.outbound.to_resend() == 0));
        if can_send { Admission::Send } else { Admission::Wait }
    }

    /// Returns whether one more message of QoS 1 or 2 may be in flight, by the Receive Maximum of the peer and the
    /// configured limit \[MQTT-3.3.4-7, MQTT-4.9.0-2\].
    #[inline]
    fn window_is_open(&self, rules: &Rules) -> bool {
        self.outbound.in_flight() < rules.max_in_flight
    }

    /// Returns whether a queued packet can be sent, or a message can be sent again.
    #[inline]
    pub(crate) fn can_send_more(&self, rules: &Rules) -> bool {
        (self.has_queued() || self.outbound.to_resend() != 0) && self.has_room(rules) && self.can_send_something(rules)
    }

    #[cold]
    fn can_send_something(&self, rules: &Rules) -> bool {
        match self.next_source(rules) {
            Some(Source::Resend) => true,
            Some(Source::Queue { is_windowed, has_id }) => {
                self.queue.as_ref().is_some_and(|queue| queue.has_next(is_windowed, has_id))
            }
            None => false,
        }
    }

    /// Returns the source of the next packet to send. The source may be empty; `None` if nothing can be sent.
    fn next_source(&self, rules: &Rules) -> Option<Source> {
        if self.phase != Phase::Open || !self.has_room(rules) {
            return None;
        }
        let is_open = self.window_is_open(rules);
        let to_resend = self.outbound.to_resend() != 0;
        if to_resend && is_open {
            return Some(Source::Resend);
        }
        let has_id = self.outbound.next_id().is_some();
        Some(Source::Queue { is_windowed: is_open && !to_resend, has_id })
    }

    fn next_token(&mut self) -> Token {
        let next = self.next_token.next();
        core::mem::replace(&mut self.next_token, next)
    }

    #[inline]
    fn send_unacknowledged(
        &mut self,
        rules: &Rules,
        message: &MessageRef<'_>,
        large: Option<&Bytes>,
    ) -> Result<Token, PublishError> {
        let limit = rules.max_packet_size;
        if !self.wire().put(message, Delivery::AtMostOnce, large, limit)? {
            return Err(PublishError::TooLarge { limit });
        }
        let token = self.next_token();
        self.report.push_in_output(token, self.transmit.end());
        Ok(token)
    }

    #[inline]
    fn send_acknowledged(
        &mut self,
        rules: &Rules,
        message: &MessageRef<'_>,
        large: Option<&Bytes>,
        expires_after: u32,
    ) -> Result<Token, PublishError> {
        let Some(id) = self.outbound.next_id() else {
            return self.keep_message(rules, message, large, expires_after);
        };
        let delivery = Delivery::new(message.qos, id, false);
        let starts_at = self.transmit.end();
        let is_simple = self.outbound_aliases.is_none() && large.is_none() && self.journal.is_none();
        if let (true, Some(room)) = (is_simple, self.budget.room(rules.budget)) {
            // The stored packet is the same as the sent one.
            let limit = room.min(rules.max_packet_size);
            let version = self.version;
            let publish = message.as_publish(delivery, message.payload);
            let packet = self.transmit.encode(limit, |out| publish.encode(version, out))?;
            if let Some(packet) = packet {
                let (token, size) = (self.next_token, packet.len());
                if let Some(flow) =
                    self.outbound.begin(token, stage_of(delivery.qos()), self.now, expires_after, starts_at)
                {
                    flow.stored.set(packet);
                } else {
                    bug!("packet identifier {id} is not free");
                }
                self.next_token = token.next();
                self.budget.add(size);
                return Ok(token);
            }
        }
        self.send_and_keep(rules, message, id, large, expires_after)
    }

    /// The long way: what is kept is not what is sent, or there may be no room.
    #[inline(never)]
    fn send_and_keep(
        &mut self,
        rules: &Rules,
        message: &MessageRef<'_>,
        id: PacketId,
        large: Option<&Bytes>,
        expires_after: u32,
    ) -> Result<Token, PublishError> {
        self.check_message(rules, message, large)?;
        let (stored, limit) = (Stored::message(message, large, self.version)?, rules.max_packet_size);
        self.make_room(rules, stored.len());
        let starts_at = self.transmit.end();
        if !self.wire().put(message, Delivery::new(message.qos, id, false), large, limit)? {
            return Err(PublishError::TooLarge { limit });
        }
        let token = self.next_token();
        self.budget.add(stored.len());
        self.record(Record::Accepted(token, &stored));
        self.record(Record::Sent(token, id));
        let stage = stage_of(message.qos);
        if let Some(flow) = self.outbound.begin(token, stage, self.now, expires_after, starts_at) {
            flow.stored = stored;
        } else {
            bug!("packet identifier {id} is not free");
        }
        Ok(token)
    }

    #[inline]
    fn wire(&mut self) -> Wire<'_> {
        Wire { transmit: &mut self.transmit, aliases: &mut self.outbound_aliases, version: self.version }
    }

    /// Queues a message until it can be sent.
    #[inline(never)]
    fn keep_message(
        &mut self,
        rules: &Rules,
        message: &MessageRef<'_>,
        large: Option<&Bytes>,
        expires_after: u32,
    ) -> Result<Token, PublishError> {
        self.check_message(rules, message, large)?;
        let stored = Stored::message(message, large, self.version)?;
        Ok(self.enqueue(rules, Kind::Message(message.qos), expires_after, stored)?)
    }

    /// Checks that a message can be encoded, is not too large for the peer, and can be stored.
    fn check_message(
        &self,
        rules: &Rules,
        message: &MessageRef<'_>,
        large: Option<&Bytes>,
    ) -> Result<(), PublishError> {
        let size = Stored::message_len(message, large, self.version)?;
        let limit = self.packet_limit(rules);
        if size > limit as usize {
            return Err(PublishError::TooLarge { limit });
        }
        Ok(self.check_room(rules, size)?)
    }

    fn enqueue(&mut self, rules: &Rules, kind: Kind, expires_after: u32, stored: Stored) -> Result<Token, NotQueued> {
        let limit = self.packet_limit(rules);
        if stored.len() > limit as usize {
            return Err(NotQueued::TooLarge { limit });
        }
        self.check_room(rules, stored.len())?;
        self.make_room(rules, stored.len());
        let token = self.next_token();
        self.budget.add(stored.len());
        if kind.is_windowed() {
            self.record(Record::Accepted(token, &stored));
        }
        let waiting = Waiting { token, since: self.now, kind, expires_after, mark: 0, tries: 0, stored };
        self.queue.get_or_insert_default().push(waiting);
        Ok(token)
    }

    /// Checks that a packet of `bytes` bytes can be stored, if necessary in place of older messages.
    ///
    /// If nothing is stored, one message of any size can be; otherwise a message that both endpoints support could
    /// never be delivered. Older messages are not dropped for a packet that is larger than the limit.
    ///
    /// The check comes before the encoding, so that publishing to a full queue costs next to nothing.
    fn check_room(&self, rules: &Rules, bytes: usize) -> Result<(), NotQueued> {
        let droppable = match (&self.queue, rules.overflow) {
            (Some(queue), Overflow::DropOldest) => (queue.messages(), queue.message_bytes()),
            _ => (0, 0),
        };
        if self.budget.fits(rules.budget, bytes, droppable) { Ok(()) } else { Err(NotQueued::QueueFull) }
    }

    /// Drops the oldest queued messages until `bytes` more bytes can be stored. Only valid after
    /// [`check_room`](Self::check_room) has succeeded.
    fn make_room(&mut self, rules: &Rules, bytes: usize) {
        let is_alone = self.budget.bytes() == 0;
        let fits = |budget: &Budget| {
            budget
                .room(rules.budget)
                .is_some_and(|room| is_alone || usize::try_from(room).is_ok_and(|room| bytes <= room))
        };
        while !fits(&self.budget) {
            let oldest = self.queue.as_mut().and_then(|queue| queue.drop_oldest_message());
            let Some(oldest) = oldest else {
                bug!("`check_room` has found room for {bytes} bytes");
                return;
            };
            self.give_up(&oldest, AbandonReason::Overflow);
        }
    }

    /// Gives up the queued messages that have expired.
    #[inline(never)]
    pub(super) fn drop_expired(&mut self) {
        let now = self.now;
        while let Some(expired) = self.queue.as_mut().and_then(|queue| queue.take_expired(now)) {
            self.give_up(&expired, AbandonReason::Expired);
            self.drop_empty_queue();
        }
    }

    /// Gives up the operation with this token.
    pub(crate) fn withdraw(&mut self, token: Token) -> Result<(), UnknownToken> {
        if let Some(waiting) = self.queue.as_mut().and_then(|queue| queue.remove(token)) {
            self.give_up(&waiting, AbandonReason::Withdrawn);
            self.drop_empty_queue();
        } else {
            let (id, _) = self.outbound.find(token).ok_or(UnknownToken)?;
            self.abandon(id, AbandonReason::Withdrawn);
        }
        Ok(())
    }

    /// Reports the outcome of an operation in flight before the peer has completed it.
    pub(super) fn abandon(&mut self, id: PacketId, reason: AbandonReason) {
        let Some(&Flow { token, stage, is_reported: false, .. }) = self.outbound.get(id) else { return };
        let freed = self.outbound.set_reported(id);
        self.budget.remove(freed);
        if self.outbound.stage(id) == Some(Stage::GivenUp) || self.outbound.is_message(id) {
            self.record(Record::GivenUp(id));
        }
        if let Stage::PubComp(code) = stage {
            self.record(Record::Received(id, code));
        }
        self.report.push(token, Some(reason));
    }

    /// Returns the number of connections on which the packet of an operation has been sent at least in part; `None` if
    /// the outcome of the operation is known, or the token is unknown.
    pub(crate) fn tries(&self, token: Token) -> Option<u16> {
        if let Some(waiting) = self.queue.as_ref().and_then(|queue| queue.get(token)) {
            return Some(waiting.tries);
        }
        if let Some((_, flow)) = self.outbound.find(token) {
            // A message that is still to be sent again has the largest offset, so that it does not count for this
            // connection.
            return Some(flow.tries.saturating_add(u16::from(flow.starts_at < self.transmit.taken())));
        }
        self.report.is_in_output(token).then_some(1)
    }

    /// Gives up a queued message or request.
    pub(super) fn give_up(&mut self, waiting: &Waiting, reason: AbandonReason) {
        self.budget.remove(waiting.stored.len());
        if waiting.kind.is_windowed() {
            self.record(Record::Dropped(waiting.token));
        }
        self.report.push(waiting.token, Some(reason));
    }

    /// Sends as many packets as possible: first the messages to be sent again, then the queue in order.
    #[cold]
    pub(crate) fn send_more(&mut self, side: &mut impl Side, rules: &Rules) {
        while let Some(source) = self.next_source(rules) {
            match source {
                Source::Resend => self.resend(side, rules),
                Source::Queue { is_windowed, has_id } => {
                    let next = self.queue.as_mut().and_then(|queue| queue.pop(is_windowed, has_id));
                    let Some(waiting) = next else { break };
                    self.send_waiting(side, rules, waiting);
                }
            }
        }
        self.drop_empty_queue();
    }

    /// Frees the queue if it is empty.
    pub(super) fn drop_empty_queue(&mut self) {
        if !self.has_queued() {
            self.queue = None;
        }
    }

    /// Sends the next message again, with its packet identifier and DUP \[MQTT-3.3.1-1, MQTT-4.4.0-1\].
    fn resend(&mut self, side: &impl Side, rules: &Rules) {
        let Some((id, flow)) = self.outbound.next_to_resend() else {
            bug!("there is nothing to be sent again");
            return;
        };
        let starts_at = self.transmit.end();
        let waited = self.now.since(flow.since).as_secs();
        let mut wire =
            Wire { transmit: &mut self.transmit, aliases: &mut self.outbound_aliases, version: self.version };
        let sent = match flow.stored.as_publish(self.version) {
            Some(mut publish) => {
                // The message was sent before it expired and cannot expire any more [MQTT-4.3.3-7], so a second is
                // always left.
                reduce_expiry(&mut publish.properties, waited, 1);
                let message = MessageRef::of(&publish);
                let delivery = Delivery::new(message.qos, id, flow.dup);
                side.takes(message.qos, message.retain)
                    .and_then(|()| wire.put_stored(&message, delivery, &flow.stored, rules.max_packet_size))
            }
            None => {
                bug!("a message that is to be sent again cannot be read");
                Err(PublishError::NotConnected)
            }
        };
        match sent {
            Ok(()) => self.outbound.resent(starts_at),
            Err(error) => {
                if let Some((token, freed, stays)) = self.outbound.give_up(id) {
                    self.budget.remove(freed);
                    self.record(if stays { Record::GivenUp(id) } else { Record::Finished(id) });
                    self.report.push(token, Some(AbandonReason::NotSupported(error.reason_code())));
                }
            }
        }
    }

    /// Sends a queued message or request, or gives it up.
    fn send_waiting(&mut self, side: &mut impl Side, rules: &Rules, waiting: Waiting) {
        let sent = match waiting.stored.packet(self.version) {
            Some(Packet::Publish(publish)) => self.send_message(side, rules, &waiting, publish),
            Some(request) => self.send_request(side, rules, &request).map(Some),
            None => {
                bug!("a stored packet cannot be read");
                Err(Failed::BUG)
            }
        };
        match sent {
            Ok(None) => {
                self.budget.remove(waiting.stored.len());
                self.report.push_in_output(waiting.token, self.transmit.end());
            }
            Ok(Some(starts_at)) => {
                let Waiting { token, since, kind, expires_after, mark, tries, stored } = waiting;
                if let (true, Some(id)) = (kind.is_windowed(), self.outbound.next_id()) {
                    self.record(Record::Sent(token, id));
                }
                let stage = match kind {
                    Kind::Message(qos) => stage_of(qos),
                    Kind::Subscribe(filters) => Stage::SubAck(filters),
                    Kind::Unsubscribe(filters) => Stage::UnsubAck(filters),
                };
                if let Some(flow) = self.outbound.begin(token, stage, since, expires_after, starts_at) {
                    (flow.mark, flow.tries, flow.stored) = (mark, tries, stored);
                } else {
                    bug!("no packet identifier is free for {token}");
                }
            }
            Err(Failed::Expired) => self.give_up(&waiting, AbandonReason::Expired),
            Err(Failed::Refused(code)) => self.give_up(&waiting, AbandonReason::NotSupported(code)),
        }
    }

    /// Sends a queued message. Returns its offset in the stream if the message is to be acknowledged.
    fn send_message(
        &mut self,
        side: &impl Side,
        rules: &Rules,
        waiting: &Waiting,
        publish: Publish<'_>,
    ) -> Result<Option<u64>, Failed> {
        let waited = self.now.since(waiting.since).as_secs();
        let mut publish = publish;
        if waiting.is_expired(self.now) {
            return Err(Failed::Expired);
        }
        reduce_expiry(&mut publish.properties, waited, 0);
        let message = MessageRef::of(&publish);
        let qos = message.qos;
        side.takes(qos, message.retain)?;
        let delivery = match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            _ => Delivery::new(qos, self.free_id()?, false),
        };
        let starts_at = self.transmit.end();
        let limit = rules.max_packet_size;
        self.wire().put_stored(&message, delivery, &waiting.stored, limit)?;
        Ok((qos != QoS::AtMostOnce).then_some(starts_at))
    }

    /// Sends a request, at once if possible. The packet identifier in `packet` is a placeholder.
    pub(crate) fn request(
        &mut self,
        side: &mut impl Side,
        kind: Kind,
        packet: Vec<u8>,
    ) -> Result<Token, SubscribeError> {
        let rules = side.rules();
        let token = self.enqueue(&rules, kind, u32::MAX, Stored::new(packet))?;
        // Requests are rare: all go through the queue.
        if self.can_send_more(&rules) {
            self.send_more(side, &rules);
        }
        Ok(token)
    }

    /// Sends a queued request, and returns its offset in the stream.
    fn send_request(&mut self, side: &mut impl Side, rules: &Rules, request: &Packet<'_>) -> Result<u64, Failed> {
        let id = self.free_id()?;
        let (starts_at, version, limit) = (self.transmit.end(), self.version, rules.max_packet_size);
        side.takes_request(request)?;
        let packet = match *request {
            Packet::Subscribe(subscribe) => Packet::Subscribe(Subscribe { id, ..subscribe }),
            Packet::Unsubscribe(unsubscribe) => Packet::Unsubscribe(Unsubscribe { id, ..unsubscribe }),
            _ => {
                bug!("{request:?} is no request");
                return Err(Failed::BUG);
            }
        };
        match self.transmit.encode(limit, |out| packet.encode(version, out)) {
            Ok(Some(_)) => Ok(starts_at),
            Ok(None) => Err(Failed::Refused(ReasonCode::PacketTooLarge)),
            Err(_) => Err(Failed::Refused(ReasonCode::ImplementationSpecificError)),
        }
    }

    /// Returns the packet identifier for a packet from the queue, which only returns packets that need one if one is
    /// free.
    fn free_id(&self) -> Result<PacketId, Failed> {
        self.outbound.next_id().ok_or_else(|| {
            bug!("the queue has given out what needs a packet identifier");
            Failed::BUG
        })
    }
}

/// The decision about a new message, from [`Engine::admission`].
pub(crate) enum Admission {
    /// The message can be sent at once.
    Send,
    /// The message is queued: there is no connection, the maximum number of messages in flight is reached, the output
    /// is full, or other packets are to be sent before the message.
    Wait,
    /// The message can be neither sent nor queued.
    Refuse(PublishError),
}

/// The source of the next packet to send.
enum Source {
    /// The messages that are to be sent again.
    Resend,
    /// The queue. Messages of QoS 1 and 2 are taken from it only if `is_windowed`, and packets that need a packet
    /// identifier only if `has_id`.
    Queue { is_windowed: bool, has_id: bool },
}

/// The reason why a queued packet is not sent.
enum Failed {
    Expired,
    /// The peer does not support the packet.
    Refused(ReasonCode),
}

impl Failed {
    /// What follows from a state that is impossible.
    const BUG: Self = Self::Refused(ReasonCode::ImplementationSpecificError);
}

impl From<PublishError> for Failed {
    fn from(error: PublishError) -> Self {
        Self::Refused(error.reason_code())
    }
}

impl From<SubscribeError> for Failed {
    fn from(error: SubscribeError) -> Self {
        Self::Refused(error.reason_code())
    }
}

/// The output and the topic aliases, with which messages are encoded.
struct Wire<'s> {
    transmit: &'s mut Transmit,
    aliases: &'s mut Option<Box<OutboundAliases>>,
    version: Version,
}

impl Wire<'_> {
    /// Puts a message into the output, with a topic alias if one is available. If the packet is larger than `max`
    /// bytes, nothing changes and the result is `false`.
    #[inline]
    fn put(
        &mut self,
        message: &MessageRef<'_>,
        delivery: Delivery,
        large: Option<&Bytes>,
        max: u32,
    ) -> Result<bool, EncodeError> {
        if self.aliases.is_some() {
            self.put_under_alias(message, delivery, large, max)
        } else {
            self.put_plain(message, delivery, large, max)
        }
    }

    /// Puts a stored message into the output.
    fn put_stored(
        &mut self,
        message: &MessageRef<'_>,
        delivery: Delivery,
        stored: &Stored,
        limit: u32,
    ) -> Result<(), PublishError> {
        if self.put(message, delivery, stored.payload(), limit)? {
            Ok(())
        } else {
            Err(PublishError::TooLarge { limit })
        }
    }

    #[inline]
    fn put_plain(
        &mut self,
        message: &MessageRef<'_>,
        delivery: Delivery,
        large: Option<&Bytes>,
        max: u32,
    ) -> Result<bool, EncodeError> {
        let version = self.version;
        let Some(large) = large else {
            let publish = message.as_publish(delivery, message.payload);
            return Ok(self.transmit.encode(max, |out| publish.encode(version, out))?.is_some());
        };
        let publish = message.as_publish(delivery, large);
        let max = max.saturating_sub(u32::try_from(large.len()).unwrap_or(u32::MAX));
        let fits = self.transmit.encode(max, |out| publish.encode_head(version, out))?.is_some();
        if fits {
            self.transmit.push_shared(large.clone());
        }
        Ok(fits)
    }

    #[inline(never)]
    fn put_under_alias(
        &mut self,
        message: &MessageRef<'_>,
        delivery: Delivery,
        large: Option<&Bytes>,
        max: u32,
    ) -> Result<bool, EncodeError> {
        let alias = self.aliases.as_ref().and_then(|aliases| aliases.of(message.topic.as_bytes()));
        let (number, topic) = match alias {
            None => return self.put_plain(message, delivery, large, max),
            Some(Alias::Known(number)) => (number, TopicName::default()),
            Some(Alias::New(number)) => (number, message.topic),
        };
        let properties = PublishProperties { topic_alias: Some(number), ..*message.properties };
        if !self.put_plain(&MessageRef { topic, properties: &properties, ..*message }, delivery, large, max)? {
            // A new alias makes the packet larger: it may fit without the alias.
            return self.put_plain(message, delivery, large, max);
        }
        if let (Some(aliases), Some(alias)) = (self.aliases.as_mut(), alias) {
            aliases.used(alias, message.topic.as_bytes());
        }
        Ok(true)
    }
}

const fn stage_of(qos: QoS) -> Stage {
    match qos {
        QoS::AtMostOnce | QoS::AtLeastOnce => Stage::PubAck,
        QoS::ExactlyOnce => Stage::PubRec,
    }
}

/// Reduces the Message Expiry Interval by the seconds waited, to no less than `least` or the original interval, if that
/// is smaller.
fn reduce_expiry(properties: &mut PublishProperties<'_>, waited: u64, least: u32) {
    if let Some(interval) = &mut properties.message_expiry_interval {
        let left = interval.saturating_sub(u32::try_from(waited).unwrap_or(u32::MAX));
        *interval = left.max(least.min(*interval));
    }
}
