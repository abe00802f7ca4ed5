//! The results of the contenders for the test vectors of this repository, and for a header that announces 256 MiB.

use serde_json::Value;

use crate::alloc;
use crate::contender::{Decoder, Failure};
use crate::frames::Version;
use crate::peers;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec-vectors/packets");

/// The first bytes of a PUBLISH of the maximum size.
const HUGE: [u8; 8] = [0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, b'a'];

struct Vector {
    frame: Vec<u8>,
    is_legal: bool,
}

/// The vectors that do not depend on the sender, which peers are not told.
fn vectors(version: Version) -> Vec<Vector> {
    let files = std::fs::read_dir(VECTORS).expect("the directory of vectors");
    let texts = files.map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("a file of text"));
    let vectors = texts.flat_map(|text| serde_json::from_str::<Vec<Value>>(&text).expect("an array of vectors"));
    let version = version.to_string();
    vectors.filter_map(|vector| select(&vector, &version)).collect()
}

fn select(vector: &Value, version: &str) -> Option<Vector> {
    let name = vector["name"].as_str()?;
    let is_of_version = vector["versions"].as_array()?.iter().any(|each| each == version);
    let is_one_sided =
        name.starts_with("wrong-side") || name.ends_with("-from-client") || name.ends_with("-from-server");
    if !is_of_version || is_one_sided {
        return None;
    }
    let expect = &vector["expect"];
    let is_legal = match (expect["outcome"].as_str()?, expect["kind"].as_str()) {
        ("accept", _) => true,
        ("reject", Some("malformed_packet" | "protocol_error")) => false,
        _ => return None,
    };
    let hex: String = vector["fields"].as_array()?.iter().filter_map(|field| field["hex"].as_str()).collect();
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    let frame = digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect();
    Some(Vector { frame, is_legal })
}

/// A row for each decoder.
pub fn report() -> String {
    let mut report = String::from(
        "| contender | MQTT | wrong frames accepted | asks for more instead | panics | legal frames refused | panics \
         | allocated for a header of 256 MiB (B) |\n|---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for version in Version::ALL {
        let (legal, wrong): (Vec<_>, Vec<_>) = vectors(version).into_iter().partition(|vector| vector.is_legal);
        for contender in peers::all() {
            let Some(mut decoder) = contender.decoder.filter(|_| contender.version == version) else { continue };
            let of_wrong = Judgements::of(&mut *decoder, &wrong);
            let of_legal = Judgements::of(&mut *decoder, &legal);
            let without = alloc::per(1, || drop(decoder.try_decode(&HUGE[..1])));
            let with = alloc::per(1, || drop(decoder.try_decode(&HUGE)));
            report += &format!(
                "| {} | {version} | {} of {} | {} | {} | {} of {} | {} | {:.0} |\n",
                contender.name,
                of_wrong.accepted,
                wrong.len(),
                of_wrong.incomplete,
                of_wrong.panicked,
                of_legal.refused + of_legal.incomplete,
                legal.len(),
                of_legal.panicked,
                (with.bytes - without.bytes).max(0.0),
            );
        }
    }
    report
}

#[derive(Default)]
struct Judgements {
    accepted: usize,
    refused: usize,
    incomplete: usize,
    panicked: usize,
}

impl Judgements {
    fn of(decoder: &mut dyn Decoder, vectors: &[Vector]) -> Self {
        let mut judgements = Self::default();
        for vector in vectors {
            match decoder.try_decode(&vector.frame) {
                Ok(_) => judgements.accepted += 1,
                Err(Failure::Error(_)) => judgements.refused += 1,
                Err(Failure::Incomplete) => judgements.incomplete += 1,
                Err(Failure::Panic) => judgements.panicked += 1,
            }
        }
        judgements
    }
}
