//! Packets that own their bytes.

use core::fmt;

use bytes::Bytes;

use super::error::{DecodeError, EncodeError};
use super::limits::Limits;
use super::packet::Packet;
use super::ping::PingReq;
use super::stream::{Decoded, decode};
use super::version::Version;

/// A complete and valid packet that owns its bytes: the form in which a packet is passed to another thread, task or
/// queue. [`packet`](Self::packet) lends the fields.
///
/// The bytes are those of the wire, so a packet that was received in a [`Bytes`] is not copied, and is sent on without
/// being encoded again. Two packets are equal if their bytes and their versions are.
///
/// ```
/// # use mqtt_sansio::Version;
/// # use mqtt_sansio::codec::{Packet, PacketBuf, Publish};
/// # use mqtt_sansio::TopicName;
/// let publish = Publish { topic: TopicName::new("home/temp")?, payload: b"21.5", ..Publish::default() };
/// let owned = PacketBuf::encode(&publish.into(), Version::V5)?;
/// let owned = std::thread::spawn(move || owned).join().unwrap();
/// assert_eq!(owned.packet(), publish.into());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PacketBuf {
    /// One packet, which was encoded or decoded in this version.
    bytes: Bytes,
    version: Version,
}

impl PacketBuf {
    /// Encodes a packet.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the packet cannot be encoded in this version.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::Version;
    /// # use mqtt_sansio::codec::{Packet, PacketBuf};
    /// let owned = PacketBuf::encode(&Packet::PingReq, Version::V5)?;
    /// assert_eq!((owned.packet(), owned.version()), (Packet::PingReq, Version::V5));
    /// assert_eq!(owned.as_bytes()[..], *b"\xc0\x00");
    /// assert_eq!(owned.into_bytes(), b"\xc0\x00"[..]); // the bytes to write
    /// # Ok::<(), mqtt_sansio::codec::EncodeError>(())
    /// ```
    pub fn encode(packet: &Packet<'_>, version: Version) -> Result<Self, EncodeError> {
        let mut bytes = alloc::vec::Vec::with_capacity(packet.encoded_len(version)?);
        packet.encode(version, &mut bytes)?;
        Ok(Self { bytes: bytes.into(), version })
    }

    /// Removes the packet at the start of `input`, without copying it. `None` if it is incomplete; `input` is unchanged
    /// then, and after an error. A CONNECT contains its version; all other packets are decoded in `version`.
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use mqtt_sansio::Version;
    /// # use mqtt_sansio::codec::{Limits, Packet, PacketBuf};
    /// let mut input = Bytes::from_static(b"\xc0\x00\x30");
    /// let packet = PacketBuf::decode(&mut input, Version::V5, Limits::default())?;
    /// assert_eq!(packet.as_ref().map(PacketBuf::packet), Some(Packet::PingReq));
    /// assert_eq!(PacketBuf::decode(&mut input, Version::V5, Limits::default())?, None);
    /// assert_eq!(input, b"\x30"[..]);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the packet is malformed or exceeds the limits.
    pub fn decode(input: &mut Bytes, version: Version, limits: Limits) -> Result<Option<Self>, DecodeError> {
        match decode(input, version, limits)? {
            Decoded::Packet { packet, size } => {
                let version = version_of(&packet, version);
                Ok(Some(Self { bytes: input.split_to(size.min(input.len())), version }))
            }
            Decoded::Incomplete { .. } => Ok(None),
        }
    }

    /// Returns the packet, which borrows from this value. It is decoded at each call.
    pub fn packet(&self) -> Packet<'_> {
        // The limits of the first decoding may have been narrower, never wider.
        match decode(&self.bytes, self.version, Limits::DEFAULT) {
            Ok(Decoded::Packet { packet, .. }) => packet,
            other => {
                bug!("an owned packet is valid: {other:?}");
                PingReq.into()
            }
        }
    }

    /// Returns the encoded packet.
    pub const fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the encoded packet, without copying it.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Returns the version in which the packet is encoded.
    pub const fn version(&self) -> Version {
        self.version
    }
}

/// Returns the version in which a packet is encoded and decoded.
const fn version_of(packet: &Packet<'_>, version: Version) -> Version {
    match packet {
        Packet::Connect(connect) => connect.version,
        _ => version,
    }
}

/// Prints the packet, without passwords and authentication data, and the version.
impl fmt::Debug for PacketBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketBuf").field("version", &self.version).field("packet", &self.packet()).finish()
    }
}

/// The version and the bytes.
#[cfg(feature = "serde")]
impl serde::Serialize for PacketBuf {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.version, super::serialize::Bytes(&self.bytes)).serialize(serializer)
    }
}

/// Bytes that are not one valid packet are an error.
#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for PacketBuf {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;

        let (version, bytes) = <(Version, super::serialize::OwnedBytes)>::deserialize(deserializer)?;
        let mut bytes = Bytes::from(bytes.0);
        match Self::decode(&mut bytes, version, Limits::DEFAULT).map_err(D::Error::custom)? {
            Some(packet) if bytes.is_empty() => Ok(packet),
            _ => Err(D::Error::custom("not one complete packet")),
        }
    }
}
