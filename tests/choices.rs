//! The table of the choices that the specifications leave open, `tests/conformance/choices.tsv`: each row is complete,
//! and names settings that exist.
//!
//! The column `mosquitto` is what mosquitto 2.0.11 did when it was asked, and what its manual says of its options. A
//! document in brackets is the source of a cell about EMQX or HiveMQ: `*.erl` in the repository emqx/emqx, `*.md` in
//! emqx/emqx-docs, `*.java` in hivemq/hivemq-community-edition; `restrictions` is the page of that name in the
//! documentation of HiveMQ Community Edition.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const COLUMNS: [&str; 8] = ["statement", "version", "question", "taken", "setting", "mosquitto", "emqx", "hivemq"];

/// The rows of the table, each with the cells by column.
fn rows() -> Vec<[String; 8]> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/choices.tsv");
    let text = fs::read_to_string(path).unwrap();
    let mut rows = text.lines().map(|line| {
        let cells: Vec<String> = line.split('\t').map(str::to_owned).collect();
        <[String; 8]>::try_from(cells).unwrap_or_else(|cells| panic!("{} cells in {line:?}", cells.len()))
    });
    assert_eq!(rows.next().unwrap(), COLUMNS);
    rows.collect()
}

/// The names in backticks.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The members of the public structs, enums and traits of the crate, and the functions of their public `impl` blocks, by
/// the name of the type.
#[derive(Default)]
struct Members(BTreeMap<String, BTreeSet<String>>);

impl Members {
    fn of_crate() -> Self {
        let mut members = Self::default();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    members.read(&fs::read_to_string(path).unwrap());
                }
            }
        }
        members
    }

    /// Reads a source that rustfmt has formatted: an item begins and ends at the left border, its members at four spaces.
    fn read(&mut self, source: &str) {
        let mut item: Option<(String, bool)> = None;
        for line in source.lines() {
            if !line.starts_with([' ', '}', ')', '#', '/']) && !line.is_empty() {
                item = item_of(line);
            }
            let Some((name, is_enum)) = &item else { continue };
            let Some(member) = line.strip_prefix("    ").filter(|line| !line.starts_with(' ')) else { continue };
            let member = match member.strip_prefix("pub ") {
                Some(public) => public.trim_start_matches("const ").trim_start_matches("fn "),
                None if *is_enum => member,
                None => match member.strip_prefix("fn ") {
                    Some(method) => method,
                    None => continue,
                },
            };
            let end = member.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(member.len());
            self.0.entry(name.clone()).or_default().insert(member[..end].to_owned());
        }
    }

    fn has(&self, name: &str) -> bool {
        let Some((item, member)) = name.split_once("::") else { return false };
        self.0.get(item).is_some_and(|members| members.contains(member))
    }
}

/// The type whose members follow a line, and whether it is an enum.
fn item_of(line: &str) -> Option<(String, bool)> {
    let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let is_item = |word: &&str| matches!(*word, "struct" | "enum" | "trait" | "impl");
    let at = words.iter().position(is_item)?;
    // `impl<P: Policy> Broker<P>`: the type is behind the parameters.
    let name = match words[at] {
        "impl" if line.starts_with("impl<") => line.split_once("> ")?.1.split(['<', ' ']).next()?,
        _ => words[at + 1],
    };
    Some((name.to_owned(), words[at] == "enum"))
}

#[test]
fn every_row_is_complete() {
    let rows = rows();
    assert!(rows.len() >= 50, "{} rows", rows.len());
    let mut questions = BTreeSet::new();
    for row in &rows {
        let [statement, version, question, ..] = row;
        assert!(row.iter().all(|cell| !cell.is_empty() && cell.trim() == cell), "{row:?}");
        assert!(row.iter().all(|cell| cell.matches('`').count() % 2 == 0), "{row:?}");
        let is_id = statement.starts_with("MQTT-") || statement.starts_with("U-");
        let is_section = statement.split('.').all(|part| part.parse::<u8>().is_ok());
        assert!(is_id || is_section, "{statement:?} is neither a statement nor a section");
        assert!(matches!(&**version, "3.1.1" | "5.0" | "3.1.1, 5.0"), "{row:?}");
        // The same number is another statement in the other version.
        assert!(!statement.starts_with("MQTT-") || version != "3.1.1, 5.0" || is_same(statement), "{row:?}");
        assert!(question.ends_with('?'), "{question:?}");
        assert!(questions.insert((version, question)), "{question:?} twice");
    }
}

/// Whether a number is the same statement in 3.1.1 and 5.0.
fn is_same(statement: &str) -> bool {
    matches!(statement, "MQTT-3.1.3-5" | "MQTT-3.1.3-6" | "MQTT-4.7.3-4")
}

#[test]
fn every_setting_exists() {
    let members = Members::of_crate();
    for [_, _, question, _, setting, ..] in rows() {
        assert_eq!(setting == "none", names(&setting).next().is_none(), "{question} {setting}");
        for name in names(&setting) {
            assert!(members.has(name), "{question} {name} is not in the crate");
        }
    }
    for name in ["ServerConfig::retain", "ServerConfig::NEVER", "Policy::disconnect", "Nobody::publish", "publish"] {
        assert!(!members.has(name), "{name}");
    }
}

#[test]
fn the_facts_about_emqx_and_hivemq_have_a_source() {
    for [_, _, question, _, _, mosquitto, emqx, hivemq] in rows() {
        for cell in [&emqx, &hivemq] {
            let has_source = cell.ends_with(".erl)")
                || cell.ends_with(".md)")
                || cell.ends_with(".java)")
                || cell.ends_with("(restrictions)");
            assert!(has_source || matches!(&**cell, "not documented" | "not applicable"), "{question} {cell}");
        }
        let are_servers = [&mosquitto, &emqx, &hivemq].map(|cell| cell != "not applicable");
        assert!(are_servers == [true; 3] || are_servers == [false; 3], "{question}");
    }
}
