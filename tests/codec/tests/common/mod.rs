//! Functions for all tests that read `spec-vectors`.

#![allow(dead_code)] // each test uses only some of these items

use std::fs;
use std::path::PathBuf;

use mqtt_sansio::Version;
use mqtt_sansio::codec::{Limits, Sender};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Who sends the bytes of a vector.
#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    ClientToServer,
    ServerToClient,
    Either,
}

impl Direction {
    /// The sender, if it is one of the two.
    pub(crate) fn sender(self) -> Option<Sender> {
        match self {
            Self::ClientToServer => Some(Sender::Client),
            Self::ServerToClient => Some(Sender::Server),
            Self::Either => None,
        }
    }
}

/// A file or directory of `spec-vectors`.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec-vectors").join(name)
}

/// The content of a JSON file; panics if the file is missing or has members that `T` does not know.
pub(crate) fn load<T: DeserializeOwned>(name: &str) -> T {
    let text = fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The names of the files in a directory, sorted.
pub(crate) fn file_names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(path(directory)).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Decodes hexadecimal.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter(|character| !character.is_whitespace()).collect();
    let digit = |digit: char| digit.to_digit(16).unwrap_or_else(|| panic!("{text}: not hexadecimal")) as u8;
    let (pairs, odd) = digits.as_chunks::<2>();
    assert!(odd.is_empty(), "{text}: an odd number of digits");
    pairs.iter().map(|&[high, low]| digit(high) << 4 | digit(low)).collect()
}

/// `"3.1"`, `"3.1.1"` or `"5.0"`.
pub(crate) fn version(name: &str) -> Version {
    let found = Version::ALL.into_iter().find(|version| version.to_string() == name);
    found.unwrap_or_else(|| panic!("{name}: no such version"))
}

/// The default limits, for bytes of this sender, or of either.
pub(crate) fn limits(sender: Option<Sender>) -> Limits {
    Limits { sender, ..Limits::default() }
}
