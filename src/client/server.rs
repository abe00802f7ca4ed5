//! The limits of a server (section 3.2.2.3).

use core::num::NonZeroU16;

use crate::codec::{ConnAckProperties, MAX_PACKET_SIZE, MaximumQoS, QoS, SubscribeProperties, Subscription};
use crate::session::{Available, PublishError, SessionExpiry, SubscribeError};

/// The limits that a server has announced in CONNACK. A server of an earlier version than 5.0 announces none: then
/// nothing is limited, except that topic aliases are not available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLimits {
    /// Maximum number of QoS 1 and QoS 2 messages to the server that may be in flight at a time (Receive Maximum).
    /// 65,535 if not announced.
    pub receive_maximum: u16,
    /// Highest QoS that the server supports (Maximum QoS); `None` for QoS 2.
    pub maximum_qos: Option<MaximumQoS>,
    /// Whether the server retains messages (Retain Available). True if not announced.
    pub retain_available: bool,
    /// Size of the largest packet that the server accepts, in bytes (Maximum Packet Size). The largest size of the
    /// protocol if not announced.
    pub maximum_packet_size: u32,
    /// Highest topic alias that the server accepts (Topic Alias Maximum). 0 if not announced.
    pub topic_alias_maximum: u16,
    /// Whether the server accepts topic filters with wildcards (Wildcard Subscription Available). True if not
    /// announced.
    pub wildcard_subscription_available: bool,
    /// Whether the server accepts subscription identifiers (Subscription Identifiers Available). True if not announced.
    pub subscription_identifiers_available: bool,
    /// Whether the server accepts shared subscriptions (Shared Subscription Available). True if not announced.
    pub shared_subscription_available: bool,
    /// Maximum interval between two packets to the server, in seconds: Server Keep Alive, or the Keep Alive of CONNECT
    /// if not announced. `None`: no limit.
    pub keep_alive: Option<NonZeroU16>,
    /// How long the server stores the session after the connection has ended (Session Expiry Interval). The value of
    /// CONNECT if not announced.
    pub session_expiry_interval: SessionExpiry,
}

impl ServerLimits {
    /// The limits before a server has announced any.
    pub(super) const UNKNOWN: Self = Self {
        receive_maximum: u16::MAX,
        maximum_qos: None,
        retain_available: true,
        maximum_packet_size: MAX_PACKET_SIZE,
        topic_alias_maximum: 0,
        wildcard_subscription_available: true,
        subscription_identifiers_available: true,
        shared_subscription_available: true,
        keep_alive: None,
        session_expiry_interval: SessionExpiry::WITH_CONNECTION,
    };

    /// Returns the limits in CONNACK, with the requested values where CONNACK has none.
    pub(super) fn new(
        properties: &ConnAckProperties<'_>,
        keep_alive: Option<NonZeroU16>,
        session_expiry_interval: SessionExpiry,
    ) -> Self {
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
            keep_alive: properties.server_keep_alive.map_or(keep_alive, NonZeroU16::new),
            session_expiry_interval: properties
                .session_expiry_interval
                .map_or(session_expiry_interval, SessionExpiry::after),
        }
    }

    /// Checks that the server supports a message with this QoS and RETAIN flag \[MQTT-3.2.2-11, MQTT-3.2.2-14\].
    #[inline]
    pub(super) fn check_message(&self, qos: QoS, retain: bool) -> Result<(), PublishError> {
        match self.maximum_qos {
            Some(maximum) if qos > maximum.into() => Err(PublishError::QoSNotSupported { maximum }),
            _ if retain && !self.retain_available => Err(PublishError::RetainNotSupported),
            _ => Ok(()),
        }
    }

    /// Checks that the server supports these subscriptions (section 3.2.2.3.11 to 3.2.2.3.13).
    pub(super) fn check_subscriptions<'a>(
        &self,
        subscriptions: impl IntoIterator<Item = Subscription<'a>>,
        properties: &SubscribeProperties<'_>,
    ) -> Result<(), SubscribeError> {
        let available = Available {
            wildcards: self.wildcard_subscription_available,
            identifiers: self.subscription_identifiers_available,
            shared: self.shared_subscription_available,
        };
        match available.missing(subscriptions, properties) {
            Some(code) => Err(SubscribeError::NotSupported(code)),
            None => Ok(()),
        }
    }
}
