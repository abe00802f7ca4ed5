//! Input as hexadecimal text or as bytes.

use anyhow::{Context, Result, bail, ensure};

/// Returns the bytes of a hexadecimal text, in the forms that people paste: `3005`, `30 05`, `30:05`, `30-05`, `0x30,
/// 0x05`, `\x30\x05`, `{0x30, 0x05}`, over any number of lines.
///
/// White space between digits without a prefix is ignored, so a line may end in the middle of a byte. With a prefix a
/// single digit is a byte too: `0x5`.
///
/// # Errors
///
/// An error that names the line and column of the first character that can't be read.
pub(crate) fn from_hex(text: &str) -> Result<Vec<u8>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text); // a byte order mark
    let mut parser = Parser::default();
    let mut rest = text.char_indices();
    while let Some((index, character)) = rest.next() {
        let next = rest.clone().next().map(|(_, next)| next);
        parser.take(character, next).with_context(|| {
            let before = text.get(..index).unwrap_or_default();
            let line_start = before.rfind('\n').map_or(0, |end| end.saturating_add(1));
            let column = before.get(line_start..).unwrap_or_default().chars().count().saturating_add(1);
            format!("line {}, column {column}", before.matches('\n').count().saturating_add(1))
        })?;
    }
    parser.end_group()?;
    Ok(parser.bytes)
}

/// Digits that belong together form a group. A prefix begins a group, and any other character ends it.
#[derive(Default)]
struct Parser {
    bytes: Vec<u8>,
    /// The first digit of a byte.
    high: Option<u8>,
    /// The number of digits since the last other character.
    run: usize,
    /// Whether the group has a prefix.
    has_prefix: bool,
}

impl Parser {
    fn take(&mut self, character: char, next: Option<char>) -> Result<()> {
        match character {
            'x' | 'X' => self.begin_group(next),
            '\\' => {
                // Before a line break the backslash is that of a shell.
                ensure!(matches!(next, Some('x' | 'X' | '\r' | '\n')), "of the escapes with '\\' only \\x is read");
                self.end_group()
            }
            ':' | '-' => {
                ensure!(
                    self.run <= 2,
                    "{character:?} after more than two digits looks like an offset, and offsets are not read; \
                     `xxd -p FILE` prints bytes without them"
                );
                self.end_group()
            }
            ',' | ';' | '"' | '\'' | '{' | '}' | '[' | ']' | '(' | ')' => self.end_group(),
            space if space.is_whitespace() && self.has_prefix => self.end_group(),
            space if space.is_whitespace() => {
                self.run = 0;
                Ok(())
            }
            other => {
                let digit = other.to_digit(16).with_context(|| format!("{other:?} is not a hexadecimal digit"))?;
                self.digit(digit as u8); // below 16
                Ok(())
            }
        }
    }

    fn digit(&mut self, digit: u8) {
        self.run = self.run.saturating_add(1);
        match self.high.take() {
            None => self.high = Some(digit),
            Some(high) => self.bytes.push(high << 4 | digit),
        }
    }

    /// Handles the `x` of `0x`, or of `\x`, of which a shell may have removed the backslash.
    fn begin_group(&mut self, next: Option<char>) -> Result<()> {
        if self.high == Some(0) && self.run > 0 {
            self.high = None; // the 0 belongs to the prefix
        }
        self.end_group()?;
        ensure!(next.is_some_and(|next| next.is_ascii_hexdigit()), "there are no digits behind it");
        self.has_prefix = true;
        Ok(())
    }

    fn end_group(&mut self) -> Result<()> {
        if let Some(digit) = self.high.take() {
            ensure!(self.has_prefix && self.run == 1, "an odd number of hexadecimal digits");
            self.bytes.push(digit);
        }
        self.run = 0;
        self.has_prefix = false;
        Ok(())
    }
}

/// Takes bytes as they are, or as hexadecimal if they are text: ASCII, without control characters but white space.
/// Returns the bytes unchanged, or decoded if they are hexadecimal text: ASCII, without control characters except white
/// space.
///
/// That is unambiguous, because no valid packet is text. Its size would be 11 to 128 bytes, as the Remaining Length is
/// a character. A PUBLISH would have a topic longer than that (0x0909 bytes at least). In an acknowledgement of that
/// size the byte that is 0 or 1 (CONNACK), or the reason code, is not a character of a text. No other packet begins
/// with a character.
///
/// # Errors
///
/// Those of [`from_hex`], and an error that names the format if the bytes are a file of another program.
pub(crate) fn from_either(bytes: Vec<u8>) -> Result<Vec<u8>> {
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    if text.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        return from_hex(&String::from_utf8_lossy(text)).context("this is text, and it is not hexadecimal");
    }
    if let Some(kind) = kind_of_file(&bytes) {
        bail!("this is {kind}. How to get the bytes of MQTT out of a capture is told by --help");
    }
    Ok(bytes)
}

/// Bytes at the beginning of a file that is not MQTT: each first byte is that of a reserved packet type, or has
/// reserved flags.
fn kind_of_file(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0xD4, 0xC3, 0xB2, 0xA1, ..] | [0xA1, 0xB2, 0xC3, 0xD4, ..] => "a capture of whole frames (pcap)",
        [0x4D, 0x3C, 0xB2, 0xA1, ..] | [0xA1, 0xB2, 0x3C, 0x4D, ..] => "a capture of whole frames (pcap)",
        [0x0A, 0x0D, 0x0D, 0x0A, ..] => "a capture of whole frames (pcapng)",
        [0x1F, 0x8B, ..] => "a compressed file (gzip)",
        [0x14..=0x17, 0x03, ..] => "TLS, so the MQTT in it is encrypted",
        _ => return None,
    })
}
