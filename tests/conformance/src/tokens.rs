//! Rust source text as tokens: as much of the grammar as is needed to find functions, their attributes and their
//! documentation.

/// A token. Ordinary comments, lifetimes and characters are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A line of documentation, `/// …`.
    Doc(String),
    /// A name, a keyword or a number.
    Word(String),
    /// The content of a string literal, as it is written.
    Text(String),
    /// Any other character.
    Mark(char),
}

impl Token {
    pub(crate) fn is(&self, mark: char) -> bool {
        *self == Self::Mark(mark)
    }

    pub(crate) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// Divides source text into tokens.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut rest = source;
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("//") {
            let (line, next) = comment.split_once('\n').unwrap_or((comment, ""));
            let doc = line.strip_prefix('/').filter(|doc| !doc.starts_with('/'));
            tokens.extend(doc.map(|doc| Token::Doc(doc.trim().into())));
            rest = next;
        } else if rest.starts_with("/*") {
            rest = after_block_comment(rest);
        } else if let Some((text, next)) = raw_string(rest) {
            tokens.push(Token::Text(text.into()));
            rest = next;
        } else if let Some(string) = rest.strip_prefix('"') {
            let end = unescaped(string, '"');
            tokens.push(Token::Text(string[..end].into()));
            rest = string.get(end + 1..).unwrap_or_default();
        } else if let Some(quoted) = rest.strip_prefix('\'') {
            rest = after_quote(quoted);
        } else if is_of_word(first) {
            let end = rest.find(|character| !is_of_word(character)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].into()));
            rest = &rest[end..];
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Mark(first));
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    tokens
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Block comments can be nested.
fn after_block_comment(source: &str) -> &str {
    let (mut depth, mut rest) = (0_u32, source);
    loop {
        if let Some(next) = rest.strip_prefix("/*") {
            (depth, rest) = (depth + 1, next);
        } else if let Some(next) = rest.strip_prefix("*/") {
            (depth, rest) = (depth - 1, next);
            if depth == 0 {
                return rest;
            }
        } else {
            let Some(next) = rest.chars().next() else { return rest };
            rest = &rest[next.len_utf8()..];
        }
    }
}

/// Returns the content of a raw string at the start of the source, and what follows it.
fn raw_string(source: &str) -> Option<(&str, &str)> {
    let after = ["r", "br", "cr"].into_iter().find_map(|prefix| source.strip_prefix(prefix))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let content = after[hashes..].strip_prefix('"')?;
    content.split_once(&format!("\"{}", "#".repeat(hashes)))
}

/// Returns the position of this mark, or the end.
fn unescaped(text: &str, mark: char) -> usize {
    let mut is_escaped = false;
    for (position, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if character == mark => return position,
            _ => {}
        }
    }
    text.len()
}

/// Returns what follows the rest of a character literal, or of the quote of a lifetime.
fn after_quote(quoted: &str) -> &str {
    let mut characters = quoted.chars();
    let is_character = characters.next() == Some('\\') || characters.next() == Some('\'');
    if !is_character {
        return quoted;
    }
    quoted.get(unescaped(quoted, '\'') + 1..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of some source text, behind a part of the grammar that could hide them.
    #[track_caller]
    fn assert_words(source: &str, expected: &[&str]) {
        let tokens = tokens(source);
        let words: Vec<_> = tokens.iter().filter_map(Token::word).collect();
        assert_eq!(words, expected, "{source}");
    }

    #[test]
    fn strings_and_comments_hide_code() {
        assert_words(r#"a "b \" c" d"#, &["a", "d"]);
        assert_words(r##"a r#"b " c"# d"##, &["a", "d"]);
        assert_words(r##"a br"b \" d"##, &["a", "d"]);
        assert_words(r##"a br"b" c b"d" e"##, &["a", "c", "b", "e"]);
        assert_words("a // b\nc /* d /* e */ f */ g //// h\ni", &["a", "c", "g", "i"]);
        assert_words(r#"a '"' b '\'' c '\u{27}' d "e""#, &["a", "b", "c", "d"]);
        assert_words("fn a<'b>(&'static c) 'd: loop", &["fn", "a", "b", "static", "c", "d", "loop"]);
        assert_words(r#"r#type "unfinished"#, &["r", "type"]);
        assert_words("a /* unfinished", &["a"]);
    }

    #[test]
    fn documentation_is_a_token() {
        let expected = [Token::Doc("one".into()), Token::Doc(String::new()), Token::Mark('#'), Token::Text("a".into())];
        assert_eq!(tokens("/// one\n///\n//// no\n//! no\n# \"a\""), expected);
    }
}
