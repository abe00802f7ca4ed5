//! Decoding of packets in a stream of bytes.

use core::fmt;
use core::iter::FusedIterator;

use super::ack::{PubAck, PubComp, PubRec, PubRel};
use super::auth::Auth;
use super::connack::ConnAck;
use super::connect::{Connect, Protocol, UnsupportedProtocol};
use super::disconnect::Disconnect;
use super::error::{DecodeError, FieldError};
use super::field::Field;
use super::header::{self, FixedHeader, RETAIN};
use super::limits::Limits;
use super::packet::Packet;
use super::packet_type::PacketType;
use super::ping::{PingReq, PingResp};
use super::property::PublishProperties;
#[cfg(feature = "alloc")]
use super::publish::Delivery;
use super::publish::Publish;
use super::reader::{Context, Reader};
use super::subscribe::{SubAck, Subscribe};
use super::types::PacketId;
use super::unsubscribe::{UnsubAck, Unsubscribe};
use super::version::Version;
use super::violation::Violation;
use crate::redacted::Redacted;
#[cfg(feature = "alloc")]
use crate::topic::TopicName;

/// The result of [`decode`]. It is exhaustive: further cases cannot arise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // as `Packet`
pub enum Decoded<'a> {
    /// A complete packet.
    Packet {
        /// The packet; it borrows from the buffer.
        packet: Packet<'a>,
        /// Size of the packet, in bytes.
        size: usize,
    },
    /// An incomplete packet.
    Incomplete {
        /// Number of bytes that are missing: the exact number once the fixed header has arrived, a lower bound before.
        needs: usize,
    },
}

/// Decodes the packet at the start of `input`. Bytes after the packet are ignored.
///
/// `version` is the version of the connection. A CONNECT is decoded in the version that it contains; a server that
/// expects one may pass any version, which then only selects the rules by which other packets are refused.
///
/// ```
/// use mqtt_sansio::{Version, codec::{self, Decoded, Limits, Packet}};
///
/// let stream = b"\x30\x07\x00\x01t21.5\xc0\x00\x30";
/// let Decoded::Packet { packet: Packet::Publish(publish), size } =
///     codec::decode(stream, Version::V311, Limits::default())? else { panic!() };
/// assert_eq!(publish.topic, "t");
/// assert_eq!(publish.payload, b"21.5");
///
/// let rest = &stream[size..];
/// assert_eq!(
///     codec::decode(rest, Version::V311, Limits::default())?,
///     Decoded::Packet { packet: Packet::PingReq, size: 2 }
/// );
/// assert_eq!(codec::decode(&rest[2..], Version::V311, Limits::default())?, Decoded::Incomplete { needs: 1 });
/// # Ok::<(), codec::DecodeError>(())
/// ```
///
/// # Errors
///
/// [`DecodeError`] if `input` is not the start of a valid packet. An invalid fixed header, and a packet larger than
/// [`Limits::max_packet_size`], are refused without waiting for the rest. The flags of a CONNECT are checked when it is
/// complete, because 3.1 ignores them and the packet itself contains the version. A packet whose fields exceed its
/// Remaining Length is an error, never [`Decoded::Incomplete`].
#[inline]
pub fn decode<'a>(input: &'a [u8], version: Version, limits: Limits) -> Result<Decoded<'a>, DecodeError> {
    let Some((first, body, size)) = split_common(input, version, limits) else {
        return decode_any(input, version, limits);
    };
    if first >> 4 == PacketType::Publish as u8 && Publish::is_plain(first & 0x0F, body, version) {
        // Most packets are of this kind, so they have a short path of their own.
        return Frame { body, size, version, limits }.read_plain_publish(first & 0x0F);
    }
    read(first, body, size, version, limits)
}

/// Splits a packet into first byte, body and size; `None` unless the packet is complete and its fixed header is valid
/// and of at most three bytes.
#[inline(always)]
fn split_common(input: &[u8], version: Version, limits: Limits) -> Option<(u8, &[u8], usize)> {
    // A fast path in a few comparisons; `decode_any` handles everything else.
    let (first, length, rest) = match *input {
        // One or two bytes of length, without a branch on it, which would be mispredicted.
        [first, low, high, ..] => {
            let is_long = low >= 0x80;
            if is_long && !(0x01..=0x7F).contains(&high) {
                return None;
            }
            let high_part = if is_long { usize::from(high) << 7 } else { 0 };
            let rest = input.get(if is_long { 3 } else { 2 }..)?;
            (first, usize::from(low & 0x7F) | high_part, rest)
        }
        [first, length @ 0..=0x7F] => (first, usize::from(length), &[] as &[u8]),
        _ => return None,
    };
    let body = rest.get(..length)?;
    let size = input.len().wrapping_sub(rest.len()).wrapping_add(length);
    let max_size = limits.max_packet_size.min(limits.max_control_size);
    let may_be_read = size <= max_size as usize && header::is_legal_first_byte(first, version, limits.sender);
    may_be_read.then_some((first, body, size))
}

/// The most frequent packets of a busy connection.
#[cfg(feature = "alloc")]
pub(crate) enum Short<'a> {
    /// A PUBLISH without properties.
    Publish { delivery: Delivery, retain: bool, topic: TopicName<'a>, payload: &'a [u8] },
    /// PUBACK, PUBREC, PUBREL or PUBCOMP without reason code and properties.
    Ack(PacketType, PacketId),
}

/// Decodes the packet at the start of `input` if it is a [`Short`], and returns its size too. A session that uses it
/// avoids the large type [`Packet`]. `None` for any other input, which [`decode`] handles.
#[cfg(feature = "alloc")]
#[inline(always)]
pub(crate) fn decode_short<'a>(input: &'a [u8], version: Version, limits: Limits) -> Option<(Short<'a>, usize)> {
    let (first, body, size) = split_common(input, version, limits)?;
    let packet = match (first >> 4, body) {
        (3, _) if Publish::is_plain(first & 0x0F, body, version) => {
            let read = Publish::read_plain(first & 0x0F, &mut Reader::new(body, size), Context { version, limits });
            let (delivery, topic, payload) = read.ok()?;
            Short::Publish { delivery, retain: first & RETAIN != 0, topic, payload }
        }
        (packet_type @ 4..=7, &[high, low]) => {
            let id = PacketId::new(u16::from_be_bytes([high, low])).ok()?;
            let packet_type = match packet_type {
                4 => PacketType::PubAck,
                5 => PacketType::PubRec,
                6 => PacketType::PubRel,
                _ => PacketType::PubComp,
            };
            Short::Ack(packet_type, id)
        }
        _ => return None,
    };
    Some((packet, size))
}

/// Decodes an incomplete PUBLISH: all fields, and the part of the payload that has arrived. Returns the number of
/// missing bytes of the payload too. `None` if the packet is of another type or complete, or if its properties have not
/// arrived yet.
#[cfg(feature = "alloc")]
pub(crate) fn decode_publish_head<'a>(
    input: &'a [u8],
    version: Version,
    limits: Limits,
) -> Result<Option<(Publish<'a>, u32)>, DecodeError> {
    let into_error = |error: FieldError| error.into_error(Some(PacketType::Publish), version);
    let Some(header) = FixedHeader::read(input, version, limits.sender).map_err(into_error)? else { return Ok(None) };
    let (Some(&first), Some(there)) = (input.first(), input.get(usize::from(header.size)..)) else { return Ok(None) };
    let missing = (header.remaining_length as usize).saturating_sub(there.len());
    if header.packet_type != PacketType::Publish || missing == 0 {
        return Ok(None);
    }
    check_control_size(header, first, there, limits, version).map_err(into_error)?;
    let Some(head_len) = Publish::head_len(first, there, version) else { return Ok(None) };
    // A head that exceeds the packet is read as far as possible, to find the error.
    if head_len > there.len() && head_len <= header.remaining_length as usize {
        return Ok(None);
    }
    let mut reader = Reader::new(there, usize::from(header.size).saturating_add(there.len()));
    let publish = Publish::read(first & 0x0F, &mut reader, Context { version, limits }).map_err(into_error)?;
    Ok(Some((publish, missing as u32)))
}

/// Decodes any packet. Only this function detects incomplete packets and errors of the fixed header.
#[inline(never)]
fn decode_any<'a>(input: &'a [u8], version: Version, limits: Limits) -> Result<Decoded<'a>, DecodeError> {
    let packet_type = input.first().and_then(|first| PacketType::from_number(first >> 4));
    let header = match FixedHeader::read(input, version, limits.sender) {
        Ok(Some(header)) => header,
        Ok(None) => return Ok(Decoded::Incomplete { needs: if input.is_empty() { 2 } else { 1 } }),
        Err(error) => return Err(error.into_error(packet_type, version)),
    };
    if header.packet_size() > limits.max_packet_size {
        let error = FieldError::new(1, Field::RemainingLength, Violation::PacketTooLarge);
        return Err(error.into_error(packet_type, version));
    }
    if let (Some(&first), Some(there)) = (input.first(), input.get(usize::from(header.size)..)) {
        check_control_size(header, first, there, limits, version)
            .map_err(|error| error.into_error(packet_type, version))?;
    }
    let size = header.packet_size() as usize;
    match (input.first(), input.get(usize::from(header.size)..size)) {
        (Some(&first), Some(body)) => read(first, body, size, version, limits),
        _ => Ok(Decoded::Incomplete { needs: size.saturating_sub(input.len()) }),
    }
}

/// Checks the size of a packet, or of the properties of a PUBLISH as far as it is known.
fn check_control_size(
    header: FixedHeader,
    first: u8,
    body: &[u8],
    limits: Limits,
    version: Version,
) -> Result<(), FieldError> {
    if header.packet_size() <= limits.max_control_size {
        return Ok(());
    }
    let (at, field) = match header.packet_type {
        PacketType::Publish => match Publish::property_length(first, body, version) {
            Some((at, length)) if length > limits.max_control_size => {
                (usize::from(header.size).saturating_add(at), Field::PropertyLength)
            }
            _ => return Ok(()),
        },
        _ => (1, Field::RemainingLength),
    };
    Err(FieldError::new(at, field, Violation::ControlTooLarge))
}

/// Reads a complete packet with a valid fixed header. Short packets are read here. Others are read in functions that
/// are not inlined, so that short packets need few registers.
#[inline(never)]
fn read<'a>(
    first: u8,
    body: &'a [u8],
    size: usize,
    version: Version,
    limits: Limits,
) -> Result<Decoded<'a>, DecodeError> {
    let frame = || Frame { body, size, version, limits };
    let flags = first & 0x0F;
    match first >> 4 {
        3 if Publish::is_plain(flags, body, version) => frame().read_plain_publish(flags),
        3 => frame().read_outlined(PacketType::Publish, |reader, context| Publish::read(flags, reader, context)),
        4 => frame().read_ack(PacketType::PubAck, PubAck::new, PubAck::read),
        5 => frame().read_ack(PacketType::PubRec, PubRec::new, PubRec::read),
        6 => frame().read_ack(PacketType::PubRel, PubRel::new, PubRel::read),
        7 => frame().read_ack(PacketType::PubComp, PubComp::new, PubComp::read),
        12 => frame().read(PacketType::PingReq, |reader, _| reader.finish().map(|()| PingReq)),
        13 => frame().read(PacketType::PingResp, |reader, _| reader.finish().map(|()| PingResp)),
        1 => frame().read_connect(flags),
        2 => frame().read_outlined(PacketType::ConnAck, ConnAck::read),
        8 => frame().read_outlined(PacketType::Subscribe, Subscribe::read),
        9 => frame().read_outlined(PacketType::SubAck, SubAck::read),
        10 => frame().read_outlined(PacketType::Unsubscribe, Unsubscribe::read),
        11 => frame().read_outlined(PacketType::UnsubAck, UnsubAck::read),
        14 => frame().read_outlined(PacketType::Disconnect, Disconnect::read),
        _ => frame().read_outlined(PacketType::Auth, Auth::read),
    }
}

/// A complete packet without its fixed header.
#[derive(Clone, Copy)]
struct Frame<'a> {
    body: &'a [u8],
    /// Size of the packet, fixed header included.
    size: usize,
    version: Version,
    limits: Limits,
}

impl<'a> Frame<'a> {
    #[inline(always)]
    fn read<P: Into<Packet<'a>>>(
        self,
        packet_type: PacketType,
        read: impl FnOnce(&mut Reader<'a>, Context) -> Result<P, FieldError>,
    ) -> Result<Decoded<'a>, DecodeError> {
        let context = Context { version: self.version, limits: self.limits };
        match read(&mut Reader::new(self.body, self.size), context) {
            Ok(packet) => Ok(Decoded::Packet { packet: packet.into(), size: self.size }),
            Err(error) => Err(error.into_error(Some(packet_type), self.version)),
        }
    }

    #[inline(never)]
    fn read_outlined<P: Into<Packet<'a>>>(
        self,
        packet_type: PacketType,
        read: impl FnOnce(&mut Reader<'a>, Context) -> Result<P, FieldError>,
    ) -> Result<Decoded<'a>, DecodeError> {
        self.read(packet_type, read)
    }

    /// Reads an acknowledgement; nearly all have a body of two bytes.
    #[inline(always)]
    fn read_ack<P: Into<Packet<'a>>>(
        self,
        packet_type: PacketType,
        short: impl FnOnce(PacketId) -> P,
        read: impl FnOnce(&mut Reader<'a>, Context) -> Result<P, FieldError>,
    ) -> Result<Decoded<'a>, DecodeError> {
        if self.body.len() != 2 {
            return self.read_outlined(packet_type, read);
        }
        match Reader::new(self.body, self.size).packet_id() {
            Ok(id) => Ok(Decoded::Packet { packet: short(id).into(), size: self.size }),
            Err(error) => Err(error.into_error(Some(packet_type), self.version)),
        }
    }

    /// Reads a PUBLISH without properties.
    #[inline(always)]
    fn read_plain_publish(self, flags: u8) -> Result<Decoded<'a>, DecodeError> {
        let context = Context { version: self.version, limits: self.limits };
        match Publish::read_plain(flags, &mut Reader::new(self.body, self.size), context) {
            Ok((delivery, topic, payload)) => {
                let retain = flags & RETAIN != 0;
                let publish = Publish { delivery, retain, topic, payload, properties: PublishProperties::default() };
                Ok(Decoded::Packet { packet: Packet::Publish(publish), size: self.size })
            }
            Err(error) => Err(error.into_error(Some(PacketType::Publish), self.version)),
        }
    }

    /// Reads a CONNECT, which contains the version by whose rules it is read; they apply to the flags in its first
    /// byte, too.
    #[inline(never)]
    fn read_connect(self, flags: u8) -> Result<Decoded<'a>, DecodeError> {
        let mut reader = Reader::new(self.body, self.size);
        match Connect::read_protocol(&mut reader) {
            Ok(Protocol { version, .. }) if !header::has_legal_connect_flags(flags, version) => {
                let error = FieldError::new(0, Field::Flags, Violation::WrongFlags);
                Err(error.into_error(Some(PacketType::Connect), version))
            }
            Ok(Protocol { version, is_bridge }) => Self { version, body: reader.rest(), ..self }
                .read(PacketType::Connect, |reader, context| Connect::read(reader, context, is_bridge)),
            Err(UnsupportedProtocol { error, answer }) => {
                Err(error.into_error(Some(PacketType::Connect), answer.unwrap_or(self.version)))
            }
        }
    }
}

/// Returns an iterator over the packets of a buffer. A CONNECT sets the version for the packets after it.
///
/// ```
/// use mqtt_sansio::{Version, codec::{self, Limits, Packet}};
///
/// let mut packets = codec::packets(b"\xc0\x00\xd0\x00\x30", Version::V5, Limits::default());
/// assert_eq!(packets.next(), Some(Ok(Packet::PingReq)));
/// assert_eq!(packets.next(), Some(Ok(Packet::PingResp)));
/// assert_eq!(packets.next(), None);
/// assert_eq!(packets.rest(), b"\x30");
/// ```
pub const fn packets(input: &[u8], version: Version, limits: Limits) -> Packets<'_> {
    Packets { rest: input, consumed: 0, version, limits, needs: 0, failed: false }
}

/// An iterator over the packets of a buffer: see [`packets`].
///
/// ```
/// # use mqtt_sansio::Version;
/// # use mqtt_sansio::codec::{self, Limits};
/// let received = b"\xc0\x00\x30\x07\x00\x01"; // PINGREQ, and an incomplete PUBLISH
/// let mut packets = codec::packets(received, Version::V5, Limits::default());
/// for packet in &mut packets {
///     println!("{:?}", packet?);
/// }
/// assert_eq!((packets.consumed(), packets.rest()), (2, &received[2..])); // the rest is decoded again, with more bytes
/// assert_eq!(packets.needs(), 5);
/// assert_eq!(packets.version(), Version::V5); // or that of the CONNECT that was decoded
/// # Ok::<(), codec::DecodeError>(())
/// ```
#[derive(Clone)]
pub struct Packets<'a> {
    rest: &'a [u8],
    consumed: usize,
    version: Version,
    limits: Limits,
    needs: usize,
    failed: bool,
}

impl<'a> Packets<'a> {
    /// Returns the bytes that have not been decoded: an incomplete packet, or the packet with an error.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Returns the number of bytes that have been decoded: the offset of [`rest`](Self::rest).
    pub const fn consumed(&self) -> usize {
        self.consumed
    }

    /// Returns the minimum number of bytes missing from the incomplete packet in [`rest`](Self::rest). 0 before the end
    /// of the iterator, and if there is no rest.
    pub const fn needs(&self) -> usize {
        self.needs
    }

    /// Returns the version in which the next packet is decoded.
    pub const fn version(&self) -> Version {
        self.version
    }
}

/// Prints the number of bytes only: they may contain a password.
impl fmt::Debug for Packets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rest, consumed, version, limits, needs, failed } = self;
        f.debug_struct("Packets")
            .field("rest", &Redacted(rest))
            .field("consumed", consumed)
            .field("version", version)
            .field("limits", limits)
            .field("needs", needs)
            .field("failed", failed)
            .finish()
    }
}

impl FusedIterator for Packets<'_> {}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, DecodeError>;

    /// Decodes the next packet. MQTT has no resynchronisation: after an error the iterator ends.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        match decode(self.rest, self.version, self.limits) {
            Ok(Decoded::Packet { packet, size }) => {
                if let Packet::Connect(connect) = &packet {
                    self.version = connect.version;
                }
                self.rest = self.rest.get(size..).unwrap_or_default();
                self.consumed = self.consumed.saturating_add(size);
                Some(Ok(packet))
            }
            Ok(Decoded::Incomplete { needs }) => {
                self.needs = needs;
                None
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}
