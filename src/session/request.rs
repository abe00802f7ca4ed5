//! SUBSCRIBE and UNSUBSCRIBE, without the packet identifier that belongs to one connection.

use super::deliveries::queue::Kind;
use crate::codec::{
    List, Packet, PacketId, Subscribe, SubscribeProperties, Subscription, Unsubscribe, UnsubscribeProperties,
};
use crate::topic::TopicFilter;

/// The content of a SUBSCRIBE or UNSUBSCRIBE. The packet identifier is assigned when the request is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    Subscribe { subscriptions: List<'a, Subscription<'a>>, properties: SubscribeProperties<'a> },
    Unsubscribe { filters: List<'a, TopicFilter<'a>>, properties: UnsubscribeProperties<'a> },
}

impl<'a> Request<'a> {
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Subscribe { subscriptions, .. } => Kind::Subscribe(subscriptions.len() as u32),
            Self::Unsubscribe { filters, .. } => Kind::Unsubscribe(filters.len() as u32),
        }
    }

    /// Builds the packet.
    pub(crate) const fn as_packet(&self, id: PacketId) -> Packet<'a> {
        match *self {
            Self::Subscribe { subscriptions, properties } => {
                Packet::Subscribe(Subscribe { id, subscriptions, properties })
            }
            Self::Unsubscribe { filters, properties } => Packet::Unsubscribe(Unsubscribe { id, filters, properties }),
        }
    }

    /// Returns the content of a stored or received request; `None` for any other packet.
    pub(crate) const fn of(packet: &Packet<'a>) -> Option<Self> {
        match *packet {
            Packet::Subscribe(Subscribe { subscriptions, properties, .. }) => {
                Some(Self::Subscribe { subscriptions, properties })
            }
            Packet::Unsubscribe(Unsubscribe { filters, properties, .. }) => {
                Some(Self::Unsubscribe { filters, properties })
            }
            _ => None,
        }
    }
}
