//! PINGREQ and PINGRESP (sections 3.12 and 3.13), which consist of their fixed header.

use super::packet_type::PacketType;
use super::sink::{Body, Sink};
use super::version::Version;

/// The body of a PINGREQ: empty.
pub(crate) struct PingReq;

/// The body of a PINGRESP: empty.
pub(crate) struct PingResp;

impl Body for PingReq {
    const TYPE: PacketType = PacketType::PingReq;

    #[inline(always)]
    fn is_plain(&self) -> bool {
        true
    }

    #[inline(always)]
    fn write<S: Sink>(&self, _: Version, _: &mut S) {}
}

impl Body for PingResp {
    const TYPE: PacketType = PacketType::PingResp;

    #[inline(always)]
    fn is_plain(&self) -> bool {
        true
    }

    #[inline(always)]
    fn write<S: Sink>(&self, _: Version, _: &mut S) {}
}
