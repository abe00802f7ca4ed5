//! The deliveries of a session in both directions: tables of messages and requests, and their state transitions. This
//! module encodes no packets and reads no clock.

pub(super) mod ack;
pub(super) mod budget;
pub(super) mod id_set;
pub(super) mod inbound;
pub(super) mod outbound;
pub(super) mod packet_id;
pub(super) mod queue;
