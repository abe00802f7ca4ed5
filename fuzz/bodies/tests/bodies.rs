//! The bodies of the fuzz targets, run over vectors, captures, regressions, and corpora if there are any.

use std::fs;
use std::path::{Path, PathBuf};

use mqtt_sansio_fuzz_bodies as fuzzing;
use mqtt_sansio_testkit::Random;
use serde_json::Value;

/// A fuzz target.
type Body = fn(&[u8]);

const BODIES: [(&str, Body); 9] = [
    ("broker_ops", fuzzing::broker_ops),
    ("client_ops", fuzzing::client_ops),
    ("decode", fuzzing::decode),
    ("pair_ops", fuzzing::pair_ops),
    ("restore", fuzzing::restore),
    ("roundtrip", fuzzing::roundtrip),
    ("server_ops", fuzzing::server_ops),
    ("split", fuzzing::split),
    ("topic", fuzzing::topic),
];

/// The number of values that a target distinguishes in its first byte: three versions, three senders, four limits.
const SETTINGS: u8 = 144;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file of vectors")).expect("JSON")
}

fn files(folder: &Path, extension: Option<&str>) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = paths
        .filter(|path| path.is_file() && extension.is_none_or(|wanted| path.extension().is_some_and(|it| it == wanted)))
        .collect();
    files.sort();
    files
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// Every frame of spec-vectors/packets.
fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for path in files(&root().join("spec-vectors/packets"), Some("json")) {
        for vector in json(&path).as_array().expect("a list") {
            let fields = vector["fields"].as_array().expect("a list");
            frames.push(fields.iter().flat_map(|field| unhex(field["hex"].as_str().expect("hex"))).collect());
        }
    }
    assert!(frames.len() > 500, "there are vectors");
    frames
}

fn captures() -> Vec<Vec<u8>> {
    let files = files(&root().join("spec-vectors/captures"), Some("bin"));
    assert!(files.len() > 100, "there are captures");
    files.iter().map(|path| fs::read(path).expect("a capture")).collect()
}

/// The input after some leading bytes.
fn prefixed(leading: &[u8], input: &[u8]) -> Vec<u8> {
    [leading, input].concat()
}

#[test]
fn decode_over_vectors_in_every_setting() {
    for frame in frames() {
        (0..SETTINGS).for_each(|choice| fuzzing::decode(&prefixed(&[choice], &frame)));
    }
}

#[test]
fn split_over_vectors_and_captures() {
    for stream in frames().into_iter().chain(captures()) {
        for choice in 0..9 {
            for (mode, seed) in [(0, 1), (0, 200), (4, 0)] {
                fuzzing::split(&prefixed(&[choice, mode, seed], &stream));
            }
        }
    }
}

#[test]
fn generators_over_vectors_and_captures() {
    for input in frames().into_iter().chain(captures()) {
        for choice in [0, 1, 2, 129, 130, 131] {
            fuzzing::roundtrip(&prefixed(&[choice], &input));
            for mode in [1, 3, 5, 7] {
                fuzzing::split(&prefixed(&[choice, mode, choice.wrapping_mul(31)], &input));
            }
        }
    }
}

#[test]
fn topic_over_vectors() {
    let topics = json(&root().join("spec-vectors/topics.json"));
    let text = |row: &Value, member: &str| row[member].as_str().expect("text").to_owned();
    let list = |name: &str| topics[name].as_array().expect("a list").clone();
    let pairs = list("matches").into_iter().map(|row| (text(&row, "filter"), text(&row, "name")));
    let filters = list("filters").into_iter().map(|row| (text(&row, "text"), "a/b".to_owned()));
    let names = list("names").into_iter().map(|row| ("+/#".to_owned(), text(&row, "text")));
    for (filter, name) in pairs.chain(filters).chain(names) {
        for mode in 0..4 {
            fuzzing::topic(&[&[mode], filter.as_bytes(), &[0xFF], name.as_bytes()].concat());
        }
    }
}

#[test]
fn topic_over_frames() {
    for frame in frames() {
        fuzzing::topic(&prefixed(&[1], &frame));
        fuzzing::topic(&prefixed(&[0], &frame));
    }
}

/// Pseudo-random inputs, most of them short, because operations near the beginning occur most often.
fn over_random_inputs(count: u32, body: Body) {
    let mut random = Random::new(1);
    for _ in 0..count {
        let longest = [30, 100, 400][random.index(3)];
        let input: Vec<u8> = (0..random.below(longest)).map(|_| random.number() as u8).collect();
        body(&input);
    }
}

#[test]
fn broker_ops_over_random_inputs() {
    over_random_inputs(10_000, fuzzing::broker_ops);
}

#[test]
fn client_ops_over_random_inputs() {
    over_random_inputs(10_000, fuzzing::client_ops);
}

#[test]
fn restore_over_random_inputs() {
    // A session has many pairs.
    let mut random = Random::new(1);
    for _ in 0..5_000 {
        let input: Vec<u8> = (0..random.below(1000)).map(|_| random.number() as u8).collect();
        fuzzing::restore(&input);
    }
}

#[test]
fn server_ops_over_random_inputs() {
    over_random_inputs(10_000, fuzzing::server_ops);
}

#[test]
fn pair_ops_over_random_inputs() {
    over_random_inputs(2_000, fuzzing::pair_ops);
}

/// `fuzz/corpus` exists only where the fuzzer or `fuzz/seeds.py` has run.
#[test]
fn regressions_and_corpora() {
    for (target, body) in BODIES {
        let regressions = root().join("fuzz/regressions").join(target);
        assert!(regressions.is_dir(), "{target} has a folder for regressions");
        for folder in [regressions, root().join("fuzz/corpus").join(target)] {
            files(&folder, None).iter().for_each(|path| body(&fs::read(path).expect("an input")));
        }
    }
}
