//! UTF-8 Encoded Strings, and their validation.
//!
//! Most strings in MQTT are short and ASCII. [`scan`] validates those, eight bytes at a time, and looks for `+` and `#`
//! too, for the rules of topics. Other strings go through [`first_error`], which checks all rules of a string and finds
//! the first byte that violates one.

use core::fmt;

use thiserror::Error;

/// Maximum length of a text or of binary data, in bytes: the largest number in a two-byte length.
pub(crate) const MAX_LEN: usize = u16::MAX as usize;

/// A UTF-8 Encoded String: well-formed UTF-8 without U+0000, at most 65,535 bytes long \[MQTT-1.5.4-1, MQTT-1.5.4-2\].
///
/// It holds validated bytes: [`as_bytes`](Self::as_bytes) is free, [`as_str`](Self::as_str) costs a pass over them.
///
/// ```
/// # use mqtt_sansio::Utf8Str;
/// let text = Utf8Str::new("gr\u{fc}n")?;
/// assert_eq!((text.as_str(), text.len()), ("gr\u{fc}n", 5));
/// assert!(Utf8Str::new("\0").is_err() && Utf8Str::from_bytes(b"\xff").is_err());
/// # Ok::<(), mqtt_sansio::TextError>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utf8Str<'a>(&'a [u8]);

impl<'a> Utf8Str<'a> {
    /// Creates a text.
    ///
    /// # Errors
    ///
    /// [`TextError`] if `text` contains U+0000 or is longer than 65,535 bytes.
    pub fn new(text: &'a str) -> Result<Self, TextError> {
        Self::from_bytes(text.as_bytes())
    }

    /// Creates a text from bytes.
    ///
    /// # Errors
    ///
    /// The errors of [`new`](Self::new), and if `text` is not well-formed UTF-8.
    pub fn from_bytes(text: &'a [u8]) -> Result<Self, TextError> {
        check_len(text)?;
        match check(text, DisallowedCodePoints::Accept) {
            None => Ok(Self(text)),
            Some(error) => Err(error),
        }
    }

    /// Wraps bytes that were validated by [`scan`] or [`first_error`].
    pub(crate) const fn validated(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the string, without a length prefix.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Returns the string as a `str`, at the cost of a pass over the bytes.
    pub fn as_str(self) -> &'a str {
        // The bytes have been validated, so the default is never used.
        core::str::from_utf8(self.0).unwrap_or_default()
    }

    /// Returns the length in bytes.
    pub const fn len(self) -> usize {
        self.0.len()
    }

    /// Returns whether the string has no characters.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// Implements conversions, comparisons and printing of a type that wraps a validated string.
macro_rules! text_like {
    ($type:ident, $error:ident) => {
        impl<'a> TryFrom<&'a str> for $type<'a> {
            type Error = $error;

            fn try_from(text: &'a str) -> Result<Self, $error> {
                Self::new(text)
            }
        }

        impl AsRef<[u8]> for $type<'_> {
            fn as_ref(&self) -> &[u8] {
                self.as_bytes()
            }
        }

        impl PartialEq<str> for $type<'_> {
            fn eq(&self, other: &str) -> bool {
                self.as_bytes() == other.as_bytes()
            }
        }

        impl PartialEq<&str> for $type<'_> {
            fn eq(&self, other: &&str) -> bool {
                self.as_bytes() == other.as_bytes()
            }
        }

        impl fmt::Display for $type<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $type<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    };
}
pub(crate) use text_like;

text_like!(Utf8Str, TextError);

/// The error of an invalid string, with the offset of the first byte that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("the text {kind} (at byte {at})")]
#[non_exhaustive]
pub struct TextError {
    /// Offset in the text, in bytes.
    pub at: usize,
    /// The rule that the string violates.
    pub kind: TextErrorKind,
}

impl TextError {
    pub(crate) const fn new(at: usize, kind: TextErrorKind) -> Self {
        Self { at, kind }
    }
}

/// A rule of strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum TextErrorKind {
    /// The string is longer than 65,535 bytes (section 1.5.4; of a topic \[MQTT-4.7.3-3\]).
    #[error("is longer than 65,535 bytes")]
    TooLong,
    /// The string is not well-formed UTF-8 \[MQTT-1.5.4-1\].
    #[error("is not well-formed UTF-8")]
    IllFormedUtf8,
    /// The string contains U+0000 \[MQTT-1.5.4-2\].
    #[error("contains U+0000")]
    NullCharacter,
    /// The string contains a character of U+0001 to U+001F or U+007F to U+009F, which the receiver refuses (section
    /// 1.5.4).
    #[error("contains a control character")]
    ControlCharacter,
    /// The string contains a Unicode non-character such as U+FFFF, which the receiver refuses (section 1.5.4).
    #[error("contains a Unicode non-character")]
    NonCharacter,
}

pub(crate) fn check_len(text: &[u8]) -> Result<(), TextError> {
    if text.len() > MAX_LEN {
        return Err(TextError::new(MAX_LEN, TextErrorKind::TooLong));
    }
    Ok(())
}

/// The treatment of the Disallowed Unicode code points (section 1.5.4): the control characters U+0001 to U+001F and
/// U+007F to U+009F, and the non-characters such as U+FFFF. A sender SHOULD NOT use them, and a receiver MAY refuse
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DisallowedCodePoints {
    /// The code points are accepted. The default: a refusal closes the connection, and recurs when the message is sent
    /// again.
    #[default]
    Accept,
    /// A string that contains them is malformed.
    Refuse,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The result of one pass over a string.
#[derive(Clone, Copy)]
pub(crate) struct Scan {
    /// All bytes are ASCII, and none is U+0000.
    pub(crate) plain: bool,
    /// The string contains `+` or `#`. Exact only if `plain` is true.
    pub(crate) wildcards: bool,
}

/// Sets the top bit of each byte that is 0 or not ASCII. No bit is set exactly if there is no such byte: only a byte of
/// 0 borrows from the next one, and that byte has its own bit set.
#[inline(always)]
const fn not_plain(word: u64) -> u64 {
    word | word.wrapping_sub(ONES)
}

/// Sets the top bit of each byte that is `+` or `#`. Exact if all bytes are ASCII.
#[inline(always)]
const fn wildcards(word: u64) -> u64 {
    // '#' is 0x23 and '+' is 0x2B: they differ in one bit, so one comparison finds both.
    let difference = (word | ONES.wrapping_mul(0x08)) ^ ONES.wrapping_mul(0x2B);
    HIGH.wrapping_sub(difference)
}

/// Sets the top bit of each byte that is `+` or `#`, and clears all other bits. Exact for any bytes: those that are not
/// ASCII are masked first, because their borrow would hide a wildcard after them.
#[inline(always)]
pub(crate) const fn wildcard_bits(word: u64) -> u64 {
    wildcards(word & !HIGH) & !word & HIGH
}

/// Scans a string, eight bytes at a time; the last word may overlap with the one before.
#[inline(always)]
pub(crate) fn scan(text: &[u8]) -> Scan {
    let mut seen = Seen { odd: 0, wild: 0 };
    if let (Some(first), Some(last)) = (text.first_chunk::<16>(), text.last_chunk::<16>()) {
        seen.sixteen(first);
        if text.len() > 32 {
            for chunk in text.as_chunks::<16>().0 {
                seen.sixteen(chunk);
            }
        }
        seen.sixteen(last);
    } else if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        seen.word(u64::from_le_bytes(*first));
        seen.word(u64::from_le_bytes(*last));
    } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        seen.word(u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last)));
    } else if let (Some(&first), Some(&middle), Some(&last)) = (text.first(), text.get(text.len() / 2), text.last()) {
        let half = u64::from(u32::from_le_bytes([first, middle, last, last]));
        seen.word(half << 32 | half);
    }
    Scan { plain: seen.odd & HIGH == 0, wildcards: seen.wild & HIGH != 0 }
}

/// The findings in the words so far, in the top bits of the bytes.
struct Seen {
    odd: u64,
    wild: u64,
}

impl Seen {
    #[inline(always)]
    fn word(&mut self, word: u64) {
        self.odd |= not_plain(word);
        self.wild |= wildcards(word);
    }

    #[inline(always)]
    fn sixteen(&mut self, bytes: &[u8; 16]) {
        for word in bytes.as_chunks::<8>().0 {
            self.word(u64::from_le_bytes(*word));
        }
    }
}

/// Returns the first error of a string. [`scan`] is enough for most strings.
#[inline(always)]
pub(crate) fn check(text: &[u8], disallowed: DisallowedCodePoints) -> Option<TextError> {
    if scan(text).plain && disallowed == DisallowedCodePoints::Accept {
        return None;
    }
    first_error(text, disallowed)
}

/// Returns the first error of a string that [`scan`] could not validate.
#[inline(never)]
pub(crate) fn first_error(text: &[u8], disallowed: DisallowedCodePoints) -> Option<TextError> {
    let (valid, ill_formed) = match core::str::from_utf8(text) {
        Ok(valid) => (valid, None),
        Err(error) => {
            let at = error.valid_up_to();
            let valid = text.get(..at).map(core::str::from_utf8);
            (valid.and_then(Result::ok).unwrap_or_default(), Some(TextError::new(at, TextErrorKind::IllFormedUtf8)))
        }
    };
    let refuses = disallowed == DisallowedCodePoints::Refuse;
    let kind = |character: char| match character {
        '\0' => Some(TextErrorKind::NullCharacter),
        _ if refuses && character.is_control() => Some(TextErrorKind::ControlCharacter),
        _ if refuses && is_non_character(character) => Some(TextErrorKind::NonCharacter),
        _ => None,
    };
    let in_valid = valid.char_indices().find_map(|(at, character)| Some(TextError::new(at, kind(character)?)));
    in_valid.or(ill_formed)
}

fn is_non_character(character: char) -> bool {
    let code = u32::from(character);
    (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}
