//! Topic names, topic filters, and matching (sections 4.7 and 4.8.2).

use core::fmt;

use thiserror::Error;

use crate::text::{self, DisallowedCodePoints, TextError, TextErrorKind, Utf8Str, text_like};

/// A Topic Name: the topic of a message, levels separated by `/`, without wildcards.
///
/// The default is the empty name, which is valid only in a PUBLISH with a topic alias.
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
    /// Creates a topic name.
    ///
    /// # Errors
    ///
    /// [`TopicError`] if `text` is empty \[MQTT-4.7.3-1\], is longer than 65,535 bytes \[MQTT-4.7.3-3\], or contains
    /// U+0000 \[MQTT-4.7.3-2\] or a wildcard \[MQTT-4.7.0-1\].
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        Self::from_bytes(text.as_bytes())
    }

    /// Creates a topic name from bytes.
    ///
    /// # Errors
    ///
    /// The errors of [`new`](Self::new), and if `text` is not well-formed UTF-8.
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

    /// Wraps bytes that have been validated. Empty bytes are allowed here: the caller checks the rules for them.
    pub(crate) const fn validated(bytes: &'a [u8]) -> Self {
        Self(Utf8Str::validated(bytes))
    }

    /// Returns the bytes of the name, without a length prefix.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0.as_bytes()
    }

    /// Returns the name as a `str`, at the cost of a pass over the bytes.
    pub fn as_str(self) -> &'a str {
        self.0.as_str()
    }

    /// Returns whether the name is empty, so that a topic alias replaces it.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Returns the levels, in order. `a//b` has three, the second of which is empty.
    pub fn levels(self) -> impl Iterator<Item = &'a [u8]> + Clone {
        levels(self.as_bytes())
    }
}

/// A Topic Filter: the topics of a subscription. Its levels may be the wildcards `+` (one level) and `#` (all further
/// levels). A shared subscription has the prefix `$share/NAME/`.
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
    /// Creates a topic filter, by the rules of 5.0. In 3.1 and 3.1.1 `$share/` has no meaning: a filter with an invalid
    /// share name can be received there, but not be created.
    ///
    /// # Errors
    ///
    /// [`TopicError`] if `text` is empty \[MQTT-4.7.3-1\], is longer than 65,535 bytes \[MQTT-4.7.3-3\], contains
    /// U+0000 \[MQTT-4.7.3-2\], has a wildcard that is not a whole level or a `#` that is not the last level
    /// \[MQTT-4.7.1-1, MQTT-4.7.1-2\], or begins with `$share/` without a valid share name and filter \[MQTT-4.8.2-1,
    /// MQTT-4.8.2-2\].
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        Self::from_bytes(text.as_bytes())
    }

    /// Creates a topic filter from bytes.
    ///
    /// # Errors
    ///
    /// The errors of [`new`](Self::new), and if `text` is not well-formed UTF-8.
    pub fn from_bytes(text: &'a [u8]) -> Result<Self, TopicError> {
        text::check_len(text)?;
        match check_filter(text, DisallowedCodePoints::Accept, true) {
            None => Ok(Self::validated(text)),
            Some(error) => Err(error),
        }
    }

    /// Wraps bytes that have been validated.
    pub(crate) const fn validated(bytes: &'a [u8]) -> Self {
        Self(Utf8Str::validated(bytes))
    }

    /// Returns the bytes of the filter, without a length prefix.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0.as_bytes()
    }

    /// Returns the filter as a `str`, at the cost of a pass over the bytes.
    pub fn as_str(self) -> &'a str {
        self.0.as_str()
    }

    /// Returns the ShareName of a shared subscription; `None` for any other filter.
    ///
    /// Shared subscriptions are part of 5.0, but many servers grant them to clients of 3.1.1 too. This function does
    /// not depend on a version.
    ///
    /// ```
    /// # use mqtt_sansio::TopicFilter;
    /// let filter = TopicFilter::new("$share/workers/jobs/#")?;
    /// assert_eq!(filter.share_name().map(|name| name.as_str()), Some("workers"));
    /// assert_eq!(filter.without_share(), TopicFilter::new("jobs/#")?);
    /// # Ok::<(), mqtt_sansio::TopicError>(())
    /// ```
    pub fn share_name(self) -> Option<Utf8Str<'a>> {
        split_share(self.as_bytes()).map(|(name, _)| Utf8Str::validated(name))
    }

    /// Returns the filter without `$share/NAME/`, which topic names are matched against.
    #[must_use]
    pub fn without_share(self) -> Self {
        match split_share(self.as_bytes()) {
            Some((_, filter)) => Self::validated(filter),
            None => self,
        }
    }

    /// Returns the levels, in order, `$share` and the share name included.
    pub fn levels(self) -> impl Iterator<Item = &'a [u8]> + Clone {
        levels(self.as_bytes())
    }

    /// Returns whether the filter matches a topic name.
    ///
    /// `sport/#` matches `sport` too. A wildcard in the first level does not match a name that begins with `$`
    /// \[MQTT-4.7.2-1\]. The time is linear in the lengths of both, and there is no recursion.
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

/// The error of an invalid topic name or topic filter, with the offset of the first byte that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("the text {kind} (at byte {at})")]
#[non_exhaustive]
pub struct TopicError {
    /// Offset in the text, in bytes.
    pub at: usize,
    /// The rule that the string violates.
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

/// A rule of topic names and topic filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum TopicErrorKind {
    /// A rule of all strings.
    #[error("{0}")]
    Text(TextErrorKind),
    /// The topic name or topic filter is empty \[MQTT-4.7.3-1\].
    #[error("is empty")]
    Empty,
    /// A topic name contains `+` \[MQTT-4.7.0-1\].
    #[error("contains the wildcard '+'")]
    SingleLevelWildcardInName,
    /// A topic name contains `#` \[MQTT-4.7.0-1\].
    #[error("contains the wildcard '#'")]
    MultiLevelWildcardInName,
    /// A `#` is not the whole of the last level \[MQTT-4.7.1-1\].
    #[error("has a '#' that is not the whole of the last level")]
    MisplacedMultiLevelWildcard,
    /// A `+` is not the whole of its level \[MQTT-4.7.1-2\].
    #[error("has a '+' that is not the whole of its level")]
    MisplacedSingleLevelWildcard,
    /// The share name after `$share/` is empty \[MQTT-4.8.2-1\].
    #[error("has an empty share name")]
    EmptyShareName,
    /// The share name contains a wildcard \[MQTT-4.8.2-2\].
    #[error("has a wildcard in its share name")]
    WildcardInShareName,
    /// There is no topic filter after the share name \[MQTT-4.8.2-2\].
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

/// Splits a valid shared filter into the share name and the filter after it.
fn split_share(filter: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = filter.strip_prefix(SHARE)?;
    let slash = rest.iter().position(|&byte| byte == b'/')?;
    let (name, filter) = rest.split_at_checked(slash)?;
    let filter = filter.get(1..)?;
    let has_wildcard = name.iter().any(|byte| matches!(byte, b'+' | b'#'));
    (!name.is_empty() && !filter.is_empty() && !has_wildcard).then_some((name, filter))
}

/// Returns the first error of a topic name. One pass is enough for most names. An empty name is no error here: a topic
/// alias may replace it.
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
    // Without an early exit, the loop is compiled to vector instructions: most names that are not ASCII are valid.
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

/// Returns the first error of a topic filter. One pass is enough for most filters. `has_shares` says whether `$share/`
/// has a meaning.
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

/// Returns the error of a filter that begins with `$share/` and is not a valid shared filter \[MQTT-4.8.2-1,
/// MQTT-4.8.2-2\].
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

/// Returns the first misplaced wildcard, or the error of an empty filter.
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
    // The last word may overlap with the one before.
    word_error(filter, filter.len().saturating_sub(8), last)
}

/// Returns the first misplaced wildcard among the eight bytes at `start`.
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
