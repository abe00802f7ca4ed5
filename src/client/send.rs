//! What a client sends: messages and requests, at once or when they can be sent.

use core::num::NonZeroU16;

use alloc::boxed::Box;

use bytes::Bytes;

use super::action::Loss;
use super::server;
use super::session::{ClientSession, State};
use crate::codec::{
    Delivery, EncodeError, Packet, PacketId, Publish, PublishProperties, QoS, Subscribe, SubscribeProperties,
    Subscription, Unsubscribe, UnsubscribeProperties, Version,
};
use crate::session::{
    Alias, CommandError, Kind, LARGE, Message, OutboundAliases, Overflow, Record, Stage, Stored, Token, Transmit,
    Waiting,
};
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicName};

/// What stands for a packet identifier in a packet that waits for one.
const PLACEHOLDER: PacketId = PacketId::MIN;

impl ClientSession {
    /// Publishes a message, at once if that is possible; else it is kept until there is a connection, until the server
    /// takes more, or until some of what is to be written has been written.
    ///
    /// What has become of it is told by [`Action::Done`](super::Action::Done) with the token. Messages of one QoS
    /// are sent in the order in which they were published.
    ///
    /// # Errors
    ///
    /// [`CommandError::Text`] and [`CommandError::Encode`] if it cannot be sent in this version;
    /// [`CommandError::QueueFull`] if no more can be kept; what the server does not take, if there is a connection:
    /// [`CommandError::TooLarge`], [`CommandError::QoSNotSupported`], [`CommandError::RetainNotSupported`];
    /// [`CommandError::TopicAlias`] and [`CommandError::SubscriptionIdentifier`] for properties that are not the
    /// caller's. Nothing has changed then: the message is still the caller's.
    #[inline]
    pub fn publish(&mut self, message: &Message<'_>) -> Result<Token, CommandError> {
        let publish = &message.publish;
        if publish.properties.topic_alias.is_some() {
            return Err(CommandError::TopicAlias);
        }
        if !publish.properties.subscription_identifiers.is_empty() {
            return Err(CommandError::SubscriptionIdentifier);
        }
        TopicName::from_bytes(publish.topic.as_bytes())?;
        self.server.check_message(publish.delivery.qos(), publish.retain)?;
        match &message.shared {
            None => self.publish_checked(publish, None),
            Some(large) if large.len() >= LARGE => self.publish_checked(publish, Some(large)),
            Some(small) => self.publish_checked(&Publish { payload: small, ..*publish }, None),
        }
    }

    /// Publishes a message that can be sent; a large payload replaces the empty one in it.
    #[inline]
    fn publish_checked(&mut self, publish: &Publish<'_>, large: Option<&Bytes>) -> Result<Token, CommandError> {
        let qos = publish.delivery.qos();
        if !self.can_send(qos != QoS::AtMostOnce) {
            return self.keep_message(publish, large);
        }
        match qos {
            QoS::AtMostOnce => self.send_unacknowledged(publish, large),
            _ => self.send_acknowledged(publish, large),
        }
    }

    /// Whether something of this kind can be sent at once.
    #[inline]
    fn can_send(&self, windowed: bool) -> bool {
        self.state == State::Connected
            && self.has_room()
            && self.queue.as_ref().is_none_or(|queue| !queue.holds_up(windowed))
            && (!windowed || (self.window_is_open() && self.outbound.to_resend() == 0))
    }

    /// Whether one more message of QoS 1 or 2 may be under way \[MQTT-3.3.4-7, MQTT-4.9.0-2\].
    #[inline]
    fn window_is_open(&self) -> bool {
        self.outbound.in_flight() < self.server.receive_maximum.min(self.config.max_in_flight.get())
    }

    /// Whether something that waits can be sent.
    #[inline]
    pub(super) fn can_send_more(&self) -> bool {
        (self.queue.is_some() || self.outbound.to_resend() != 0) && self.can_send_something()
    }

    #[cold]
    fn can_send_something(&self) -> bool {
        let window = self.window_is_open();
        let to_resend = self.outbound.to_resend() != 0;
        let (windowed, has_id) = (window && !to_resend, self.outbound.next_id().is_some());
        self.state == State::Connected
            && ((to_resend && window) || self.queue.as_ref().is_some_and(|queue| queue.has_next(windowed, has_id)))
    }

    fn next_token(&mut self) -> Token {
        let next = self.next_token.next();
        core::mem::replace(&mut self.next_token, next)
    }

    #[inline]
    fn send_unacknowledged(&mut self, publish: &Publish<'_>, large: Option<&Bytes>) -> Result<Token, CommandError> {
        let limit = self.server.maximum_packet_size;
        if !self.wire().put(publish, Delivery::AtMostOnce, large, limit)? {
            return Err(CommandError::TooLarge { limit });
        }
        let token = self.next_token();
        self.sending.get_or_insert_default().push_back((self.transmit.end(), token));
        Ok(token)
    }

    #[inline]
    fn send_acknowledged(&mut self, publish: &Publish<'_>, large: Option<&Bytes>) -> Result<Token, CommandError> {
        let Some(id) = self.outbound.next_id() else { return self.keep_message(publish, large) };
        let delivery = Delivery::new(publish.delivery.qos(), id, false);
        let starts_at = self.transmit.end();
        let is_simple = self.outbound_aliases.is_none() && large.is_none() && self.journal.is_none();
        if is_simple && self.kept < self.config.max_kept {
            // What is sent is also what is kept.
            let room = self.config.max_kept_bytes.saturating_sub(self.kept_bytes);
            let limit = room.min(self.server.maximum_packet_size);
            let version = self.version;
            let packet = self.transmit.encode(limit, |out| publish.encode_as(delivery, version, out))?;
            if let Some(packet) = packet {
                let (token, size) = (self.next_token, packet.len());
                if let Some(stored) = self.outbound.begin(token, stage_of(delivery.qos()), self.now, starts_at) {
                    stored.set(packet);
                }
                self.next_token = token.next();
                self.keep(size);
                return Ok(token);
            }
        }
        let stored = self.put_and_keep(publish, delivery, large)?;
        let token = self.next_token();
        self.keep(stored.len());
        self.record(Record::Accepted(token, &stored));
        self.record(Record::Sent(token, id));
        self.begin(token, stage_of(delivery.qos()), self.now, starts_at, stored);
        Ok(token)
    }

    fn begin(&mut self, token: Token, stage: Stage, since: Instant, starts_at: u64, stored: Stored) {
        if let Some(kept) = self.outbound.begin(token, stage, since, starts_at) {
            *kept = stored;
        }
    }

    /// The long way: what is kept is not what is sent, or there may be no room.
    #[inline(never)]
    fn put_and_keep(
        &mut self,
        publish: &Publish<'_>,
        delivery: Delivery,
        large: Option<&Bytes>,
    ) -> Result<Stored, CommandError> {
        let stored = Stored::message(publish, large, self.version)?;
        let limit = self.server.maximum_packet_size;
        if stored.len() > limit as usize {
            return Err(CommandError::TooLarge { limit });
        }
        self.make_room(stored.len())?;
        if !self.wire().put(publish, delivery, large, limit)? {
            return Err(CommandError::TooLarge { limit });
        }
        Ok(stored)
    }

    #[inline]
    fn wire(&mut self) -> Wire<'_> {
        Wire { transmit: &mut self.transmit, aliases: &mut self.outbound_aliases, version: self.version }
    }

    /// Keeps a message until it can be sent.
    #[inline(never)]
    fn keep_message(&mut self, publish: &Publish<'_>, large: Option<&Bytes>) -> Result<Token, CommandError> {
        let stored = Stored::message(publish, large, self.version)?;
        self.enqueue(Kind::Message(publish.delivery.qos()), stored)
    }

    fn enqueue(&mut self, kind: Kind, stored: Stored) -> Result<Token, CommandError> {
        let limit = self.server.maximum_packet_size;
        if stored.len() > limit as usize {
            return Err(CommandError::TooLarge { limit });
        }
        self.make_room(stored.len())?;
        let token = self.next_token();
        self.keep(stored.len());
        if kind.is_windowed() {
            self.record(Record::Accepted(token, &stored));
        }
        self.queue.get_or_insert_default().push(Waiting { token, since: self.now, kind, stored });
        Ok(token)
    }

    /// Makes sure that so many bytes more can be kept.
    fn make_room(&mut self, bytes: usize) -> Result<(), CommandError> {
        let (max, max_bytes) = (self.config.max_kept, self.config.max_kept_bytes);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let fits = |kept: u32, kept_bytes: u32| {
            kept < max && kept_bytes.checked_add(bytes).is_some_and(|all| all <= max_bytes)
        };
        if fits(self.kept, self.kept_bytes) {
            return Ok(());
        }
        let droppable = self.queue.as_ref().map_or((0, 0), |queue| (queue.messages(), queue.message_bytes()));
        let left = (self.kept.saturating_sub(droppable.0), self.kept_bytes.saturating_sub(droppable.1));
        if self.config.overflow == Overflow::Refuse || !fits(left.0, left.1) {
            return Err(CommandError::QueueFull);
        }
        while !fits(self.kept, self.kept_bytes) {
            let oldest = self.queue.as_mut().and_then(|queue| queue.drop_oldest_message());
            let Some(oldest) = oldest else { return Err(CommandError::QueueFull) };
            self.give_up(&oldest, Loss::Overflow);
        }
        Ok(())
    }

    /// So many bytes more are kept.
    #[inline]
    fn keep(&mut self, bytes: usize) {
        self.kept = self.kept.saturating_add(1);
        self.kept_bytes = self.kept_bytes.saturating_add(bytes as u32);
    }

    /// Something is not kept any more.
    #[inline]
    pub(super) fn release(&mut self, bytes: usize) {
        self.kept = self.kept.saturating_sub(1);
        self.kept_bytes = self.kept_bytes.saturating_sub(bytes as u32);
    }

    /// Gives up something that has not been sent.
    fn give_up(&mut self, waiting: &Waiting, loss: Loss) {
        self.release(waiting.stored.len());
        if waiting.kind.is_windowed() {
            self.record(Record::Dropped(waiting.token));
        }
        self.report(waiting.token, Some(loss));
    }

    /// Sends what waits, as far as that is possible: first what is to be sent again, then the rest in order.
    #[cold]
    pub(super) fn send_more(&mut self) {
        while self.has_room() && self.state == State::Connected {
            let window = self.window_is_open();
            if self.outbound.to_resend() != 0 && window {
                self.resend();
                continue;
            }
            let (windowed, has_id) = (window && self.outbound.to_resend() == 0, self.outbound.next_id().is_some());
            match self.queue.as_mut().and_then(|queue| queue.pop(windowed, has_id)) {
                Some(waiting) => self.send_waiting(waiting),
                None => break,
            }
        }
        if self.queue.as_ref().is_some_and(|queue| queue.is_empty()) {
            self.queue = None;
        }
    }

    /// Sends the next message again, with its packet identifier and DUP \[MQTT-3.3.1-1, MQTT-4.4.0-1\].
    fn resend(&mut self) {
        let Some((id, flow)) = self.outbound.next_to_resend() else { return };
        let starts_at = self.transmit.end();
        let waited = self.now.since(flow.since).as_secs();
        let mut wire =
            Wire { transmit: &mut self.transmit, aliases: &mut self.outbound_aliases, version: self.version };
        let sent = match flow.stored.packet(self.version) {
            Some(Packet::Publish(publish)) => {
                let mut publish = publish;
                let delivery = Delivery::new(publish.delivery.qos(), id, flow.dup);
                // It was sent in time: it does not expire any more [MQTT-4.3.3-7].
                reduce_expiry(&mut publish.properties, waited);
                self.server
                    .check_message(publish.delivery.qos(), publish.retain)
                    .and_then(|()| wire.put_stored(&publish, delivery, &flow.stored, self.server.maximum_packet_size))
            }
            _ => Err(CommandError::NotConnected), // a flow that is to be sent again has a message
        };
        match sent {
            Ok(()) => self.outbound.resent(starts_at),
            Err(error) => {
                if let Some((token, freed)) = self.outbound.give_up(id) {
                    self.release(freed);
                    self.record(Record::GivenUp(id));
                    self.report(token, Some(Loss::NotSupported(server::reason_code(error))));
                }
            }
        }
    }

    /// Sends something that has waited, or gives it up.
    fn send_waiting(&mut self, waiting: Waiting) {
        let sent = match waiting.stored.packet(self.version) {
            Some(Packet::Publish(publish)) => self.send_message(&waiting, publish),
            Some(Packet::Subscribe(subscribe)) => self.send_subscribe(subscribe).map(Some),
            Some(Packet::Unsubscribe(unsubscribe)) => self.send_unsubscribe(unsubscribe).map(Some),
            _ => Err(Failed::Refused(CommandError::NotConnected)), // nothing else is kept
        };
        let Waiting { token, since, kind, stored } = waiting;
        match (sent, kind) {
            (Ok(None), _) => {
                self.release(stored.len());
                self.sending.get_or_insert_default().push_back((self.transmit.end(), token));
            }
            (Ok(Some(starts_at)), kind) => {
                if let (true, Some(id)) = (kind.is_windowed(), self.outbound.next_id()) {
                    self.record(Record::Sent(token, id));
                }
                let stage = match kind {
                    Kind::Message(qos) => stage_of(qos),
                    Kind::Subscribe(filters) => Stage::SubAck(filters),
                    Kind::Unsubscribe(filters) => Stage::UnsubAck(filters),
                };
                self.begin(token, stage, since, starts_at, stored);
            }
            (Err(Failed::Expired), _) => {
                self.give_up(&Waiting { token, since, kind, stored }, Loss::Expired);
            }
            (Err(Failed::Refused(error)), _) => {
                let loss = Loss::NotSupported(server::reason_code(error));
                self.give_up(&Waiting { token, since, kind, stored }, loss);
            }
        }
    }

    /// Sends a message that has waited, and returns where it begins if it is to be acknowledged.
    fn send_message(&mut self, waiting: &Waiting, publish: Publish<'_>) -> Result<Option<u64>, Failed> {
        let waited = self.now.since(waiting.since).as_secs();
        let mut publish = publish;
        if publish.properties.message_expiry_interval.is_some_and(|interval| waited >= u64::from(interval)) {
            return Err(Failed::Expired);
        }
        reduce_expiry(&mut publish.properties, waited);
        let qos = publish.delivery.qos();
        self.server.check_message(qos, publish.retain).map_err(Failed::Refused)?;
        let delivery = match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            _ => Delivery::new(qos, self.free_id()?, false),
        };
        let starts_at = self.transmit.end();
        let limit = self.server.maximum_packet_size;
        self.wire().put_stored(&publish, delivery, &waiting.stored, limit).map_err(Failed::Refused)?;
        Ok((qos != QoS::AtMostOnce).then_some(starts_at))
    }

    /// Asks for messages, at once if that is possible; else as soon as it is. An unanswered request is sent again by
    /// the next connection.
    ///
    /// # Errors
    ///
    /// [`CommandError::Encode`] if it cannot be sent in this version; [`CommandError::QueueFull`] if no more can be
    /// kept; what the server does not take, if there is a connection: [`CommandError::TooLarge`],
    /// [`CommandError::SubscriptionNotSupported`].
    pub fn subscribe(&mut self, subscriptions: &[Subscription<'_>]) -> Result<Token, CommandError> {
        self.subscribe_with(subscriptions, &SubscribeProperties::default())
    }

    /// As [`subscribe`](Self::subscribe), with properties; 5.0 only.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_with(
        &mut self,
        subscriptions: &[Subscription<'_>],
        properties: &SubscribeProperties<'_>,
    ) -> Result<Token, CommandError> {
        let subscribe = Subscribe { id: PLACEHOLDER, subscriptions: subscriptions.into(), properties: *properties };
        self.server.check_subscriptions(subscriptions.iter().copied(), properties)?;
        self.request(Kind::Subscribe(subscriptions.len() as u32), |out, version| subscribe.encode(version, out))
    }

    /// Ends subscriptions, at once if that is possible; else as soon as it is. An unanswered request is sent again by the
    /// next connection.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn unsubscribe(&mut self, filters: &[TopicFilter<'_>]) -> Result<Token, CommandError> {
        self.unsubscribe_with(filters, &UnsubscribeProperties::default())
    }

    /// As [`unsubscribe`](Self::unsubscribe), with properties; 5.0 only.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn unsubscribe_with(
        &mut self,
        filters: &[TopicFilter<'_>],
        properties: &UnsubscribeProperties<'_>,
    ) -> Result<Token, CommandError> {
        let unsubscribe = Unsubscribe { id: PLACEHOLDER, filters: filters.into(), properties: *properties };
        self.request(Kind::Unsubscribe(filters.len() as u32), |out, version| unsubscribe.encode(version, out))
    }

    fn request(
        &mut self,
        kind: Kind,
        encode: impl FnOnce(&mut alloc::vec::Vec<u8>, Version) -> Result<usize, EncodeError>,
    ) -> Result<Token, CommandError> {
        let mut packet = alloc::vec::Vec::new();
        encode(&mut packet, self.version)?;
        let token = self.enqueue(kind, Stored::new(&packet))?;
        // Requests are rare: all go through the queue.
        if self.has_room() && self.can_send_more() {
            self.send_more();
        }
        Ok(token)
    }

    /// The packet identifier of something that the queue has only given out because there is one.
    fn free_id(&self) -> Result<PacketId, Failed> {
        self.outbound.next_id().ok_or(Failed::Refused(CommandError::NotConnected))
    }

    /// Sends SUBSCRIBE, and returns where it begins.
    fn send_subscribe(&mut self, subscribe: Subscribe<'_>) -> Result<u64, Failed> {
        let Subscribe { subscriptions, properties, .. } = subscribe;
        self.server.check_subscriptions(subscriptions, &properties).map_err(Failed::Refused)?;
        let starts_at = self.send_request(|id, out, version| Subscribe { id, ..subscribe }.encode(version, out))?;
        if let Some(identifier) = properties.subscription_identifier {
            self.identifiers.get_or_insert_default().insert(identifier.get());
        }
        Ok(starts_at)
    }

    /// Sends UNSUBSCRIBE, and returns where it begins.
    fn send_unsubscribe(&mut self, unsubscribe: Unsubscribe<'_>) -> Result<u64, Failed> {
        self.send_request(|id, out, version| Unsubscribe { id, ..unsubscribe }.encode(version, out))
    }

    fn send_request(
        &mut self,
        encode: impl FnOnce(PacketId, &mut alloc::vec::Vec<u8>, Version) -> Result<usize, EncodeError>,
    ) -> Result<u64, Failed> {
        let id = self.free_id()?;
        let (starts_at, version, limit) = (self.transmit.end(), self.version, self.server.maximum_packet_size);
        match self.transmit.encode(limit, |out| encode(id, out, version)) {
            Ok(Some(_)) => Ok(starts_at),
            Ok(None) => Err(Failed::Refused(CommandError::TooLarge { limit })),
            Err(error) => Err(Failed::Refused(error.into())),
        }
    }

    /// A connection begins: no alias stands for anything \[MQTT-3.3.2-7\].
    pub(super) fn prepare_aliases(&mut self) {
        let max = self.server.topic_alias_maximum.min(self.config.topic_aliases);
        self.inbound_aliases = None;
        self.outbound_aliases = NonZeroU16::new(max).map(|max| Box::new(OutboundAliases::new(max)));
    }
}

/// Why something that has waited is not sent.
enum Failed {
    Expired,
    /// The server does not take it.
    Refused(CommandError),
}

/// Where messages are put, and under which aliases.
struct Wire<'s> {
    transmit: &'s mut Transmit,
    aliases: &'s mut Option<Box<OutboundAliases>>,
    version: Version,
}

impl Wire<'_> {
    /// Puts a message into the stream, under a topic alias if there is one. Nothing is done if it has more than `max`
    /// bytes: `false`.
    #[inline]
    fn put(
        &mut self,
        publish: &Publish<'_>,
        delivery: Delivery,
        large: Option<&Bytes>,
        max: u32,
    ) -> Result<bool, EncodeError> {
        if self.aliases.is_some() {
            self.put_under_alias(publish, delivery, large, max)
        } else {
            self.put_plain(publish, delivery, large, max)
        }
    }

    /// Puts a message that was kept into the stream.
    fn put_stored(
        &mut self,
        publish: &Publish<'_>,
        delivery: Delivery,
        stored: &Stored,
        limit: u32,
    ) -> Result<(), CommandError> {
        if self.put(publish, delivery, stored.payload(), limit)? {
            Ok(())
        } else {
            Err(CommandError::TooLarge { limit })
        }
    }

    #[inline]
    fn put_plain(
        &mut self,
        publish: &Publish<'_>,
        delivery: Delivery,
        large: Option<&Bytes>,
        max: u32,
    ) -> Result<bool, EncodeError> {
        let version = self.version;
        let Some(large) = large else {
            return Ok(self.transmit.encode(max, |out| publish.encode_as(delivery, version, out))?.is_some());
        };
        let publish = Publish { payload: large, delivery, ..*publish };
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
        publish: &Publish<'_>,
        delivery: Delivery,
        large: Option<&Bytes>,
        max: u32,
    ) -> Result<bool, EncodeError> {
        let alias = self.aliases.as_ref().and_then(|aliases| aliases.of(publish.topic.as_bytes()));
        let (number, topic) = match alias {
            None => return self.put_plain(publish, delivery, large, max),
            Some(Alias::Known(number)) => (number, TopicName::default()),
            Some(Alias::New(number)) => (number, publish.topic),
        };
        let properties = PublishProperties { topic_alias: Some(number), ..publish.properties };
        if !self.put_plain(&Publish { topic, properties, ..*publish }, delivery, large, max)? {
            // A new alias makes the packet larger: perhaps it fits without.
            return self.put_plain(publish, delivery, large, max);
        }
        if let (Some(aliases), Some(alias)) = (self.aliases.as_mut(), alias) {
            aliases.used(alias, publish.topic.as_bytes());
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

/// What is left of a message expiry interval.
fn reduce_expiry(properties: &mut PublishProperties<'_>, waited: u64) {
    if let Some(interval) = &mut properties.message_expiry_interval {
        *interval = interval.saturating_sub(u32::try_from(waited).unwrap_or(u32::MAX));
    }
}
