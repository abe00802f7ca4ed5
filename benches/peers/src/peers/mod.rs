//! The contenders.

mod bytes_mut;
mod floor;
mod ours;
mod slice;

use crate::contender::{CHUNK, Contender, Decode, Encode, FLOOR};
use crate::frames::Version::{self, V5, V311};

use bytes_mut::BytesMutCodec;

/// All contenders, in the order of the tables.
pub fn all() -> Vec<Contender> {
    [
        both::<ours::Slice<false>, ours::Slice<true>>("mqtt-sansio", "`decode`, borrowed; `encode_to_slice`"),
        decoders::<ours::AnyVersion<false>, ours::AnyVersion<true>>(
            "mqtt-sansio (any version)",
            "`decode`, borrowed, with a version that the compiler does not know",
        ),
        encoders::<ours::Slices<false>, ours::Slices<true>>(
            "mqtt-sansio (slices)",
            "`encode_to_slice` of packets whose lists are slices of the caller's and not views over received bytes",
        ),
        encoders::<ours::IntoBytesMut<false>, ours::IntoBytesMut<true>>(
            "mqtt-sansio (BytesMut)",
            "`encode` into a `BytesMut`",
        ),
        encoders::<ours::Head<false>, ours::Head<true>>(
            "mqtt-sansio (head)",
            "`Publish::encode_head_to_slice`; the payload is not copied",
        ),
        both::<floor::Floor<false>, floor::Floor<true>>(
            FLOOR,
            "no peer: decode and encode by hand, of PUBLISH, acknowledgements and pings; properties are not parsed",
        ),
        one::<slice::Mqttrs>(
            V311,
            "mqttrs",
            "`decode_slice`, borrowed; `encode_slice`. It does not tell the size of a frame: in a stream it is told",
        ),
        one::<slice::MqttFormat>(
            V311,
            "mqtt-format",
            "`mpacket`, borrowed; `write_to` of a `Vec` under `block_on`. Cannot tell incomplete from malformed",
        ),
        both::<BytesMutCodec<bytes_mut::MqttbytesV4>, BytesMutCodec<bytes_mut::MqttbytesV5>>(
            "mqttbytes",
            "`read` from a `BytesMut`; `write` into a `BytesMut`",
        ),
        both::<BytesMutCodec<bytes_mut::RumqttcV4>, BytesMutCodec<bytes_mut::RumqttcV5>>(
            "rumqttc",
            "`Packet::read` from a `BytesMut`; `Packet::write` into a `BytesMut`",
        ),
        both::<BytesMutCodec<bytes_mut::RumqttcNextV4>, BytesMutCodec<bytes_mut::RumqttcNextV5>>(
            "rumqttc-next",
            "`Packet::read` from a `BytesMut`; `Packet::write` into a `BytesMut`",
        ),
        both::<slice::NtexV3, slice::NtexV5>(
            "ntex-mqtt",
            "`Codec::decode` from its own `BytesMut`; `encodev` into its own pages, which takes the packet by value: a \
             clone is in the time. Payloads above 4 KiB are not copied",
        ),
        both::<slice::ProtocolCoreV311, slice::ProtocolCoreV5>(
            "mqtt-protocol-core",
            "`PacketBuilder::feed` and `parse`; `to_continuous_buffer`, a new `Vec` each time",
        ),
        encoders::<slice::Vectored<slice::ProtocolCoreV311>, slice::Vectored<slice::ProtocolCoreV5>>(
            "mqtt-protocol-core (to_buffers)",
            "`to_buffers`, a new `Vec` of slices each time; the payload is not copied",
        ),
        both::<slice::CodecKitV4, slice::CodecKitV5>(
            "mqtt-codec-kit",
            "`VariablePacket::decode` from a slice, in chunks `MqttDecoder` from a `BytesMut`; `encode` into a `Vec`",
        ),
        both::<slice::MqttProtoV3, slice::MqttProtoV5>(
            "mqtt-proto",
            "`Packet::decode` from a slice; `Packet::encode`, a new `Vec` each time",
        ),
        both::<BytesMutCodec<bytes_mut::RmqttV3>, BytesMutCodec<bytes_mut::RmqttV5>>(
            "rmqtt-codec",
            "`Codec::decode` from a `BytesMut`; `Codec::encode` into a `BytesMut`, which takes the packet by value: a \
             clone is in the time",
        ),
        both::<BytesMutCodec<bytes_mut::MquteV4>, BytesMutCodec<bytes_mut::MquteV5>>(
            "mqute-codec",
            "`PacketCodec::try_decode` from a `BytesMut` and `Packet::decode`; `Packet::encode` into a `BytesMut`",
        ),
        both::<BytesMutCodec<bytes_mut::Mqtt5Protocol<4>>, BytesMutCodec<bytes_mut::Mqtt5Protocol<5>>>(
            "mqtt5-protocol",
            "`FixedHeader::decode` and `Packet::decode_from_body_with_version` from a `BytesMut`; `encode` into a \
             `BytesMut`, of PUBLISH by `encode_body_direct`",
        ),
        both::<slice::FlowSdk<4>, slice::FlowSdk<5>>(
            "flowsdk",
            "`MqttPacket::from_bytes_with_version`, in chunks its `MqttParser`; `to_bytes`, a new `Vec` each time",
        ),
        both::<BytesMutCodec<bytes_mut::MqttCore<false>>, BytesMutCodec<bytes_mut::MqttCore<true>>>(
            "mqtt-core",
            "`codec::decode` from a `BytesMut`; `codec::encode` into a `BytesMut`",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether two frames encode the same packet; properties may be in any order.
pub fn is_same_packet(frame: &[u8], other: &[u8], version: Version) -> bool {
    ours::is_same_packet(frame, other, version == V5)
}

fn both<A: Decode + Encode, B: Decode + Encode>(name: &'static str, note: &'static str) -> Vec<Contender> {
    let v311 = Contender::new(name, V311, note).decoder::<A>().encoder::<A>();
    let v5 = Contender::new(name, V5, note).decoder::<B>().encoder::<B>();
    vec![v311, v5]
}

fn one<A: Decode + Encode>(version: Version, name: &'static str, note: &'static str) -> Vec<Contender> {
    vec![Contender::new(name, version, note).decoder::<A>().encoder::<A>()]
}

fn decoders<A: Decode, B: Decode>(name: &'static str, note: &'static str) -> Vec<Contender> {
    vec![Contender::new(name, V311, note).decoder::<A>(), Contender::new(name, V5, note).decoder::<B>()]
}

fn encoders<A: Encode, B: Encode>(name: &'static str, note: &'static str) -> Vec<Contender> {
    vec![Contender::new(name, V311, note).encoder::<A>(), Contender::new(name, V5, note).encoder::<B>()]
}

/// The bytes of an incomplete frame, which the user of a slice decoder must store between two chunks.
#[derive(Default)]
struct Carry(Vec<u8>);

impl Carry {
    /// `decode` decodes the first frame and returns its size, or `None` if it is not complete.
    #[inline]
    fn drain_chunks(&mut self, stream: &[u8], mut decode: impl FnMut(&[u8]) -> Option<usize>) -> usize {
        let mut count = 0;
        self.0.clear();
        for chunk in stream.chunks(CHUNK) {
            self.0.extend_from_slice(chunk);
            let mut rest = &self.0[..];
            while !rest.is_empty()
                && let Some(size) = decode(rest)
            {
                rest = &rest[size..];
                count += 1;
            }
            let done = self.0.len() - rest.len();
            self.0.drain(..done);
        }
        count
    }
}

/// The size of the frame at the beginning of `bytes`, once its fixed header is complete, for decoders that don't return
/// it.
#[inline]
fn frame_size(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (i, &byte) in bytes.iter().enumerate().skip(1).take(4) {
        length |= usize::from(byte & 0x7F) << (7 * (i - 1));
        if byte & 0x80 == 0 {
            return Some(1 + i + length);
        }
    }
    None
}
