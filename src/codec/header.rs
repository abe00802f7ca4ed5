//! The fixed header (section 2.1): packet type, flags, Remaining Length.

use super::error::{DecodeError, FieldError};
use super::field::Field;
use super::packet_type::PacketType;
use super::varint::{MAX_REMAINING_LENGTH, Varint, read_varint};
use super::version::{Sender, Version};
use super::violation::Violation;

/// Size of the largest packet: 268,435,460 bytes, five bytes of fixed header and the largest Remaining Length.
pub const MAX_PACKET_SIZE: u32 = MAX_REMAINING_LENGTH + 5;

/// A valid fixed header (section 2.1).
///
/// ```
/// # use mqtt_sansio::Version;
/// # use mqtt_sansio::codec::{FixedHeader, PacketType};
/// let header = FixedHeader::decode(b"\x32\x8c\x10\0\x01t", Version::V5)?.ok_or("incomplete")?;
/// assert_eq!((header.packet_type, header.packet_size()), (PacketType::Publish, 2063)); // and then 2,060 bytes
/// assert_eq!(FixedHeader::decode(b"\x32\x8c", Version::V5)?, None); // incomplete
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct FixedHeader {
    /// The packet type.
    pub packet_type: PacketType,
    /// The flags: the lower four bits of the first byte.
    pub flags: u8,
    /// The Remaining Length: the number of bytes after the fixed header.
    pub remaining_length: u32,
    /// Size of the fixed header itself, 2 to 5 bytes.
    pub size: u8,
}

impl FixedHeader {
    /// Returns the size of the whole packet, in bytes.
    pub const fn packet_size(self) -> u32 {
        self.remaining_length.saturating_add(self.size as u32)
    }

    /// Decodes the fixed header at the start of `input`; `None` if it is incomplete.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the fixed header is invalid. An invalid first byte is refused before the second has arrived.
    pub fn decode(input: &[u8], version: Version) -> Result<Option<Self>, DecodeError> {
        let packet_type = input.first().and_then(|first| PacketType::from_number(first >> 4));
        let into_error = |error: FieldError| error.into_error(packet_type, version);
        if let (Some(PacketType::Connect), Some(&first)) = (packet_type, input.first())
            && !has_legal_connect_flags(first & 0x0F, version)
        {
            return Err(into_error(FieldError::new(0, Field::Flags, Violation::WrongFlags)));
        }
        Self::read(input, version, None).map_err(into_error)
    }

    /// Reads the fixed header. Accepts any flags of a CONNECT: their rules depend on the version in the packet.
    pub(crate) fn read(input: &[u8], version: Version, sender: Option<Sender>) -> Result<Option<Self>, FieldError> {
        let Some((&first, rest)) = input.split_first() else { return Ok(None) };
        let packet_type = check_first_byte(first, version, sender)?;
        match read_varint(rest) {
            Varint::Value(remaining_length, size) => {
                let size = size.saturating_add(1);
                Ok(Some(Self { packet_type, flags: first & 0x0F, remaining_length, size }))
            }
            Varint::Incomplete => Ok(None),
            Varint::Malformed(violation, at) => {
                Err(FieldError::new(usize::from(at).saturating_add(1), Field::RemainingLength, violation))
            }
        }
    }
}

/// Returns whether `sender` may begin a packet with this byte. The function looks the byte up in a table, because it is
/// called for every packet.
#[inline(always)]
#[allow(clippy::indexing_slicing)] // a byte indexes 4 words of 64 bits
pub(crate) const fn is_legal_first_byte(first: u8, version: Version, sender: Option<Sender>) -> bool {
    const fn by_sender(version: Version) -> [[u64; 4]; 3] {
        let (client, server) = (Some(Sender::Client), Some(Sender::Server));
        [legal_first_bytes(version, client), legal_first_bytes(version, server), legal_first_bytes(version, None)]
    }
    const LEGAL: [[[u64; 4]; 3]; 3] = [by_sender(Version::V31), by_sender(Version::V311), by_sender(Version::V5)];
    let sender = match sender {
        Some(Sender::Client) => 0,
        Some(Sender::Server) => 1,
        None => 2,
    };
    LEGAL[version as usize][sender][(first >> 6) as usize] >> (first & 63) & 1 == 1
}

/// Computes one row of the table: a bit for each byte.
#[allow(clippy::indexing_slicing)] // a byte indexes 4 words of 64 bits
const fn legal_first_bytes(version: Version, sender: Option<Sender>) -> [u64; 4] {
    let mut legal = [0; 4];
    let mut first = u8::MAX;
    while first != 0 {
        if has_legal_flags(first, version) && may_come_from(first, sender, version) {
            legal[(first >> 6) as usize] |= 1 << (first & 63);
        }
        first = first.saturating_sub(1);
    }
    legal
}

/// Returns whether the flags of a first byte are valid (section 2.1.3). For CONNECT see [`has_legal_connect_flags`].
const fn has_legal_flags(first: u8, version: Version) -> bool {
    let is_dup = first & DUP != 0;
    let Some(packet_type) = PacketType::from_number(first >> 4) else { return false };
    match packet_type {
        // [MQTT-3.3.1-4], [MQTT-3.3.1-2]. The second holds in 3.1 too: DUP requires a message identifier.
        PacketType::Publish => first & QOS != QOS && !(is_dup && first & QOS == 0),
        PacketType::Connect => true,
        // 3.1 sends these with QoS 1, and with DUP when they are sent again. It does not use RETAIN.
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe if matches!(version, Version::V31) => {
            first & QOS == packet_type.first_byte() & QOS
        }
        // In all other packets 3.1 uses none of the flags: "DUP, QoS and RETAIN are not used".
        _ => matches!(version, Version::V31) || first == packet_type.first_byte(),
    }
}

/// Returns whether a CONNECT of this version may have these flags: 0, or any in 3.1, which does not use them.
pub(crate) const fn has_legal_connect_flags(flags: u8, version: Version) -> bool {
    flags == 0 || matches!(version, Version::V31)
}

const fn may_come_from(first: u8, sender: Option<Sender>, version: Version) -> bool {
    match (PacketType::from_number(first >> 4), sender) {
        (None, _) => false,
        (Some(PacketType::Auth), None) => matches!(version, Version::V5),
        (Some(_), None) => true,
        (Some(packet_type), Some(sender)) => packet_type.may_come_from(sender, version),
    }
}

/// Checks the first byte of a packet.
fn check_first_byte(first: u8, version: Version, sender: Option<Sender>) -> Result<PacketType, FieldError> {
    let packet_type = match PacketType::from_number(first >> 4) {
        Some(packet_type) if packet_type != PacketType::Auth || version == Version::V5 => packet_type,
        _ => return Err(FieldError::new(0, Field::PacketType, Violation::ReservedPacketType)),
    };
    if !has_legal_flags(first, version) {
        return Err(FieldError::new(0, Field::Flags, wrong_flags(packet_type, first)));
    }
    if !may_come_from(first, sender, version) {
        return Err(FieldError::new(0, Field::PacketType, Violation::WrongSender));
    }
    Ok(packet_type)
}

fn wrong_flags(packet_type: PacketType, first: u8) -> Violation {
    match packet_type {
        PacketType::Publish if first & QOS == QOS => Violation::QoS3,
        PacketType::Publish => Violation::DupWithoutAck,
        _ => Violation::WrongFlags,
    }
}

/// The DUP flag of a PUBLISH.
pub(crate) const DUP: u8 = 0b1000;
/// The QoS bits of a PUBLISH.
pub(crate) const QOS: u8 = 0b0110;
/// The RETAIN flag of a PUBLISH.
pub(crate) const RETAIN: u8 = 0b0001;
