//! The citations of the test vectors in `spec-vectors`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::statements::{Statements, Version};

/// A file with vectors.
#[derive(Deserialize)]
pub(crate) struct Vector {
    name: String,
    versions: Vec<String>,
    statements: Vec<String>,
    expect: Expect,
}

#[derive(Deserialize)]
struct Expect {
    outcome: Outcome,
}

/// The result that a decoder must return.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Accept,
    Reject,
    Incomplete,
}

/// The tables of topic names and topic filters.
#[derive(Deserialize)]
struct Topics {
    names: Vec<Topic>,
    filters: Vec<Topic>,
}

#[derive(Deserialize)]
struct Topic {
    text: String,
    /// A row without versions holds for all.
    versions: Option<Vec<String>>,
    clause: Option<Clause>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Clause {
    Same(String),
    ByVersion(BTreeMap<String, String>),
}

/// A vector that cites a statement.
#[derive(Debug)]
pub(crate) struct Cited {
    /// The position of the statement.
    pub(crate) statement: usize,
    /// The name of the vector, or its topic.
    pub(crate) vector: String,
    pub(crate) outcome: Outcome,
}

/// A statement of the codec for which vectors of an outcome are missing with a reason: a row of `statements.json`.
#[derive(Deserialize)]
struct Row {
    id: String,
    version: String,
    vectors: Vectors,
    /// The reason.
    #[serde(rename = "why")]
    _why: String,
}

/// The vectors that a statement of the codec has.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Vectors {
    /// At least one that is accepted, and one that is rejected.
    #[default]
    Both,
    /// At least one that is accepted, and none that is rejected.
    Accept,
    /// None.
    None,
}

/// Returns the statements of the codec that have not vectors of both outcomes.
///
/// # Errors
///
/// A line for each row with a statement that does not exist.
pub(crate) fn exceptions(root: &Path, statements: &Statements) -> Result<Vec<(usize, Vectors)>, Vec<String>> {
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    for row in load::<Vec<Row>>(&root.join("spec-vectors/statements.json")).map_err(|fault| vec![fault])? {
        let found = Version::named(&row.version).map(|version| named(statements, version, &row.id)).unwrap_or_default();
        if found.is_empty() {
            faults.push(format!("statements.json: {} ({}) is unknown", row.id, row.version));
        }
        all.extend(found.into_iter().map(|statement| (statement, row.vectors)));
    }
    if faults.is_empty() { Ok(all) } else { Err(faults) }
}

/// Returns the positions of the statements that a vector names: by number, or the rules of a section without a number.
fn named(statements: &Statements, version: Version, name: &str) -> Vec<usize> {
    match name.strip_prefix("section ") {
        Some(section) => statements.of_section(version, section),
        None => Vec::from_iter(statements.position(version, name)),
    }
}

/// Returns the citations of all vectors.
///
/// # Errors
///
/// A line for each file that cannot be read, and for each citation of a statement that does not exist.
pub(crate) fn cited(root: &Path, statements: &Statements) -> Result<Vec<Cited>, Vec<String>> {
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    let mut add = |vector: &str, versions: &[String], cited: &BTreeMap<&str, Vec<&str>>, outcome| match of_vector(
        statements, versions, cited,
    ) {
        Ok(found) => {
            all.extend(found.into_iter().map(|statement| Cited { statement, vector: vector.into(), outcome }));
        }
        Err(fault) => faults.push(format!("the vector {vector}: {fault}")),
    };
    for file in packet_files(root).map_err(|fault| vec![fault])? {
        for vector in load::<Vec<Vector>>(&file).map_err(|fault| vec![fault])? {
            let cited: Vec<_> = vector.statements.iter().map(String::as_str).collect();
            let cited = vector.versions.iter().map(|version| (version.as_str(), cited.clone())).collect();
            add(&vector.name, &vector.versions, &cited, vector.expect.outcome);
        }
    }
    let topics: Topics = load(&root.join("spec-vectors/topics.json")).map_err(|fault| vec![fault])?;
    for topic in topics.names.iter().chain(&topics.filters) {
        let versions =
            topic.versions.clone().unwrap_or_else(|| Version::ALL.map(|version| version.name().into()).into());
        let cited: BTreeMap<_, _> = match &topic.clause {
            None => continue,
            Some(Clause::Same(clause)) => {
                versions.iter().map(|version| (version.as_str(), vec![clause.as_str()])).collect()
            }
            Some(Clause::ByVersion(clauses)) => {
                clauses.iter().map(|(version, clause)| (version.as_str(), vec![clause.as_str()])).collect()
            }
        };
        add(&format!("{:?}", topic.text), &versions, &cited, Outcome::Reject);
    }
    if faults.is_empty() { Ok(all) } else { Err(faults) }
}

/// The statements that a vector cites, by version. A vector of several versions may cite a statement of one of them.
fn of_vector(
    statements: &Statements,
    versions: &[String],
    cited: &BTreeMap<&str, Vec<&str>>,
) -> Result<Vec<usize>, String> {
    let mut found = Vec::new();
    let mut is_known: BTreeMap<&str, bool> = BTreeMap::new();
    for version in versions.iter().filter_map(|version| Version::named(version)) {
        for &id in cited.get(version.name()).into_iter().flatten() {
            let here = named(statements, version, id);
            // Not every rule of a section is in the table.
            *is_known.entry(id).or_default() |= !here.is_empty() || id.starts_with("section ");
            found.extend(here);
        }
    }
    match is_known.into_iter().find(|&(_, is_known)| !is_known) {
        Some((id, _)) => Err(format!("{id} is unknown")),
        None => Ok(found),
    }
}

fn packet_files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let folder = root.join("spec-vectors/packets");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}

fn load<T: DeserializeOwned>(file: &Path) -> Result<T, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
}
