//! Messages from the server to the client.

use core::num::NonZeroU16;
use std::collections::VecDeque;

use mqtt_sansio::TopicName;
use mqtt_sansio::codec::{Delivery, PacketId, PubRel, Publish, PublishProperties, QoS};

use super::{ModelServer, State};

/// The messages of QoS 1 and 2 in flight, in the order in which they were sent, and those that are queued.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    open: Vec<Flow>,
    waiting: VecDeque<Outbound>,
    last_id: u16,
}

#[derive(Debug)]
struct Flow {
    id: PacketId,
    message: Outbound,
    /// PUBREC has arrived.
    is_released: bool,
}

#[derive(Clone, Debug)]
struct Outbound {
    topic: String,
    payload: String,
    qos: QoS,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.waiting.is_empty()
    }

    /// A packet identifier that is not in use [MQTT-2.2.1-4].
    fn next_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let id = PacketId::new(self.last_id).expect("it is not 0");
            if self.open.iter().all(|flow| flow.id != id) {
                return id;
            }
        }
    }
}

impl ModelServer {
    /// Publishes a message to the client, whether the client has subscribed or not. With QoS 1 and 2 the message is
    /// queued until the client can receive it.
    ///
    /// # Panics
    ///
    /// Panics if there is no session, or if the topic is not a topic name.
    pub fn publish(&mut self, topic: &str, payload: &str, qos: QoS) {
        let message = Outbound { topic: topic.to_string(), payload: payload.to_string(), qos };
        if qos != QoS::AtMostOnce {
            self.session().outgoing.waiting.push_back(message);
            self.send_waiting();
        } else if self.state == State::Connected {
            self.send_message(&message, Delivery::AtMostOnce);
        }
    }

    /// Sends queued messages as far as the client's quota allows [MQTT-3.3.4-9].
    fn send_waiting(&mut self) {
        let window = usize::from(self.peer.receive_maximum);
        while self.state == State::Connected && self.session().outgoing.open.len() < window {
            let outgoing = &mut self.session().outgoing;
            let Some(message) = outgoing.waiting.pop_front() else { return };
            let id = outgoing.next_id();
            let delivery = message.delivery(id, false);
            outgoing.open.push(Flow { id, message: message.clone(), is_released: false });
            self.send_message(&message, delivery);
        }
    }

    /// Sends the messages in flight again, in order [MQTT-4.4.0-1], then queued ones.
    pub(super) fn resume(&mut self) {
        let outgoing = &self.session().outgoing;
        let again: Vec<_> =
            outgoing.open.iter().map(|flow| (flow.id, flow.is_released, flow.message.clone())).collect();
        for (id, is_released, message) in again {
            if is_released {
                self.send(PubRel::new(id));
            } else {
                self.send_message(&message, message.delivery(id, true));
            }
        }
        self.send_waiting();
    }

    fn send_message(&mut self, message: &Outbound, delivery: Delivery) {
        let known = self.peer.own_aliases.iter().position(|topic| *topic == message.topic);
        let is_new = known.is_none() && self.peer.own_aliases.len() < usize::from(self.peer.topic_alias_maximum);
        if is_new {
            self.peer.own_aliases.push(message.topic.clone());
        }
        let alias = known.or_else(|| is_new.then(|| self.peer.own_aliases.len() - 1));
        let topic_alias = alias.and_then(|place| NonZeroU16::new(place as u16 + 1));
        let topic = if known.is_some() { "" } else { &message.topic };
        let publish = Publish {
            delivery,
            topic: if topic.is_empty() { TopicName::default() } else { TopicName::new(topic).expect("a topic") },
            payload: message.payload.as_bytes(),
            properties: PublishProperties { topic_alias, ..PublishProperties::default() },
            ..Publish::default()
        };
        let size = publish.encoded_len(self.version).expect("the message can be encoded");
        assert!(size <= self.peer.maximum_packet_size as usize, "the message is too large for the client");
        self.send(publish);
    }

    /// PUBREC has arrived: it is answered at once, which preserves the order [MQTT-4.6.0-4].
    pub(super) fn release(&mut self, id: PacketId) {
        let open = &mut self.session().outgoing.open;
        let flow = open.iter_mut().find(|flow| flow.id == id);
        let flow = flow.unwrap_or_else(|| panic!("PUBREC for packet identifier {id}, which is not in use"));
        assert_eq!(flow.message.qos, QoS::ExactlyOnce, "PUBREC for packet identifier {id}, which is of QoS 1");
        flow.is_released = true;
        self.send(PubRel::new(id));
    }

    /// PUBACK, PUBCOMP, or PUBREC with an error has arrived.
    pub(super) fn settled(&mut self, id: PacketId, is_success: bool, qos: QoS) {
        let open = &mut self.session().outgoing.open;
        let place = open.iter().position(|flow| flow.id == id);
        let flow = open
            .remove(place.unwrap_or_else(|| panic!("acknowledgement for packet identifier {id}, which is not in use")));
        assert_eq!(flow.message.qos, qos, "wrong acknowledgement for packet identifier {id}");
        if is_success {
            assert_eq!(flow.is_released, qos == QoS::ExactlyOnce, "PUBCOMP for packet identifier {id} without PUBREL");
            self.acknowledged.push(flow.message.payload);
        }
        self.send_waiting();
    }
}

impl Outbound {
    const fn delivery(&self, id: PacketId, dup: bool) -> Delivery {
        match self.qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce { id, dup },
            QoS::ExactlyOnce => Delivery::ExactlyOnce { id, dup },
        }
    }
}
