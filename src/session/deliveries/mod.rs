//! The deliveries of a session in both directions: tables and their transitions. They write no bytes and know no clock.

pub(super) mod ack;
pub(super) mod budget;
pub(super) mod id_set;
pub(super) mod inbound;
pub(super) mod outbound;
pub(super) mod packet_id;
pub(super) mod queue;
