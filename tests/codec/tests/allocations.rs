//! The codec allocates nothing: a counting allocator watches while every valid packet of the vectors and captures is
//! decoded and encoded.

#![cfg(feature = "alloc")]

use std::fs;
use std::path::{Path, PathBuf};

use mqtt_sansio::Version;
use mqtt_sansio::codec::{self, Decoded, EncodeError, Limits, Packet};
use serde_json::Value;

#[path = "../../common/counting.rs"]
mod counting;

use self::counting::CALLS;

/// Runs a closure, and returns the number of its allocations.
fn allocations<R>(run: impl FnOnce() -> R) -> (usize, R) {
    let before = CALLS.get();
    let result = run();
    (CALLS.get() - before, result)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file of vectors")).expect("JSON")
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec-vectors")
}

fn version(name: &Value) -> Version {
    let name = name.as_str().expect("a version");
    Version::ALL.into_iter().find(|version| version.to_string() == name).expect("a version")
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// Every vector, in each of its versions, and whether it is a valid packet.
fn frames() -> Vec<(Version, bool, Vec<u8>)> {
    let mut frames = Vec::new();
    for entry in fs::read_dir(vectors().join("packets")).expect("vectors") {
        for vector in json(&entry.expect("an entry").path()).as_array().expect("a list") {
            let fields = vector["fields"].as_array().expect("a list").iter();
            let bytes: Vec<u8> = fields.flat_map(|field| unhex(field["hex"].as_str().expect("hex"))).collect();
            let is_good = vector["expect"]["outcome"] == "accept";
            for name in vector["versions"].as_array().expect("a list") {
                frames.push((version(name), is_good, bytes.clone()));
            }
        }
    }
    frames
}

/// The bytes of each captured conversation without errors.
fn captures() -> Vec<(Version, Vec<u8>)> {
    let mut captures = Vec::new();
    for entry in json(&vectors().join("captures/index.json")).as_array().expect("a list") {
        for side in ["client", "server"] {
            let breaks_rules = entry["refuse"].as_array().is_some_and(|sides| sides.iter().any(|it| it == side));
            if !breaks_rules {
                let name = format!("captures/{}.{side}.bin", entry["name"].as_str().expect("a name"));
                captures.push((version(&entry["version"]), fs::read(vectors().join(name)).expect("a capture")));
            }
        }
    }
    captures
}

/// Encodes a packet in all ways and in all versions, also in those that refuse it, and compares it with its copy.
fn encode_everywhere(packet: &Packet<'_>, out: &mut [u8], buffer: &mut Vec<u8>) {
    for version in Version::ALL {
        let written = packet.encode_to_slice(version, out);
        buffer.clear();
        assert_eq!(packet.encode(version, buffer), written);
        assert_eq!(packet.encoded_len(version), written);
        if let Packet::Publish(publish) = packet {
            buffer.clear();
            assert_eq!(publish.encode_head(version, buffer).is_ok(), written.is_ok());
        }
        let Ok(size) = written else { continue };
        let too_small = packet.encode_to_slice(version, &mut []);
        assert!(matches!(too_small, Err(EncodeError::BufferTooSmall { .. })));
        let again = codec::decode(&out[..size], version, Limits::default());
        assert_eq!(again, Ok(Decoded::Packet { packet: *packet, size }));
    }
}

/// A single test, so that no other test allocates on its thread.
#[test]
fn nothing_is_allocated() {
    let (control, _) = allocations(|| vec![0_u8; 10]);
    assert_eq!(control, 1, "the counter counts");

    let frames = frames();
    let captures = captures();
    let mut out = vec![0; 70_000];
    let mut buffer = Vec::with_capacity(70_000);
    let mut packets = 0;

    for (version, is_good, bytes) in &frames {
        let (count, ()) = allocations(|| {
            let decoded = codec::decode(bytes, *version, Limits::default());
            if let (true, Ok(Decoded::Packet { packet, .. })) = (is_good, decoded) {
                encode_everywhere(&packet, &mut out, &mut buffer);
                packets += 1;
            }
        });
        assert_eq!(count, 0, "{version} {bytes:02x?}");
    }
    assert_eq!(packets, frames.iter().filter(|(_, is_good, _)| *is_good).count(), "all good vectors are decoded");

    for (version, bytes) in &captures {
        let (count, failed) = allocations(|| {
            codec::packets(bytes, *version, Limits::default()).any(|packet| match packet {
                Ok(packet) => {
                    encode_everywhere(&packet, &mut out, &mut buffer);
                    packets += 1;
                    false
                }
                Err(_) => true,
            })
        });
        assert!(!failed, "the captures are good packets");
        assert_eq!(count, 0);
    }
    assert!(packets > 2_000, "{packets} packets were seen");

    // A header that announces 256 MiB reserves no memory.
    let (count, decoded) = allocations(|| codec::decode(b"\x30\xFF\xFF\xFF\x7F", Version::V5, Limits::default()));
    assert_eq!((count, decoded), (0, Ok(Decoded::Incomplete { needs: 268_435_455 })));
}
