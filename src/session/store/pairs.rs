//! The pairs of messages, deliveries and wills: what is put, and what is removed.

use alloc::vec::Vec;

use super::durable::SESSION;
use super::records::{DeliveryRecord, MessageHead, StoredStage, WillRecord, write_content};
use super::stored::Stored;
use crate::codec::{PacketId, QoS, SubscriptionIdentifier, Version};
use crate::session::deliveries::Deliveries;
use crate::session::deliveries::outbound::Flow;
use crate::session::deliveries::queue::{Kind, Waiting};
use crate::session::deliveries::stage::Stage;
use crate::session::message::Message;
use crate::session::message_ref::MessageRef;
use crate::session::will::Will;
use crate::store::{ChangeLog, Key, MAX_CONTENT};
use crate::time::Instant;

/// A place for pairs.
type Put<'a> = dyn FnMut(Key, &[u8]) + 'a;

/// Maximum size of an encoded message that has room in one value, in bytes.
const MAX_WHOLE: usize = MAX_CONTENT - MessageHead::SIZE;

/// Removes a message of this size in bytes, which is that of its content or more, but for a few bytes.
pub(super) fn remove_message(log: &mut ChangeLog, number: u64, size: usize) {
    /// Number of bytes by which the content may be larger: fields that the version of the session does not have.
    const MORE: usize = 64;
    log.remove(Key::message(number));
    let size = size.saturating_add(MORE);
    if size > MAX_WHOLE {
        for part in 0..size.div_ceil(MAX_CONTENT) as u32 {
            log.remove(Key::part(number, part));
        }
    }
}

pub(super) fn write_delivery(record: &DeliveryRecord, scratch: &mut Vec<u8>) {
    scratch.clear();
    record.write(scratch);
}

pub(super) fn queued_record(waiting: &Waiting, message: u64, version: Version) -> DeliveryRecord {
    let qos = if let Kind::Message(qos) = waiting.kind { qos } else { QoS::AtLeastOnce };
    let (retain, identifiers) = copy_fields(&waiting.stored, version);
    let mark = waiting.mark;
    DeliveryRecord { qos, retain, is_reported: false, stage: StoredStage::Queued, message, mark, identifiers }
}

/// Returns the record of a message in flight; `None` for a request, which is not stored.
pub(super) fn flow_record(id: PacketId, flow: &Flow, message: u64, version: Version) -> Option<DeliveryRecord> {
    let qos = if flow.stage == Stage::PubAck { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
    let is_reported = flow.is_reported;
    let without_message = |stage| {
        let (retain, message, mark, identifiers) = (false, 0, 0, Vec::new());
        DeliveryRecord { qos, retain, is_reported, stage, message, mark, identifiers }
    };
    match flow.stage {
        Stage::PubAck | Stage::PubRec if !flow.is_reported => {
            let (retain, identifiers) = copy_fields(&flow.stored, version);
            let stage = StoredStage::Sent(id);
            Some(DeliveryRecord { qos, retain, is_reported, stage, message, mark: flow.mark, identifiers })
        }
        // After a crash a message that was given up is not sent again.
        Stage::PubAck | Stage::PubRec | Stage::GivenUp => Some(without_message(StoredStage::GivenUp(id))),
        Stage::PubComp { code, order } => Some(without_message(StoredStage::Released { id, code, order })),
        Stage::SubAck(_) | Stage::UnsubAck(_) => None,
    }
}

/// Returns the fields of a stored message that belong to its delivery.
fn copy_fields(stored: &Stored, version: Version) -> (bool, Vec<SubscriptionIdentifier>) {
    if let Some(retain) = stored.retain_without_properties(version) {
        return (retain, Vec::new());
    }
    match stored.as_publish(version) {
        Some(publish) => (publish.retain, publish.properties.subscription_identifiers.iter().collect()),
        None => {
            bug!("a stored message cannot be read");
            (false, Vec::new())
        }
    }
}

/// Puts all deliveries of a store of one session and their messages, and the received messages of QoS 2.
pub(super) fn put_deliveries(deliveries: &Deliveries, version: Version, scratch: &mut Vec<u8>, put: &mut Put<'_>) {
    let outbound = deliveries.outbound();
    for (id, flow) in outbound.messages().chain(outbound.given_up()) {
        let Some(record) = flow_record(id, flow, flow.token.get(), version) else { continue };
        if record.message != 0 {
            let Flow { token, since, expires_after, ref stored, .. } = *flow;
            put_stored(token.get(), since, expires_after, stored, version, scratch, put);
        }
        write_delivery(&record, scratch);
        put(Key::delivery(SESSION, flow.token.get()), scratch);
    }
    for waiting in deliveries.queued_messages() {
        put_message(waiting, version, scratch, put);
        write_delivery(&queued_record(waiting, waiting.token.get(), version), scratch);
        put(Key::delivery(SESSION, waiting.token.get()), scratch);
    }
    for id in deliveries.inbound().accepted() {
        put(Key::received(SESSION, id), &[]);
    }
}

pub(super) fn put_message(waiting: &Waiting, version: Version, scratch: &mut Vec<u8>, put: &mut Put<'_>) {
    let Waiting { token, since, expires_after, ref stored, .. } = *waiting;
    put_stored(token.get(), since, expires_after, stored, version, scratch, put);
}

pub(super) fn put_stored(
    number: u64,
    since: Instant,
    expires_after: u32,
    stored: &Stored,
    version: Version,
    scratch: &mut Vec<u8>,
    put: &mut Put<'_>,
) {
    let Some(publish) = stored.as_publish(version) else { return bug!("a stored message cannot be read") };
    let payload = stored.payload().map_or(publish.payload, |payload| &payload[..]);
    let _size = put_content(number, since, expires_after, &MessageRef::of(&publish), payload, scratch, put);
}

pub(super) fn put_will(
    (session, number): (u64, u64),
    will: &Will,
    now: Instant,
    scratch: &mut Vec<u8>,
    put: &mut Put<'_>,
) {
    let message = Message::try_from(will);
    match message.as_ref().map(Message::checked) {
        Ok(Ok(message)) => drop(put_content(number, now, u32::MAX, &message, message.payload, scratch, put)),
        _ => bug!("a received will is a valid message"),
    }
    let Will { qos, retain, delay_interval, .. } = *will;
    scratch.clear();
    WillRecord { qos, retain, delay_interval }.write(scratch);
    put(Key::will(session, number), scratch);
}

/// Puts the head of a message and, if the message is large, its parts. Returns the size of the content in bytes.
pub(super) fn put_content(
    number: u64,
    since: Instant,
    expires_after: u32,
    message: &MessageRef<'_>,
    payload: &[u8],
    scratch: &mut Vec<u8>,
    put: &mut Put<'_>,
) -> usize {
    scratch.clear();
    MessageHead { since, expires_after, size: 0 }.write(scratch);
    if let Err(error) = write_content(message, payload, scratch) {
        bug!("a stored message can be encoded: {error}");
        return 0;
    }
    let size = scratch.len().saturating_sub(MessageHead::SIZE);
    if let Some(field) = scratch.get_mut(MessageHead::SIZE - 4..MessageHead::SIZE) {
        field.copy_from_slice(&(size as u32).to_be_bytes());
    }
    if size <= MAX_WHOLE {
        put(Key::message(number), scratch);
        return size;
    }
    let (head, content) = scratch.split_at(MessageHead::SIZE);
    put(Key::message(number), head);
    for (part, bytes) in (0..).zip(content.chunks(MAX_CONTENT)) {
        put(Key::part(number, part), bytes);
    }
    *scratch = Vec::new();
    size
}
