//! Packets that are kept.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::payload::PayloadAccount;
use super::payload::StoredPayload;
use crate::codec::{
    self, Decoded, Delivery, EncodeError, Limits, Packet, PacketId, Publish, PublishParts, PublishProperties, Version,
};
use crate::session::message::MessageRef;

/// A packet that is kept until it can be sent, or until it is acknowledged: encoded, with the full topic and no alias.
///
/// A large shared payload is kept by reference, and the packet has an empty one in its place.
#[derive(Clone, Default)]
pub(crate) struct Stored {
    packet: Vec<u8>,
    payload: Option<Box<StoredPayload>>,
}

/// What stands in a stored packet for the packet identifier that it will have.
pub(crate) const UNASSIGNED: PacketId = PacketId::MIN;

/// Up to this size, the memory of a packet is used again.
const REUSED: usize = 256;

impl Stored {
    /// Keeps a packet that has been encoded.
    pub(crate) const fn new(packet: Vec<u8>) -> Self {
        Self { packet, payload: None }
    }

    /// Keeps a packet that has been encoded, where another one was kept.
    #[inline]
    pub(crate) fn set(&mut self, packet: &[u8]) {
        self.clear();
        self.packet.extend_from_slice(packet);
    }

    /// Keeps nothing. The memory of a small packet is used again.
    #[inline]
    pub(crate) fn clear(&mut self) {
        // The payload is rarely there, and this spares the call that drops it.
        if self.payload.is_some() {
            self.payload = None;
        }
        if self.packet.capacity() > REUSED {
            self.packet = Vec::new();
        } else {
            self.packet.clear();
        }
    }

    /// Stores a message. A large payload is stored by reference, in place of the one of the message.
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

    /// The size in which a message is stored, and sent.
    pub(crate) fn message_len(
        message: &MessageRef<'_>,
        large: Option<&Bytes>,
        version: Version,
    ) -> Result<usize, EncodeError> {
        Ok(Self::form(message, large).encoded_len(version)?.saturating_add(large.map_or(0, Bytes::len)))
    }

    /// PUBLISH as it is stored. The place of its packet identifier is filled in when the message is sent.
    fn form<'m>(message: &'m MessageRef<'_>, large: Option<&Bytes>) -> PublishParts<'m> {
        let payload = if large.is_some() { &[] } else { message.payload };
        message.as_publish(Delivery::new(message.qos, UNASSIGNED, false), payload)
    }

    /// Keeps what a journal has kept.
    pub(crate) fn restored(packet: &[u8], payload: &[u8]) -> Self {
        let shared = || Box::new(StoredPayload::new(Bytes::copy_from_slice(payload)));
        Self { packet: packet.into(), payload: (!payload.is_empty()).then(shared) }
    }

    /// Keeps a message in another version, without the properties if that has none.
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

    /// How many bytes are kept.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.packet.len().saturating_add(self.payload().map_or(0, Bytes::len))
    }

    /// The packet. The payload of a message is [`payload`](Self::payload) instead, if there is that.
    pub(crate) fn packet(&self, version: Version) -> Option<Packet<'_>> {
        match codec::decode(&self.packet, version, Limits::DEFAULT) {
            Ok(Decoded::Packet { packet, .. }) => Some(packet),
            _ => None,
        }
    }

    /// The message, if the packet is a PUBLISH; without its payload if that is stored by [reference](Self::payload).
    pub(crate) fn as_message(&self, version: Version) -> Option<Publish<'_>> {
        match self.packet(version) {
            Some(Packet::Publish(publish)) => Some(publish),
            _ => None,
        }
    }

    /// The bytes of the packet.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.packet
    }

    /// The payload that is kept by reference.
    pub(crate) fn payload(&self) -> Option<&Bytes> {
        self.payload.as_ref().map(|payload| &payload.bytes)
    }

    /// The payload that is kept by reference counts in this account for as long as it is stored here.
    pub(crate) fn count_in(&mut self, account: &Arc<PayloadAccount>) {
        if let Some(payload) = &mut self.payload {
            payload.count_in(account);
        }
    }
}
