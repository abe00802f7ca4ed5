//! Decodes the recorded conversations in `spec-vectors/captures`, whole and byte by byte, and encodes them again.

mod common;

use mqtt_sansio::Version;
use mqtt_sansio::codec::{self, Decoded, Limits, Packet, Packets, Sender};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Capture {
    name: String,
    #[serde(rename = "program")]
    _program: String,
    #[serde(rename = "program_version")]
    _program_version: String,
    #[serde(rename = "broker")]
    _broker: serde_json::Value,
    version: String,
    #[serde(rename = "what")]
    _what: String,
    #[serde(default)]
    refuse: Vec<End>,
    client: Side,
    server: Side,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum End {
    Client,
    Server,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Side {
    bytes: usize,
    packets: Vec<String>,
    #[serde(default)]
    cut: bool,
}

/// The bytes that one endpoint has sent.
struct Stream {
    name: String,
    version: Version,
    limits: Limits,
    bytes: Vec<u8>,
    /// The types of the packets.
    packets: Vec<String>,
    /// Whether the last packet is invalid.
    refuse: bool,
    /// Whether the bytes end with an incomplete packet.
    cut: bool,
}

impl Stream {
    fn decoder(&self) -> Packets<'_> {
        codec::packets(&self.bytes, self.version, self.limits)
    }
}

fn captures() -> Vec<Capture> {
    let captures: Vec<Capture> = common::load("captures/index.json");
    assert!(!captures.is_empty());
    captures
}

fn stream(capture: &Capture, end: End) -> Stream {
    let (side, sender, name) = match end {
        End::Client => (&capture.client, Sender::Client, "client"),
        End::Server => (&capture.server, Sender::Server, "server"),
    };
    let name = format!("captures/{}.{name}.bin", capture.name);
    let bytes = std::fs::read(common::path(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(bytes.len(), side.bytes, "{name}");
    Stream {
        version: common::version(&capture.version),
        limits: common::limits(Some(sender)),
        refuse: capture.refuse.contains(&end),
        packets: side.packets.clone(),
        cut: side.cut,
        name,
        bytes,
    }
}

fn streams() -> Vec<Stream> {
    captures().iter().flat_map(|capture| [End::Client, End::Server].map(|end| stream(capture, end))).collect()
}

#[test]
fn no_file_is_left_out() {
    let in_index = streams().into_iter().map(|stream| stream.name);
    let on_disk = common::file_names("captures").into_iter().filter(|name| name.ends_with(".bin"));
    let sorted = |names: Vec<String>| std::collections::BTreeSet::from_iter(names);
    assert_eq!(sorted(on_disk.map(|name| format!("captures/{name}")).collect()), sorted(in_index.collect()));
}

#[test]
fn packets_are_those_of_the_index() {
    for stream in streams() {
        let mut decoder = stream.decoder();
        let mut types = Vec::new();
        let mut error = None;
        for next in decoder.by_ref() {
            match next {
                Ok(packet) => types.push(packet.packet_type().name().to_owned()),
                Err(refused) => error = Some(refused),
            }
        }
        if let Some(error) = error {
            types.push(error.packet().map(|packet_type| packet_type.name().to_owned()).unwrap_or_default());
        }
        assert_eq!(types, stream.packets, "{}", stream.name);
        assert_eq!(error.is_some(), stream.refuse, "{}: {error:?}", stream.name);
        assert_eq!(decoder.needs() > 0, stream.cut, "{}", stream.name);
        assert_eq!(decoder.rest().is_empty(), !stream.cut && !stream.refuse, "{}", stream.name);
    }
}

/// The protocol allows any order of properties, and longer forms of some packets; the encoder has one order and one form.
#[test]
fn packets_encode_again() {
    let (mut same, mut other) = (0, 0);
    for stream in streams() {
        let mut decoder = stream.decoder();
        loop {
            let before = decoder.rest();
            let Some(Ok(packet)) = decoder.next() else { break };
            let bytes = &before[..before.len() - decoder.rest().len()];
            let version = decoder.version();
            let size = packet.encoded_len(version).unwrap_or_else(|error| panic!("{}: {error}", stream.name));
            let mut encoded = vec![0; size];
            assert_eq!(packet.encode_to_slice(version, &mut encoded), Ok(size), "{}", stream.name);
            assert_eq!(decode_whole(&encoded, version, stream.limits), packet, "{}", stream.name);
            if encoded == bytes {
                same += 1;
            } else {
                other += 1;
                let mut letters = [bytes.to_vec(), encoded];
                letters.iter_mut().for_each(|bytes| bytes.sort_unstable());
                let [received, encoded] = letters;
                let is_shorter = encoded.len() < received.len();
                assert!(received == encoded || is_shorter, "{}: neither another order nor a shorter form", stream.name);
            }
        }
    }
    assert!(same > 10 * other, "{same} packets come out as they were, {other} do not");
}

fn decode_whole(bytes: &[u8], version: Version, limits: Limits) -> Packet<'_> {
    match codec::decode(bytes, version, limits) {
        Ok(Decoded::Packet { packet, size }) if size == bytes.len() => packet,
        other => panic!("{other:?}"),
    }
}

/// The packets are the same however the bytes are split, and the decoder never asks for more bytes than the packet has.
#[test]
fn packets_are_decoded_byte_by_byte() {
    for stream in streams() {
        let mut decoder = stream.decoder();
        loop {
            let before = decoder.rest();
            let version = decoder.version();
            match decoder.next() {
                Some(Ok(packet)) => {
                    let size = before.len() - decoder.rest().len();
                    check_prefixes(&before[..size], size, version, &stream);
                    let whole = codec::decode(&before[..size], version, stream.limits);
                    assert_eq!(whole, Ok(Decoded::Packet { packet, size }), "{}", stream.name);
                }
                Some(Err(_)) => break check_refused_prefixes(before, version, &stream),
                None => break check_prefixes(before, before.len() + decoder.needs(), version, &stream), // cut
            }
        }
    }
}

/// Checks that every prefix of a packet is incomplete.
fn check_prefixes(packet: &[u8], size: usize, version: Version, stream: &Stream) {
    for len in (1..=packet.len()).filter(|len| *len < size) {
        match codec::decode(&packet[..len], version, stream.limits) {
            Ok(Decoded::Incomplete { needs }) if (1..=size - len).contains(&needs) => {}
            other => panic!("{}: {len} of {size} bytes: {other:?}", stream.name),
        }
    }
}

/// An invalid packet may be refused before it is complete, and is then refused with all further bytes too.
fn check_refused_prefixes(rest: &[u8], version: Version, stream: &Stream) {
    let refused = codec::decode(rest, version, stream.limits);
    let mut was_refused = false;
    for len in 1..=rest.len() {
        match codec::decode(&rest[..len], version, stream.limits) {
            Ok(Decoded::Incomplete { needs }) if !was_refused && needs > 0 => {}
            early => {
                was_refused = true;
                assert_eq!(early, refused, "{}: {len} bytes", stream.name);
            }
        }
    }
}
