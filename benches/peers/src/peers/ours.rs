//! This crate.
use super::sl::Carry;
use crate::contender::*;
use crate::frames::Ver;
use mqtt_sansio::Version;
use mqtt_sansio::codec::{self, Decoded, Limits, Packet};
use std::hint::black_box;

macro_rules! ours {
    ($type:ident, $name:literal, $ver:expr, $version:expr, $note:literal, $encode:expr) => {
        pub struct $type(Carry);
        impl Codec for $type {
            const NAME: &'static str = $name;
            const VER: Ver = $ver;
            const NOTE: &'static str = $note;
            type Pkt<'a> = Packet<'a>;
            type Enc = Packet<'static>;
            type Out = (Vec<u8>, usize);
            fn new() -> Self {
                Self(Carry::default())
            }
            #[inline]
            fn dec<'a>(&mut self, frame: &'a [u8]) -> Result<Packet<'a>, String> {
                match codec::decode(frame, $version, Limits::default()) {
                    Ok(Decoded::Packet { packet, .. }) => Ok(packet),
                    Ok(Decoded::Incomplete { .. }) => Err("incomplete".into()),
                    Err(error) => Err(es(error)),
                }
            }
            #[inline(always)]
            fn time_dec(&mut self, frame: &[u8]) {
                let decoded = codec::decode(black_box(frame), $version, Limits::default());
                black_box(&decoded);
            }
            fn view(packet: &Packet<'_>) -> View {
                match packet {
                    Packet::Publish(publish) => {
                        View::publish(publish.topic.as_str(), publish.payload.len(), publish.delivery.qos().value())
                    }
                    _ => View::default(),
                }
            }
            fn drain(&mut self, mut data: &[u8]) -> usize {
                let mut n = 0;
                while let Ok(Decoded::Packet { packet, size }) = codec::decode(data, $version, Limits::default()) {
                    black_box(&packet);
                    data = &data[size..];
                    n += 1;
                }
                n
            }
            fn chunked(&mut self, buf: &[u8], chunk: usize) -> usize {
                self.0.run(buf, chunk, |data| match codec::decode(data, $version, Limits::default()).unwrap() {
                    Decoded::Packet { packet, size } => {
                        black_box(&packet);
                        Some(size)
                    }
                    Decoded::Incomplete { .. } => None,
                })
            }
            fn enc_value(&mut self, frame: &'static [u8]) -> Option<Packet<'static>> {
                self.dec(frame).ok()
            }
            fn out() -> Self::Out {
                (vec![0; 128 * 1024], 0)
            }
            #[inline]
            fn enc(&mut self, packet: &Packet<'static>, out: &mut Self::Out) -> usize {
                #[allow(clippy::redundant_closure_call)]
                {
                    out.1 = $encode(packet, out);
                }
                out.1
            }
            fn out_bytes(_: &Packet<'static>, out: &mut Self::Out) -> Vec<u8> {
                out.0[..out.1].to_vec()
            }
        }
    };
}
ours!(Ours3, "mqtt-sansio", Ver::V3, Version::V311, "decode(&[u8]) borrowed; encode_to_slice(&mut [u8])", |p: &Packet<'_>, out: &mut (Vec<u8>, usize)| p.encode_to_slice(Version::V311, &mut out.0).unwrap());
ours!(Ours5, "mqtt-sansio", Ver::V5, Version::V5, "decode(&[u8]) borrowed; encode_to_slice(&mut [u8])", |p: &Packet<'_>, out: &mut (Vec<u8>, usize)| p.encode_to_slice(Version::V5, &mut out.0).unwrap());
