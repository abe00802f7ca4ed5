//! The client, as the engine of a server session knows it.

use core::num::NonZeroU32;

use super::config::ServerConfig;
use super::state::State;
use crate::codec::{QoS, ReasonCode, Version};
use crate::session::{BudgetLimits, ConnectionLimits, Peer, ProtocolError, PublishError, Request, SubscribeError};

/// The client: its limits, and what it may send.
pub(crate) struct ClientPeer<'s> {
    pub(super) config: &'s ServerConfig,
    pub(super) version: Version,
    pub(super) state: &'s State,
}

/// Returns the limits of the connection of a session in this state.
#[inline(always)]
pub(super) fn limits(config: &ServerConfig, version: Version, state: &State) -> ConnectionLimits {
    let client = state.client();
    ConnectionLimits {
        is_open: state.open().is_some(),
        decoder: config.limits(config.maximum_packet_size),
        // Before 5.0 no Receive Maximum is announced: only the number of packet identifiers limits the client.
        receive_maximum: if version == Version::V5 { config.receive_maximum.get() } else { u16::MAX },
        topic_alias_maximum: config.topic_alias_maximum,
        manual_acks: config.manual_acks,
        deliver_in_parts: config.deliver_in_parts.map_or(u32::MAX, NonZeroU32::get),
        max_in_flight: client.receive_maximum.min(config.max_in_flight.get()),
        max_packet_size: client.maximum_packet_size,
        budget: BudgetLimits { count: config.max_stored, bytes: config.max_stored_bytes },
        overflow: config.overflow,
        puback_ends_qos_2: config.puback_ends_qos_2,
        queues_qos_0: config.store_qos_0,
        transmit_limit: config.transmit_limit.get(),
        answer_limit: config.answer_limit.get(),
    }
}

impl Peer for ClientPeer<'_> {
    #[inline(always)]
    fn limits(&self) -> ConnectionLimits {
        limits(self.config, self.version, self.state)
    }

    /// Before 5.0 no Maximum QoS and no Retain Available are announced: nothing is enforced.
    #[inline(always)]
    fn may_send(&self, qos: QoS, retain: bool) -> Result<(), ProtocolError> {
        if self.version != Version::V5 {
            return Ok(());
        }
        if qos > self.config.maximum_qos {
            return Err(ProtocolError::QoSNotSupported);
        }
        if retain && !self.config.retain_available {
            return Err(ProtocolError::RetainNotSupported);
        }
        Ok(())
    }

    #[inline(always)]
    fn supports(&self, _: QoS, _: bool) -> Result<(), PublishError> {
        Ok(())
    }

    /// A server never sends SUBSCRIBE or UNSUBSCRIBE.
    fn supports_request(&mut self, request: &Request<'_>) -> Result<(), SubscribeError> {
        bug!("a server has sent {request:?}");
        Err(SubscribeError::NotSupported(ReasonCode::ImplementationSpecificError))
    }
}
