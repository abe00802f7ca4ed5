//! Bytes that are written as text, and those that are not.

use anyhow::{Context, Result, ensure};

/// Bytes as two hexadecimal digits each; white space means nothing.
pub(crate) fn from_hex(text: &str) -> Result<Vec<u8>> {
    let mut digits = Vec::with_capacity(text.len());
    for character in text.chars().filter(|character| !character.is_whitespace()) {
        let digit = character.to_digit(16).with_context(|| format!("{character:?} is not a hexadecimal digit"))?;
        digits.push(digit as u8); // below 16
    }
    let (bytes, odd) = digits.as_chunks::<2>();
    ensure!(odd.is_empty(), "an odd number of hexadecimal digits");
    Ok(bytes.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Takes bytes as they are, or as hexadecimal text if there is nothing but hexadecimal digits and white space.
///
/// That is unambiguous, for no good packet consists of such characters alone: a PUBLISH would have a topic longer than
/// itself, in a CONNACK or PUBREL some byte has to be 0, 1, 2 or 0x92, and nothing else begins with one of them.
pub(crate) fn from_either(bytes: Vec<u8>) -> Result<Vec<u8>> {
    let is_text = bytes.iter().all(|byte| byte.is_ascii_hexdigit() || byte.is_ascii_whitespace());
    match std::str::from_utf8(&bytes) {
        Ok(text) if is_text => from_hex(text),
        _ => Ok(bytes),
    }
}
