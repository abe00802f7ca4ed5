//! Every statement of the specifications that binds a broker between sessions. One test for each, named after it.

#![cfg(feature = "broker")]

use std::collections::BTreeSet;

#[path = "../common/broker.rs"]
mod broker;
mod deliveries;
mod retained;
#[path = "../common/server.rs"]
mod server;
mod shared;
mod subscriptions;
mod wills;

/// The statements of 5.0.
const STATEMENTS: [&str; 48] = [
    "3.1.2-8", "3.1.2-14", "3.1.2-15", "3.1.3-9", "3.1.3-10", "3.1.4-3", "3.2.2-16", "3.3.1-3", "3.3.1-5", "3.3.1-6",
    "3.3.1-7", "3.3.1-8", "3.3.1-9", "3.3.1-10", "3.3.1-11", "3.3.1-12", "3.3.1-13", "3.3.2-3", "3.3.2-4", "3.3.2-5",
    "3.3.2-6", "3.3.2-15", "3.3.2-16", "3.3.2-17", "3.3.2-18", "3.3.2-20", "3.3.4-2", "3.3.4-3", "3.3.4-4", "3.3.4-5",
    "3.8.3-3", "3.8.4-3", "3.8.4-4", "3.8.4-5", "3.8.4-8", "3.10.4-1", "3.10.4-2", "3.10.4-3", "3.10.4-6", "4.5.0-1",
    "4.6.0-5", "4.6.0-6", "4.7.2-1", "4.7.3-4", "4.8.2-3", "4.8.2-4", "4.8.2-5", "4.8.2-6",
];

/// The statements of 5.0 without a number.
const UNNUMBERED: [&str; 3] = ["3.8.3.1-c", "4.8.2-a", "4.8.2-b"];

/// The statements of 3.1.1. A statement whose number has another meaning in 5.0 has a test of its own.
const STATEMENTS_OF_311: [&str; 31] = [
    "3.1.2-5", "3.1.2-7", "3.1.2-8", "3.1.2-12", "3.1.2-16", "3.1.2-17", "3.1.4-2", "3.3.1-3", "3.3.1-5", "3.3.1-6",
    "3.3.1-7", "3.3.1-8", "3.3.1-9", "3.3.1-10", "3.3.1-11", "3.3.1-12", "3.3.2-3", "3.3.5-1", "3.8.3-2", "3.8.4-3",
    "3.8.4-4", "3.8.4-6", "3.10.4-1", "3.10.4-2", "3.10.4-3", "3.10.4-6", "4.5.0-1", "4.6.0-5", "4.6.0-6", "4.7.2-1",
    "4.7.3-4",
];

const SOURCES: [&str; 5] = [
    include_str!("deliveries.rs"),
    include_str!("retained.rs"),
    include_str!("shared.rs"),
    include_str!("subscriptions.rs"),
    include_str!("wills.rs"),
];

/// The names of the tests contain the statements that they show.
#[test]
fn every_statement_has_a_test() {
    let tests: Vec<_> = SOURCES
        .iter()
        .flat_map(|source| source.split("#[test]\nfn ").skip(1))
        .filter_map(|rest| rest.split_once("()").map(|(name, _)| format!("_{name}_")))
        .collect();
    for (list, prefix) in [(&STATEMENTS[..], "mqtt"), (&UNNUMBERED, "section"), (&STATEMENTS_OF_311, "mqtt")] {
        assert_eq!(list.iter().collect::<BTreeSet<_>>().len(), list.len(), "one is there twice");
        for statement in list {
            let words = format!("_{prefix}_{}_", statement.replace(['.', '-'], "_"));
            assert!(tests.iter().any(|name| name.contains(&words)), "{statement} has no test");
        }
    }
}
