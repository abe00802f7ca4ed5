//! Tables that stand beside the statements, if they exist: deliberate violations, and what is taken where the
//! specification allows several behaviours.

use std::fs;
use std::path::Path;

use crate::statements::Version;

/// A patch that breaks a statement, and the test that was run on it: a row of `violations/results.tsv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The name of the file in `violations`.
    pub patch: String,
    /// The version of the statement.
    pub version: Version,
    /// The statement that the patch breaks.
    pub statement: String,
    /// The arguments of `cargo test` that run the test.
    pub test: String,
    /// The result, `caught` if the test has failed.
    pub result: String,
}

/// A row of `choices.tsv`, or its first row, which has the names of the columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice(pub Vec<String>);

/// Reads the results of the violations. There are none if the file does not exist.
///
/// # Errors
///
/// A line for each row that is not understood.
pub(crate) fn violations(folder: &Path) -> Result<Vec<Violation>, Vec<String>> {
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    for line in lines(&folder.join("violations/results.tsv")) {
        let cells: Vec<_> = line.split('\t').collect();
        match cells[..] {
            ["patch", ..] => {}
            [patch, statement, version, test, result] if Version::named(version).is_some() => {
                all.extend(Version::named(version).map(|version| Violation {
                    patch: patch.into(),
                    version,
                    statement: statement.into(),
                    test: test.into(),
                    result: result.into(),
                }));
            }
            _ => faults.push(format!("violations/results.tsv: a row is not understood: {line}")),
        }
    }
    if faults.is_empty() { Ok(all) } else { Err(faults) }
}

/// Reads the choices. There are none if the file does not exist.
///
/// # Errors
///
/// A line for each row that has not as many cells as the first one.
pub(crate) fn choices(folder: &Path) -> Result<Vec<Choice>, Vec<String>> {
    let rows: Vec<_> = lines(&folder.join("choices.tsv")).iter().map(|line| cells(line)).collect();
    let count = rows.first().map_or(0, |row| row.0.len());
    let is_wrong = |row: &&Choice| row.0.len() != count;
    let faults: Vec<_> =
        rows.iter().filter(is_wrong).map(|row| format!("choices.tsv: {count} cells are needed: {row:?}")).collect();
    if faults.is_empty() { Ok(rows) } else { Err(faults) }
}

fn cells(line: &str) -> Choice {
    Choice(line.split('\t').map(str::to_owned).collect())
}

/// The lines of a file that are neither empty nor a comment.
fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}
