//! Topic names, topic filters, and matching one against the other (section 4.7 and 4.8.2).

use core::fmt;

use thiserror::Error;

use crate::text::{self, DisallowedCodePoints, TextError, TextErrorKind, Utf8Str, text_like};

/// The name under which a message is published: levels separated by `/`, without wildcards.
///
/// The default is the empty name, which nothing but a PUBLISH with a topic alias may carry.
///
/// ```
/// # use mqtt_sansio::TopicName;
/// let name = TopicName::new("home/kitchen/temp")?;
/// assert!(TopicName::new("home/+/temp").is_err());
/// # Ok::<(), mqtt_sansio::TopicError>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(Utf8Str<'a>);

impl<'a> TopicName<'a> {
    /// Takes a topic name that is to be sent.
    ///
    /// # Errors
    ///
    /// [`TopicError`] when it is empty \[MQTT-4.7.3-1\], longer than 65,535 bytes \[MQTT-4.7.3-3\], or contains
    /// U+0000 \[MQTT-4.7.3-2\] or a wildcard \[MQTT-4.7.0-1\].
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        Self::from_bytes(text.as_bytes())
    }

    /// Takes a topic name that is to be sent, as bytes.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and when it is not well-formed UTF-8.
    pub fn from_bytes(text: &'a [u8]) -> Result<Self, TopicError> {
        text::check_len(text)?;
        if text.is_empty() {
            return Err(TopicError::new(0, TopicErrorKind::Empty));
        }
        match check_name(text, DisallowedCodePoints::Accept) {
            None => Ok(Self::validated(text)),
            Some(error) => Err(error),
        }
    }

    /// Wraps bytes that have been checked; empty ones are the reader's business.
    pub(crate) const fn validated(bytes: &'a [u8]) -> Self {
        Self(Utf8Str::validated(bytes))
    }

    /// The name as it is on the wire, without its length prefix.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0.as_bytes()
    }

    /// The name as text. Costs a pass over the bytes.
    pub fn as_str(self) -> &'a str {
        self.0.as_str()
    }

    /// Whether a topic alias stands in for the name.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The levels, in order. `a//b` has three, the second of them empty.
    pub fn levels(self) -> impl Iterator<Item = &'a [u8]> + Clone {
        levels(self.as_bytes())
    }
}

/// Which topics a subscription is for: levels, some of which may be the wildcards `+` (one level) and `#` (all that
/// follow), with `$share/NAME/` before them for a shared subscription.
///
/// ```
/// # use mqtt_sansio::{TopicFilter, TopicName};
/// let filter = TopicFilter::new("$share/readers/home/+/temp")?;
/// assert_eq!(filter.share_name().unwrap(), "readers");
/// assert!(filter.matches(TopicName::new("home/kitchen/temp")?));
/// assert!(!filter.matches(TopicName::new("home/kitchen/humidity")?));
/// # Ok::<(), mqtt_sansio::TopicError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter<'a>(Utf8Str<'a>);

const SHARE: &[u8] = b"$share/";

impl<'a> TopicFilter<'a> {
    /// Takes a topic filter that is to be sent, by the rules of 5.0. (In 3.1 and 3.1.1 nothing is special about
    /// `$share/`; a filter that is malformed as a shared one can be received there, but not made here.)
    ///
    /// # Errors
    ///
    /// [`TopicError`] when it is empty \[MQTT-4.7.3-1\], longer than 65,535 bytes \[MQTT-4.7.3-3\], contains U+0000
    /// \[MQTT-4.7.3-2\], has a wildcard that is not a whole level or a `#` that is not last \[MQTT-4.7.1-1,
    /// MQTT-4.7.1-2\], or starts with `$share/` without a proper share name and filter \[MQTT-4.8.2-1, MQTT-4.8.2-2\].
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        Self::from_bytes(text.as_bytes())
    }

    /// Takes a topic filter that is to be sent, as bytes.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and when it is not well-formed UTF-8.
    pub fn from_bytes(text: &'a [u8]) -> Result<Self, TopicError> {
        text::check_len(text)?;
        match check_filter(text, DisallowedCodePoints::Accept, true) {
            None => Ok(Self::validated(text)),
            Some(error) => Err(error),
        }
    }

    /// Wraps bytes that have been checked.
    pub(crate) const fn validated(bytes: &'a [u8]) -> Self {
        Self(Utf8Str::validated(bytes))
    }

    /// The filter as it is on the wire, without its length prefix.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0.as_bytes()
    }

    /// The filter as text. Costs a pass over the bytes.
    pub fn as_str(self) -> &'a str {
        self.0.as_str()
    }

    /// The name that the members of a shared subscription have in common, or `None` for any other filter.
    ///
    /// Shared subscriptions belong to 5.0. Many servers grant them to clients of 3.1.1 too, and here a filter does not
    /// know by which version it came: it is shared if it looks so.
    pub fn share_name(self) -> Option<Utf8Str<'a>> {
        split_share(self.as_bytes()).map(|(name, _)| Utf8Str::validated(name))
    }

    /// The filter without `$share/NAME/`: the one that topic names are matched against.
    #[must_use]
    pub fn without_share(self) -> Self {
        match split_share(self.as_bytes()) {
            Some((_, filter)) => Self::validated(filter),
            None => self,
        }
    }

    /// The levels, in order, `$share` and the share name included.
    pub fn levels(self) -> impl Iterator<Item = &'a [u8]> + Clone {
        levels(self.as_bytes())
    }

    /// Whether a message published under `name` is for this filter.
    ///
    /// `sport/#` matches `sport` too; a wildcard in the first level does not match a name that starts with `$`
    /// \[MQTT-4.7.2-1\]. Takes time linear in the length of the two, and never recurses.
    pub fn matches(self, name: TopicName<'_>) -> bool {
        let filter = self.without_share().as_bytes();
        let name = name.as_bytes();
        let starts_with_wildcard = matches!(filter.first(), Some(b'+' | b'#'));
        if name.is_empty() || (starts_with_wildcard && name.first() == Some(&b'$')) {
            return false;
        }
        let mut name_levels = levels(name);
        for filter_level in levels(filter) {
            match (filter_level, name_levels.next()) {
                (b"#", _) => return true,
                (b"+", Some(_)) => {}
                (level, Some(name_level)) if level == name_level => {}
                _ => return false,
            }
        }
        name_levels.next().is_none()
    }
}

text_like!(TopicName, TopicError);
text_like!(TopicFilter, TopicError);

impl<'a> From<TopicName<'a>> for Utf8Str<'a> {
    fn from(name: TopicName<'a>) -> Self {
        name.0
    }
}

impl<'a> From<TopicFilter<'a>> for Utf8Str<'a> {
    fn from(filter: TopicFilter<'a>) -> Self {
        filter.0
    }
}

/// A topic name or topic filter that cannot be sent, and the byte at which it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("the text {kind} (at byte {at})")]
#[non_exhaustive]
pub struct TopicError {
    /// Offset in the text, in bytes.
    pub at: usize,
    /// What is wrong there.
    pub kind: TopicErrorKind,
}

impl TopicError {
    const fn new(at: usize, kind: TopicErrorKind) -> Self {
        Self { at, kind }
    }
}

impl From<TextError> for TopicError {
    fn from(error: TextError) -> Self {
        Self::new(error.at, TopicErrorKind::Text(error.kind))
    }
}

/// What can be wrong with a topic name or a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum TopicErrorKind {
    /// What can be wrong with any text.
    #[error("{0}")]
    Text(TextErrorKind),
    /// A topic name or topic filter without any character \[MQTT-4.7.3-1\].
    #[error("is empty")]
    Empty,
    /// `+` in a topic name \[MQTT-4.7.0-1\].
    #[error("contains the wildcard '+'")]
    SingleLevelWildcardInName,
    /// `#` in a topic name \[MQTT-4.7.0-1\].
    #[error("contains the wildcard '#'")]
    MultiLevelWildcardInName,
    /// `#` that is not the whole of the last level \[MQTT-4.7.1-1\].
    #[error("has a '#' that is not the whole of the last level")]
    MisplacedMultiLevelWildcard,
    /// `+` that shares its level with other characters \[MQTT-4.7.1-2\].
    #[error("has a '+' that is not the whole of its level")]
    MisplacedSingleLevelWildcard,
    /// `$share/` without a share name behind it \[MQTT-4.8.2-1\].
    #[error("has an empty share name")]
    EmptyShareName,
    /// A share name with a wildcard in it \[MQTT-4.8.2-2\].
    #[error("has a wildcard in its share name")]
    WildcardInShareName,
    /// A share name without a topic filter behind it \[MQTT-4.8.2-2\].
    #[error("ends after its share name")]
    NoFilterAfterShareName,
}

impl From<TextErrorKind> for TopicErrorKind {
    fn from(kind: TextErrorKind) -> Self {
        Self::Text(kind)
    }
}

fn levels(topic: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    topic.split(|&byte| byte == b'/')
}

/// The share name and the filter behind it, if the filter is a well-formed shared one.
fn split_share(filter: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = filter.strip_prefix(SHARE)?;
    let slash = rest.iter().position(|&byte| byte == b'/')?;
    let (name, filter) = rest.split_at_checked(slash)?;
    let filter = filter.get(1..)?;
    let has_wildcard = name.iter().any(|byte| matches!(byte, b'+' | b'#'));
    (!name.is_empty() && !filter.is_empty() && !has_wildcard).then_some((name, filter))
}

/// Finds the first byte at which a name breaks a rule; nearly always one pass settles it. An empty name passes: a topic
/// alias may stand in for it.
#[inline(always)]
pub(crate) fn check_name(name: &[u8], disallowed: DisallowedCodePoints) -> Option<TopicError> {
    let scan = text::scan(name);
    if scan.plain && !scan.wildcards && disallowed == DisallowedCodePoints::Accept {
        return None;
    }
    first_name_error(name, disallowed)
}

#[inline(never)]
fn first_name_error(name: &[u8], disallowed: DisallowedCodePoints) -> Option<TopicError> {
    let in_text = text::first_error(name, disallowed).map(TopicError::from);
    // Without a way out the loop is compiled to vector instructions: most names with other characters than ASCII are good.
    let has_wildcard = name.iter().fold(false, |found, byte| found | matches!(byte, b'+' | b'#'));
    if !has_wildcard {
        return in_text;
    }
    let wildcard = name.iter().zip(0..).find_map(|(byte, at)| match byte {
        b'+' => Some(TopicError::new(at, TopicErrorKind::SingleLevelWildcardInName)),
        b'#' => Some(TopicError::new(at, TopicErrorKind::MultiLevelWildcardInName)),
        _ => None,
    });
    [in_text, wildcard].into_iter().flatten().min_by_key(|error| error.at)
}

/// Finds the first byte at which a filter breaks a rule; nearly always one pass settles it. `has_shares`: whether
/// `$share/` means anything.
#[inline(always)]
pub(crate) fn check_filter(filter: &[u8], disallowed: DisallowedCodePoints, has_shares: bool) -> Option<TopicError> {
    let scan = text::scan(filter);
    let may_be_shared = has_shares && filter.first() == Some(&b'$');
    if !scan.plain || may_be_shared || disallowed == DisallowedCodePoints::Refuse {
        first_filter_error(filter, disallowed, may_be_shared)
    } else if scan.wildcards || filter.is_empty() {
        filter_error(filter)
    } else {
        None
    }
}

#[inline(never)]
fn first_filter_error(filter: &[u8], disallowed: DisallowedCodePoints, may_be_shared: bool) -> Option<TopicError> {
    let text_error = text::first_error(filter, disallowed).map(TopicError::from);
    let share_error = if may_be_shared { share_error(filter) } else { None };
    [text_error, share_error, filter_error(filter)].into_iter().flatten().min_by_key(|error| error.at)
}

/// What keeps a filter that starts with `$share/` from being a shared one \[MQTT-4.8.2-1, MQTT-4.8.2-2\].
#[inline]
pub(crate) fn share_error(filter: &[u8]) -> Option<TopicError> {
    let rest = filter.strip_prefix(SHARE)?;
    if split_share(filter).is_some() {
        return None;
    }
    let name = levels(rest).next().unwrap_or_default();
    let wildcard = name.iter().position(|byte| matches!(byte, b'+' | b'#'));
    Some(match wildcard {
        _ if name.is_empty() => TopicError::new(SHARE.len(), TopicErrorKind::EmptyShareName),
        Some(at) => TopicError::new(SHARE.len().saturating_add(at), TopicErrorKind::WildcardInShareName),
        None => TopicError::new(filter.len(), TopicErrorKind::NoFilterAfterShareName),
    })
}

/// The first wildcard that is not a whole level, a `#` before the last level, or nothing at all.
#[inline]
fn filter_error(filter: &[u8]) -> Option<TopicError> {
    if filter.is_empty() {
        return Some(TopicError::new(0, TopicErrorKind::Empty));
    }
    let Some(last) = filter.last_chunk::<8>() else {
        return (0..filter.len()).find_map(|at| wildcard_error(filter, at));
    };
    let mut at = 0_usize;
    for word in filter.as_chunks::<8>().0 {
        if let Some(error) = word_error(filter, at, word) {
            return Some(error);
        }
        at = at.saturating_add(8);
    }
    // The last eight bytes overlap with those before them.
    word_error(filter, filter.len().saturating_sub(8), last)
}

/// The first misplaced wildcard among the eight bytes at `start`.
#[inline(always)]
fn word_error(filter: &[u8], start: usize, word: &[u8; 8]) -> Option<TopicError> {
    let mut found = text::wildcard_bits(u64::from_le_bytes(*word));
    while found != 0 {
        let at = start.saturating_add((found.trailing_zeros() / 8) as usize);
        if let Some(error) = wildcard_error(filter, at) {
            return Some(error);
        }
        found &= found.wrapping_sub(1);
    }
    None
}

#[inline(always)]
fn wildcard_error(filter: &[u8], at: usize) -> Option<TopicError> {
    let byte = filter.get(at)?;
    if !matches!(byte, b'+' | b'#') {
        return None;
    }
    let starts_level = at.checked_sub(1).is_none_or(|before| filter.get(before) == Some(&b'/'));
    let next = filter.get(at.saturating_add(1));
    match byte {
        b'#' if !(starts_level && next.is_none()) => {
            Some(TopicError::new(at, TopicErrorKind::MisplacedMultiLevelWildcard))
        }
        b'+' if !(starts_level && matches!(next, None | Some(b'/'))) => {
            Some(TopicError::new(at, TopicErrorKind::MisplacedSingleLevelWildcard))
        }
        _ => None,
    }
}
