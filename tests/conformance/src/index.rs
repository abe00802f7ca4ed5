//! Which tests and vectors show which statement.

use std::fs;
use std::path::Path;

use crate::citation::citations;
use crate::records::{self, Table, Violation};
use crate::sources::{self, Function, Runs, Test};
use crate::statements::{Kind, Statement, Statements};
use crate::vectors::{self, Cited, Outcome, Vectors};

/// What shows a statement.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The tests that cite it.
    pub tests: Vec<Test>,
    /// The names of vectors that cite it and are accepted.
    pub accepted: Vec<String>,
    /// The names of vectors that cite it and are rejected.
    pub rejected: Vec<String>,
    /// The patches that break it, and the results of tests on them.
    pub violations: Vec<Violation>,
}

impl Shown {
    /// Returns the number of vectors.
    pub fn vectors(&self) -> usize {
        self.accepted.len() + self.rejected.len()
    }

    /// Returns what a statement of the codec lacks that should have these vectors.
    fn lacks(&self, vectors: Vectors) -> Option<&'static str> {
        match (vectors, self.accepted.is_empty(), self.rejected.is_empty()) {
            (Vectors::Both | Vectors::Accept, true, _) => Some("no vector is accepted"),
            (Vectors::Both, _, true) => Some("no vector is rejected"),
            (Vectors::Accept | Vectors::None, _, false) => Some("statements.json says that no vector is rejected"),
            (Vectors::None, false, _) => Some("statements.json says that there is no vector"),
            (Vectors::None, true, true) if self.tests.is_empty() => Some("there is neither a vector nor a test"),
            _ => None,
        }
    }
}

/// All statements, and what shows each.
#[derive(Debug, Default)]
pub struct Index {
    statements: Statements,
    shown: Vec<Shown>,
    /// The vectors that each statement has, if it is one of the codec.
    vectors: Vec<Vectors>,
    tables: Vec<Table>,
}

impl Index {
    /// Reads the statements, the tests and the vectors of the repository at this path. Also returns a line for each fault:
    ///
    /// - a statement of the sessions or the broker that no test shows,
    /// - a statement of the codec without an accepted or without a rejected vector, unless `spec-vectors/statements.json`
    ///   has a reason; without any vector, a test has to show it,
    /// - a citation that is not understood, of an unknown statement, or of one in both versions without its version,
    /// - a citation by a function that is no test, or that `cargo test` does not run,
    /// - a damaged table.
    pub fn read(root: &Path) -> (Self, Vec<String>) {
        let folder = root.join("tests/conformance");
        let mut faults = Vec::new();
        let table = fs::read_to_string(folder.join("statements.tsv")).unwrap_or_default();
        let statements = or_default(Statements::parse(&table), &mut faults);
        let functions = or_default(sources::functions(root).map_err(|fault| vec![fault]), &mut faults);
        let cited = or_default(vectors::cited(root, &statements), &mut faults);
        let exceptions = or_default(vectors::exceptions(root, &statements), &mut faults);
        let violations = or_default(records::violations(&folder), &mut faults);
        let tables = or_default(records::tables(&folder), &mut faults);
        let mut index = Self::new(statements, tables);
        index.add_tests(functions, &mut faults);
        index.add_vectors(cited);
        exceptions.into_iter().for_each(|(statement, vectors)| index.vectors[statement] = vectors);
        index.add_violations(violations, &mut faults);
        faults.extend(index.missing());
        (index, faults)
    }

    fn new(statements: Statements, tables: Vec<Table>) -> Self {
        let shown = vec![Shown::default(); statements.all().len()];
        let vectors = vec![Vectors::Both; statements.all().len()];
        Self { statements, shown, vectors, tables }
    }

    /// Returns the statements in the order of the table, and what shows each.
    pub fn all(&self) -> impl Iterator<Item = (&Statement, &Shown)> {
        self.statements.all().iter().zip(&self.shown)
    }

    /// Returns the tables that stand in files of their own.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Returns a line for each statement that must be shown and is not.
    fn missing(&self) -> impl Iterator<Item = String> {
        self.all().zip(&self.vectors).filter_map(|((statement, shown), &vectors)| {
            let fault = match statement.kind {
                Kind::Outside => None,
                Kind::Session | Kind::Broker => shown.tests.is_empty().then_some("no test shows it"),
                Kind::Codec => shown.lacks(vectors),
            };
            fault.map(|fault| format!("{} ({}): {fault}", statement.id, statement.version))
        })
    }

    fn add_tests(&mut self, functions: Vec<Function>, faults: &mut Vec<String>) {
        for Function { test, docs, runs } in functions {
            let at = |fault: &str| format!("{}: {}: {fault}", test.file, test.path);
            // The functions of a library explain themselves with clauses.
            if runs == Runs::NoTest && test.binary.ends_with("--lib") {
                continue;
            }
            let cited = match citations(&docs) {
                Ok(cited) if cited.is_empty() => continue,
                Ok(cited) => cited,
                Err(fault) => {
                    faults.push(at(&fault));
                    continue;
                }
            };
            match runs {
                Runs::Yes => {}
                Runs::NoTest => faults.push(at("it cites statements, and is no test")),
                Runs::Ignored => faults.push(at("it cites statements, and is ignored")),
                Runs::Disabled => faults.push(at("it cites statements, and its `cfg` does not hold with all features")),
            }
            for citation in cited {
                match citation.resolve(&self.statements) {
                    Ok(statement) => self.shown[statement].tests.push(test.clone()),
                    Err(fault) => faults.push(at(&fault)),
                }
            }
        }
        for shown in &mut self.shown {
            shown.tests.sort();
            shown.tests.dedup();
        }
    }

    fn add_vectors(&mut self, cited: Vec<Cited>) {
        for Cited { statement, vector, outcome } in cited {
            match outcome {
                Outcome::Accept => self.shown[statement].accepted.push(vector),
                Outcome::Reject => self.shown[statement].rejected.push(vector),
                Outcome::Incomplete => {}
            }
        }
    }

    fn add_violations(&mut self, violations: Vec<Violation>, faults: &mut Vec<String>) {
        for violation in violations {
            match self.statements.position(violation.version, &violation.statement) {
                Some(statement) => self.shown[statement].violations.push(violation),
                None => faults
                    .push(format!("{}: {} ({}) is unknown", violation.patch, violation.statement, violation.version)),
            }
        }
    }
}

fn or_default<T: Default>(result: Result<T, Vec<String>>, faults: &mut Vec<String>) -> T {
    result.unwrap_or_else(|more| {
        faults.extend(more);
        T::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "version\tid\tsection\tbinds\tkind\twords\treason
3.1.1\tMQTT-3.1.0-1\t3.1.0 CONNECT\tclient\tsession\tone
5.0\tMQTT-3.1.0-1\t3.1.0 CONNECT\tclient\tsession\ttwo
5.0\tMQTT-4.2-1\t4.2 Network Connections\tboth\toutside\tthree\tno transport";

    /// The faults of an index with one function.
    fn faults(binary: &str, docs: &str, runs: Runs) -> Vec<String> {
        let test = Test { binary: binary.into(), path: "m::f".into(), file: "tests/t.rs".into() };
        let mut index = Index::new(Statements::parse(TABLE).unwrap(), Vec::new());
        let mut faults = Vec::new();
        index.add_tests(vec![Function { test, docs: docs.into(), runs }], &mut faults);
        faults
    }

    #[test]
    fn a_function_that_cites_statements_is_a_test_that_runs() {
        let docs = "Words. [5.0: MQTT-3.1.0-1]";
        assert_eq!(faults("--test t", docs, Runs::Yes), [""; 0]);
        assert_eq!(faults("--lib", docs, Runs::NoTest), [""; 0]);
        assert_eq!(faults("--test t", "", Runs::Ignored), [""; 0]);
        for (runs, expected) in [
            (Runs::NoTest, "tests/t.rs: m::f: it cites statements, and is no test"),
            (Runs::Ignored, "tests/t.rs: m::f: it cites statements, and is ignored"),
            (Runs::Disabled, "tests/t.rs: m::f: it cites statements, and its `cfg` does not hold with all features"),
        ] {
            assert_eq!(faults("--test t", docs, runs), [expected]);
        }
    }

    #[test]
    fn a_test_cites_statements_that_exist_with_their_version() {
        for (docs, expected) in [
            ("[MQTT-3.1.0-1]", "tests/t.rs: m::f: MQTT-3.1.0-1 is cited without its version"),
            ("[5.0: MQTT-3.1.0-9]", "tests/t.rs: m::f: MQTT-3.1.0-9 is unknown in 5.0"),
            ("[5.1: MQTT-3.1.0-1]", "tests/t.rs: m::f: [5.1: MQTT-3.1.0-1] is not understood"),
        ] {
            assert_eq!(faults("--test t", docs, Runs::Yes), [expected]);
        }
    }

    #[test]
    fn each_statement_but_those_outside_is_shown() {
        let mut index = Index::new(Statements::parse(TABLE).unwrap(), Vec::new());
        // A vector does not show what a session does.
        index.add_vectors(vec![Cited { statement: 0, vector: "v".into(), outcome: Outcome::Accept }]);
        let test = Test { binary: "--test t".into(), path: "f".into(), file: "tests/t.rs".into() };
        let function = Function { test, docs: "[5.0: MQTT-3.1.0-1]".into(), runs: Runs::Yes };
        index.add_tests(vec![function], &mut Vec::new());
        assert_eq!(Vec::from_iter(index.missing()), ["MQTT-3.1.0-1 (3.1.1): no test shows it"]);
    }

    #[test]
    fn a_statement_of_the_codec_has_vectors() {
        let table = TABLE.lines().take(2).collect::<Vec<_>>().join("\n").replace("session", "codec");
        let test = Test { binary: "--test t".into(), path: "f".into(), file: "tests/t.rs".into() };
        for (vectors, outcomes, has_test, expected) in [
            (Vectors::Both, &[Outcome::Accept, Outcome::Reject][..], false, None),
            (Vectors::Both, &[Outcome::Accept, Outcome::Incomplete], true, Some("no vector is rejected")),
            (Vectors::Both, &[Outcome::Reject], true, Some("no vector is accepted")),
            (Vectors::Accept, &[Outcome::Accept], false, None),
            (Vectors::Accept, &[Outcome::Incomplete], false, Some("no vector is accepted")),
            (
                Vectors::Accept,
                &[Outcome::Accept, Outcome::Reject],
                false,
                Some("statements.json says that no vector is rejected"),
            ),
            (Vectors::None, &[], true, None),
            (Vectors::None, &[], false, Some("there is neither a vector nor a test")),
            (Vectors::None, &[Outcome::Accept], true, Some("statements.json says that there is no vector")),
        ] {
            let mut index = Index::new(Statements::parse(&table).unwrap(), Vec::new());
            let cited = |&outcome| Cited { statement: 0, vector: "v".into(), outcome };
            index.add_vectors(outcomes.iter().map(cited).collect());
            index.vectors[0] = vectors;
            if has_test {
                index.shown[0].tests.push(test.clone());
            }
            let expected = expected.map(|fault| format!("MQTT-3.1.0-1 (3.1.1): {fault}"));
            assert_eq!(index.missing().next(), expected, "{vectors:?}, {outcomes:?}");
        }
    }

    #[test]
    fn a_violation_breaks_a_statement_that_exists() {
        let mut index = Index::new(Statements::parse(TABLE).unwrap(), Vec::new());
        let violation = Violation {
            patch: "p.patch".into(),
            version: crate::Version::V311,
            statement: "MQTT-4.2-1".into(),
            test: "--test t m::f".into(),
            result: "caught".into(),
        };
        let mut faults = Vec::new();
        index.add_violations(vec![violation], &mut faults);
        assert_eq!(faults, ["p.patch: MQTT-4.2-1 (3.1.1) is unknown"]);
    }
}
