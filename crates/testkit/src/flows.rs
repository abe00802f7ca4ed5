//! The rules of delivery for either endpoint, checked from outside: packet identifiers, DUP, order, flow control
//! (sections 2.2.1, 3.3.1.1, 4.3, 4.4, 4.6 and 4.9).

use std::collections::VecDeque;

use mqtt_sansio::codec::{Delivery, Publish, QoS};

/// The operations of an endpoint that are in flight according to its packets.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    /// In the order of their first transmission.
    open: Vec<Flow>,
    /// The number of connections so far.
    connection: u32,
    /// How many more messages the peer may be sent [MQTT-4.9.0-1].
    quota: u16,
    receive_maximum: u16,
    /// The number of messages that were partially written when a connection ended.
    torn: u32,
    /// Whether operations in flight are those that the endpoint sends again: it was restored after a crash, or was not
    /// observed.
    is_restored: bool,
    /// Messages that wait for PUBCOMP, in the order of their PUBRECs.
    released: Vec<u16>,
    /// The PUBRELs that the endpoint has to send for received PUBRECs, in that order.
    pubrels_due: VecDeque<u16>,
    pubacks_due: VecDeque<u16>,
    pubrecs_due: VecDeque<u16>,
    pubcomps_due: Vec<u16>,
    /// Received requests that are not answered: whether each is a SUBSCRIBE, and its packet identifier.
    answers_due: Vec<(bool, u16)>,
}

#[derive(Debug)]
struct Flow {
    id: u16,
    stage: Stage,
    payload: Vec<u8>,
    /// The connection on which it was last sent.
    sent_on: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// PUBLISH waits for PUBACK or PUBREC.
    Message(QoS),
    /// PUBREC has arrived: only PUBREL may be sent from here on.
    Released,
    Request,
}

impl Flows {
    /// A connection is accepted, with the old session or a new one.
    pub(crate) fn begin(&mut self, session_present: bool, receive_maximum: u16) {
        self.connection += 1;
        if !session_present {
            self.forget();
        }
        self.quota = receive_maximum;
        self.receive_maximum = receive_maximum;
        self.pubrels_due = self.released.iter().copied().collect();
    }

    /// The session has ended.
    pub(crate) fn forget(&mut self) {
        self.open.clear();
        self.released.clear();
        self.torn = 0;
    }

    /// A connection has ended after a part of this packet was written.
    pub(crate) fn end(&mut self, torn: &[u8]) {
        // A message of QoS 1 or 2 that was written in part counts as sent for its sender.
        self.torn += u32::from(torn.first().is_some_and(|first| first >> 4 == 3 && first & 6 != 0));
        self.open.retain(|flow| flow.stage != Stage::Request);
        self.pubacks_due.clear();
        self.pubrecs_due.clear();
        self.pubcomps_due.clear();
        self.answers_due.clear();
    }

    /// The operations in flight are not known any more: the endpoint has crashed, or was not observed for a while.
    pub(crate) fn lose_sight(&mut self) {
        self.open.clear();
        self.released.clear();
        self.is_restored = true;
    }

    /// The endpoint has sent a PUBLISH.
    pub(crate) fn publish(&mut self, publish: &Publish<'_>) {
        let Some(id) = publish.delivery.packet_id().map(|id| id.get()) else { return };
        assert!(self.quota > 0, "a message exceeds the Receive Maximum [MQTT-3.3.4-7, MQTT-3.3.4-9]");
        self.quota -= 1;
        let (qos, dup, connection) = (publish.delivery.qos(), publish.delivery.dup(), self.connection);
        let place = self.open.iter().position(|flow| flow.id == id);
        let is_due = |flow: &Flow| matches!(flow.stage, Stage::Message(_)) && flow.sent_on != connection;
        let first_due = self.open.iter().position(is_due);
        match place.map(|place| &mut self.open[place]) {
            None => {
                assert!(first_due.is_none(), "message {id} is sent before the retransmission of older ones");
                if dup && !self.is_restored {
                    assert!(self.torn > 0, "DUP is set in message {id}, which was never sent [MQTT-3.3.1-1]");
                    self.torn -= 1;
                }
                let payload = publish.payload.to_vec();
                self.open.push(Flow { id, stage: Stage::Message(qos), payload, sent_on: connection });
            }
            Some(flow) => {
                assert!(flow.stage != Stage::Request, "packet identifier {id} is in use [MQTT-2.2.1-3]");
                assert!(flow.stage != Stage::Released, "message {id} is sent again after its PUBREC [MQTT-4.3.3-6]");
                assert!(flow.sent_on != connection, "message {id} is sent twice on a connection [MQTT-4.4.0-1]");
                assert!(dup, "message {id} is sent again without DUP [MQTT-3.3.1-1], or its identifier is in use");
                assert_eq!(flow.stage, Stage::Message(qos), "message {id} has changed its QoS [MQTT-4.4.0-1]");
                assert_eq!(
                    flow.payload, publish.payload,
                    "message {id} has another content than before [MQTT-2.2.1-3]"
                );
                assert_eq!(first_due, place, "message {id} is not the next one to retransmit [MQTT-4.6.0-1]");
                flow.sent_on = connection;
            }
        }
    }

    /// The endpoint has sent SUBSCRIBE or UNSUBSCRIBE.
    pub(crate) fn request(&mut self, id: u16) {
        assert!(self.open.iter().all(|flow| flow.id != id), "packet identifier {id} is in use [MQTT-2.2.1-3]");
        self.open.push(Flow { id, stage: Stage::Request, payload: Vec::new(), sent_on: self.connection });
    }

    /// The endpoint has sent PUBREL.
    pub(crate) fn pubrel(&mut self, id: u16) {
        if self.is_restored && self.open.iter().all(|flow| flow.id != id) {
            self.open.push(Flow { id, stage: Stage::Released, payload: Vec::new(), sent_on: self.connection });
            self.released.push(id);
            return;
        }
        assert!(self.released.contains(&id), "PUBREL of {id} without PUBREC [MQTT-4.3.3-4]");
        let due = self.pubrels_due.pop_front();
        assert_eq!(due, Some(id), "PUBREL of {id} is not in the order of the PUBRECs [MQTT-4.6.0-4]");
    }

    /// The endpoint has sent PUBACK.
    pub(crate) fn puback(&mut self, id: u16) {
        let due = self.pubacks_due.pop_front();
        assert_eq!(due, Some(id), "PUBACK of {id} is not in the order of reception [MQTT-4.6.0-2]");
    }

    /// The endpoint has sent PUBREC.
    pub(crate) fn pubrec(&mut self, id: u16) {
        let due = self.pubrecs_due.pop_front();
        assert_eq!(due, Some(id), "PUBREC of {id} is not in the order of reception [MQTT-4.6.0-3]");
    }

    /// The endpoint has sent PUBCOMP.
    pub(crate) fn pubcomp(&mut self, id: u16) {
        let due = self.pubcomps_due.iter().position(|&due| due == id);
        self.pubcomps_due.remove(due.unwrap_or_else(|| panic!("PUBCOMP of {id} without PUBREL [MQTT-4.3.3-11]")));
    }

    /// The endpoint has received a PUBLISH.
    pub(crate) fn received(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::AtMostOnce => {}
            Delivery::AtLeastOnce { id, .. } => self.pubacks_due.push_back(id.get()),
            Delivery::ExactlyOnce { id, .. } => self.pubrecs_due.push_back(id.get()),
        }
    }

    /// The endpoint has received SUBSCRIBE or UNSUBSCRIBE.
    pub(crate) fn received_request(&mut self, subscribes: bool, id: u16) {
        self.answers_due.push((subscribes, id));
    }

    /// The endpoint has sent SUBACK or UNSUBACK.
    pub(crate) fn answer(&mut self, subscribes: bool, id: u16) {
        let due = self.answers_due.iter().position(|&due| due == (subscribes, id));
        let due = due.unwrap_or_else(|| panic!("answer to request {id}, which was not received [MQTT-3.8.4-2]"));
        self.answers_due.remove(due);
    }

    /// The endpoint has received PUBREL.
    pub(crate) fn received_pubrel(&mut self, id: u16) {
        self.pubcomps_due.push(id);
    }

    /// The endpoint has received PUBREC.
    pub(crate) fn received_pubrec(&mut self, id: u16, is_error: bool) {
        let Some(place) = self.open.iter().position(|flow| flow.id == id) else { return };
        if is_error {
            self.open.remove(place);
            self.restore_quota();
            return;
        }
        if self.open[place].stage != Stage::Released {
            self.open[place].stage = Stage::Released;
            self.released.push(id);
        }
        self.pubrels_due.push_back(id);
    }

    /// The endpoint has received PUBACK or PUBCOMP.
    pub(crate) fn settled(&mut self, id: u16) {
        self.open.retain(|flow| flow.id != id);
        self.released.retain(|&released| released != id);
        self.restore_quota();
    }

    /// The endpoint has received SUBACK or UNSUBACK.
    pub(crate) fn answered(&mut self, id: u16) {
        self.open.retain(|flow| flow.id != id);
    }

    /// PUBACK, PUBCOMP, and PUBREC with an error increase the quota by one, up to its initial value [MQTT-4.9.0-2].
    fn restore_quota(&mut self) {
        self.quota = self.receive_maximum.min(self.quota.saturating_add(1));
    }

    /// Checks that no answer is due that an endpoint gives by itself.
    pub(crate) fn assert_answered(&self) {
        assert!(self.pubrels_due.is_empty(), "PUBREL of {:?} is due [MQTT-4.3.3-4]", self.pubrels_due);
        assert!(self.pubcomps_due.is_empty(), "PUBCOMP of {:?} is due [MQTT-4.3.3-11]", self.pubcomps_due);
    }

    /// Checks that every request is answered.
    pub(crate) fn assert_requests_answered(&self) {
        assert!(self.answers_due.is_empty(), "{:?} is not answered [MQTT-3.8.4-1, MQTT-3.10.4-4]", self.answers_due);
    }

    /// Checks that every message is acknowledged.
    pub(crate) fn assert_acknowledged(&self) {
        assert!(self.pubacks_due.is_empty(), "PUBACK of {:?} is due [MQTT-3.3.4-1]", self.pubacks_due);
        assert!(self.pubrecs_due.is_empty(), "PUBREC of {:?} is due [MQTT-3.3.4-1]", self.pubrecs_due);
    }

    /// Checks that all retransmissions were sent. Returns the number of operations in flight.
    pub(crate) fn open(&mut self) -> usize {
        self.torn = 0;
        self.is_restored = false;
        self.open.len()
    }
}
