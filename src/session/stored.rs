//! Packets that are kept.

use alloc::boxed::Box;
#[cfg(feature = "broker")]
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

#[cfg(feature = "broker")]
use super::payload::PayloadAccount;
use super::payload::StoredPayload;
use crate::codec::{self, Decoded, EncodeError, Limits, Packet, Publish, PublishProperties, Version};

/// A packet that is kept until it can be sent, or until it is acknowledged: encoded, with the full topic and no alias.
///
/// A large shared payload is kept by reference, and the packet has an empty one in its place.
#[derive(Clone, Default)]
pub(crate) struct Stored {
    packet: Vec<u8>,
    payload: Option<Box<StoredPayload>>,
}

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
        self.payload = None;
        if self.packet.capacity() > REUSED {
            self.packet = Vec::new();
        } else {
            self.packet.clear();
        }
    }

    /// Keeps a message; a large payload replaces the empty one in it.
    pub(crate) fn message(publish: &Publish<'_>, large: Option<&Bytes>, version: Version) -> Result<Self, EncodeError> {
        let mut packet = Vec::with_capacity(publish.encoded_len(version)?);
        publish.encode(version, &mut packet)?;
        Ok(Self { packet, payload: large.map(|large| Box::new(StoredPayload::new(large.clone()))) })
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
            // What one version can carry, another one can too without its properties.
            let _ = Publish { properties, ..publish }.encode(to, &mut converted);
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

    /// The bytes of the packet.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.packet
    }

    /// The payload that is kept by reference.
    pub(crate) fn payload(&self) -> Option<&Bytes> {
        self.payload.as_ref().map(|payload| &payload.bytes)
    }

    /// The payload that is kept by reference counts in this account for as long as it is stored here.
    #[cfg(feature = "broker")]
    pub(crate) fn count_in(&mut self, account: &Arc<PayloadAccount>) {
        if let Some(payload) = &mut self.payload {
            payload.count_in(account);
        }
    }
}
