//! The index of the repository itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use mqtt_sansio_conformance::{Index, Kind, Version, report};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The index, and its faults.
static READ: LazyLock<(Index, Vec<String>)> = LazyLock::new(|| Index::read(&root()));

#[test]
fn every_statement_is_shown() {
    let (index, faults) = &*READ;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // The numbered statements of 3.1.1, those of 5.0, and the rules of 5.0 without a number.
    let count = |is_meant: &dyn Fn(Version, &str) -> bool| {
        index.all().filter(|(statement, _)| is_meant(statement.version, &statement.id)).count()
    };
    assert_eq!(count(&|version, _| version == Version::V311), 141);
    assert_eq!(count(&|version, id| version == Version::V5 && id.starts_with("MQTT-")), 251);
    assert_eq!(count(&|version, id| version == Version::V5 && id.starts_with("U-")), 47);
    for kind in Kind::ALL {
        assert!(index.all().any(|(statement, _)| statement.kind == kind), "{kind:?}");
    }
}

#[test]
fn the_report_is_current() {
    let (index, _) = &*READ;
    let written = fs::read_to_string(root().join("CONFORMANCE.md")).unwrap_or_default();
    let expected = report::markdown(index);
    let difference = written.lines().zip(expected.lines()).find(|(written, expected)| written != expected);
    assert!(
        written == expected,
        "CONFORMANCE.md is out of date: run `cargo run --example conformance`. First difference: {difference:?}"
    );
}
