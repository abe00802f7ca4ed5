//! The limits of a connection.

use super::deliveries::budget::BudgetLimits;
use super::deliveries::queue::Overflow;
use crate::codec::Limits;

/// The limits and options that an engine reads at every step: from the configuration, and from the properties that the
/// peer has announced.
#[derive(Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// Whether messages can be exchanged. If not, the limits of the peer are unknown: `max_packet_size` is that of the
    /// protocol, because the next connection may have any.
    pub(crate) is_open: bool,
    pub(crate) decoder: Limits,
    pub(crate) receive_maximum: u16,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) manual_acks: bool,
    pub(crate) deliver_in_parts: u32,
    pub(crate) max_in_flight: u16,
    /// The size of the largest packet that may be sent, in bytes.
    pub(crate) max_packet_size: u32,
    pub(crate) budget: BudgetLimits,
    pub(crate) overflow: Overflow,
    /// Whether PUBACK completes the delivery of a message of QoS 2.
    pub(crate) puback_ends_qos_2: bool,
    /// Whether messages of QoS 0 are queued while there is no connection.
    pub(crate) queues_qos_0: bool,
    pub(crate) transmit_limit: u32,
    pub(crate) answer_limit: u32,
}
