//! The table of all statements.

use std::collections::HashMap;
use std::fmt::{self, Display};

/// A version of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 3.1.1.
    V311,
    /// 5.0.
    V5,
}

impl Version {
    /// Both versions.
    pub const ALL: [Self; 2] = [Self::V311, Self::V5];

    /// Returns the version with this name, `3.1.1` or `5.0`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.name() == name)
    }

    /// Returns `3.1.1` or `5.0`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }
}

impl Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The part of the library that has to meet a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The form of one packet.
    Codec,
    /// One client and one server: connections, deliveries and sessions.
    Session,
    /// The server between its sessions: routing, retained messages, wills, takeover.
    Broker,
    /// Nothing in a sans-IO library can meet or break it.
    Outside,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Codec, Self::Session, Self::Broker, Self::Outside];

    /// Returns the name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Codec => "codec",
            Self::Session => "session",
            Self::Broker => "broker",
            Self::Outside => "outside",
        }
    }
}

/// A statement of a specification.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The version of the specification. The same number means different statements in different versions.
    pub version: Version,
    /// The number, such as `MQTT-3.1.0-1`; or `U-` and the section for a rule without a number.
    pub id: String,
    /// The section, with its title.
    pub section: String,
    /// The endpoint that the statement binds: `client`, `server`, `both`, `sender` or `receiver`.
    pub binds: String,
    /// The part of the library that has to meet it.
    pub kind: Kind,
    /// The statement in a few words.
    pub words: String,
    /// The reason why the statement is outside of the library, if it is.
    pub reason: Option<String>,
}

/// All statements, in the order of the table.
#[derive(Debug, Default)]
pub struct Statements {
    all: Vec<Statement>,
    /// The positions of the statements with each number, by version.
    positions: HashMap<String, [Option<usize>; 2]>,
}

const COLUMNS: &str = "version\tid\tsection\tbinds\tkind\twords\treason";

impl Statements {
    /// Reads the table.
    ///
    /// # Errors
    ///
    /// A line for each row that is not understood, or that is there twice.
    pub fn parse(table: &str) -> Result<Self, Vec<String>> {
        let mut statements = Self::default();
        let mut faults = Vec::new();
        let mut lines = table.lines();
        if lines.next() != Some(COLUMNS) {
            faults.push(format!("the columns are not {COLUMNS}"));
        }
        for line in lines {
            match row(line) {
                Some(row) if statements.position(row.version, &row.id).is_some() => {
                    faults.push(format!("{} ({}) is there twice", row.id, row.version));
                }
                Some(row) => statements.push(row),
                None => faults.push(format!("a row is not understood: {line}")),
            }
        }
        if faults.is_empty() { Ok(statements) } else { Err(faults) }
    }

    /// Returns all statements, in the order of the table.
    pub fn all(&self) -> &[Statement] {
        &self.all
    }

    fn push(&mut self, statement: Statement) {
        let positions = self.positions.entry(statement.id.clone()).or_default();
        positions[statement.version as usize] = Some(self.all.len());
        self.all.push(statement);
    }

    /// Returns the position of a statement in [`all`](Self::all).
    pub fn position(&self, version: Version, id: &str) -> Option<usize> {
        self.positions.get(id)?[version as usize]
    }

    /// Returns the positions of the codec's rules without a number of this section, which may be divided: `U-2.1.4`, or
    /// `U-2.2.2.2-a` and `U-2.2.2.2-b`.
    pub(crate) fn of_section(&self, version: Version, section: &str) -> Vec<usize> {
        let is_meant = |statement: &Statement| {
            let rest = statement.id.strip_prefix("U-").and_then(|rest| rest.strip_prefix(section));
            let is_of_section = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
            is_of_section && statement.version == version && statement.kind == Kind::Codec
        };
        (0..self.all.len()).filter(|&position| is_meant(&self.all[position])).collect()
    }
}

fn row(line: &str) -> Option<Statement> {
    let mut cells = line.split('\t');
    let mut next = || cells.next().filter(|cell| !cell.is_empty());
    let (version, id, section, binds, kind, words) = (next()?, next()?, next()?, next()?, next()?, next()?);
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
    let reason = next().map(str::to_owned);
    let is_complete = cells.next().is_none() && reason.is_some() == (kind == Kind::Outside);
    let binds_someone = ["client", "server", "both", "sender", "receiver"].contains(&binds);
    (is_complete && binds_someone).then_some(Statement {
        version: Version::named(version)?,
        id: id.into(),
        section: section.into(),
        binds: binds.into(),
        kind,
        words: words.into(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "5.0\tMQTT-1.5.4-1\t1.5.4 UTF-8 Encoded String\tboth\tcodec\tvalid UTF-8";
    const OUTSIDE: &str = "3.1.1\tMQTT-6.0.0-1\t6.0.0 WebSocket\tboth\toutside\tbinary frames\tno transport";

    #[test]
    fn a_table_is_read() {
        let statements = Statements::parse(&[COLUMNS, ROW, OUTSIDE].join("\n")).unwrap();
        let [first, second] = statements.all() else { panic!("two rows") };
        assert_eq!((first.version, &*first.id, first.kind), (Version::V5, "MQTT-1.5.4-1", Kind::Codec));
        assert_eq!((second.kind, second.reason.as_deref()), (Kind::Outside, Some("no transport")));
        assert_eq!(statements.position(Version::V5, "MQTT-1.5.4-1"), Some(0));
        assert_eq!(statements.position(Version::V311, "MQTT-1.5.4-1"), None);
    }

    #[test]
    fn a_damaged_table_is_refused() {
        for (from, to) in [
            ("codec", "outside"),         // without a reason
            ("codec", "codecs"),          // no kind
            ("5.0", "5.1"),               // no version
            ("both", "everyone"),         // no endpoint
            ("\tvalid UTF-8", ""),        // no words
            ("UTF-8\n", "UTF-8\tx\ty\n"), // too many cells
        ] {
            let table = [COLUMNS, ROW, ""].join("\n").replace(from, to);
            assert_eq!(Statements::parse(&table).unwrap_err().len(), 1, "{from}");
        }
        assert_eq!(
            Statements::parse(&[COLUMNS, ROW, ROW].join("\n")).unwrap_err(),
            ["MQTT-1.5.4-1 (5.0) is there twice"]
        );
        assert_eq!(Statements::parse(ROW).unwrap_err().len(), 1, "no columns");
    }

    #[test]
    fn a_section_may_be_divided() {
        let rows = ["U-2.2.2.2-a", "U-2.2.2.2-b", "U-2.2.2", "U-2.2.2.20"].map(|id| ROW.replace("MQTT-1.5.4-1", id));
        let statements = Statements::parse(&[&[COLUMNS.to_owned()], &rows[..]].concat().join("\n")).unwrap();
        assert_eq!(statements.of_section(Version::V5, "2.2.2.2"), [0, 1]);
        assert_eq!(statements.of_section(Version::V5, "2.2.2"), [2]);
        assert_eq!(statements.of_section(Version::V311, "2.2.2"), [0; 0]);
    }
}
