//! Sending of what could not be sent at once: messages that are to be sent again, and the queue.

use super::command_error::{PublishError, SubscribeError};
use super::deliveries::Deliveries;
use super::deliveries::Source;
use super::deliveries::outbound::HELD;
use super::deliveries::queue::{Kind, Waiting};
use super::deliveries::stage::Stage;
use super::effects::Effects;
use super::endpoint::Peer;
use super::limits::ConnectionLimits;
use super::link::Link;
use super::link::held::HeldPacket;
use super::message_ref::MessageRef;
use super::outcome::AbandonReason;
use super::request::Request;
use super::store::stored::{Content, Stored};
use super::token::Token;
use crate::codec::{Delivery, PacketId, Publish, PublishProperties, QoS, ReasonCode};
use crate::time::Instant;

/// The parts of an engine that send queued packets on an open connection.
pub(super) struct Backlog<'s> {
    now: Instant,
    link: &'s mut Link,
    deliveries: &'s mut Deliveries,
    effects: &'s mut Effects,
    limits: &'s ConnectionLimits,
    /// Number of user properties in the messages that were sent.
    pairs: u64,
}

/// The reason why a queued packet is not sent.
enum Unsent {
    Expired,
    /// The peer does not support the packet, for this reason.
    Refused(ReasonCode),
}

/// What became of a queued packet.
enum Sent {
    /// A message of QoS 0 is in the output.
    Unacknowledged,
    /// A packet that the peer acknowledges is in the output.
    Acknowledged,
    /// The message has to wait.
    Held(HeldPacket),
}

/// Returns the message as a packet that waits; `None` if it is too large for the peer.
fn held(id: PacketId, token: Token, stored: &Stored, limits: &ConnectionLimits) -> Option<HeldPacket> {
    let size = u32::try_from(stored.len()).ok().filter(|&size| size <= limits.max_packet_size)?;
    Some(HeldPacket::Publish { id, token, size })
}

impl From<PublishError> for Unsent {
    fn from(error: PublishError) -> Self {
        Self::Refused(error.reason_code())
    }
}

impl From<SubscribeError> for Unsent {
    fn from(error: SubscribeError) -> Self {
        Self::Refused(error.reason_code())
    }
}

impl<'s> Backlog<'s> {
    pub(super) const fn new(
        now: Instant,
        link: &'s mut Link,
        deliveries: &'s mut Deliveries,
        effects: &'s mut Effects,
        limits: &'s ConnectionLimits,
    ) -> Self {
        Self { now, link, deliveries, effects, limits, pairs: 0 }
    }

    /// Sends as many packets as possible: the first requests, then the messages to be sent again, then the queue in order.
    /// Stops when `most` units are sent, and returns how many were. A packet counts as one, one more for each 256 bytes that
    /// are copied, and one more for each eight user properties, which are short and can be many. A shared payload is not
    /// copied.
    pub(super) fn send(&mut self, peer: &mut impl Peer, most: u32) -> u64 {
        let (mut sent, most) = (0_u64, u64::from(most));
        while sent < most && self.can_send() {
            let (begin, pairs) = (self.link.own_len(), self.pairs);
            match self.deliveries.next_source(self.limits) {
                Source::Resend => self.resend(peer),
                Source::FirstRequests => {
                    let Some(waiting) = self.deliveries.pop_request() else { break };
                    self.send_queued(peer, waiting);
                }
                Source::Queue { is_windowed, has_id } => {
                    let Some(waiting) = self.deliveries.pop_queued(is_windowed, has_id) else { break };
                    self.send_queued(peer, waiting);
                }
            }
            let copied = self.link.own_len().saturating_sub(begin) / 256;
            let pairs = self.pairs.saturating_sub(pairs) / 8;
            sent = sent.saturating_add(1).saturating_add(copied as u64).saturating_add(pairs);
        }
        self.deliveries.drop_empty_queue();
        sent
    }

    /// Sends as many as possible of the requests that are sent before all messages, and nothing else.
    pub(super) fn send_first_requests(&mut self, peer: &mut impl Peer) {
        while self.can_send()
            && let Source::FirstRequests = self.deliveries.next_source(self.limits)
            && let Some(waiting) = self.deliveries.pop_request()
        {
            self.send_queued(peer, waiting);
        }
        self.deliveries.drop_empty_queue();
    }

    /// Returns whether the output has room for one more packet.
    fn can_send(&self) -> bool {
        self.limits.is_open && self.link.has_room(self.limits, self.effects)
    }

    /// Sends the next message again, with its packet identifier and DUP \[MQTT-3.3.1-1, MQTT-4.4.0-1\].
    fn resend(&mut self, peer: &impl Peer) {
        let Some((id, flow)) = self.deliveries.next_to_resend() else {
            bug!("there is nothing to be sent again");
            return;
        };
        let qos = if flow.stage == Stage::PubRec { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        let number = flow.stored.in_store().number;
        if self.effects.message_waits(qos, number)
            && let Some(packet) = held(id, flow.token, &flow.stored, self.limits)
        {
            self.effects.hold_message(qos, number, packet);
            return self.deliveries.resent(HELD);
        }
        let starts_at = self.link.end();
        let waited = self.now.since(flow.since).as_secs();
        let sent = match flow.stored.as_publish(self.link.version()) {
            Some(mut publish) => {
                // The message was sent before it expired and cannot expire any more [MQTT-4.3.3-7], so a second is
                // always left.
                reduce_expiry(&mut publish.properties, waited, 1);
                self.pairs = self.pairs.saturating_add(publish.properties.user_properties.len() as u64);
                let message = MessageRef::of(&publish);
                let delivery = Delivery::new(message.qos, id, flow.dup);
                let limit = self.limits.max_packet_size;
                peer.supports(message.qos, message.retain)
                    .and_then(|()| self.link.put_stored(&message, delivery, &flow.stored, limit))
            }
            None => {
                bug!("a message that is to be sent again cannot be read");
                Err(PublishError::NotConnected)
            }
        };
        match sent {
            Ok(()) => self.deliveries.resent(starts_at),
            Err(error) => {
                let reason = AbandonReason::NotSupported(error.reason_code());
                self.deliveries.give_up_resend(id, reason, self.effects);
            }
        }
    }

    /// Sends a queued message or request, or gives it up.
    fn send_queued(&mut self, peer: &mut impl Peer, waiting: Waiting) {
        let starts_at = self.link.end();
        let sent = match waiting.stored.content(self.link.version()) {
            Some(Content::Message(publish)) => self.send_message(peer, &waiting, publish),
            Some(Content::Request(request)) => self.send_request(peer, &request).map(|()| Sent::Acknowledged),
            None => {
                bug!("a stored packet cannot be read");
                Err(Unsent::Refused(ReasonCode::ImplementationSpecificError))
            }
        };
        let reason = match sent {
            Ok(Sent::Held(packet)) => {
                let qos = if let Kind::Message(qos) = waiting.kind { qos } else { QoS::AtLeastOnce };
                let number = waiting.stored.in_store().number;
                self.deliveries.begin_queued(waiting, HELD, self.effects);
                return self.effects.hold_message(qos, number, packet);
            }
            Ok(Sent::Unacknowledged) => {
                self.deliveries.sent_unacknowledged(&waiting);
                return self.effects.report_mut().push_in_output(waiting.token, self.link.end());
            }
            Ok(Sent::Acknowledged) => return self.deliveries.begin_queued(waiting, starts_at, self.effects),
            Err(Unsent::Expired) => AbandonReason::Expired,
            Err(Unsent::Refused(reason_code)) => AbandonReason::NotSupported(reason_code),
        };
        self.deliveries.give_up_queued(&waiting, reason, self.effects);
    }

    /// Sends a queued message, unless it has to wait until its packet identifier is stored.
    fn send_message(&mut self, peer: &impl Peer, waiting: &Waiting, publish: Publish<'_>) -> Result<Sent, Unsent> {
        self.pairs = self.pairs.saturating_add(publish.properties.user_properties.len() as u64);
        let waited = self.now.since(waiting.since).as_secs();
        let mut publish = publish;
        if waiting.is_expired(self.now) {
            return Err(Unsent::Expired);
        }
        reduce_expiry(&mut publish.properties, waited, 0);
        let message = MessageRef::of(&publish);
        let qos = message.qos;
        peer.supports(qos, message.retain)?;
        let (delivery, sent) = match qos {
            QoS::AtMostOnce => (Delivery::AtMostOnce, Sent::Unacknowledged),
            _ => (Delivery::new(qos, self.free_id()?, false), Sent::Acknowledged),
        };
        let limit = self.limits.max_packet_size;
        if let Some(id) = delivery.packet_id()
            && self.effects.new_message_waits(qos)
        {
            let packet = held(id, waiting.token, &waiting.stored, self.limits);
            return packet.map(Sent::Held).ok_or_else(|| PublishError::TooLarge { limit }.into());
        }
        self.link.put_stored(&message, delivery, &waiting.stored, limit)?;
        Ok(sent)
    }

    /// Sends a queued request.
    fn send_request(&mut self, peer: &mut impl Peer, request: &Request<'_>) -> Result<(), Unsent> {
        let (id, limit) = (self.free_id()?, self.limits.max_packet_size);
        peer.supports_request(request)?;
        match self.link.put_packet(&request.as_packet(id), limit).map_err(SubscribeError::from)? {
            true => Ok(()),
            false => Err(SubscribeError::TooLarge { limit }.into()),
        }
    }

    /// Returns the packet identifier for a packet from the queue, which only returns packets that need one if one is
    /// free.
    fn free_id(&self) -> Result<PacketId, Unsent> {
        self.deliveries.next_id().ok_or_else(|| {
            bug!("the queue has returned a packet that needs a packet identifier");
            Unsent::Refused(ReasonCode::ImplementationSpecificError)
        })
    }
}

/// Reduces the Message Expiry Interval by the seconds waited, to no less than `least` or the original interval, if that
/// is smaller.
pub(super) fn reduce_expiry(properties: &mut PublishProperties<'_>, waited: u64, least: u32) {
    if let Some(interval) = &mut properties.message_expiry_interval {
        let left = interval.saturating_sub(u32::try_from(waited).unwrap_or(u32::MAX));
        *interval = left.max(least.min(*interval));
    }
}
