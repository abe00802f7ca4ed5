//! What the example `inspect` answers and prints.

#[path = "../batch.rs"]
mod batch;
#[path = "../../../tests/codec/tests/common/mod.rs"]
mod common;
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

use mqtt_sansio::Version;
use mqtt_sansio::codec::Limits;
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
    assert!(input::from_hex("c0,00").is_err());
}

/// What is printed of these bytes, and whether they are good.
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
    let printed = print(PUBLISH, None);
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
fn tree_without_a_connect_tells_how_it_was_read() {
    let (printed, _) = print("20020000", None);
    assert!(printed.ends_with("Read as MQTT 5.0, as there is no CONNECT. For another: --version\n"), "{printed}");
    let (printed, _) = print("", None);
    assert_eq!(printed, "There are no bytes.\n");
}

/// The rows of a good packet: every byte stands in one of them, in order.
fn check_rows(packet: &[u8], version: Version) {
    let mut at = 0;
    for row in rows::of(packet, version).iter().filter(|row| row.mask == 0xFF && row.start != row.end) {
        assert_eq!(row.start, at, "{} in {}", row.name, json::hex(packet));
        at = row.end;
    }
    assert_eq!(at, packet.len(), "{}", json::hex(packet));
}

#[test]
fn rows_cover_every_good_vector() {
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

    /// Whatever the bytes are, there is something to print.
    #[test]
    fn any_bytes_can_be_printed(bytes in prop::collection::vec(any::<u8>(), 0..80), index in 0..3_usize, colour: bool) {
        let version = Some(Version::ALL[index]);
        let options = tree::Options { version, limits: Limits::default(), colour };
        let mut out = Vec::new();
        tree::print(&mut out, &bytes, options).unwrap();
        prop_assert!(!out.is_empty());
    }

    /// As above, with the head of a packet that goes well for a while.
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
