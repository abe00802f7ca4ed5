//! Sending of packets that have waited for a batch to be committed.

use super::deliveries::Deliveries;
use super::effects::Effects;
use super::link::Link;
use super::link::held::HeldPacket;
use super::message_ref::MessageRef;
use super::outcome::AbandonReason;
use super::token::Token;
use crate::codec::{Delivery, PacketId};
use crate::session::backlog::reduce_expiry;
use crate::time::Instant;

/// The parts of an engine that send the packets that have waited, on an open connection.
pub(super) struct Release<'s> {
    pub(super) now: Instant,
    pub(super) link: &'s mut Link,
    pub(super) deliveries: &'s mut Deliveries,
    pub(super) effects: &'s mut Effects,
    /// The size of the largest packet that may be sent, in bytes.
    pub(super) max_packet_size: u32,
}

impl Release<'_> {
    /// Puts all packets into the output that need not wait any longer, in order \[MQTT-4.6.0-2 to MQTT-4.6.0-4\].
    pub(super) fn send(mut self) {
        while let Some(packet) = self.effects.durable_mut().and_then(|durable| durable.next_released()) {
            match packet {
                HeldPacket::Ack { id, qos, reason_code } => self.link.put_ack(id, qos, reason_code),
                HeldPacket::Encoded { packet, .. } | HeldPacket::Request(packet) => self.link.append_ack(&packet),
                HeldPacket::PubRel { id, reason_code } => self.link.put_pubrel(id, reason_code),
                HeldPacket::PubRelAgain(id) => self.link.put_pubrel_again(id),
                HeldPacket::PubComp { id, reason_code } => self.link.put_pubcomp(id, reason_code),
                HeldPacket::Publish { id, token, .. } => self.send_message(id, token),
            }
        }
    }

    /// Sends a message, unless it was withdrawn or acknowledged meanwhile.
    fn send_message(&mut self, id: PacketId, token: Token) {
        let Some(flow) = self.deliveries.outbound().get_held(id, token) else { return };
        let starts_at = self.link.end();
        let waited = self.now.since(flow.since).as_secs();
        let Some(mut publish) = flow.stored.as_publish(self.link.version()) else {
            return bug!("a stored message cannot be read");
        };
        // The message has not expired when it got its packet identifier, so a second is always left [MQTT-4.3.3-7].
        reduce_expiry(&mut publish.properties, waited, 1);
        let message = MessageRef::of(&publish);
        let delivery = Delivery::new(message.qos, id, flow.dup);
        match self.link.put_stored(&message, delivery, &flow.stored, self.max_packet_size) {
            Ok(()) => self.deliveries.release_held(id, starts_at),
            Err(error) => {
                bug!("the size of a message that waits was checked: {error}");
                let reason = AbandonReason::NotSupported(error.reason_code());
                self.deliveries.give_up_resend(id, reason, self.effects);
            }
        }
    }
}
