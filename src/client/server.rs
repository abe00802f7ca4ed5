//! What a server is ready to take (section 3.2.2.3).

use crate::codec::{ConnAckProperties, MAX_PACKET_SIZE, MaximumQoS, QoS, SubscribeProperties, Subscription};
use crate::session::{Available, CommandError};

/// What a server is ready to take, as CONNACK has told it. Before 5.0 nothing is told, and everything is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLimits {
    /// How many messages of QoS 1 and 2 at a time.
    pub receive_maximum: u16,
    /// The highest QoS; `None` for 2.
    pub maximum_qos: Option<MaximumQoS>,
    /// Whether it retains messages.
    pub retain_available: bool,
    /// The largest packet, in bytes.
    pub maximum_packet_size: u32,
    /// The highest topic alias.
    pub topic_alias_maximum: u16,
    /// Whether it takes filters with wildcards.
    pub wildcard_subscription_available: bool,
    /// Whether it takes subscription identifiers.
    pub subscription_identifiers_available: bool,
    /// Whether it takes shared subscriptions.
    pub shared_subscription_available: bool,
    /// The longest time without a packet to it, in seconds; 0 for no limit.
    pub keep_alive: u16,
    /// How long it keeps the session when the connection has ended, in seconds; `u32::MAX` for ever.
    pub session_expiry_interval: u32,
}

impl ServerLimits {
    /// As long as nothing is known.
    pub(super) const UNKNOWN: Self = Self {
        receive_maximum: u16::MAX,
        maximum_qos: None,
        retain_available: true,
        maximum_packet_size: MAX_PACKET_SIZE,
        topic_alias_maximum: 0,
        wildcard_subscription_available: true,
        subscription_identifiers_available: true,
        shared_subscription_available: true,
        keep_alive: 0,
        session_expiry_interval: 0,
    };

    /// As CONNACK says, or as was asked for where it says nothing.
    pub(super) fn new(properties: &ConnAckProperties<'_>, keep_alive: u16, session_expiry_interval: u32) -> Self {
        Self {
            receive_maximum: properties.receive_maximum.map_or(u16::MAX, Into::into),
            maximum_qos: properties.maximum_qos,
            retain_available: properties.retain_available.unwrap_or(true),
            maximum_packet_size: properties
                .maximum_packet_size
                .map_or(MAX_PACKET_SIZE, Into::into)
                .min(MAX_PACKET_SIZE),
            topic_alias_maximum: properties.topic_alias_maximum.unwrap_or(0),
            wildcard_subscription_available: properties.wildcard_subscription_available.unwrap_or(true),
            subscription_identifiers_available: properties.subscription_identifiers_available.unwrap_or(true),
            shared_subscription_available: properties.shared_subscription_available.unwrap_or(true),
            keep_alive: properties.server_keep_alive.unwrap_or(keep_alive),
            session_expiry_interval: properties.session_expiry_interval.unwrap_or(session_expiry_interval),
        }
    }

    /// Whether it takes a message like this \[MQTT-3.2.2-11, MQTT-3.2.2-14\].
    #[inline]
    pub(super) fn check_message(&self, qos: QoS, retain: bool) -> Result<(), CommandError> {
        match self.maximum_qos {
            Some(maximum) if qos > maximum.into() => Err(CommandError::QoSNotSupported { maximum }),
            _ if retain && !self.retain_available => Err(CommandError::RetainNotSupported),
            _ => Ok(()),
        }
    }

    /// Whether it takes subscriptions like these (section 3.2.2.3.11 to 3.2.2.3.13).
    pub(super) fn check_subscriptions<'a>(
        &self,
        subscriptions: impl IntoIterator<Item = Subscription<'a>>,
        properties: &SubscribeProperties<'_>,
    ) -> Result<(), CommandError> {
        let available = Available {
            wildcards: self.wildcard_subscription_available,
            identifiers: self.subscription_identifiers_available,
            shared: self.shared_subscription_available,
        };
        match available.missing(subscriptions, properties) {
            Some(code) => Err(CommandError::SubscriptionNotSupported(code)),
            None => Ok(()),
        }
    }
}
