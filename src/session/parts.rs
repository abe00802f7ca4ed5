//! Delivery in parts: large messages whose payload is delivered as it arrives.

use super::engine::{Engine, Rules, Side, Stop, halt};
use super::message::{PayloadPart, ReceivedMessage};
use crate::codec::{self, Delivery, FixedHeader};

/// A message whose first part has been delivered.
#[derive(Clone)]
pub(crate) struct Partial {
    delivery: Delivery,
    /// Number of bytes of the payload that have not arrived.
    missing: u32,
    /// Whether the message was delivered before, so that no part of it is reported.
    is_duplicate: bool,
}

impl Engine {
    /// Begins to deliver the message at the start of the input, if it is to be delivered in parts.
    pub(super) fn begin_message<'a>(
        &mut self,
        side: &mut impl Side,
        rules: &Rules,
        input: &mut &'a [u8],
        stop: &mut Option<Stop>,
    ) -> Option<ReceivedMessage<'a>> {
        let is_large = |header: FixedHeader| header.packet_size() > rules.deliver_in_parts;
        if !FixedHeader::decode(input, self.version).ok().flatten().is_some_and(is_large) {
            return None;
        }
        let (publish, missing) = match codec::decode_publish_head(input, self.version, rules.limits) {
            Ok(head) => head?,
            Err(error) => {
                *stop = Some(Stop::Malformed(error));
                return None;
            }
        };
        let topic = match self.topic_of(side, rules, &publish) {
            Ok(topic) => topic,
            Err(protocol_error) => return halt(stop, protocol_error),
        };
        *input = &[];
        self.heard = true;
        let delivery = publish.delivery;
        let is_duplicate = match delivery {
            Delivery::ExactlyOnce { id, .. } => self.inbound.has(id),
            Delivery::AtMostOnce | Delivery::AtLeastOnce { .. } => false,
        };
        self.partial = Some(Partial { delivery, missing, is_duplicate }.into());
        let message = ReceivedMessage::new(topic, publish.payload, delivery, publish.retain, publish.properties);
        (!is_duplicate).then_some(ReceivedMessage { missing, ..message })
    }

    /// Takes more of a message that is delivered in parts. The session accepts ownership of the message, and
    /// acknowledges it, with the last part.
    #[cold]
    pub(super) fn continue_message<'a>(
        &mut self,
        rules: &Rules,
        input: &mut &'a [u8],
        stop: &mut Option<Stop>,
    ) -> Option<PayloadPart<'a>> {
        let partial = self.partial.as_mut()?;
        let (bytes, rest) = input.split_at_checked(partial.missing as usize).unwrap_or((input, &[]));
        *input = rest;
        self.heard = true;
        partial.missing = partial.missing.saturating_sub(bytes.len() as u32);
        let Partial { delivery, missing, is_duplicate } = **partial;
        let mut ack_handle = None;
        if missing == 0 {
            self.partial = None;
            if let (true, Delivery::ExactlyOnce { id, .. }) = (is_duplicate, delivery) {
                self.acknowledge_duplicate(id);
                return None;
            }
            ack_handle = match self.take_over(rules, delivery) {
                Ok(ack_handle) => ack_handle,
                Err(end) => return halt(stop, end?),
            };
        }
        (!is_duplicate).then_some(PayloadPart { bytes, missing, ack_handle })
    }
}
