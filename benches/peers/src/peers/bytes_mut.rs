//! Peers that decode from a `bytes::BytesMut` and encode into one.

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::contender::{Decode, Encode, Failure, Message};

/// The interface that such a peer must provide.
pub trait Peer: Default + 'static {
    /// The result of its own decode.
    type Read: 'static;
    type Packet: 'static;

    fn read(&mut self, buffer: &mut BytesMut) -> Self::Read;

    fn is_packet(read: &Self::Read) -> bool;

    fn packet(read: Self::Read) -> Result<Self::Packet, Failure>;

    fn message(packet: &Self::Packet) -> Option<Message>;

    fn write(&mut self, packet: &Self::Packet, buffer: &mut BytesMut);
}

pub struct BytesMutCodec<P> {
    peer: P,
    buffer: BytesMut,
}

impl<P: Peer> Default for BytesMutCodec<P> {
    fn default() -> Self {
        Self { peer: P::default(), buffer: BytesMut::with_capacity(64 * 1024) }
    }
}

impl<P: Peer> Decode for BytesMutCodec<P> {
    type Decoded<'a> = P::Read;
    type Packet<'a> = P::Packet;

    const OWN_BUFFER: bool = true;

    #[inline]
    fn decode<'a>(&mut self, frame: &'a [u8]) -> Self::Decoded<'a> {
        self.buffer.extend_from_slice(frame);
        self.peer.read(&mut self.buffer)
    }

    fn is_packet(decoded: &Self::Decoded<'_>) -> bool {
        P::is_packet(decoded)
    }

    fn packet(decoded: Self::Decoded<'_>) -> Result<Self::Packet<'_>, Failure> {
        P::packet(decoded)
    }

    fn message(packet: &Self::Packet<'_>) -> Option<Message> {
        P::message(packet)
    }

    fn fill(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    #[inline]
    fn drain(&mut self, _: &[u8]) -> usize {
        let mut count = 0;
        loop {
            let read = self.peer.read(&mut self.buffer);
            std::hint::black_box(&read);
            if !P::is_packet(&read) {
                return count;
            }
            count += 1;
        }
    }
}

impl<P: Peer> Encode for BytesMutCodec<P> {
    type Value = P::Packet;
    type Out = BytesMut;

    fn value(&mut self, frame: &'static [u8]) -> Option<P::Packet> {
        // A separate buffer, so that handles in the packet do not share the one that is read from.
        P::packet(self.peer.read(&mut BytesMut::from(frame))).ok()
    }

    fn out() -> BytesMut {
        BytesMut::with_capacity(128 * 1024)
    }

    #[inline]
    fn encode(&mut self, packet: &P::Packet, out: &mut BytesMut) -> usize {
        out.clear();
        self.peer.write(packet, out);
        out.len()
    }

    fn written(_: &P::Packet, out: &mut BytesMut) -> Vec<u8> {
        out.to_vec()
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const MAX_SIZE: usize = 1 << 28;

/// The outcome of a `read` that returns an error for an incomplete frame.
macro_rules! read_or_insufficient {
    ($packet:ty, $error:ty, $insufficient:pat) => {
        type Read = Result<$packet, $error>;
        type Packet = $packet;

        fn is_packet(read: &Self::Read) -> bool {
            read.is_ok()
        }

        fn packet(read: Self::Read) -> Result<Self::Packet, Failure> {
            read.map_err(|error| match error {
                $insufficient => Failure::Incomplete,
                error => Failure::error(error),
            })
        }
    };
}

/// The outcome of a `read` that returns `None` for an incomplete frame.
macro_rules! read_or_none {
    ($read:ty, $packet:ty, $some:ident => $value:expr) => {
        type Read = $read;
        type Packet = $packet;

        fn is_packet(read: &Self::Read) -> bool {
            matches!(read, Ok(Some(_)))
        }

        fn packet(read: Self::Read) -> Result<Self::Packet, Failure> {
            match read {
                Ok(Some($some)) => Ok($value),
                Ok(None) => Err(Failure::Incomplete),
                Err(error) => Err(Failure::error(error)),
            }
        }
    };
}

macro_rules! mqttbytes {
    ($peer:ident, $version:ident) => {
        #[derive(Default)]
        pub struct $peer;

        impl Peer for $peer {
            read_or_insufficient!(
                mqttbytes::$version::Packet,
                mqttbytes::Error,
                mqttbytes::Error::InsufficientBytes(_)
            );

            #[inline]
            fn read(&mut self, buffer: &mut BytesMut) -> Self::Read {
                mqttbytes::$version::read(buffer, MAX_SIZE)
            }

            fn message(packet: &Self::Packet) -> Option<Message> {
                let mqttbytes::$version::Packet::Publish(publish) = packet else { return None };
                Some(Message::new(&publish.topic, publish.payload.len(), publish.qos as u8))
            }

            #[inline]
            fn write(&mut self, packet: &Self::Packet, buffer: &mut BytesMut) {
                use mqttbytes::$version::{Packet, PingReq};
                let written = match packet {
                    Packet::Connect(packet) => packet.write(buffer),
                    Packet::Publish(packet) => packet.write(buffer),
                    Packet::PubAck(packet) => packet.write(buffer),
                    Packet::Subscribe(packet) => packet.write(buffer),
                    Packet::SubAck(packet) => packet.write(buffer),
                    Packet::PingReq => PingReq.write(buffer),
                    packet => unimplemented!("{packet:?}"),
                };
                written.unwrap();
            }
        }
    };
}

mqttbytes!(MqttbytesV4, v4);
mqttbytes!(MqttbytesV5, v5);

macro_rules! rumqttc {
    ($peer:ident, $($path:ident)::+, $version:ident, $max_size:expr, $topic:expr) => {
        #[derive(Default)]
        pub struct $peer;

        impl Peer for $peer {
            read_or_insufficient!(
                $($path)::+::$version::Packet, $($path)::+::Error, $($path)::+::Error::InsufficientBytes(_)
            );

            #[inline]
            fn read(&mut self, buffer: &mut BytesMut) -> Self::Read {
                $($path)::+::$version::Packet::read(buffer, $max_size)
            }

            fn message(packet: &Self::Packet) -> Option<Message> {
                let $($path)::+::$version::Packet::Publish(publish) = packet else { return None };
                Some(Message::new($topic(&publish.topic), publish.payload.len(), publish.qos as u8))
            }

            #[inline]
            fn write(&mut self, packet: &Self::Packet, buffer: &mut BytesMut) {
                packet.write(buffer, $max_size).unwrap();
            }
        }
    };
}

rumqttc!(RumqttcV4, rq::mqttbytes, v4, MAX_SIZE, String::clone);
rumqttc!(RumqttcV5, rq::v5::mqttbytes, v5, Some(MAX_SIZE as u32), text);
rumqttc!(RumqttcNextV4, rn4::mqttbytes, v4, MAX_SIZE, text);
rumqttc!(RumqttcNextV5, rn5::mqttbytes, v5, Some(MAX_SIZE as u32), text);

macro_rules! rmqtt {
    ($peer:ident, $version:ident, $codec:expr) => {
        pub struct $peer(rmqtt_codec::$version::Codec);

        impl Default for $peer {
            fn default() -> Self {
                Self($codec)
            }
        }

        impl Peer for $peer {
            read_or_none!(
                Result<
                    Option<<rmqtt_codec::$version::Codec as Decoder>::Item>,
                    <rmqtt_codec::$version::Codec as Decoder>::Error,
                >,
                rmqtt_codec::$version::Packet,
                read => read.0
            );

            #[inline]
            fn read(&mut self, buffer: &mut BytesMut) -> Self::Read {
                self.0.decode(buffer)
            }

            fn message(packet: &Self::Packet) -> Option<Message> {
                let rmqtt_codec::$version::Packet::Publish(publish) = packet else { return None };
                Some(Message::new(publish.topic.to_string(), publish.payload.len(), publish.qos as u8))
            }

            #[inline]
            fn write(&mut self, packet: &Self::Packet, buffer: &mut BytesMut) {
                self.0.encode(packet.clone(), buffer).unwrap();
            }
        }
    };
}

rmqtt!(RmqttV3, v3, rmqtt_codec::v3::Codec::new(MAX_SIZE as u32));
rmqtt!(RmqttV5, v5, rmqtt_codec::v5::Codec::new(MAX_SIZE as u32, 0));

macro_rules! mqute {
    ($peer:ident, $version:ident) => {
        pub struct $peer(mqute_codec::codec::PacketCodec);

        impl Default for $peer {
            fn default() -> Self {
                Self(mqute_codec::codec::PacketCodec::new(Some(MAX_SIZE), None))
            }
        }

        impl Peer for $peer {
            read_or_insufficient!(
                mqute_codec::protocol::$version::Packet,
                mqute_codec::Error,
                mqute_codec::Error::NotEnoughBytes(_)
            );

            #[inline]
            fn read(&mut self, buffer: &mut BytesMut) -> Self::Read {
                Self::Packet::decode(self.0.try_decode(buffer)?)
            }

            fn message(packet: &Self::Packet) -> Option<Message> {
                let mqute_codec::protocol::$version::Packet::Publish(publish) = packet else { return None };
                Some(Message::new(publish.topic(), publish.payload().len(), publish.flags().qos as u8))
            }

            #[inline]
            fn write(&mut self, packet: &Self::Packet, buffer: &mut BytesMut) {
                packet.encode(buffer).unwrap();
            }
        }
    };
}

mqute!(MquteV4, v4);
mqute!(MquteV5, v5);

#[derive(Default)]
pub struct MqttCore<const V5: bool>;

impl<const V5: bool> MqttCore<V5> {
    const VERSION: mqtt_core::ProtocolVersion =
        if V5 { mqtt_core::ProtocolVersion::V500 } else { mqtt_core::ProtocolVersion::V311 };
}

impl<const V5: bool> Peer for MqttCore<V5> {
    read_or_none!(
        Result<Option<mqtt_core::ControlPacket>, mqtt_core::Error>, mqtt_core::ControlPacket, packet => packet
    );

    #[inline]
    fn read(&mut self, buffer: &mut BytesMut) -> Self::Read {
        mqtt_core::codec::decode(buffer, Some(Self::VERSION))
    }

    fn message(packet: &Self::Packet) -> Option<Message> {
        let mqtt_core::ControlPacket::Publish(publish) = packet else { return None };
        Some(Message::new(&publish.topic, publish.payload.len(), publish.qos as u8))
    }

    #[inline]
    fn write(&mut self, packet: &Self::Packet, buffer: &mut BytesMut) {
        mqtt_core::codec::encode(packet, Self::VERSION, buffer);
    }
}

#[derive(Default)]
pub struct Mqtt5Protocol<const LEVEL: u8>;

impl<const LEVEL: u8> Peer for Mqtt5Protocol<LEVEL> {
    read_or_none!(
        mqtt5_protocol::Result<Option<mqtt5_protocol::packet::Packet>>, mqtt5_protocol::packet::Packet, packet => packet
    );

    #[inline]
    fn read(&mut self, buffer: &mut BytesMut) -> Self::Read {
        use mqtt5_protocol::packet::{FixedHeader, Packet};
        if buffer.len() < 2 {
            return Ok(None);
        }
        let mut behind_header = &buffer[..];
        let header = match FixedHeader::decode(&mut behind_header) {
            Ok(header) => header,
            // The peer does not distinguish an incomplete Remaining Length from a malformed one.
            Err(_) if buffer.len() < 5 && buffer[1..].iter().all(|byte| byte & 0x80 != 0) => return Ok(None),
            Err(error) => return Err(error),
        };
        let header_len = buffer.len() - behind_header.len();
        let size = header_len + header.remaining_length as usize;
        if buffer.len() < size {
            return Ok(None);
        }
        let mut body = buffer.split_to(size).freeze();
        body.advance(header_len);
        Packet::decode_from_body_with_version(header.packet_type, &header, &mut body, LEVEL).map(Some)
    }

    fn message(packet: &Self::Packet) -> Option<Message> {
        let mqtt5_protocol::packet::Packet::Publish(publish) = packet else { return None };
        Some(Message::new(&publish.topic_name, publish.payload.len(), publish.qos as u8))
    }

    #[inline]
    fn write(&mut self, packet: &Self::Packet, buffer: &mut BytesMut) {
        use mqtt5_protocol::packet::pingreq::PingReqPacket;
        use mqtt5_protocol::packet::{FixedHeader, MqttPacket, Packet, PacketType};
        let written = match packet {
            Packet::Publish(packet) => {
                // Faster than its `encode`, which writes the body into a buffer of its own first.
                let size = packet.body_encoded_size() as u32;
                FixedHeader::new(PacketType::Publish, packet.flags(), size)
                    .encode(buffer)
                    .and_then(|()| packet.encode_body_direct(buffer))
            }
            Packet::Connect(packet) => packet.encode(buffer),
            Packet::PubAck(packet) => packet.encode(buffer),
            Packet::Subscribe(packet) => packet.encode(buffer),
            Packet::SubAck(packet) => packet.encode(buffer),
            Packet::PingReq => PingReqPacket::default().encode(buffer),
            packet => unimplemented!("{packet:?}"),
        };
        written.unwrap();
    }
}
