//! The output of the example `inspect`.

#[path = "../batch.rs"]
mod batch;
#[path = "../../../tests/codec/tests/common/mod.rs"]
mod common;
#[path = "../../../tests/common/example.rs"]
mod example;
#[path = "../input.rs"]
mod input;
#[path = "../json.rs"]
mod json;
#[path = "../../demo/rows.rs"]
mod rows;
#[path = "../../demo/tree.rs"]
mod tree;
#[path = "../../demo/words.rs"]
mod words;

use std::process::{Command, Stdio};

use example::Program;
use mqtt_sansio::Version;
use mqtt_sansio::codec::{self, Limits, Sender};
use proptest::prelude::*;
use serde_json::{Value, json};

fn answer(line: &str) -> Value {
    batch::answer(line, Limits::default())
}

#[test]
fn batch_packets() {
    let publish = json!({
        "type": "PUBLISH", "dup": false, "qos": 0, "retain": false, "topic_name": "t", "packet_identifier": null,
        "properties": {}, "payload": "32312e35",
    });
    let packets = json!([publish, { "type": "PINGREQ" }]);
    let expected = json!({ "outcome": "packets", "packets": packets, "consumed": 11, "needs": 0, "error": null });
    assert_eq!(answer("4 30 07 00 01 74 32 31 2E 35 c000"), expected);
}

#[test]
fn batch_goes_by_the_version_of_connect() {
    let got = answer("5 100d 0004 4d515454 04 02 003c 0001 61 4002 0007 20020005");
    assert_eq!(got["outcome"], "packets");
    assert_eq!(got["packets"][0]["version"], "3.1.1");
    assert_eq!(
        got["packets"][2],
        json!({ "type": "CONNACK", "session_present": false, "reason_code": 5, "properties": {} })
    );
}

#[test]
fn batch_incomplete() {
    let incomplete = |packets: Value, consumed: usize, needs: usize| {
        let outcome = "incomplete";
        json!({ "outcome": outcome, "packets": packets, "consumed": consumed, "needs": needs, "error": null })
    };
    assert_eq!(answer("5"), incomplete(json!([]), 0, 2));
    assert_eq!(answer("5 "), incomplete(json!([]), 0, 2));
    assert_eq!(answer("5 30"), incomplete(json!([]), 0, 1));
    assert_eq!(answer("5 d000 3007"), incomplete(json!([{ "type": "PINGRESP" }]), 2, 7));
}

#[test]
fn batch_error() {
    let error = json!({
        "kind": "malformed_packet", "packet": "PUBLISH", "field": "topic_name", "offset": 11, "clause": "MQTT-3.3.2-2",
        "reason_code": 0x90, "message": "topic name contains the wildcard '+'",
    });
    let packets = json!([{ "type": "PINGREQ" }]);
    let expected = json!({ "outcome": "error", "packets": packets, "consumed": 2, "needs": 0, "error": error });
    assert_eq!(answer("5 c000 300b0006686f6d652f2b32312e35"), expected);
    assert_eq!(answer("5 00")["error"]["packet"], Value::Null);
    let from_client = batch::answer("5 2003000000", Limits::from_client());
    assert_eq!(from_client["error"]["field"], "packet_type");
    assert_eq!(answer("5 2003000000")["outcome"], "packets");
}

#[test]
fn batch_unreadable_lines() {
    for line in ["", "6 c000", "x c000", "c000", "5 c", "5 c00g", "5 c000 #", "5 \u{fffd}"] {
        let got = answer(line);
        let keys: Vec<_> = got.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["outcome", "packets", "consumed", "needs", "error"]);
        assert_eq!(got["outcome"], "error", "{line:?}");
        assert_eq!(got["error"]["kind"], "input", "{line:?}");
        let keys: Vec<_> = got["error"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["kind", "packet", "field", "offset", "clause", "reason_code", "message"]);
    }
}

#[test]
fn batch_answers_each_line() {
    let mut out = Vec::new();
    batch::run(&b"5 c000\r\n\n4 d0\xff\n3 d000"[..], &mut out, Limits::default()).unwrap();
    let lines: Vec<Value> =
        out.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let outcomes: Vec<_> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["packets", "error", "error", "packets"]);
}

#[test]
fn input_is_bytes_or_hexadecimal() {
    assert_eq!(input::from_either(b"c0 00\n".to_vec()).unwrap(), [0xC0, 0]);
    assert_eq!(input::from_either(vec![0xC0, 0]).unwrap(), [0xC0, 0]);
    assert!(input::from_either(Vec::new()).unwrap().is_empty());
    assert!(input::from_either(b"c0 0".to_vec()).is_err());
}

#[test]
fn hexadecimal_is_read_as_people_paste_it() {
    for text in [
        "300500017478",
        "30 05 00 01 74 78",
        "30:05:00:01:74:78",
        "30-05-00-01-74-78",
        "30, 05, 00, 01, 74, 78",
        "0x300500017478",
        "0x30 0x05 0x00 0x01 0x74 0x78",
        "0x30,0x05,0x00,0x01,0x74,0x78",
        "0X30 0x5 0x0 0x1 0x74 0x78",
        r"\x30\x05\x00\x01\x74\x78",
        "x30x05x00x01x74x78",
        r#"b"\x30\x05\x00\x01\x74\x78""#.trim_start_matches('b'),
        "{0x30, 0x05, 0x00,\n 0x01, 0x74, 0x78};\n",
        "[0x30,0x05,0x00,0x01,0x74,0x78]",
        "3005\r\n0001\r\n7478\r\n",
        "3\n00\n500017478",
        "\u{feff}30 05\t00 01  74 78\n",
        "3005 \\\n0001 \\\n7478",
        "'30 05' '00 01' 74 78",
        "30 05 00 01 74 0x78",
        "(30:05:00:01:74:78)",
        "3005,0001,7478",
    ] {
        let read = input::from_hex(text).unwrap_or_else(|error| panic!("{text:?}: {error:#}"));
        assert_eq!(json::hex(&read), "300500017478", "{text:?}");
        if text.is_ascii() {
            assert_eq!(input::from_either(text.as_bytes().to_vec()).unwrap(), read, "{text:?}");
        }
    }
    assert_eq!(json::hex(&input::from_hex("AB cd eF").unwrap()), "abcdef");
    assert!(input::from_hex(" \n").unwrap().is_empty());
}

#[test]
fn invalid_hexadecimal_is_reported_with_its_position() {
    for (text, expected) in [
        ("30 0g", "line 1, column 5: 'g' is not"),
        ("30 05\n 00 ö1", "line 2, column 5: 'ö' is not"),
        ("30 5", "an odd number"),
        ("30:5:00", "line 1, column 5: an odd number"),
        ("0x300", "an odd number"),
        ("0x", "line 1, column 2: there are no digits"),
        ("0x,05", "line 1, column 2: there are no digits"),
        ("3x05", "line 1, column 2: an odd number"),
        (r"\t", "line 1, column 1: of the escapes"),
        ("00000000: 3005 0001", "line 1, column 9: ':' after more than two digits looks like an offset"),
        ("00000000  30 05 00 01 74 78  |0..tx|", "line 1, column 30: '|' is not"),
        ("HTTP/1.1 400 Bad Request", "line 1, column 1: 'H' is not"),
    ] {
        let error = format!("{:#}", input::from_hex(text).unwrap_err());
        assert!(error.contains(expected), "{text:?}: {error}");
        if text.is_ascii() {
            let error = format!("{:#}", input::from_either(text.into()).unwrap_err());
            assert!(error.contains(expected) && error.contains("this is text"), "{text:?}: {error}");
        }
    }
}

#[test]
fn files_of_other_programs_are_recognised() {
    for (hex, expected) in [
        ("d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000", "pcap"),
        ("4d3cb2a1 0200 0400 00000000", "pcap"),
        ("a1b2c3d4 0002 0004 00000000", "pcap"),
        ("0a0d0d0a 1c000000 4d3c2b1a 01000000", "pcapng"),
        ("1f8b08000000000000ff", "gzip"),
        ("1603010200010001fc0303", "TLS"),
        ("1503030002022f", "TLS"),
    ] {
        let error = input::from_either(common::unhex(hex)).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("--help"), "{hex}: {error}");
    }
}

/// The recorded conversations listed in `captures/index.json`.
fn captures() -> Vec<(String, Version, Value, bool)> {
    let index: Vec<Value> = common::load("captures/index.json");
    let sides = index.iter().flat_map(|capture| {
        ["client", "server"].map(|side| {
            let name = format!("{}.{side}.bin", capture["name"].as_str().unwrap());
            let refuse = capture["refuse"].as_array().is_some_and(|sides| sides.contains(&side.into()));
            let version = common::version(capture["version"].as_str().unwrap());
            (name, version, capture[side]["packets"].clone(), refuse)
        })
    });
    sides.collect()
}

/// Only the file is given. The files of servers begin with CONNACK, which does not contain a version.
#[test]
fn every_recorded_file_is_read_by_itself() {
    let captures = captures();
    let on_disk = common::file_names("captures").into_iter().filter(|name| name.ends_with(".bin")).count();
    assert_eq!(captures.len(), on_disk);
    for (name, version, packets, refuse) in captures {
        let bytes = std::fs::read(common::path("captures").join(&name)).unwrap();
        let bytes = input::from_either(bytes).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let sender = if name.ends_with(".client.bin") { Sender::Client } else { Sender::Server };
        for sender in [None, Some(sender)] {
            let mut out = Vec::new();
            let options = tree::Options { version: None, limits: common::limits(sender), colour: false };
            let all_good = tree::print(&mut out, &bytes, options).unwrap();
            let out = String::from_utf8(out).unwrap();
            // Some packets are invalid because of their sender only.
            assert!(all_good != refuse || (all_good && sender.is_none()), "{name}: {out}");
            let heads = out.lines().filter(|line| line.contains(" at ") && line.contains(", MQTT "));
            let (types, versions): (Vec<_>, Vec<_>) = heads.map(head).unzip();
            let (types, versions) = (&types[..], &versions[..]);
            let complete: Vec<_> = types.iter().filter(|it| !it.is_empty()).map(|it| Value::from(*it)).collect();
            assert_eq!(Value::from(complete), packets, "{name}: {out}");
            // A server sends the same packets in 3.1 and 3.1.1, of which 3.1.1 is the usual one.
            let is_server = name.ends_with(".server.bin");
            let expected = if is_server && version == Version::V31 { Version::V311 } else { version };
            if name.contains("protocol-version-6") && !is_server {
                continue; // the file has no version
            }
            let expected = expected.to_string();
            assert!(versions.iter().all(|version| *version == expected), "{name}: {versions:?} and not {expected}");
        }
    }
}

/// The packet type and the version in the line above a packet. The type is empty if the packet is incomplete.
fn head(line: &str) -> (&str, &str) {
    let (title, more) = line.split_once("  ").unwrap();
    let (packet_type, rest) = more.split_once("  ").unwrap();
    let version = rest.split_once("MQTT ").unwrap().1.split(',').next().unwrap();
    let packet_type = packet_type.split(',').next().unwrap();
    (if title == "…" { "" } else { packet_type }, version)
}

#[test]
fn version_is_guessed_where_no_connect_names_it() {
    let guess = |hex: &str| {
        let (printed, _) = print(hex, None);
        let (_, note) = printed.rsplit_once("Read as MQTT ").unwrap_or_else(|| panic!("{printed}"));
        note.split(',').next().unwrap().to_owned()
    };
    for (hex, version) in [
        ("20020000", "3.1.1"), // CONNACK
        ("2003000000", "5.0"),
        ("9003000100", "3.1.1"),       // SUBACK
        ("900400010000", "5.0"),       // or two codes in 3.1.1
        ("8206000100017400", "3.1.1"), // SUBSCRIBE
        ("820700010000017400", "5.0"),
        ("3007 0001 74 32312e35", "3.1.1"), // PUBLISH
        ("3008 0001 74 00 32312e35", "5.0"),
        ("b0020001", "3.1.1"),               // UNSUBACK
        ("d000 40020001 20020000", "3.1.1"), // a later packet decides
        ("d000 40020001", "5.0"),            // no packet decides
        ("20020000 00", "3.1.1"),            // the first packet is valid in one of them
        ("e0020000", "5.0"),                 // DISCONNECT
        ("f0020000", "5.0"),                 // AUTH
        ("00", "5.0"),
    ] {
        assert_eq!(guess(hex), version, "{hex}");
    }
    // A given version is used, and a CONNECT overrides it.
    assert!(!print("20020000", Some(Version::V5)).1);
    assert!(!print(CONNECT, None).0.contains("Read as"));
}

#[test]
fn program_reads_files_arguments_and_standard_input() {
    let run = |arguments: &[&str]| Program::start("inspect", arguments).end();
    let capture = common::path("captures/mosquitto_sub-3.1.1-qos1.server.bin");
    let capture = capture.to_str().unwrap();
    for (arguments, code) in [
        (&[capture][..], 0),
        (&["--hex", "0x20,0x02", "0x00,0x00"], 0),
        (&["--hex", "30 05", "00 01 74", "--version", "5"], 0),
        (&["--hex", "00"], 1),
        (&["--hex", "0g"], 2),
        (&["--version", "4", "--hex", "c000"], 2),
    ] {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.err);
    }
    // The error for a file that cannot be read names the file.
    for path in ["no/such/file", env!("CARGO_MANIFEST_DIR")] {
        for arguments in [&[path][..], &["--batch", path]] {
            let ended = run(arguments);
            assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""));
            assert!(ended.err.starts_with(&format!("error: {path}: ")), "{arguments:?}: {}", ended.err);
        }
    }
    let help = run(&["--help"]).out;
    for part in ["guess", "tcpdump -i", "tshark -r"] {
        assert!(help.contains(part), "{part}");
    }
}

#[test]
fn program_exits_silently_when_its_output_is_closed() {
    let capture = common::path("captures/paho-mqtt-5.0-tour.client.bin");
    let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
    let pipe = reader.stdin.take().unwrap();
    reader.wait().unwrap();
    let mut command = Command::new(example::path("inspect"));
    command.arg(capture).stdin(Stdio::null()).stdout(pipe).stderr(Stdio::piped());
    let ended = Program::spawn(&mut command).end();
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
}

/// The output for these bytes, and whether they are valid.
fn print(hex: &str, version: Option<Version>) -> (String, bool) {
    let mut out = Vec::new();
    let options = tree::Options { version, limits: Limits::default(), colour: false };
    let all_good = tree::print(&mut out, &common::unhex(hex), options).unwrap();
    (String::from_utf8(out).unwrap(), all_good)
}

#[track_caller]
fn assert_prints((got, was_good): (String, bool), all_good: bool, expected: &str) {
    let expected = expected.trim_start_matches('\n');
    assert!(got == expected, "expected\n{expected}\ngot\n{got}");
    assert_eq!(was_good, all_good);
}

#[test]
fn tree_of_a_connect_with_a_will() {
    let printed = print(CONNECT, None);
    assert_prints(printed, true, CONNECT_TREE);
}

/// The highest bit of the protocol level is the bridge bit, and the rest is the version.
#[test]
fn a_bridge_is_shown_as_one() {
    let level = |hex| {
        let printed = print(hex, None).0;
        let line = printed.lines().find(|line| line.contains("protocol version")).unwrap();
        line.split_once("protocol version").unwrap().1.trim_start().to_owned()
    };
    assert_eq!(level("100e 0004 4d515454 84 02 003c 0002 6272"), "132 (MQTT 3.1.1, a bridge)");
    assert_eq!(level("100e 0004 4d515454 86 02 003c 0002 6272"), "134 (unknown)");
}

const CONNECT: &str = "102d 0004 4d515454 05 e6 003c 08 11 00000078 210014 0002 6964
    07 18 00000005 0100 0001 77 0003 627965 0001 75 0001 ff";
const CONNECT_TREE: &str = r#"
1  CONNECT  47 bytes at 0, MQTT 5.0
                                 fixed header
     0  10                       ├ packet type                 1 (CONNECT)
        .... 0000                │ └ flags
     1  2d                       └ remaining length            45 bytes
                                 variable header
     2  00 04 4d 51 54 54        ├ protocol name               "MQTT"
     8  05                       ├ protocol version            5 (MQTT 5.0)
     9  e6                       ├ connect flags
        1... ....                │ ├ user name                 yes
        .1.. ....                │ ├ password                  yes
        ..1. ....                │ ├ will retain               yes
        ...0 0...                │ ├ will QoS                  0 (at most once)
        .... .1..                │ ├ will                      yes
        .... ..1.                │ ├ clean start               yes
        .... ...0                │ └ reserved
    10  00 3c                    ├ keep alive                  60 s
    12  08                       └ properties                  8 bytes
    13  11 00 00 00 78             ├ session expiry interval   120 s
    18  21 00 14                   └ receive maximum           20
                                 payload
    21  00 02 69 64              ├ client identifier           "id"
    25  07                       ├ will properties             7 bytes
    26  18 00 00 00 05           │ ├ will delay interval       5 s
    31  01 00                    │ └ payload format indicator  0 (bytes of any kind)
    33  00 01 77                 ├ will topic                  "w"
    36  00 03 62 79 65           ├ will payload                "bye"
    41  00 01 75                 ├ user name                   "u"
    44  00 01 ff                 └ password                    (1 byte)

"#;

#[test]
fn tree_of_a_malformed_subscribe() {
    let printed = print(SUBSCRIBE, Some(Version::V5));
    assert_prints(printed, false, SUBSCRIBE_TREE);
}

const SUBSCRIBE: &str = "8211 000a 02 0b01 0003 612f23 2e 0004 622f6323 00";
const SUBSCRIBE_TREE: &str = r#"
✗  SUBSCRIBE, malformed  at 0, MQTT 5.0
                                 fixed header
     0  82                       ├ packet type                8 (SUBSCRIBE)
        .... 0010                │ └ flags
     1  11                       └ remaining length           17 bytes
                                 variable header
     2  00 0a                    ├ packet identifier          10
     4  02                       └ properties                 2 bytes
     5  0b 01                      └ subscription identifier  1
                                 payload
     7  00 03 61 2f 23           ├ topic filter               "a/#"
    12  2e                       │ └ subscription options
        ..10 ....                │   ├ retain handling        2 (do not send them)
        .... 1...                │   ├ retain as published    yes
        .... .1..                │   ├ no local               yes
        .... ..10                │   └ maximum QoS            2 (exactly once)
    13  00 04 62 2f 63 23        └ topic filter               "b/c#"

     3  0a 02 0b 01 00 03 61 2f 23 2e 00 04 62 2f 63 23 00
                                                     ^^ byte 18: topic filter has a '#' that is not the whole of the last level
                                                        MQTT-4.7.1-1, close with 0x8f (Topic Filter invalid)
"#;

#[test]
fn tree_of_an_unfinished_publish() {
    let printed = print(PUBLISH, Some(Version::V5));
    assert_prints(printed, true, PUBLISH_TREE);
}

const PUBLISH: &str =
    "d000 327f 0003 612f62 000a 00 6162636465666768696a6b6c6d6e6f707172737475767778797a41424344454647";
const PUBLISH_TREE: &str = r#"
1  PINGRESP  2 bytes at 0, MQTT 5.0
                                 fixed header
     0  d0                       ├ packet type       13 (PINGRESP)
        .... 0000                │ └ flags
     1  00                       └ remaining length  0 bytes

…  PUBLISH, incomplete  43 bytes at 2, MQTT 5.0, at least 86 more to come
                                 fixed header
     2  32                       ├ packet type        3 (PUBLISH)
        .... 0...                │ ├ dup              no
        .... .01.                │ ├ QoS              1 (at least once)
        .... ...0                │ └ retain           no
     3  7f                       └ remaining length   127 bytes
                                 variable header
     4  00 03 61 2f 62           ├ topic name         "a/b"
     9  00 0a                    ├ packet identifier  10
    11  00                       └ properties         0 bytes
    12  61 62 63 64 65 66 67 68  payload              "abcdefghijklmnopqrstuvwxyzABCDEFG"
    20  69 6a 6b 6c 6d 6e 6f 70
    28  71 72 73 74 75 76 77 78
    36  … 9 more

"#;

#[test]
fn tree_of_empty_input() {
    assert_eq!(print("", None), ("There are no bytes.\n".to_owned(), true));
}

/// Checks the rows of a valid packet: every byte is in one of them, in order.
fn check_rows(packet: &[u8], version: Version) {
    let mut at = 0;
    for row in rows::of(packet, version).iter().filter(|row| row.mask == 0xFF && row.start != row.end) {
        assert_eq!(row.start, at, "{} in {}", row.name, json::hex(packet));
        at = row.end;
    }
    assert_eq!(at, packet.len(), "{}", json::hex(packet));
}

#[test]
fn rows_cover_every_valid_vector() {
    for file in common::file_names("packets") {
        let vectors: Vec<Value> = common::load(&format!("packets/{file}"));
        for vector in vectors.iter().filter(|vector| vector["expect"]["outcome"] == "accept") {
            let parts = vector["fields"].as_array().unwrap().iter();
            let packet: Vec<u8> = parts.flat_map(|part| common::unhex(part["hex"].as_str().unwrap())).collect();
            for version in vector["versions"].as_array().unwrap() {
                check_rows(&packet, common::version(version.as_str().unwrap()));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// No hexadecimal text is a valid packet: see `input::from_either`.
    #[test]
    fn no_text_is_a_packet(first in 0..100_usize, second in 0..100_usize, body in prop::collection::vec(0..100_usize, 127)) {
        let characters: Vec<u8> = (0..=0x7F_u8).filter(|it| it.is_ascii_graphic() || it.is_ascii_whitespace()).collect();
        let pick = |index: &usize| characters[index % characters.len()];
        let length = pick(&second);
        let body = body.iter().map(pick).take(usize::from(length));
        let packet: Vec<u8> = [pick(&first), length].into_iter().chain(body).collect();
        for version in Version::ALL {
            let decoded = codec::decode(&packet, version, Limits::default());
            prop_assert!(decoded.is_err(), "{version}: {decoded:?}");
        }
    }

    /// There is output for any bytes.
    #[test]
    fn any_bytes_can_be_printed(bytes in prop::collection::vec(any::<u8>(), 0..80), index in 0..3_usize, colour: bool) {
        let version = Some(Version::ALL[index]);
        let options = tree::Options { version, limits: Limits::default(), colour };
        let mut out = Vec::new();
        tree::print(&mut out, &bytes, options).unwrap();
        prop_assert!(!out.is_empty());
    }

    /// The same for bytes that begin like a valid packet.
    #[test]
    fn any_damage_can_be_printed(at in 0..47_usize, byte: u8, end in 0..48_usize) {
        let mut bytes = common::unhex(CONNECT);
        bytes[at] = byte;
        let options = tree::Options { version: None, limits: Limits::default(), colour: false };
        let mut out = Vec::new();
        tree::print(&mut out, &bytes[..end], options).unwrap();
        prop_assert!(!out.is_empty());
    }
}
