//! Peers that decode from a slice, or from a buffer of their own type.

use std::hint::black_box;

use super::{Carry, frame_size};
use crate::contender::{CHUNK, Decode, Encode, Failure, Message};

/// The outcome of a decode that returns `None` for an incomplete frame.
macro_rules! decoded_or_none {
    ($packet:ty, $error:ty) => {
        type Decoded<'a> = Result<Option<$packet>, $error>;
        type Packet<'a> = $packet;

        fn is_packet(decoded: &Self::Decoded<'_>) -> bool {
            matches!(decoded, Ok(Some(_)))
        }

        fn packet(decoded: Self::Decoded<'_>) -> Result<Self::Packet<'_>, Failure> {
            match decoded {
                Ok(Some(packet)) => Ok(packet),
                Ok(None) => Err(Failure::Incomplete),
                Err(error) => Err(Failure::error(error)),
            }
        }
    };
}

// ---------- mqttrs

#[derive(Default)]
pub struct Mqttrs(Carry);

impl Mqttrs {
    /// Decodes the first frame and returns its size.
    #[inline]
    fn step(bytes: &[u8]) -> Option<usize> {
        let decoded = mqttrs::decode_slice(bytes);
        black_box(&decoded);
        if Self::is_packet(&decoded) { frame_size(bytes) } else { None }
    }
}

impl Decode for Mqttrs {
    decoded_or_none!(mqttrs::Packet<'a>, mqttrs::Error);

    #[inline]
    fn decode<'a>(&mut self, frame: &'a [u8]) -> Self::Decoded<'a> {
        mqttrs::decode_slice(frame)
    }

    fn message(packet: &mqttrs::Packet<'_>) -> Option<Message> {
        let mqttrs::Packet::Publish(publish) = packet else { return None };
        Some(Message::new(publish.topic_name, publish.payload.len(), publish.qospid.qos() as u8))
    }

    fn drain(&mut self, mut bytes: &[u8]) -> usize {
        let mut count = 0;
        while let Some(size) = Self::step(bytes) {
            bytes = &bytes[size..];
            count += 1;
        }
        count
    }

    fn drain_chunks(&mut self, stream: &[u8]) -> usize {
        self.0.drain_chunks(stream, Self::step)
    }
}

impl Encode for Mqttrs {
    type Value = mqttrs::Packet<'static>;
    type Out = (Vec<u8>, usize);

    fn value(&mut self, frame: &'static [u8]) -> Option<Self::Value> {
        mqttrs::decode_slice(frame).ok()?
    }

    fn out() -> Self::Out {
        (vec![0; 128 * 1024], 0)
    }

    #[inline]
    fn encode(&mut self, packet: &Self::Value, out: &mut Self::Out) -> usize {
        out.1 = mqttrs::encode_slice(packet, &mut out.0).unwrap();
        out.1
    }

    fn written(_: &Self::Value, out: &mut Self::Out) -> Vec<u8> {
        out.0[..out.1].to_vec()
    }
}

// ---------- mqtt-format

#[derive(Default)]
pub struct MqttFormat(Carry);

impl MqttFormat {
    /// Decodes the first frame and returns its size.
    #[inline]
    fn step(bytes: &[u8]) -> Option<usize> {
        let decoded = mqtt_format::v3::packet::mpacket(bytes);
        black_box(&decoded);
        decoded.ok().map(|(rest, _)| bytes.len() - rest.len())
    }
}

impl Decode for MqttFormat {
    type Decoded<'a> = mqtt_format::v3::MSResult<'a, mqtt_format::v3::packet::MPacket<'a>>;
    type Packet<'a> = mqtt_format::v3::packet::MPacket<'a>;

    #[inline]
    fn decode<'a>(&mut self, frame: &'a [u8]) -> Self::Decoded<'a> {
        mqtt_format::v3::packet::mpacket(frame)
    }

    fn is_packet(decoded: &Self::Decoded<'_>) -> bool {
        decoded.is_ok()
    }

    fn packet(decoded: Self::Decoded<'_>) -> Result<Self::Packet<'_>, Failure> {
        decoded.map(|(_, packet)| packet).map_err(Failure::error)
    }

    fn message(packet: &Self::Packet<'_>) -> Option<Message> {
        let mqtt_format::v3::packet::MPacket::Publish(publish) = packet else { return None };
        Some(Message::new(&*publish.topic_name, publish.payload.len(), publish.qos as u8))
    }

    fn drain(&mut self, mut bytes: &[u8]) -> usize {
        let mut count = 0;
        while let Some(size) = Self::step(bytes) {
            bytes = &bytes[size..];
            count += 1;
        }
        count
    }

    fn drain_chunks(&mut self, stream: &[u8]) -> usize {
        self.0.drain_chunks(stream, Self::step)
    }
}

impl Encode for MqttFormat {
    type Value = mqtt_format::v3::packet::MPacket<'static>;
    type Out = Vec<u8>;

    fn value(&mut self, frame: &'static [u8]) -> Option<Self::Value> {
        Some(mqtt_format::v3::packet::mpacket(frame).ok()?.1)
    }

    fn out() -> Vec<u8> {
        Vec::with_capacity(128 * 1024)
    }

    #[inline]
    fn encode(&mut self, packet: &Self::Value, out: &mut Vec<u8>) -> usize {
        out.clear();
        futures::executor::block_on(packet.write_to(std::pin::Pin::new(out))).unwrap();
        out.len()
    }

    fn written(_: &Self::Value, out: &mut Vec<u8>) -> Vec<u8> {
        out.clone()
    }
}

// ---------- mqtt-proto

macro_rules! mqtt_proto {
    ($codec:ident, $version:ident, $error:ty) => {
        #[derive(Default)]
        pub struct $codec(Carry);

        impl Decode for $codec {
            decoded_or_none!(mqtt_proto::$version::Packet, $error);

            #[inline]
            fn decode<'a>(&mut self, frame: &'a [u8]) -> Self::Decoded<'a> {
                mqtt_proto::$version::Packet::decode(frame)
            }

            fn message(packet: &Self::Packet<'_>) -> Option<Message> {
                let mqtt_proto::$version::Packet::Publish(publish) = packet else { return None };
                let qos = match publish.qos_pid {
                    mqtt_proto::QosPid::Level0 => 0,
                    mqtt_proto::QosPid::Level1(_) => 1,
                    mqtt_proto::QosPid::Level2(_) => 2,
                };
                Some(Message::new(publish.topic_name.to_string(), publish.payload.len(), qos))
            }

            fn drain(&mut self, mut bytes: &[u8]) -> usize {
                let mut count = 0;
                while !bytes.is_empty() {
                    let decode = mqtt_proto::$version::Packet::decode_async(&mut bytes);
                    let decoded = futures_lite::future::block_on(decode);
                    black_box(&decoded);
                    if decoded.is_err() {
                        break;
                    }
                    count += 1;
                }
                count
            }

            fn drain_chunks(&mut self, stream: &[u8]) -> usize {
                self.0.drain_chunks(stream, |bytes| {
                    let decoded = mqtt_proto::$version::Packet::decode(bytes);
                    black_box(&decoded);
                    if Self::is_packet(&decoded) { frame_size(bytes) } else { None }
                })
            }
        }

        impl Encode for $codec {
            type Value = mqtt_proto::$version::Packet;
            type Out = Option<mqtt_proto::VarBytes>;

            fn value(&mut self, frame: &'static [u8]) -> Option<Self::Value> {
                mqtt_proto::$version::Packet::decode(frame).ok()?
            }

            fn out() -> Self::Out {
                None
            }

            #[inline]
            fn encode(&mut self, packet: &Self::Value, out: &mut Self::Out) -> usize {
                out.insert(packet.encode().unwrap()).as_ref().len()
            }

            fn written(_: &Self::Value, out: &mut Self::Out) -> Vec<u8> {
                out.as_ref().unwrap().as_ref().to_vec()
            }
        }
    };
}

mqtt_proto!(MqttProtoV3, v3, mqtt_proto::Error);
mqtt_proto!(MqttProtoV5, v5, mqtt_proto::v5::ErrorV5);

// ---------- mqtt-codec-kit

macro_rules! codec_kit {
    ($codec:ident, $version:ident) => {
        #[derive(Default)]
        pub struct $codec;

        impl Decode for $codec {
            type Decoded<'a> = Result<
                mqtt_codec_kit::$version::packet::VariablePacket,
                mqtt_codec_kit::$version::packet::VariablePacketError,
            >;
            type Packet<'a> = mqtt_codec_kit::$version::packet::VariablePacket;

            #[inline]
            fn decode<'a>(&mut self, mut frame: &'a [u8]) -> Self::Decoded<'a> {
                use mqtt_codec_kit::common::Decodable;
                mqtt_codec_kit::$version::packet::VariablePacket::decode(&mut frame)
            }

            fn is_packet(decoded: &Self::Decoded<'_>) -> bool {
                decoded.is_ok()
            }

            fn packet(decoded: Self::Decoded<'_>) -> Result<Self::Packet<'_>, Failure> {
                decoded.map_err(Failure::error)
            }

            fn message(packet: &Self::Packet<'_>) -> Option<Message> {
                use mqtt_codec_kit::common::qos::QoSWithPacketIdentifier;
                let mqtt_codec_kit::$version::packet::VariablePacket::PublishPacket(publish) = packet else {
                    return None;
                };
                let qos = match publish.qos() {
                    QoSWithPacketIdentifier::Level0 => 0,
                    QoSWithPacketIdentifier::Level1(_) => 1,
                    QoSWithPacketIdentifier::Level2(_) => 2,
                };
                Some(Message::new(publish.topic_name().to_string(), publish.payload().len(), qos))
            }

            fn drain(&mut self, mut bytes: &[u8]) -> usize {
                use mqtt_codec_kit::common::Decodable;
                let mut count = 0;
                while !bytes.is_empty() {
                    let decoded = mqtt_codec_kit::$version::packet::VariablePacket::decode(&mut bytes);
                    black_box(&decoded);
                    if decoded.is_err() {
                        break;
                    }
                    count += 1;
                }
                count
            }

            fn drain_chunks(&mut self, stream: &[u8]) -> usize {
                use tokio_util::codec::Decoder;
                let mut decoder = mqtt_codec_kit::$version::packet::MqttDecoder::new();
                let mut buffer = bytes::BytesMut::with_capacity(64 * 1024);
                let mut count = 0;
                for chunk in stream.chunks(CHUNK) {
                    buffer.extend_from_slice(chunk);
                    loop {
                        let decoded = decoder.decode(&mut buffer);
                        black_box(&decoded);
                        if !matches!(decoded, Ok(Some(_))) {
                            break;
                        }
                        count += 1;
                    }
                }
                count
            }
        }

        impl Encode for $codec {
            type Value = mqtt_codec_kit::$version::packet::VariablePacket;
            type Out = Vec<u8>;

            fn value(&mut self, frame: &'static [u8]) -> Option<Self::Value> {
                self.decode(frame).ok()
            }

            fn out() -> Vec<u8> {
                Vec::with_capacity(128 * 1024)
            }

            #[inline]
            fn encode(&mut self, packet: &Self::Value, out: &mut Vec<u8>) -> usize {
                use mqtt_codec_kit::common::Encodable;
                out.clear();
                packet.encode(out).unwrap();
                out.len()
            }

            fn written(_: &Self::Value, out: &mut Vec<u8>) -> Vec<u8> {
                out.clone()
            }
        }
    };
}

codec_kit!(CodecKitV4, v4);
codec_kit!(CodecKitV5, v5);

// ---------- flowsdk

pub struct FlowSdk<const LEVEL: u8>(flowsdk::mqtt_serde::parser::stream::MqttParser);

impl<const LEVEL: u8> Default for FlowSdk<LEVEL> {
    fn default() -> Self {
        Self(flowsdk::mqtt_serde::parser::stream::MqttParser::new(64 * 1024, LEVEL))
    }
}

impl<const LEVEL: u8> Decode for FlowSdk<LEVEL> {
    type Decoded<'a> = Result<flowsdk::mqtt_serde::parser::ParseOk, flowsdk::mqtt_serde::parser::ParseError>;
    type Packet<'a> = flowsdk::mqtt_serde::control_packet::MqttPacket;

    #[inline]
    fn decode<'a>(&mut self, frame: &'a [u8]) -> Self::Decoded<'a> {
        flowsdk::mqtt_serde::control_packet::MqttPacket::from_bytes_with_version(frame, LEVEL)
    }

    fn is_packet(decoded: &Self::Decoded<'_>) -> bool {
        matches!(decoded, Ok(flowsdk::mqtt_serde::parser::ParseOk::Packet(..)))
    }

    fn packet(decoded: Self::Decoded<'_>) -> Result<Self::Packet<'_>, Failure> {
        use flowsdk::mqtt_serde::parser::{ParseError, ParseOk};
        match decoded {
            Ok(ParseOk::Packet(packet, _)) => Ok(packet),
            Ok(_) | Err(ParseError::More(..)) => Err(Failure::Incomplete),
            Err(error) => Err(Failure::error(error)),
        }
    }

    fn message(packet: &Self::Packet<'_>) -> Option<Message> {
        use flowsdk::mqtt_serde::control_packet::MqttPacket;
        match packet {
            MqttPacket::Publish3(publish) => {
                Some(Message::new(&publish.topic_name, publish.payload.len(), publish.qos))
            }
            MqttPacket::Publish5(publish) => {
                Some(Message::new(&publish.topic_name, publish.payload.len(), publish.qos))
            }
            _ => None,
        }
    }

    fn drain(&mut self, mut bytes: &[u8]) -> usize {
        let mut count = 0;
        while !bytes.is_empty() {
            let decoded = flowsdk::mqtt_serde::control_packet::MqttPacket::from_bytes_with_version(bytes, LEVEL);
            black_box(&decoded);
            let Ok(flowsdk::mqtt_serde::parser::ParseOk::Packet(_, size)) = &decoded else { break };
            bytes = &bytes[*size..];
            count += 1;
        }
        count
    }

    fn drain_chunks(&mut self, stream: &[u8]) -> usize {
        let mut count = 0;
        for chunk in stream.chunks(CHUNK) {
            self.0.feed(chunk);
            loop {
                let decoded = self.0.next_packet();
                black_box(&decoded);
                if !matches!(decoded, Ok(Some(_))) {
                    break;
                }
                count += 1;
            }
        }
        count
    }
}

impl<const LEVEL: u8> Encode for FlowSdk<LEVEL> {
    type Value = flowsdk::mqtt_serde::control_packet::MqttPacket;
    type Out = Vec<u8>;

    fn value(&mut self, frame: &'static [u8]) -> Option<Self::Value> {
        Self::packet(self.decode(frame)).ok()
    }

    fn out() -> Vec<u8> {
        Vec::new()
    }

    #[inline]
    fn encode(&mut self, packet: &Self::Value, out: &mut Vec<u8>) -> usize {
        *out = packet.to_bytes().unwrap();
        out.len()
    }

    fn written(_: &Self::Value, out: &mut Vec<u8>) -> Vec<u8> {
        out.clone()
    }
}

// ---------- mqtt-protocol-core

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, PacketData, RawPacket};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet};
use mqtt_protocol_core::mqtt::result_code::MqttError;

macro_rules! protocol_core {
    ($codec:ident, $version:ident, $publish:ident $(, $auth:ident)?) => {
        pub struct $codec(PacketBuilder);

        impl Default for $codec {
            fn default() -> Self {
                Self(PacketBuilder::new())
            }
        }

        impl $codec {
            #[inline]
            fn step(&mut self, cursor: &mut Cursor<&[u8]>) -> Result<Option<Packet>, MqttError> {
                match self.0.feed(cursor) {
                    PacketBuildResult::Complete(raw) => Self::parse(raw).map(Some),
                    PacketBuildResult::Incomplete => Ok(None),
                    PacketBuildResult::Error(error) => Err(error),
                }
            }

            #[inline]
            fn parse(raw: RawPacket) -> Result<Packet, MqttError> {
                use mqtt_protocol_core::mqtt::packet::$version;
                Ok(match raw.packet_type() {
                    1 => raw.parse_exact($version::Connect::parse)?.into(),
                    2 => raw.parse_exact($version::Connack::parse)?.into(),
                    3 => {
                        let flags = raw.flags();
                        let PacketData::Publish(data) = raw.data else { return Err(MqttError::MalformedPacket) };
                        $version::Publish::parse(flags, data)?.0.into()
                    }
                    4 => raw.parse_exact($version::Puback::parse)?.into(),
                    5 => raw.parse_exact($version::Pubrec::parse)?.into(),
                    6 => raw.parse_exact($version::Pubrel::parse)?.into(),
                    7 => raw.parse_exact($version::Pubcomp::parse)?.into(),
                    8 => raw.parse_exact($version::Subscribe::parse)?.into(),
                    9 => raw.parse_exact($version::Suback::parse)?.into(),
                    10 => raw.parse_exact($version::Unsubscribe::parse)?.into(),
                    11 => raw.parse_exact($version::Unsuback::parse)?.into(),
                    12 => raw.parse_exact($version::Pingreq::parse)?.into(),
                    13 => raw.parse_exact($version::Pingresp::parse)?.into(),
                    14 => raw.parse_exact($version::Disconnect::parse)?.into(),
                    $( 15 => raw.parse_exact($version::$auth::parse)?.into(), )?
                    _ => return Err(MqttError::MalformedPacket),
                })
            }
        }

        impl Decode for $codec {
            decoded_or_none!(Packet, MqttError);

            #[inline]
            fn decode<'a>(&mut self, frame: &'a [u8]) -> Self::Decoded<'a> {
                self.step(&mut Cursor::new(frame))
            }

            fn message(packet: &Packet) -> Option<Message> {
                let Packet::$publish(publish) = packet else { return None };
                Some(Message::new(publish.topic_name(), publish.payload().len(), publish.qos() as u8))
            }

            #[inline]
            fn drain(&mut self, bytes: &[u8]) -> usize {
                let mut cursor = Cursor::new(bytes);
                let mut count = 0;
                while (cursor.position() as usize) < bytes.len() {
                    let decoded = self.step(&mut cursor);
                    black_box(&decoded);
                    if !Self::is_packet(&decoded) {
                        break;
                    }
                    count += 1;
                }
                count
            }
        }

        impl Encode for $codec {
            type Value = Packet;
            type Out = Vec<u8>;

            fn value(&mut self, frame: &'static [u8]) -> Option<Packet> {
                self.decode(frame).ok()?
            }

            fn out() -> Vec<u8> {
                Vec::new()
            }

            #[inline]
            fn encode(&mut self, packet: &Packet, out: &mut Vec<u8>) -> usize {
                *out = packet.to_continuous_buffer();
                out.len()
            }

            fn written(_: &Packet, out: &mut Vec<u8>) -> Vec<u8> {
                out.clone()
            }
        }
    };
}

protocol_core!(ProtocolCoreV311, v3_1_1, V3_1_1Publish);
protocol_core!(ProtocolCoreV5, v5_0, V5_0Publish, Auth);

/// The other way to encode: a `Vec` of slices for a vectored write.
#[derive(Default)]
pub struct Vectored<C>(C);

impl<C: Encode<Value = Packet>> Encode for Vectored<C> {
    type Value = Packet;
    type Out = ();

    const ATTACHES_FROM: Option<usize> = Some(0);

    fn value(&mut self, frame: &'static [u8]) -> Option<Packet> {
        self.0.value(frame)
    }

    fn out() {}

    #[inline]
    fn encode(&mut self, packet: &Packet, (): &mut ()) -> usize {
        let buffers = packet.to_buffers();
        black_box(&buffers);
        buffers.iter().map(|buffer| buffer.len()).sum()
    }

    fn written(packet: &Packet, (): &mut ()) -> Vec<u8> {
        packet.to_buffers().iter().flat_map(|buffer| buffer.to_vec()).collect()
    }
}

// ---------- ntex-mqtt

macro_rules! ntex {
    ($codec:ident, $version:ident) => {
        pub struct $codec {
            codec: ntex_mqtt::$version::codec::Codec,
            buffer: ntex_bytes::BytesMut,
        }

        impl Default for $codec {
            fn default() -> Self {
                Self { codec: Default::default(), buffer: ntex_bytes::BytesMut::with_capacity(64 * 1024) }
            }
        }

        impl Decode for $codec {
            type Decoded<'a> = Result<
                Option<ntex_mqtt::$version::codec::Decoded>,
                <ntex_mqtt::$version::codec::Codec as ntex_codec::Decoder>::Error,
            >;
            type Packet<'a> = ntex_mqtt::$version::codec::Decoded;

            const OWN_BUFFER: bool = true;

            #[inline]
            fn decode<'a>(&mut self, frame: &'a [u8]) -> Self::Decoded<'a> {
                self.buffer.extend_from_slice(frame);
                ntex_codec::Decoder::decode(&self.codec, &mut self.buffer)
            }

            fn is_packet(decoded: &Self::Decoded<'_>) -> bool {
                matches!(decoded, Ok(Some(_)))
            }

            fn packet(decoded: Self::Decoded<'_>) -> Result<Self::Packet<'_>, Failure> {
                match decoded {
                    Ok(Some(packet)) => Ok(packet),
                    Ok(None) => Err(Failure::Incomplete),
                    Err(error) => Err(Failure::error(error)),
                }
            }

            fn message(packet: &Self::Packet<'_>) -> Option<Message> {
                let ntex_mqtt::$version::codec::Decoded::Publish(publish, payload, _) = packet else { return None };
                Some(Message::new(publish.topic.to_string(), payload.len(), publish.qos as u8))
            }

            fn fill(&mut self, bytes: &[u8]) {
                self.buffer.extend_from_slice(bytes);
            }

            fn drain(&mut self, _: &[u8]) -> usize {
                use ntex_mqtt::$version::codec::Decoded;
                let mut count = 0;
                loop {
                    let decoded = ntex_codec::Decoder::decode(&self.codec, &mut self.buffer);
                    black_box(&decoded);
                    match &decoded {
                        Ok(Some(Decoded::PayloadChunk(..))) => {}
                        Ok(Some(_)) => count += 1,
                        _ => return count,
                    }
                }
            }
        }

        impl Encode for $codec {
            type Value = ntex_mqtt::$version::codec::Encoded;
            type Out = ntex_bytes::BytePages;

            // `BytePages::append` copies at most 4096 bytes.
            const ATTACHES_FROM: Option<usize> = Some(4097);

            fn value(&mut self, frame: &'static [u8]) -> Option<Self::Value> {
                use ntex_mqtt::$version::codec::{Decoded, Encoded};
                // A separate buffer, so that handles in the packet do not share the one that is read from.
                let mut buffer = ntex_bytes::BytesMut::from(frame);
                match ntex_codec::Decoder::decode(&self.codec, &mut buffer).ok()?? {
                    Decoded::Packet(packet, _) => Some(Encoded::Packet(packet)),
                    Decoded::Publish(publish, payload, _) => Some(Encoded::Publish(publish, Some(payload))),
                    _ => None,
                }
            }

            fn out() -> Self::Out {
                ntex_bytes::BytePages::default()
            }

            #[inline]
            fn encode(&mut self, packet: &Self::Value, out: &mut Self::Out) -> usize {
                out.clear();
                ntex_codec::Encoder::encodev(&self.codec, packet.clone(), out).unwrap();
                out.len()
            }

            fn written(_: &Self::Value, out: &mut Self::Out) -> Vec<u8> {
                out.freeze().to_vec()
            }
        }
    };
}

ntex!(NtexV3, v3);
ntex!(NtexV5, v5);
