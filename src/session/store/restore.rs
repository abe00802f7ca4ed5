//! Restoring a session from its pairs.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::num::NonZeroU32;

use bytes::Bytes;

use super::durable::{Durable, Garbage, SESSION};
use super::records::{DeliveryRecord, MessageHead, StoredStage, WillRecord, read_content};
use super::stored::Stored;
use crate::codec::{PacketId, PublishProperties, Version};
use crate::session::deliveries::Deliveries;
use crate::session::deliveries::outbound::Flow;
use crate::session::deliveries::queue::{Kind as Queued, Waiting};
use crate::session::deliveries::stage::Stage;
use crate::session::engine::Engine;
use crate::session::link::transmit::LARGE;
use crate::session::message_ref::MessageRef;
use crate::session::token::Token;
use crate::session::will::Will;
use crate::store::{ChangeLog, Counter, FORMAT, Fields, Key, Kind, RestoreError, RestoreErrorKind, content_of};
use crate::time::Instant;

/// The session that some pairs describe.
#[derive(Default)]
pub(crate) struct Restored {
    /// The value of the session's record.
    session: Option<Vec<u8>>,
    /// The number and the time of the last batch.
    batch: u64,
    stored_at: Instant,
    high_water: u64,
    messages: BTreeMap<u64, Content>,
    wills: Vec<(u64, WillRecord)>,
    received: Vec<PacketId>,
    deliveries: Vec<(Token, DeliveryRecord)>,
}

/// The encoded content of a message, of which parts may be missing.
struct Content {
    head: MessageHead,
    parts: u32,
    bytes: Vec<u8>,
}

/// Numbers, and times in microseconds, above this one are not valid: there is room for as many again.
const MAX_NUMBER: u64 = u64::MAX / 2;

impl Restored {
    /// Reads pairs, which are in the order of their keys; `None` if there are none.
    pub(crate) fn read<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Option<Self>, RestoreError> {
        let mut restored = Self { high_water: 1, ..Self::default() };
        let mut last: Option<K> = None;
        for (key, value) in pairs {
            let (bytes, value) = (key.as_ref(), value.as_ref());
            let error = |kind| RestoreError::new(bytes, kind);
            if last.as_ref().is_some_and(|last| last.as_ref() >= bytes) {
                return Err(error(RestoreErrorKind::Order));
            }
            if last.is_none() && bytes != &*Key::FORMAT {
                return Err(RestoreError::of(Key::FORMAT, RestoreErrorKind::Format));
            }
            let (kind, numbers) = Kind::split(bytes).ok_or_else(|| error(RestoreErrorKind::UnknownKey))?;
            let content = content_of(bytes, value).ok_or_else(|| error(RestoreErrorKind::Value))?;
            restored.take(kind, numbers, content).map_err(error)?;
            last = Some(key);
        }
        Ok(last.map(|_| restored))
    }

    fn take(&mut self, kind: Kind, numbers: &[u8], value: &[u8]) -> Result<(), RestoreErrorKind> {
        let mut fields = Fields::new(numbers);
        let first = match kind {
            Kind::Format | Kind::Clock => 0,
            Kind::HighWater => fields.u8().map(u64::from).ok_or(RestoreErrorKind::UnknownKey)?,
            _ => fields.u64().ok_or(RestoreErrorKind::UnknownKey)?,
        };
        let of_session = first == SESSION;
        match kind {
            Kind::Format => {
                fields.end(()).ok_or(RestoreErrorKind::UnknownKey)?;
                if value == [FORMAT] { Ok(()) } else { Err(RestoreErrorKind::Format) }
            }
            Kind::Clock => {
                fields.end(()).ok_or(RestoreErrorKind::UnknownKey)?;
                (self.stored_at, self.batch) = read_clock(value).ok_or(RestoreErrorKind::Value)?;
                Ok(())
            }
            Kind::HighWater if first == Counter::Token as u64 => {
                fields.end(()).ok_or(RestoreErrorKind::UnknownKey)?;
                self.high_water = read_number(value).ok_or(RestoreErrorKind::Value)?.max(1);
                Ok(())
            }
            Kind::Message => {
                fields.end(()).ok_or(RestoreErrorKind::UnknownKey)?;
                let (head, bytes) = MessageHead::read(value).ok_or(RestoreErrorKind::Value)?;
                self.messages.insert(first, Content { head, parts: 0, bytes: bytes.into() });
                Ok(())
            }
            Kind::Part => {
                let part = fields.u32().and_then(|part| fields.end(part)).ok_or(RestoreErrorKind::UnknownKey)?;
                // A part of a message that was removed means nothing.
                let Some(content) = self.messages.get_mut(&first) else { return Ok(()) };
                if part != content.parts {
                    return Err(RestoreErrorKind::Incomplete);
                }
                content.parts = content.parts.saturating_add(1);
                content.bytes.extend_from_slice(value);
                Ok(())
            }
            Kind::Session if of_session => {
                fields.end(()).ok_or(RestoreErrorKind::UnknownKey)?;
                self.session = Some(value.into());
                Ok(())
            }
            Kind::Will => {
                let number = fields.u64().and_then(|number| fields.end(number)).ok_or(RestoreErrorKind::UnknownKey)?;
                let will = WillRecord::read(value).ok_or(RestoreErrorKind::Value)?;
                if of_session {
                    self.wills.push((number, will));
                }
                Ok(())
            }
            Kind::Received => {
                let id = fields.u16().and_then(|id| fields.end(id)).and_then(|id| PacketId::new(id).ok());
                let id = id.ok_or(RestoreErrorKind::UnknownKey)?;
                if !value.is_empty() {
                    return Err(RestoreErrorKind::Value);
                }
                if of_session {
                    self.received.push(id);
                }
                Ok(())
            }
            Kind::Delivery => {
                let number = fields.u64().and_then(|number| fields.end(number)).filter(|&number| number <= MAX_NUMBER);
                let token = number.and_then(Token::from_number).ok_or(RestoreErrorKind::UnknownKey)?;
                let delivery = DeliveryRecord::read(value).ok_or(RestoreErrorKind::Value)?;
                if of_session {
                    self.deliveries.push((token, delivery));
                }
                Ok(())
            }
            Kind::HighWater | Kind::Session | Kind::Retained | Kind::Subscription => Err(RestoreErrorKind::UnknownKey),
        }
    }

    /// Returns the value of the session's record; `None` if there is no session.
    pub(crate) fn session(&self) -> Option<&[u8]> {
        self.session.as_deref()
    }

    /// Returns the error of a session's record that cannot be read.
    pub(crate) fn session_error(kind: RestoreErrorKind) -> RestoreError {
        RestoreError::of(Key::session(SESSION), kind)
    }

    /// Creates the engine of the session, at the present time `now` of the caller, and its wills in the order in which
    /// they are due.
    pub(crate) fn into_engine(
        self,
        version: Version,
        max_uncommitted: NonZeroU32,
        is_server: bool,
        now: Instant,
    ) -> Result<(Engine, Vec<Will>), RestoreError> {
        let Self { session, batch, stored_at, high_water, messages, wills, received, deliveries, .. } = self;
        // What belongs to a session without a record means nothing.
        let is_there = session.is_some();
        let mut garbage = Garbage::default();
        let (mut sent, mut released, mut queued) = (Vec::new(), Vec::new(), Vec::new());
        let (mut ids, mut used) = (BTreeSet::new(), BTreeSet::new());
        let mut last = high_water;
        for (token, record) in deliveries {
            let key = Key::delivery(SESSION, token.get());
            let is_stored = matches!(record.stage, StoredStage::Queued | StoredStage::Sent(_));
            let content = messages.get(&record.message).filter(|_| is_stored);
            if !is_there || (is_stored && content.is_none()) {
                garbage.keys.push(key); // a delivery without its message means nothing
                continue;
            }
            if !is_server && !record.identifiers.is_empty() {
                return Err(RestoreError::of(key, RestoreErrorKind::Value)); // only a server sends them
            }
            last = last.max(token.get().saturating_add(1));
            let (since, expires_after, stored) = match content {
                Some(content) => {
                    used.insert(record.message);
                    restore_message(record.message, content, &record, version)?
                }
                None => (now, u32::MAX, Stored::default()),
            };
            let (id, stage) = match record.stage {
                StoredStage::Queued => {
                    let kind = Queued::Message(record.qos);
                    queued.push(Waiting { token, since, kind, expires_after, mark: 0, tries: 0, stored });
                    continue;
                }
                StoredStage::Sent(id) => (id, Stage::of(record.qos)),
                StoredStage::Released { id, code, order } => (id, Stage::PubComp { code, order }),
                StoredStage::GivenUp(id) => (id, Stage::GivenUp),
            };
            if !ids.insert(id) {
                return Err(RestoreError::of(key, RestoreErrorKind::PacketIdInUse));
            }
            let mut flow = Flow::new(token, stage, since, 0, stored);
            (flow.expires_after, flow.is_reported) = (expires_after, record.is_reported);
            match record.stage {
                StoredStage::Released { order, .. } => released.push((order, (id, flow))),
                _ => sent.push((id, flow)),
            }
        }
        // The orders wrap, and are close together: they ascend from half of their range below any of them.
        let base = released.first().map_or(0, |&(order, _)| order).wrapping_sub(u32::MAX / 2);
        released.sort_by_key(|&(order, _)| order.wrapping_sub(base));
        let next_order = released.last().map_or(0, |&(order, _)| order.wrapping_add(1));
        let in_flight = released.into_iter().map(|(_, flow)| flow).chain(sent);
        let mut restored = Vec::new();
        let mut numbers = Vec::new();
        for (number, will) in wills {
            if is_there {
                restored.push(restore_will(number, will, &messages)?);
                numbers.push(number);
                used.insert(number);
                last = last.max(number.saturating_add(1));
            } else {
                garbage.keys.push(Key::will(SESSION, number));
            }
        }
        let (received, lost) = if is_there { (received, Vec::new()) } else { (Vec::new(), received) };
        garbage.keys.extend(lost.into_iter().map(|id| Key::received(SESSION, id)));
        let unused = messages.iter().filter(|(number, _)| !used.contains(number));
        garbage.messages.extend(unused.map(|(&number, content)| (number, content.bytes.len())));
        let deliveries = Deliveries::restored(in_flight, queued, received, token_after(last));
        let log = ChangeLog::after(batch);
        let mut durable =
            Durable::restored(log, version, max_uncommitted, (stored_at, now), &session.unwrap_or_default());
        durable.set_counters(high_water, next_order, numbers);
        durable.remove_garbage(&garbage);
        Ok((Engine::restored(version, durable.inside(now), durable, deliveries), restored))
    }
}

/// Returns the token with this number, which is that of the first token or above.
fn token_after(number: u64) -> Token {
    Token::from_number(number).unwrap_or(Token::FIRST)
}

/// Restores the message of a delivery.
fn restore_message(
    number: u64,
    content: &Content,
    record: &DeliveryRecord,
    version: Version,
) -> Result<(Instant, u32, Stored), RestoreError> {
    let error = |kind| RestoreError::of(Key::message(number), kind);
    if content.head.size as usize != content.bytes.len() {
        return Err(error(RestoreErrorKind::Incomplete));
    }
    let publish = read_content(&content.bytes).ok_or_else(|| error(RestoreErrorKind::Value))?;
    let properties = match version {
        Version::V5 => {
            PublishProperties { subscription_identifiers: record.identifiers[..].into(), ..publish.properties }
        }
        Version::V31 | Version::V311 => PublishProperties::default(),
    };
    let message =
        MessageRef { qos: record.qos, retain: record.retain, properties: &properties, ..MessageRef::of(&publish) };
    let large = (publish.payload.len() >= LARGE).then(|| Bytes::copy_from_slice(publish.payload));
    let stored = Stored::message(&message, large.as_ref(), version).map_err(|_| error(RestoreErrorKind::Value))?;
    let MessageHead { since, expires_after, .. } = content.head;
    Ok((since, expires_after, stored))
}

fn restore_will(number: u64, will: WillRecord, messages: &BTreeMap<u64, Content>) -> Result<Will, RestoreError> {
    let error = |kind| RestoreError::of(Key::message(number), kind);
    let content = messages.get(&number).ok_or_else(|| error(RestoreErrorKind::Incomplete))?;
    if content.head.size as usize != content.bytes.len() {
        return Err(error(RestoreErrorKind::Incomplete));
    }
    let publish = read_content(&content.bytes).ok_or_else(|| error(RestoreErrorKind::Value))?;
    let WillRecord { qos, retain, delay_interval } = will;
    Ok(Will { qos, retain, delay_interval, ..Will::of_message(&publish) })
}

/// Reads the value of [`Key::CLOCK`].
fn read_clock(value: &[u8]) -> Option<(Instant, u64)> {
    let mut fields = Fields::new(value);
    let (time, batch) = (fields.u64()?, fields.u64()?);
    fields.end(())?;
    (time <= MAX_NUMBER && batch <= MAX_NUMBER).then_some((Instant::from_micros(time), batch))
}

fn read_number(value: &[u8]) -> Option<u64> {
    let mut fields = Fields::new(value);
    let number = fields.u64()?;
    fields.end(number).filter(|&number| number <= MAX_NUMBER)
}
