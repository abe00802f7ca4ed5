//! A yardstick: the minimum work of a borrowing decode and a copying encode. PUBLISH, acknowledgements and pings only;
//! properties are sliced and not parsed.

use std::hint::black_box;

use super::Carry;
use crate::contender::{Decode, Encode, Failure, Message};

#[derive(Default)]
pub struct Floor<const V5: bool>(Carry);

pub enum Packet<'a> {
    Publish { first: u8, topic: &'a str, id: u16, properties: &'a [u8], payload: &'a [u8] },
    Ack { first: u8, id: u16, rest: &'a [u8] },
    Ping { first: u8 },
}

/// A packet and its size.
#[inline]
fn decode(input: &[u8], is_v5: bool) -> Option<(Packet<'_>, usize)> {
    let (&first, rest) = input.split_first()?;
    let (length, rest) = varint(rest)?;
    let body = rest.get(..length)?;
    let packet = match first >> 4 {
        3 => {
            let (topic_len, rest) = body.split_first_chunk::<2>()?;
            let (topic, mut rest) = rest.split_at_checked(u16::from_be_bytes(*topic_len).into())?;
            let topic = std::str::from_utf8(topic).ok()?;
            if topic.bytes().any(|byte| matches!(byte, 0 | b'+' | b'#')) {
                return None;
            }
            let mut id = 0;
            if first & 0b110 == 0b110 {
                return None;
            }
            if first & 0b110 != 0 {
                let bytes;
                (bytes, rest) = rest.split_first_chunk::<2>()?;
                id = u16::from_be_bytes(*bytes);
                if id == 0 {
                    return None;
                }
            }
            let mut properties: &[u8] = &[];
            if is_v5 {
                let length;
                (length, rest) = varint(rest)?;
                (properties, rest) = rest.split_at_checked(length)?;
            }
            Packet::Publish { first, topic, id, properties, payload: rest }
        }
        4..=7 | 11 => {
            let (id, rest) = body.split_first_chunk::<2>()?;
            Packet::Ack { first, id: u16::from_be_bytes(*id), rest }
        }
        12 | 13 => Packet::Ping { first },
        _ => return None,
    };
    Some((packet, input.len() - rest.len() + length))
}

#[inline(always)]
fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

impl<const V5: bool> Decode for Floor<V5> {
    type Decoded<'a> = Option<(Packet<'a>, usize)>;
    type Packet<'a> = Packet<'a>;

    #[inline]
    fn decode<'a>(&mut self, frame: &'a [u8]) -> Self::Decoded<'a> {
        decode(frame, V5)
    }

    fn is_packet(decoded: &Self::Decoded<'_>) -> bool {
        decoded.is_some()
    }

    fn packet(decoded: Self::Decoded<'_>) -> Result<Packet<'_>, Failure> {
        decoded.map(|(packet, _)| packet).ok_or_else(|| Failure::error("unsupported"))
    }

    fn message(packet: &Packet<'_>) -> Option<Message> {
        match packet {
            Packet::Publish { first, topic, payload, .. } => {
                Some(Message::new(*topic, payload.len(), first >> 1 & 0b11))
            }
            _ => None,
        }
    }

    fn drain(&mut self, mut bytes: &[u8]) -> usize {
        let mut count = 0;
        loop {
            let decoded = decode(bytes, V5);
            black_box(&decoded);
            let Some((_, size)) = decoded else { return count };
            bytes = &bytes[size..];
            count += 1;
        }
    }

    fn drain_chunks(&mut self, stream: &[u8]) -> usize {
        self.0.drain_chunks(stream, |bytes| {
            let decoded = decode(bytes, V5);
            black_box(&decoded);
            decoded.map(|(_, size)| size)
        })
    }
}

/// Writes to the beginning of a slice.
struct Writer<'b>(&'b mut [u8]);

impl Writer<'_> {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        let (to, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        to.copy_from_slice(bytes);
        self.0 = rest;
    }

    #[inline(always)]
    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.put(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.put(&[value as u8]);
    }
}

impl<const V5: bool> Encode for Floor<V5> {
    type Value = Packet<'static>;
    type Out = (Vec<u8>, usize);

    fn value(&mut self, frame: &'static [u8]) -> Option<Packet<'static>> {
        decode(frame, V5).map(|(packet, _)| packet)
    }

    fn out() -> Self::Out {
        (vec![0; 128 * 1024], 0)
    }

    #[inline]
    fn encode(&mut self, packet: &Packet<'static>, out: &mut Self::Out) -> usize {
        let room = out.0.len();
        let mut writer = Writer(&mut out.0);
        match packet {
            Packet::Publish { first, topic, id, properties, payload } => {
                let has_id = first & 0b110 != 0;
                let section_len = if V5 { 1 + usize::from(properties.len() > 127) + properties.len() } else { 0 };
                writer.put(&[*first]);
                writer.varint(2 + topic.len() + 2 * usize::from(has_id) + section_len + payload.len());
                writer.put(&(topic.len() as u16).to_be_bytes());
                writer.put(topic.as_bytes());
                if has_id {
                    writer.put(&id.to_be_bytes());
                }
                if V5 {
                    writer.varint(properties.len());
                    writer.put(properties);
                }
                writer.put(payload);
            }
            Packet::Ack { first, id, rest } => {
                writer.put(&[*first, 2 + rest.len() as u8]);
                writer.put(&id.to_be_bytes());
                writer.put(rest);
            }
            Packet::Ping { first } => writer.put(&[*first, 0]),
        }
        out.1 = room - writer.0.len();
        out.1
    }

    fn written(_: &Packet<'static>, out: &mut Self::Out) -> Vec<u8> {
        out.0[..out.1].to_vec()
    }
}
