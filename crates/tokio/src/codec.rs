//! Packets on a framed stream of tokio.

use std::io;

use bytes::{Buf, BytesMut};
use mqtt_sansio::Version;
use mqtt_sansio::codec::{self, DecodeError, Decoded, EncodeError, Limits, Packet, PacketBuf};
use thiserror::Error;
use tokio_util::codec::{Decoder, Encoder};

/// A codec of owned packets for [`tokio_util::codec`]: `Framed::new(stream, PacketCodec::new(…))` is a stream and a sink of
/// them.
///
/// It knows no session: it does not connect, acknowledge or ping. A CONNECT that is decoded or encoded sets the version for
/// the packets after it.
///
/// ```
/// use bytes::BytesMut;
/// use mqtt_sansio::codec::{Limits, Packet, PacketBuf};
/// use mqtt_sansio::Version;
/// use mqtt_sansio_tokio::PacketCodec;
/// use tokio_util::codec::{Decoder, Encoder};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut codec = PacketCodec::new(Version::V5, Limits::default());
/// let mut bytes = BytesMut::new();
/// codec.encode(Packet::PingReq, &mut bytes)?;
/// let packet: PacketBuf = codec.decode(&mut bytes)?.ok_or("incomplete")?;
/// assert_eq!(packet.packet(), Packet::PingReq);
/// # Ok(())
/// # }
/// ```
///
/// A proxy that prints the packets of both directions. Each codec sees CONNECT, in one direction or the other, and so knows the
/// version of both:
///
/// ```
/// use futures_util::{StreamExt, TryStreamExt};
/// use mqtt_sansio::Version;
/// use mqtt_sansio::codec::Limits;
/// use mqtt_sansio_tokio::{CodecError, PacketCodec};
/// use tokio::net::TcpStream;
/// use tokio_util::codec::Framed;
///
/// async fn proxy(client: TcpStream, server: TcpStream) -> Result<((), ()), CodecError> {
///     let (to_client, from_client) = Framed::new(client, PacketCodec::new(Version::V5, Limits::from_client())).split();
///     let (to_server, from_server) = Framed::new(server, PacketCodec::new(Version::V5, Limits::from_server())).split();
///     tokio::try_join!(
///         from_client.inspect_ok(|packet| println!("-> {}", packet.packet())).forward(to_server),
///         from_server.inspect_ok(|packet| println!("<- {}", packet.packet())).forward(to_client),
///     )
/// }
/// ```
#[derive(Clone, Debug)]
pub struct PacketCodec {
    version: Version,
    limits: Limits,
}

/// The error of a [`PacketCodec`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// A received packet is malformed or exceeds the limits. MQTT has no resynchronisation: the stream is at its end.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A packet cannot be encoded in the version of the stream.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The error of the transport.
    #[error(transparent)]
    Transport(#[from] io::Error),
}

impl PacketCodec {
    /// Creates a codec. The version is that of the packets before the first CONNECT.
    ///
    /// ```
    /// # use mqtt_sansio::Version;
    /// # use mqtt_sansio::codec::Limits;
    /// # use mqtt_sansio_tokio::PacketCodec;
    /// # use tokio_util::codec::Framed;
    /// # fn frames<S: tokio::io::AsyncRead + tokio::io::AsyncWrite>(stream: S) -> Framed<S, PacketCodec> {
    /// Framed::new(stream, PacketCodec::new(Version::V5, Limits::from_client()))
    /// # }
    /// ```
    pub const fn new(version: Version, limits: Limits) -> Self {
        Self { version, limits }
    }

    /// Returns the version of the next packet.
    ///
    /// ```
    /// # use bytes::BytesMut;
    /// # use mqtt_sansio::Version;
    /// # use mqtt_sansio::codec::{Connect, Limits, Packet};
    /// # use mqtt_sansio_tokio::PacketCodec;
    /// # use tokio_util::codec::Encoder;
    /// let mut codec = PacketCodec::new(Version::V5, Limits::default());
    /// let connect = Connect { version: Version::V311, clean_start: true, ..Connect::default() };
    /// codec.encode(Packet::from(connect), &mut BytesMut::new())?;
    /// assert_eq!(codec.version(), Version::V311);
    /// # Ok::<(), mqtt_sansio_tokio::CodecError>(())
    /// ```
    pub const fn version(&self) -> Version {
        self.version
    }
}

impl Decoder for PacketCodec {
    type Item = PacketBuf;
    type Error = CodecError;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<PacketBuf>, CodecError> {
        let size = match codec::decode(input, self.version, self.limits)? {
            Decoded::Packet { size, .. } => size,
            Decoded::Incomplete { needs } => {
                // The limit on the size has been checked, but a peer need not send what it announces.
                input.reserve(needs.min(64 * 1024));
                return Ok(None);
            }
        };
        let mut packet = input.split_to(size).freeze();
        let packet = PacketBuf::decode(&mut packet, self.version, self.limits)?;
        if let Some(packet) = &packet {
            self.version = packet.version();
        }
        Ok(packet)
    }
}

impl Encoder<Packet<'_>> for PacketCodec {
    type Error = CodecError;

    fn encode(&mut self, packet: Packet<'_>, output: &mut BytesMut) -> Result<(), CodecError> {
        if let Packet::Connect(connect) = &packet {
            self.version = connect.version;
        }
        packet.encode(self.version, output)?;
        Ok(())
    }
}

impl Encoder<PacketBuf> for PacketCodec {
    type Error = CodecError;

    /// Appends the bytes of the packet, or encodes it again if it is of another version than the stream.
    fn encode(&mut self, packet: PacketBuf, output: &mut BytesMut) -> Result<(), CodecError> {
        if let (Packet::Connect(_), version) = (packet.packet(), packet.version()) {
            self.version = version;
        }
        if packet.version() != self.version {
            return self.encode(packet.packet(), output);
        }
        let bytes = packet.into_bytes();
        output.reserve(bytes.remaining());
        output.extend_from_slice(&bytes);
        Ok(())
    }
}
