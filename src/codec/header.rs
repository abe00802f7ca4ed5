//! The fixed header (section 2.1): packet type, flags, Remaining Length.

use super::error::{Fault, Field, Violation};
use super::types::{PacketType, Version};

/// The largest Remaining Length, and the largest Variable Byte Integer: 268,435,455.
pub const MAX_REMAINING_LENGTH: u32 = 0x0FFF_FFFF;

/// The largest packet, in bytes: five bytes of fixed header and the largest Remaining Length.
pub const MAX_PACKET_SIZE: u32 = MAX_REMAINING_LENGTH + 5;

/// A fixed header that has been found in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedHeader {
    /// Which packet begins here.
    pub packet_type: PacketType,
    /// The lower four bits of the first byte. Of a PUBLISH they are not checked yet.
    pub flags: u8,
    /// The number of bytes behind the fixed header.
    pub remaining_length: u32,
    /// The size of the fixed header itself, 2 to 5 bytes.
    pub size: u8,
}

impl FixedHeader {
    /// The size of the whole packet, in bytes.
    pub const fn packet_size(self) -> u32 {
        self.remaining_length.saturating_add(self.size as u32)
    }

    /// Reads a fixed header; `None` when it is not complete yet. The first byte is judged as soon as it is there.
    pub(crate) fn read(input: &[u8], version: Version) -> Result<Option<Self>, Fault> {
        let Some((&first, rest)) = input.split_first() else { return Ok(None) };
        let flags = first & 0x0F;
        let Some(packet_type) = PacketType::from_number(first >> 4) else {
            return Err(Fault::new(0, Field::PacketType, Violation::ReservedPacketType));
        };
        if packet_type != PacketType::Publish && flags != packet_type.flags() {
            check_odd_flags(packet_type, flags, version)?;
        }
        if packet_type == PacketType::Auth && version != Version::V5 {
            return Err(Fault::new(0, Field::PacketType, Violation::ReservedPacketType));
        }
        let (remaining_length, size) = match read_varint(rest) {
            Varint::Value(value, size) => (value, size.saturating_add(1)),
            Varint::Unfinished => return Ok(None),
            Varint::Bad(violation, at) => {
                return Err(Fault::new(usize::from(at).saturating_add(1), Field::RemainingLength, violation));
            }
        };
        Ok(Some(Self { packet_type, flags, remaining_length, size }))
    }
}

/// Whether the first byte names a packet and its flags are those of the packet type. Those of a PUBLISH are its own business.
#[inline(always)]
pub(crate) const fn is_plain(first: u8, version: Version) -> bool {
    const WITH_FLAG_1: u16 =
        1 << PacketType::PubRel as u8 | 1 << PacketType::Subscribe as u8 | 1 << PacketType::Unsubscribe as u8;
    let number = first >> 4;
    let flags = (WITH_FLAG_1 >> number & 1) as u8 * 2;
    number == PacketType::Publish as u8
        || first & 0x0F == flags && number != 0 && (number != PacketType::Auth as u8 || matches!(version, Version::V5))
}

/// In 3.1 the DUP flag also marks a PUBREL, SUBSCRIBE or UNSUBSCRIBE that is sent again.
#[cold]
fn check_odd_flags(packet_type: PacketType, flags: u8, version: Version) -> Result<(), Fault> {
    let may_be_dup = matches!(packet_type, PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe);
    if version == Version::V31 && may_be_dup && flags == packet_type.flags() | DUP {
        return Ok(());
    }
    if packet_type == PacketType::Auth && version != Version::V5 {
        return Err(Fault::new(0, Field::PacketType, Violation::ReservedPacketType));
    }
    Err(Fault::new(0, Field::Flags, Violation::WrongFlags))
}

/// The DUP flag of a PUBLISH.
pub(crate) const DUP: u8 = 0b1000;
/// The two bits of a PUBLISH that hold its QoS.
pub(crate) const QOS: u8 = 0b0110;
/// The RETAIN flag of a PUBLISH.
pub(crate) const RETAIN: u8 = 0b0001;

impl PacketType {
    /// The flags that this packet carries; of a PUBLISH, those of a first message of QoS 0 (section 2.1.3).
    pub(crate) const fn flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    /// The first byte of this packet.
    pub(crate) const fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.flags()
    }
}

/// What a Variable Byte Integer turns out to be (section 1.5.5).
pub(crate) enum Varint {
    /// A value, and the number of bytes it took.
    Value(u32, u8),
    /// The bytes end before it does.
    Unfinished,
    /// What is wrong, and at which of its bytes.
    Bad(Violation, u8),
}

/// Reads a Variable Byte Integer of one to four bytes, and refuses those that could be shorter \[MQTT-1.5.5-1\].
pub(crate) fn read_varint(bytes: &[u8]) -> Varint {
    let mut value = 0;
    for (index, &byte) in (0_u8..4).zip(bytes) {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte < 0x80 {
            if byte == 0 && index > 0 {
                return Varint::Bad(Violation::OverlongInteger, index);
            }
            return Varint::Value(value, index.saturating_add(1));
        }
    }
    if bytes.len() < 4 { Varint::Unfinished } else { Varint::Bad(Violation::IntegerTooLong, 3) }
}

/// The size of a Variable Byte Integer, in bytes. (Above 268,435,455 there is none.)
pub(crate) const fn varint_len(value: u32) -> u8 {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}
