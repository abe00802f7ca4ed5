//! Messages that are larger than what the caller wants to collect: delivered in parts, as they come.

use super::action::Action;
use super::session::{ClientSession, State};
use crate::codec::{self, Delivery, FixedHeader};
use crate::session::{PayloadPart, ReceivedMessage};

/// A message of which a part has been delivered.
pub(super) struct Partial {
    delivery: Delivery,
    /// How many bytes are still to come.
    missing: u32,
    /// Whether it was delivered before, so that it is not told again.
    is_duplicate: bool,
}

impl ClientSession {
    /// Begins to deliver the message that the input begins with, if it is to be delivered in parts.
    #[cold]
    pub(super) fn begin_message<'a>(&mut self, input: &mut &'a [u8]) -> Option<Action<'a>> {
        let (limits, threshold) = (self.config.limits(), self.config.deliver_in_parts);
        let is_large = |header: FixedHeader| header.packet_size() > threshold;
        if self.state != State::Connected
            || !FixedHeader::decode(input, self.version).ok().flatten().is_some_and(is_large)
        {
            return None;
        }
        let (publish, missing) = match codec::decode_publish_head(input, self.version, limits) {
            Ok(head) => head?,
            Err(error) => return Some(self.malformed(error)),
        };
        let topic = match self.topic_of(&publish) {
            Ok(topic) => topic,
            Err(breach) => return Some(self.breach(breach)),
        };
        *input = &[];
        let delivery = publish.delivery;
        let is_duplicate = match delivery {
            Delivery::ExactlyOnce { id, .. } => self.inbound.has(id),
            Delivery::AtMostOnce | Delivery::AtLeastOnce { .. } => false,
        };
        self.partial = Some(Partial { delivery, missing, is_duplicate }.into());
        if is_duplicate {
            return None;
        }
        let mut message = ReceivedMessage::new(topic, publish.payload, delivery, publish.retain, publish.properties);
        message.missing = missing;
        Some(Action::Message(message))
    }

    /// Goes on with a message that is delivered in parts. It is taken over, and acknowledged, with the last one.
    #[cold]
    pub(super) fn continue_message<'a>(&mut self, input: &mut &'a [u8]) -> Option<Action<'a>> {
        let partial = self.partial.as_mut()?;
        let (bytes, rest) = input.split_at_checked(partial.missing as usize).unwrap_or((input, &[]));
        *input = rest;
        partial.missing = partial.missing.saturating_sub(bytes.len() as u32);
        self.keep_alive.received();
        let Partial { delivery, missing, is_duplicate } = **partial;
        let mut receipt = None;
        if missing == 0 {
            self.partial = None;
            receipt = match self.take_over(delivery) {
                Ok(receipt) => receipt,
                Err(end) => return end.map(|breach| self.breach(breach)),
            };
        }
        (!is_duplicate).then_some(Action::Payload(PayloadPart { bytes, missing, receipt }))
    }
}
