//! Citations of statements in the documentation of tests: `[3.1.1: MQTT-3.1.2-24; 5.0: MQTT-3.1.2-22, U-4.9]`.

use crate::statements::{Statements, Version};

/// A statement that is cited. A version holds for all statements behind it in the same brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Citation {
    pub(crate) version: Option<Version>,
    pub(crate) id: String,
}

impl Citation {
    /// Returns the position of the statement.
    ///
    /// # Errors
    ///
    /// The statement does not exist, or it exists in both versions and the citation does not say which is meant.
    pub(crate) fn resolve(&self, statements: &Statements) -> Result<usize, String> {
        let versions = self.version.map_or(Version::ALL.to_vec(), |version| vec![version]);
        let found: Vec<_> = versions.iter().filter_map(|&version| statements.position(version, &self.id)).collect();
        match (&found[..], self.version) {
            (&[only], _) => Ok(only),
            ([], None) => Err(format!("{} is unknown", self.id)),
            ([], Some(version)) => Err(format!("{} is unknown in {version}", self.id)),
            _ => Err(format!("{} is cited without its version", self.id)),
        }
    }
}

/// Returns the citations in a text, or the brackets that are not understood.
pub(crate) fn citations(text: &str) -> Result<Vec<Citation>, String> {
    let mut all = Vec::new();
    for bracket in text.split('[').skip(1) {
        let Some((inner, _)) = bracket.split_once(']') else { continue };
        let inner = inner.trim_end_matches('\\');
        if inner.split([' ', ',', ';']).any(is_id) {
            all.extend(in_brackets(inner).ok_or_else(|| format!("[{inner}] is not understood"))?);
        }
    }
    Ok(all)
}

fn in_brackets(inner: &str) -> Option<Vec<Citation>> {
    let mut version = None;
    let citation = |item: &str| {
        let id = match item.split_once(':') {
            None => item,
            Some((name, id)) => {
                version = Some(Version::named(name.trim())?);
                id
            }
        };
        let id = id.trim();
        is_id(id).then(|| Citation { version, id: id.into() })
    };
    inner.split([',', ';']).map(citation).collect()
}

/// Whether a word has the form of a statement's number.
fn is_id(word: &str) -> bool {
    let rest = word.strip_prefix("MQTT-").or_else(|| word.strip_prefix("U-"));
    let is_number = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit()) && !rest.contains(' ');
    rest.is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cited(text: &str) -> Vec<(Option<Version>, String)> {
        citations(text).unwrap().into_iter().map(|citation| (citation.version, citation.id)).collect()
    }

    #[test]
    fn citations_are_found() {
        let (old, new) = (Some(Version::V311), Some(Version::V5));
        assert_eq!(cited("no list[0] and [no] `[statement]`"), []);
        assert_eq!(cited("Words. [5.0: MQTT-3.1.0-1]"), [(new, "MQTT-3.1.0-1".into())]);
        assert_eq!(cited(r"\[MQTT-1.5.4-1\]"), [(None, "MQTT-1.5.4-1".into())]);
        let all = cited("[3.1.1: MQTT-1.5.3-1,\nMQTT-1.5.3-2; 5.0: U-1.5.4] and [U-4.9-b]");
        let expected = [(old, "MQTT-1.5.3-1"), (old, "MQTT-1.5.3-2"), (new, "U-1.5.4"), (None, "U-4.9-b")];
        assert_eq!(all, expected.map(|(version, id)| (version, id.to_owned())));
    }

    #[test]
    fn a_citation_that_is_not_understood_is_an_error() {
        for text in ["[3.1: MQTT-1.5.3-1]", "[see MQTT-1.5.3-1]", "[5.0: MQTT-1.5.4-1, and more]", "[5.0: MQTT-1 U-2]"]
        {
            assert!(citations(text).unwrap_err().ends_with("is not understood"), "{text}");
        }
    }

    #[test]
    fn a_citation_needs_a_statement_and_its_version() {
        let table = "version\tid\tsection\tbinds\tkind\twords\treason
3.1.1\tMQTT-3.1.0-1\t3.1.0 CONNECT\tclient\tsession\tone
5.0\tMQTT-3.1.0-1\t3.1.0 CONNECT\tclient\tsession\tone
5.0\tU-4.9\t4.9 Flow Control\tsender\tsession\tquota";
        let statements = Statements::parse(table).unwrap();
        let resolve = |text| citations(text).unwrap()[0].resolve(&statements);
        assert_eq!(resolve("[3.1.1: MQTT-3.1.0-1]"), Ok(0));
        assert_eq!(resolve("[5.0: MQTT-3.1.0-1]"), Ok(1));
        assert_eq!(resolve("[U-4.9]"), Ok(2));
        assert_eq!(resolve("[MQTT-3.1.0-1]").unwrap_err(), "MQTT-3.1.0-1 is cited without its version");
        assert_eq!(resolve("[MQTT-3.1.0-2]").unwrap_err(), "MQTT-3.1.0-2 is unknown");
        assert_eq!(resolve("[3.1.1: U-4.9]").unwrap_err(), "U-4.9 is unknown in 3.1.1");
    }
}
