//! Runs every vector of `spec-vectors/packets`, for each of its versions and directions.

mod common;
#[path = "../../../examples/inspect/json.rs"]
mod json;

use std::collections::BTreeMap;

use mqtt_sansio::Version;
use mqtt_sansio::codec::{self, DecodeError, Decoded, Packet, PacketType, Sender};
use serde::Deserialize;
use serde_json::Value;

use self::common::Direction;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    versions: Vec<String>,
    direction: Direction,
    #[serde(rename = "statements")]
    _statements: Vec<String>,
    fields: Vec<Part>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    hex: String,
    #[serde(rename = "note")]
    _note: String,
}

#[derive(Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case", deny_unknown_fields)]
enum Expect {
    Accept { packet: Value, canonical: Canonical },
    Reject(Reject),
    Incomplete { needs: usize },
}

/// `true`, or the bytes that an encoder writes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Canonical {
    Same(bool),
    Hex(String),
}

/// A member that is left out is not checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reject {
    kind: Option<String>,
    clause: Option<Clause>,
    field: Option<String>,
    reason_code: Option<u8>,
    offset: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Clause {
    Same(String),
    ByVersion(BTreeMap<String, String>),
}

impl Vector {
    fn input(&self) -> Vec<u8> {
        self.fields.iter().flat_map(|part| common::unhex(&part.hex)).collect()
    }

    /// The senders with which the vector is run. A valid packet is valid for an unknown sender too; an invalid one may be
    /// valid for the other sender or for an unknown one.
    fn senders(&self, version: Version, input: &[u8]) -> Vec<Option<Sender>> {
        let packet_type = input.first().and_then(|first| PacketType::from_number(first >> 4));
        let may_send = |sender| packet_type.is_none_or(|packet_type| packet_type.may_come_from(sender, version));
        let either = [Sender::Client, Sender::Server].into_iter().filter(|sender| may_send(*sender)).map(Some);
        match (self.direction, &self.expect) {
            (Direction::Either, _) => std::iter::once(None).chain(either).collect(),
            (direction, Expect::Reject(_)) => vec![direction.sender()],
            (direction, _) => vec![None, direction.sender()],
        }
    }
}

/// One run of a vector: its arguments, and the differences found.
struct Run<'a> {
    vector: &'a Vector,
    input: &'a [u8],
    version: Version,
    sender: Option<Sender>,
    faults: Vec<String>,
}

impl<'a> Run<'a> {
    fn decode(&self, input: &'a [u8]) -> Result<Decoded<'a>, DecodeError> {
        codec::decode(input, self.version, common::limits(self.sender))
    }

    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, expected: T, got: T) {
        if expected != got {
            self.faults.push(format!("{what}: expected {expected:?}, got {got:?}"));
        }
    }

    fn check(&mut self) {
        match (&self.vector.expect, self.decode(self.input)) {
            (Expect::Accept { packet, canonical }, Ok(Decoded::Packet { packet: got, size })) => {
                self.same("size", self.input.len(), size);
                self.check_value(packet, &got);
                self.check_encoded(canonical, &got);
                self.check_prefixes();
            }
            (Expect::Reject(reject), Err(error)) => self.check_error(reject, error),
            (Expect::Incomplete { needs }, Ok(Decoded::Incomplete { needs: got })) => self.same("needs", *needs, got),
            (_, got) => self.faults.push(format!("got {got:?}")),
        }
    }

    fn check_value(&mut self, expected: &Value, packet: &Packet<'_>) {
        let got = json::packet(packet, self.version);
        if *expected != got {
            self.faults.push(format!("expected {expected}\n     got {got}"));
        }
    }

    fn check_encoded(&mut self, canonical: &Canonical, packet: &Packet<'_>) {
        let expected = match canonical {
            Canonical::Same(same) => {
                assert!(same, "canonical is true or hexadecimal");
                self.input.to_vec()
            }
            Canonical::Hex(hex) => common::unhex(hex),
        };
        let mut got = vec![0; packet.encoded_len(self.version).unwrap_or_default()];
        let written = packet.encode_to_slice(self.version, &mut got);
        self.same("encoded", json::hex(&expected), json::hex(&got));
        self.same("written", Ok(expected.len()), written);
        self.same("encoded_len", Ok(expected.len()), packet.encoded_len(self.version));
        let again = codec::decode(&got, self.version, common::limits(self.sender));
        self.same("decoded again", Ok(Decoded::Packet { packet: *packet, size: got.len() }), again);
    }

    /// Checks that every prefix of a valid packet is incomplete, and that the decoder never asks for more than the rest.
    fn check_prefixes(&mut self) {
        for len in 0..self.input.len() {
            match self.decode(&self.input[..len]) {
                Ok(Decoded::Incomplete { needs }) if (1..=self.input.len().max(2) - len).contains(&needs) => {}
                got => self.faults.push(format!("the first {len} bytes: got {got:?}")),
            }
        }
    }

    fn check_error(&mut self, reject: &Reject, error: DecodeError) {
        let clause = match &reject.clause {
            Some(Clause::ByVersion(clauses)) => Some(clauses[&self.version.to_string()].as_str()),
            Some(Clause::Same(clause)) => Some(clause.as_str()),
            None => None,
        };
        let expected = [
            ("kind", reject.kind.as_deref().map(Value::from)),
            ("clause", clause.map(Value::from)),
            ("field", reject.field.as_deref().map(Value::from)),
            ("reason_code", reject.reason_code.map(Value::from)),
            ("offset", reject.offset.map(Value::from)),
        ];
        let got = json::error(&error, 0);
        for (member, expected) in expected {
            if let Some(expected) = expected {
                self.same(member, &expected, &got[member]);
            }
        }
    }

    fn report(&self) -> Option<String> {
        let Self { vector, input, version, sender, faults } = self;
        let from = sender.map_or_else(|| "either end".to_owned(), |sender| format!("{sender:?}"));
        let head = format!("{} in {version}, from {from}: {}", vector.name, json::hex(input));
        (!faults.is_empty()).then(|| format!("{head}\n    {}", faults.join("\n    ")))
    }
}

fn run_file(name: &str) {
    let vectors: Vec<Vector> = common::load(&format!("packets/{name}.json"));
    assert!(!vectors.is_empty(), "{name}: no vector");
    let mut failures = Vec::new();
    for vector in &vectors {
        let input = vector.input();
        assert!(!vector.versions.is_empty(), "{}: no version", vector.name);
        for version in vector.versions.iter().map(|version| common::version(version)) {
            for sender in vector.senders(version, &input) {
                let mut run = Run { vector, input: &input, version, sender, faults: Vec::new() };
                run.check();
                failures.extend(run.report());
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

/// The files, and a test for each.
macro_rules! files {
    ($( $test:ident $name:literal; )*) => {
        const FILES: &[&str] = &[ $( $name, )* ];

        $(
            #[test]
            fn $test() {
                run_file($name);
            }
        )*
    };
}

files! {
    auth "auth";
    connack "connack";
    connect "connect";
    disconnect "disconnect";
    fixed_header "fixed-header";
    pingreq "pingreq";
    pingresp "pingresp";
    properties "properties";
    puback "puback";
    pubcomp "pubcomp";
    publish "publish";
    pubrec "pubrec";
    pubrel "pubrel";
    suback "suback";
    subscribe "subscribe";
    text "text";
    unsuback "unsuback";
    unsubscribe "unsubscribe";
}

#[test]
fn no_file_is_left_out() {
    let expected: Vec<_> = FILES.iter().map(|name| format!("{name}.json")).collect();
    assert_eq!(common::file_names("packets"), expected);
}
