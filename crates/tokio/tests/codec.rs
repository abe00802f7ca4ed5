//! The codec for framed streams.

use bytes::{BufMut, BytesMut};
use mqtt_sansio::codec::{Connect, Limits, Packet, PacketBuf, Publish};
use mqtt_sansio::{TopicName, Version};
use mqtt_sansio_tokio::{CodecError, PacketCodec};
use tokio_util::codec::{Decoder, Encoder};

fn codec() -> PacketCodec {
    PacketCodec::new(Version::V5, Limits { max_packet_size: 1000, ..Limits::default() })
}

#[test]
fn packets_arrive_in_pieces_of_any_size() {
    let topic = TopicName::new("a").unwrap();
    let packets = [
        Packet::from(Connect { version: Version::V311, clean_start: true, ..Connect::default() }),
        Publish { topic, payload: &[7; 300], ..Publish::default() }.into(),
        Packet::PingReq,
    ];
    let mut sent = BytesMut::new();
    let mut encoder = codec();
    for packet in packets {
        encoder.encode(packet, &mut sent).unwrap();
    }
    for piece in 1..40 {
        let (mut decoder, mut input, mut received) = (codec(), BytesMut::new(), Vec::new());
        for bytes in sent.chunks(piece) {
            input.put_slice(bytes);
            while let Some(packet) = decoder.decode(&mut input).unwrap() {
                received.push(packet);
            }
        }
        assert_eq!(received.iter().map(PacketBuf::packet).collect::<Vec<_>>(), packets);
        assert_eq!(decoder.version(), Version::V311, "CONNECT sets the version");
        let mut again = BytesMut::new();
        let mut encoder = codec();
        received.into_iter().for_each(|packet| encoder.encode(packet, &mut again).unwrap());
        assert_eq!(again, sent);
    }
}

#[test]
fn a_packet_of_another_version_is_encoded_again() {
    let publish = Publish { topic: TopicName::new("a").unwrap(), payload: b"1", ..Publish::default() };
    let packet = PacketBuf::encode(&publish.into(), Version::V311).unwrap();
    let mut output = BytesMut::new();
    codec().encode(packet, &mut output).unwrap();
    assert_eq!(&output[..], b"\x30\x05\x00\x01a\x001");
}

#[test]
fn too_large_packets_are_refused_before_they_arrive() {
    let mut input = BytesMut::from(&b"\x30\xff\xff\xff\x7f"[..]);
    assert!(matches!(codec().decode(&mut input), Err(CodecError::Decode(_))));
    let mut decoder = PacketCodec::new(Version::V5, Limits::default());
    assert!(decoder.decode(&mut input).unwrap().is_none());
    assert!(input.capacity() <= 1 << 17, "{}", input.capacity());
}
