//! This crate.

use std::hint::black_box;

use mqtt_sansio::Version;
use mqtt_sansio::codec::{self, DecodeError, Decoded, Limits, List, Packet, Publish};

use super::Carry;
use crate::contender::{Decode, Encode, Failure, Message};

const fn version(is_v5: bool) -> Version {
    if is_v5 { Version::V5 } else { Version::V311 }
}

/// The version is known at compile time.
#[derive(Default)]
pub struct Slice<const V5: bool>(Carry);

/// The version is a field, as in a program that serves several versions.
pub struct AnyVersion<const V5: bool> {
    carry: Carry,
    version: Version,
}

impl<const V5: bool> Default for AnyVersion<V5> {
    fn default() -> Self {
        Self { carry: Carry::default(), version: black_box(version(V5)) }
    }
}

/// The size of a packet, if there is one.
#[inline(always)]
fn size(decoded: &Result<Decoded<'_>, DecodeError>) -> Option<usize> {
    match decoded {
        Ok(Decoded::Packet { size, .. }) => Some(*size),
        _ => None,
    }
}

macro_rules! decode {
    ($codec:ident, $self:ident => $version:expr, $carry:expr) => {
        impl<const V5: bool> Decode for $codec<V5> {
            type Decoded<'a> = Result<Decoded<'a>, DecodeError>;
            type Packet<'a> = Packet<'a>;

            #[inline(always)]
            fn decode<'a>(&mut $self, frame: &'a [u8]) -> Self::Decoded<'a> {
                codec::decode(frame, $version, Limits::default())
            }

            fn is_packet(decoded: &Self::Decoded<'_>) -> bool {
                size(decoded).is_some()
            }

            fn packet(decoded: Self::Decoded<'_>) -> Result<Packet<'_>, Failure> {
                match decoded {
                    Ok(Decoded::Packet { packet, .. }) => Ok(packet),
                    Ok(Decoded::Incomplete { .. }) => Err(Failure::Incomplete),
                    Err(error) => Err(Failure::error(error)),
                }
            }

            fn message(packet: &Packet<'_>) -> Option<Message> {
                let Packet::Publish(publish) = packet else { return None };
                Some(Message::new(publish.topic.as_str(), publish.payload.len(), publish.delivery.qos().value()))
            }

            fn drain(&mut $self, mut bytes: &[u8]) -> usize {
                let mut count = 0;
                loop {
                    let decoded = codec::decode(bytes, $version, Limits::default());
                    black_box(&decoded);
                    let Some(size) = size(&decoded) else { return count };
                    bytes = &bytes[size..];
                    count += 1;
                }
            }

            fn drain_chunks(&mut $self, stream: &[u8]) -> usize {
                let version = $version;
                $carry.drain_chunks(stream, |bytes| {
                    let decoded = codec::decode(bytes, version, Limits::default());
                    black_box(&decoded);
                    size(&decoded)
                })
            }
        }
    };
}

decode!(Slice, self => version(V5), self.0);
decode!(AnyVersion, self => self.version, self.carry);

fn decoded(frame: &'static [u8], is_v5: bool) -> Option<Packet<'static>> {
    match codec::decode(frame, version(is_v5), Limits::default()) {
        Ok(Decoded::Packet { packet, .. }) => Some(packet),
        _ => None,
    }
}

impl<const V5: bool> Encode for Slice<V5> {
    type Value = Packet<'static>;
    type Out = (Vec<u8>, usize);

    fn value(&mut self, frame: &'static [u8]) -> Option<Packet<'static>> {
        decoded(frame, V5)
    }

    fn out() -> Self::Out {
        (vec![0; 128 * 1024], 0)
    }

    #[inline(always)]
    fn encode(&mut self, packet: &Packet<'static>, out: &mut Self::Out) -> usize {
        out.1 = packet.encode_to_slice(version(V5), &mut out.0).unwrap();
        out.1
    }

    fn written(_: &Packet<'static>, out: &mut Self::Out) -> Vec<u8> {
        out.0[..out.1].to_vec()
    }
}

/// Whether two frames encode the same packet; properties may be in any order.
pub fn is_same_packet(frame: &[u8], other: &[u8], is_v5: bool) -> bool {
    let decode = |frame| match codec::decode(frame, version(is_v5), Limits::default()) {
        Ok(Decoded::Packet { packet, size }) if size == frame.len() => Some(packet),
        _ => None,
    };
    decode(frame).is_some_and(|packet| decode(other) == Some(packet))
}

/// Encodes values as a caller builds them: the lists are slices, and not views over a received packet, which can be
/// copied unchanged. Only for packets with lists.
#[derive(Default)]
pub struct Slices<const V5: bool>(Slice<V5>);

impl<const V5: bool> Encode for Slices<V5> {
    type Value = Packet<'static>;
    type Out = <Slice<V5> as Encode>::Out;

    fn value(&mut self, frame: &'static [u8]) -> Option<Packet<'static>> {
        fn slice<T: codec::Entry<'static>>(list: &mut List<'static, T>) -> bool {
            *list = List::from(&*Vec::leak(list.iter().collect()));
            !list.is_empty()
        }
        let mut packet = decoded(frame, V5)?;
        let has_lists = match &mut packet {
            Packet::Connect(connect) => slice(&mut connect.properties.user_properties),
            Packet::Publish(publish) => slice(&mut publish.properties.user_properties),
            Packet::Subscribe(subscribe) => slice(&mut subscribe.subscriptions),
            Packet::SubAck(suback) => slice(&mut suback.reason_codes),
            _ => false,
        };
        has_lists.then_some(packet)
    }

    fn out() -> Self::Out {
        Slice::<V5>::out()
    }

    #[inline(always)]
    fn encode(&mut self, packet: &Packet<'static>, out: &mut Self::Out) -> usize {
        self.0.encode(packet, out)
    }

    fn written(packet: &Packet<'static>, out: &mut Self::Out) -> Vec<u8> {
        Slice::<V5>::written(packet, out)
    }
}

/// Encodes into the buffer type that most peers encode into.
#[derive(Default)]
pub struct IntoBytesMut<const V5: bool>;

impl<const V5: bool> Encode for IntoBytesMut<V5> {
    type Value = Packet<'static>;
    type Out = bytes::BytesMut;

    fn value(&mut self, frame: &'static [u8]) -> Option<Packet<'static>> {
        decoded(frame, V5)
    }

    fn out() -> Self::Out {
        bytes::BytesMut::with_capacity(128 * 1024)
    }

    #[inline(always)]
    fn encode(&mut self, packet: &Packet<'static>, out: &mut Self::Out) -> usize {
        out.clear();
        packet.encode(version(V5), out).unwrap()
    }

    fn written(_: &Packet<'static>, out: &mut Self::Out) -> Vec<u8> {
        out.to_vec()
    }
}

/// Encodes a PUBLISH without its payload, which a vectored write sends without a copy.
#[derive(Default)]
pub struct Head<const V5: bool>;

impl<const V5: bool> Encode for Head<V5> {
    type Value = Publish<'static>;
    type Out = (Vec<u8>, usize);

    const ATTACHES_FROM: Option<usize> = Some(0);

    fn value(&mut self, frame: &'static [u8]) -> Option<Publish<'static>> {
        match decoded(frame, V5)? {
            Packet::Publish(publish) => Some(publish),
            _ => None,
        }
    }

    fn out() -> Self::Out {
        (vec![0; 4096], 0)
    }

    #[inline(always)]
    fn encode(&mut self, publish: &Publish<'static>, out: &mut Self::Out) -> usize {
        out.1 = publish.encode_head_to_slice(version(V5), &mut out.0).unwrap();
        let buffers = [&out.0[..out.1], publish.payload];
        black_box(&buffers);
        buffers.iter().map(|buffer| buffer.len()).sum()
    }

    fn written(publish: &Publish<'static>, out: &mut Self::Out) -> Vec<u8> {
        [&out.0[..out.1], publish.payload].concat()
    }
}
