//! `CONFORMANCE.md`, and the totals.

use std::fmt::Write as _;

use crate::index::{Index, Shown};
use crate::statements::{Kind, Statement, Version};

const INTRODUCTION: &str = "\
# Conformance

Every normative statement of MQTT 3.1.1 and 5.0, and the tests and test vectors that fail when this crate breaks it. Write this file
again with `cargo run --example conformance`; a test checks that it is current.

- A number such as MQTT-3.1.2-24 is that of the specification, and means different statements in its two versions. `U-` and a section is
  a rule of 5.0 that has no number.
- The kinds: `codec`, the form of one packet; `session`, one client and one server; `broker`, the server between its sessions; `outside`,
  what no library without input and output can meet or break.
- A test is named by the arguments after `cargo test` that run it alone. A vector is a frame of bytes in `spec-vectors`, with the
  result that a decoder must return (`-p mqtt-sansio-codec-tests --test vectors`).
- A violation is a patch that breaks a statement on purpose. `caught` says that the test named by the patch has failed on the patched code.
";

/// Returns the totals by kind and version.
pub fn totals(index: &Index) -> String {
    let mut text = String::from(
        "| version | kind | statements | shown | by tests | by vectors | tests | vectors | violations caught |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for version in Version::ALL {
        for kind in Kind::ALL {
            let is_meant = |statement: &Statement| statement.version == version && statement.kind == kind;
            let shown: Vec<_> =
                index.all().filter(|(statement, _)| is_meant(statement)).map(|(_, shown)| shown).collect();
            let count = |holds: fn(&Shown) -> bool| shown.iter().filter(|shown| holds(shown)).count();
            let by_tests = count(|shown| !shown.tests.is_empty());
            let by_vectors = count(|shown| shown.vectors() != 0);
            let by_any = count(|shown| !shown.tests.is_empty() || shown.vectors() != 0);
            let violations = shown.iter().flat_map(|shown| &shown.violations);
            let (caught, all) = violations
                .fold((0, 0), |(caught, all), violation| (caught + usize::from(violation.result == "caught"), all + 1));
            let tests: usize = shown.iter().map(|shown| shown.tests.len()).sum();
            let vectors: usize = shown.iter().map(|shown| shown.vectors()).sum();
            let _ = writeln!(
                text,
                "| {version} | {} | {} | {by_any} | {by_tests} | {by_vectors} | {tests} | {vectors} | {caught} of {all} |",
                kind.name(),
                shown.len(),
            );
        }
    }
    text
}

/// Returns the text of `CONFORMANCE.md`.
pub fn markdown(index: &Index) -> String {
    let mut text = format!("{INTRODUCTION}\n{}", totals(index));
    for version in Version::ALL {
        let _ = write!(text, "\n## MQTT {version}\n");
        let mut section = "";
        for (statement, shown) in index.all().filter(|(statement, _)| statement.version == version) {
            if statement.section != section {
                section = &statement.section;
                let _ = write!(
                    text,
                    "\n### {version}: {section}\n\n| statement | binds | kind | in short | shown by | violations |\n\
                     |---|---|---|---|---|---|\n"
                );
            }
            text += &row(statement, shown);
        }
    }
    for table in index.tables() {
        let _ = write!(text, "\n## {}\n\n", table.heading);
        for note in &table.notes {
            let _ = write!(text, "{}\n\n", escaped(note));
        }
        for (position, row) in table.rows.iter().enumerate() {
            text += &cells(&row.iter().map(|cell| escaped(cell)).collect::<Vec<_>>());
            if position == 0 {
                text += &cells(&vec!["---".into(); row.len()]);
            }
        }
    }
    text
}

fn row(statement: &Statement, shown: &Shown) -> String {
    let mut by: Vec<_> = shown.tests.iter().map(|test| format!("[`{}`]({})", test.arguments(), test.file)).collect();
    for (result, vectors) in [("accepted", &shown.accepted), ("rejected", &shown.rejected)] {
        if let [first, rest @ ..] = &vectors[..] {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            by.push(escaped(&format!("{result} vectors: `{first}`{more}")));
        }
    }
    by.extend(statement.reason.clone());
    let violation = |violation: &crate::Violation| {
        let name = violation.patch.trim_end_matches(".patch");
        format!("[`{name}`](tests/conformance/violations/{name}.patch): {}", violation.result)
    };
    let violations: Vec<_> = shown.violations.iter().map(violation).collect();
    let words = escaped(&statement.words);
    cells(&[
        statement.id.clone(),
        statement.binds.clone(),
        statement.kind.name().into(),
        words,
        by.join("<br>"),
        violations.join("<br>"),
    ])
}

fn cells(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Escapes the characters that mean something in a table.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    let mut is_code = false;
    for character in text.chars() {
        match character {
            '|' => out += "\\|",
            '<' if !is_code => out += "&lt;",
            character => {
                is_code ^= character == '`';
                out.push(character);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_with_a_meaning_are_escaped() {
        assert_eq!(escaped("a|b <c> `<d>|`"), "a\\|b &lt;c> `<d>\\|`");
    }
}
