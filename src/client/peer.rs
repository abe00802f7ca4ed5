//! The server, as the engine of a client knows it.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use core::num::NonZeroU32;

use super::config::ClientConfig;
use super::server::ServerLimits;
use super::state::{Acceptance, State};
use crate::codec::{Publish, QoS, Version};
use crate::session::{BudgetLimits, ConnectionLimits, Peer, ProtocolError, PublishError, Request, SubscribeError};

/// A set of subscription identifiers.
pub(super) type Identifiers = BTreeSet<u32>;

/// The server: its limits, and the subscription identifiers that it may send.
pub(crate) struct ServerPeer<'s> {
    pub(super) config: &'s ClientConfig,
    pub(super) version: Version,
    pub(super) state: &'s State,
    pub(super) identifiers: &'s mut Option<Box<Identifiers>>,
    pub(super) knows_identifiers: bool,
}

/// Returns the limits of a connection in this state.
#[inline(always)]
pub(super) fn limits(config: &ClientConfig, version: Version, state: &State) -> ConnectionLimits {
    let (is_open, server) = match state {
        State::Connected { acceptance: Acceptance { server, .. }, .. } => (true, server),
        _ => (false, &ServerLimits::UNKNOWN),
    };
    ConnectionLimits {
        is_open,
        decoder: config.limits(),
        // Before 5.0 no Receive Maximum is announced: only the number of packet identifiers limits the server.
        receive_maximum: if version == Version::V5 { config.receive_maximum.get() } else { u16::MAX },
        topic_alias_maximum: config.topic_alias_maximum,
        manual_acks: config.manual_acks,
        deliver_in_parts: config.deliver_in_parts.map_or(u32::MAX, NonZeroU32::get),
        max_in_flight: server.receive_maximum.min(config.max_in_flight.get()),
        max_packet_size: server.maximum_packet_size,
        budget: BudgetLimits { count: config.max_stored, bytes: config.max_stored_bytes },
        overflow: config.overflow,
        puback_ends_qos_2: config.puback_ends_qos_2,
        queues_qos_0: true,
        transmit_limit: config.transmit_limit.get(),
        answer_limit: config.answer_limit.get(),
    }
}

impl ServerPeer<'_> {
    #[inline(always)]
    fn server(&self) -> &ServerLimits {
        match self.state {
            State::Connected { acceptance, .. } => &acceptance.server,
            _ => &ServerLimits::UNKNOWN,
        }
    }
}

impl Peer for ServerPeer<'_> {
    #[inline(always)]
    fn limits(&self) -> ConnectionLimits {
        limits(self.config, self.version, self.state)
    }

    /// Checks that each subscription identifier of a message may have been used in a SUBSCRIBE (section 3.3.2.3.8).
    #[cold]
    fn may_send_identifiers(&self, publish: &Publish<'_>) -> Result<(), ProtocolError> {
        let is_known = |id: u32| self.identifiers.as_ref().is_some_and(|known| known.contains(&id));
        let mut identifiers = publish.properties.subscription_identifiers.iter();
        if !self.knows_identifiers || identifiers.all(|id| is_known(id.get())) {
            Ok(())
        } else {
            Err(ProtocolError::UnknownSubscriptionIdentifier)
        }
    }

    #[inline(always)]
    fn supports(&self, qos: QoS, retain: bool) -> Result<(), PublishError> {
        self.server().check_message(qos, retain)
    }

    fn supports_request(&mut self, request: &Request<'_>) -> Result<(), SubscribeError> {
        if let Request::Subscribe { subscriptions, properties } = request {
            self.server().check_subscriptions(subscriptions, properties)?;
            if let Some(identifier) = properties.subscription_identifier {
                self.identifiers.get_or_insert_default().insert(identifier.get());
            }
        }
        Ok(())
    }
}
