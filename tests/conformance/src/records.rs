//! Tables that stand beside the statements, if they exist: deliberate violations, what is taken where the specifications
//! allow several behaviours, and mutants.

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

/// A table that stands in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The heading in the report.
    pub heading: &'static str,
    /// The comments of the file: how its content was found.
    pub notes: Vec<String>,
    /// The names of the columns, and the rows.
    pub rows: Vec<Vec<String>>,
}

/// The files with tables that the report contains, and their headings.
const TABLES: [(&str, &str); 3] = [
    ("choices.tsv", "Where the specifications allow several behaviours"),
    ("mutants/results.tsv", "Mutants"),
    ("mutants/survivors.tsv", "Mutants that no test kills"),
];

/// Reads the results of the violations. There are none if the file does not exist.
///
/// # Errors
///
/// A line for each row that is not understood.
pub(crate) fn violations(folder: &Path) -> Result<Vec<Violation>, Vec<String>> {
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    let text = fs::read_to_string(folder.join("violations/results.tsv")).unwrap_or_default();
    for line in lines(&text) {
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

/// Reads the tables. Those whose files do not exist are left out.
///
/// # Errors
///
/// A line for each row that has not as many cells as the first one.
pub(crate) fn tables(folder: &Path) -> Result<Vec<Table>, Vec<String>> {
    let (mut tables, mut faults) = (Vec::new(), Vec::new());
    for (file, heading) in TABLES {
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        let table = table(heading, &text);
        let count = table.rows.first().map_or(0, Vec::len);
        let wrong = table.rows.iter().filter(|row| row.len() != count);
        faults.extend(wrong.map(|row| format!("{file}: {count} cells are needed: {row:?}")));
        if count != 0 {
            tables.push(table);
        }
    }
    if faults.is_empty() { Ok(tables) } else { Err(faults) }
}

fn table(heading: &'static str, text: &str) -> Table {
    let notes = text.lines().filter_map(|line| line.strip_prefix('#')).map(|note| note.trim().to_owned()).collect();
    let row = |line: String| line.split('\t').map(str::to_owned).collect();
    Table { heading, notes, rows: lines(text).map(row).collect() }
}

/// The lines that are neither empty nor a comment.
fn lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_notes_columns_and_rows() {
        let found = table("Heading", "# how\na\tb\n\n1\t2\n");
        let rows = [["a", "b"], ["1", "2"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(found, Table { heading: "Heading", notes: vec!["how".into()], rows: rows.to_vec() });
    }

    #[test]
    fn damaged_files_are_told() {
        let folder = std::env::temp_dir().join(format!("conformance-{}", std::process::id()));
        fs::create_dir_all(folder.join("violations")).unwrap();
        fs::write(folder.join("choices.tsv"), "a\tb\n1\n").unwrap();
        let rows =
            "patch\tstatement\tversion\ttest\tresult\np\tMQTT-1\t5.0\t--test t f\tcaught\np\tMQTT-1\t5.1\tt\tcaught\n";
        fs::write(folder.join("violations/results.tsv"), rows).unwrap();
        let (tables, violations) = (tables(&folder), violations(&folder));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(tables.unwrap_err(), ["choices.tsv: 2 cells are needed: [\"1\"]"]);
        assert_eq!(violations.unwrap_err().len(), 1, "the version is unknown");
    }
}
