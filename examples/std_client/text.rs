//! Text for people: text from a server or a file is printed so that it can't move the cursor or begin a line.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, Write};

/// Writes a line to standard error. A standard error that is closed must not end the program.
pub(crate) fn log(line: impl Display) {
    let _ = writeln!(io::stderr(), "{}", without_control_characters(&line.to_string()));
}

/// Escapes control characters.
fn without_control_characters(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            let _ = write!(escaped, "{}", character.escape_default()); // writing to a `String` cannot fail
        } else {
            escaped.push(character);
        }
    }
    escaped.into()
}

/// Returns the bytes on a single line: unchanged if they are UTF-8 without control characters, otherwise with escapes.
pub(crate) fn printable(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => text.into(),
        _ => bytes.escape_ascii().to_string().into(),
    }
}
