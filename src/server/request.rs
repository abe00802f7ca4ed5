//! SUBSCRIBE and UNSUBSCRIBE requests of a client.

use alloc::collections::BTreeMap;

use crate::codec::{List, PacketId, Subscribe, SubscribeProperties, Subscription, UnsubscribeProperties};
use crate::topic::TopicFilter;

/// Identifies a request, so that it can be answered. It is valid only for the [`ServerSession`](super::ServerSession)
/// and the connection on which the request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    connection: u32,
    id: PacketId,
}

impl RequestId {
    pub(super) const fn new(connection: u32, id: PacketId) -> Self {
        Self { connection, id }
    }

    /// Returns whether the request has arrived on the connection with this number.
    pub(super) const fn is_of(self, connection: u32) -> bool {
        self.connection == connection
    }

    pub(super) const fn packet_id(self) -> PacketId {
        self.id
    }
}

/// A SUBSCRIBE of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscribeRequest<'a> {
    /// The identifier to pass to [`suback`](super::ServerSession::suback).
    pub id: RequestId,
    /// The requested subscriptions, in order.
    pub subscriptions: List<'a, Subscription<'a>>,
    /// The properties; empty before 5.0.
    pub properties: SubscribeProperties<'a>,
}

impl<'a> SubscribeRequest<'a> {
    /// Creates the request of a received packet.
    pub(crate) const fn new(id: RequestId, packet: &Subscribe<'a>) -> Self {
        let Subscribe { subscriptions, properties, .. } = *packet;
        Self { id, subscriptions, properties }
    }

    /// Returns the packet, as it was received.
    #[allow(dead_code, reason = "for a router: see `routing`")]
    pub(crate) const fn packet(&self) -> Subscribe<'a> {
        Subscribe { id: self.id.id, subscriptions: self.subscriptions, properties: self.properties }
    }
}

/// An UNSUBSCRIBE of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnsubscribeRequest<'a> {
    /// The identifier to pass to [`unsuback`](super::ServerSession::unsuback).
    pub id: RequestId,
    /// The topic filters to unsubscribe from. They are to be compared character by character with those of the
    /// subscriptions.
    pub filters: List<'a, TopicFilter<'a>>,
    /// The properties; empty before 5.0.
    pub properties: UnsubscribeProperties<'a>,
}

/// The requests that are not answered yet.
pub(super) type Requests = BTreeMap<PacketId, Kind>;

/// The type of a request, with its number of topic filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Subscribe(u32),
    Unsubscribe(u32),
}
