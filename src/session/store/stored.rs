//! Stored packets.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use super::payload::PayloadAccount;
use super::payload::StoredPayload;
use crate::codec::{
    self, Decoded, Delivery, EncodeError, Limits, Packet, PacketId, PacketType, Publish, PublishParts,
    PublishProperties, Version,
};
use crate::session::deliveries::packet_id::MAX_KEPT;
use crate::session::message_ref::MessageRef;
use crate::session::request::Request;
use crate::sync::Arc;

/// A packet that is stored until it can be sent, or until it is acknowledged: encoded, with the full topic name and no
/// topic alias.
///
/// A large shared payload is stored by reference; the payload in the packet is then empty.
#[derive(Clone, Default)]
pub(crate) struct Stored {
    packet: Vec<u8>,
    /// What few packets have: a large payload, or a number in a durable store.
    payload: Option<Box<StoredPayload>>,
}

/// A stored packet as a durable store has it: the number of the message there, and its size in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InStore {
    /// 0 if the message has no number of its own.
    pub(crate) number: u64,
    pub(crate) size: usize,
}

/// Fills the place of the packet identifier in a stored packet. The identifier is assigned when the packet is sent.
const UNASSIGNED: PacketId = PacketId::MIN;

/// The content of a stored packet.
pub(crate) enum Content<'a> {
    /// The PUBLISH of a message, without its payload if that is stored by [reference](Stored::payload).
    Message(Publish<'a>),
    Request(Request<'a>),
}

impl Stored {
    /// The size in bytes on the heap of what a packet has that has a number in a durable store.
    pub(crate) const RARE: usize = size_of::<StoredPayload>();

    /// Replaces the stored packet by an encoded one.
    #[inline]
    pub(crate) fn set(&mut self, packet: &[u8]) {
        self.clear();
        self.packet.extend_from_slice(packet);
    }

    /// Removes the packet. The buffer of a small packet is reused.
    #[inline]
    pub(crate) fn clear(&mut self) {
        let mut most = MAX_KEPT;
        // This spares the call that drops what is rarely there. What a number was in serves the next one.
        if let Some(payload) = &mut self.payload {
            if payload.has_number_only() {
                payload.set_number(0);
                most = MAX_KEPT.saturating_sub(Self::RARE);
            } else {
                self.payload = None;
            }
        }
        if self.packet.capacity() > most {
            self.packet = Vec::new();
        } else {
            self.packet.clear();
        }
    }

    /// Returns the number of bytes that are kept for the next packet after [`clear`](Self::clear).
    #[inline]
    pub(crate) const fn kept(&self) -> usize {
        self.packet.capacity().wrapping_add(if self.payload.is_some() { Self::RARE } else { 0 })
    }

    /// Stores a message. `large`, if present, is stored by reference and replaces the payload of the message.
    pub(crate) fn message(
        message: &MessageRef<'_>,
        large: Option<&Bytes>,
        version: Version,
    ) -> Result<Self, EncodeError> {
        let publish = Self::form(message, large);
        let mut packet = Vec::with_capacity(publish.encoded_len(version)?);
        publish.encode(version, &mut packet)?;
        Ok(Self { packet, payload: large.map(|large| Box::new(StoredPayload::new(large.clone()))) })
    }

    /// Returns the size in bytes of a message as it is stored and sent.
    pub(crate) fn message_len(
        message: &MessageRef<'_>,
        large: Option<&Bytes>,
        version: Version,
    ) -> Result<usize, EncodeError> {
        Ok(Self::form(message, large).encoded_len(version)?.saturating_add(large.map_or(0, Bytes::len)))
    }

    /// Builds the PUBLISH to store. Its packet identifier is a placeholder until the message is sent.
    fn form<'m>(message: &'m MessageRef<'_>, large: Option<&Bytes>) -> PublishParts<'m> {
        let payload = if large.is_some() { &[] } else { message.payload };
        message.as_publish(Delivery::new(message.qos, UNASSIGNED, false), payload)
    }

    /// Stores a request.
    pub(crate) fn request(request: &Request<'_>, version: Version) -> Result<Self, EncodeError> {
        let mut packet = Vec::new();
        request.as_packet(UNASSIGNED).encode(version, &mut packet)?;
        Ok(Self { packet, payload: None })
    }

    /// Converts a stored message to another version of the protocol, without the properties if that version has none.
    pub(crate) fn convert(&mut self, from: Version, to: Version) {
        let mut converted = Vec::new();
        if let Some(Packet::Publish(publish)) = self.packet(from) {
            let properties = if to == Version::V5 { publish.properties } else { PublishProperties::default() };
            if let Err(error) = (Publish { properties, ..publish }).encode(to, &mut converted) {
                bug!("what one version carries, another one carries without properties: {error}");
            }
            self.packet = converted;
        }
    }

    /// Returns the number of stored bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.packet.len().saturating_add(self.payload().map_or(0, Bytes::len))
    }

    /// Returns the size in bytes on the heap, without the payload that is stored by reference.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn heap(&self) -> usize {
        self.packet.capacity().saturating_add(self.heap_of_rare())
    }

    /// Returns the size in bytes on the heap of what few packets have, without the payload that is stored by reference.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn heap_of_rare(&self) -> usize {
        if self.payload.is_some() { Self::RARE } else { 0 }
    }

    /// Decodes the content.
    pub(crate) fn content(&self, version: Version) -> Option<Content<'_>> {
        match self.packet(version)? {
            Packet::Publish(publish) => Some(Content::Message(publish)),
            packet => Request::of(&packet).map(Content::Request),
        }
    }

    fn packet(&self, version: Version) -> Option<Packet<'_>> {
        match codec::decode(&self.packet, version, Limits::DEFAULT) {
            Ok(Decoded::Packet { packet, .. }) => Some(packet),
            _ => None,
        }
    }

    /// Returns the PUBLISH if the packet is one, without its payload if that is stored by [reference](Self::payload).
    pub(crate) fn as_publish(&self, version: Version) -> Option<Publish<'_>> {
        match self.packet(version) {
            Some(Packet::Publish(publish)) => Some(publish),
            _ => None,
        }
    }

    /// Returns the RETAIN flag if the packet is a PUBLISH without properties; `None` if it has properties or is another
    /// packet.
    pub(crate) fn retain_without_properties(&self, version: Version) -> Option<bool> {
        let (&first, rest) = self.packet.split_first()?;
        if first >> 4 != PacketType::Publish as u8 {
            return None;
        }
        if version == Version::V5 {
            // The length of the properties follows the packet identifier, and that the topic name.
            let remaining_length = rest.iter().position(|byte| byte & 0x80 == 0)?;
            let (topic, rest) = rest.get(remaining_length.checked_add(1)?..)?.split_first_chunk::<2>()?;
            let has_id = first & 0x06 != 0;
            let before = usize::from(u16::from_be_bytes(*topic)).saturating_add(if has_id { 2 } else { 0 });
            if *rest.get(before)? != 0 {
                return None;
            }
        }
        Some(first & 0x01 != 0)
    }

    /// Returns the bytes of the packet.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.packet
    }

    /// Returns the payload that is stored by reference.
    pub(crate) fn payload(&self) -> Option<&Bytes> {
        // A payload that is stored by reference is never empty.
        self.payload.as_ref().map(|payload| &payload.bytes).filter(|bytes| !bytes.is_empty())
    }

    /// Returns the number that a durable store has for the message, and the size of the packet.
    pub(crate) fn in_store(&self) -> InStore {
        InStore { number: self.payload.as_ref().map_or(0, |payload| payload.number()), size: self.len() }
    }

    /// Sets the number that a durable store has for the message.
    pub(crate) fn set_number(&mut self, number: u64) {
        self.payload.get_or_insert_with(|| Box::new(StoredPayload::new(Bytes::new()))).set_number(number);
    }

    /// Returns the bytes of the packet, and the payload if that is stored by reference. It does not count as stored any more.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn into_parts(self) -> (Vec<u8>, Option<Bytes>) {
        let payload = self.payload().cloned();
        (self.packet, payload)
    }

    /// Counts the payload that is stored by reference in this account for as long as it is stored here.
    pub(crate) fn count_in(&mut self, account: &Arc<PayloadAccount>) {
        if let Some(payload) = &mut self.payload {
            payload.count_in(account);
        }
    }
}
