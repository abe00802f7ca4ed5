//! Topic names, topic filters, and matching one against the other (section 4.7 and 4.8.2).

use core::fmt;

use crate::text::{self, DisallowedCodePoints, Flaw, TextError, Utf8Str, Wildcards, text_like};

/// The name under which a message is published: levels separated by `/`, without wildcards.
///
/// The default is the empty name, which nothing but a PUBLISH with a topic alias may carry.
///
/// ```
/// # use mqtt_sansio::TopicName;
/// let name = TopicName::new("home/kitchen/temp")?;
/// assert!(TopicName::new("home/+/temp").is_err());
/// # Ok::<(), mqtt_sansio::TextError>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(Utf8Str<'a>);

impl<'a> TopicName<'a> {
    /// Takes a topic name that is to be sent.
    ///
    /// # Errors
    ///
    /// [`TextError`] when it is empty \[MQTT-4.7.3-1\], longer than 65,535 bytes \[MQTT-4.7.3-3\], or contains
    /// U+0000 \[MQTT-4.7.3-2\] or a wildcard \[MQTT-4.7.0-1\].
    pub fn new(text: &'a str) -> Result<Self, TextError> {
        Self::from_bytes(text.as_bytes())
    }

    /// Takes a topic name that is to be sent, as bytes.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and when it is not well-formed UTF-8.
    pub fn from_bytes(text: &'a [u8]) -> Result<Self, TextError> {
        text::check_len(text)?;
        if text.is_empty() {
            return Err(TextError::new(0, Flaw::EmptyTopic));
        }
        match text::check(text, DisallowedCodePoints::Accept, Wildcards::Forbidden) {
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
/// # Ok::<(), mqtt_sansio::TextError>(())
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
    /// [`TextError`] when it is empty \[MQTT-4.7.3-1\], longer than 65,535 bytes \[MQTT-4.7.3-3\], contains U+0000
    /// \[MQTT-4.7.3-2\], has a wildcard that is not a whole level or a `#` that is not last \[MQTT-4.7.1-1,
    /// MQTT-4.7.1-2\], or starts with `$share/` without a proper share name and filter \[MQTT-4.8.2-1, MQTT-4.8.2-2\].
    pub fn new(text: &'a str) -> Result<Self, TextError> {
        Self::from_bytes(text.as_bytes())
    }

    /// Takes a topic filter that is to be sent, as bytes.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and when it is not well-formed UTF-8.
    pub fn from_bytes(text: &'a [u8]) -> Result<Self, TextError> {
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

text_like!(TopicName);
text_like!(TopicFilter);

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

/// Finds the first byte at which a filter breaks a rule; nearly always one pass settles it. `has_shares`: whether
/// `$share/` means anything.
#[inline(always)]
pub(crate) fn check_filter(filter: &[u8], disallowed: DisallowedCodePoints, has_shares: bool) -> Option<TextError> {
    let scan = text::scan(filter);
    let may_be_shared = has_shares && filter.first() == Some(&b'$');
    if !scan.plain || may_be_shared || disallowed == DisallowedCodePoints::Refuse {
        first_flaw(filter, disallowed, may_be_shared)
    } else if scan.wildcards || filter.is_empty() {
        filter_flaw(filter)
    } else {
        None
    }
}

#[inline(never)]
fn first_flaw(filter: &[u8], disallowed: DisallowedCodePoints, may_be_shared: bool) -> Option<TextError> {
    let text_flaw = text::first_flaw(filter, disallowed, Wildcards::Ordinary);
    let share_flaw = if may_be_shared { share_flaw(filter) } else { None };
    [text_flaw, share_flaw, filter_flaw(filter)].into_iter().flatten().min_by_key(|error| error.at)
}

/// What keeps a filter that starts with `$share/` from being a shared one \[MQTT-4.8.2-1, MQTT-4.8.2-2\].
#[inline]
pub(crate) fn share_flaw(filter: &[u8]) -> Option<TextError> {
    let rest = filter.strip_prefix(SHARE)?;
    if split_share(filter).is_some() {
        return None;
    }
    let name = levels(rest).next().unwrap_or_default();
    let wildcard = name.iter().position(|byte| matches!(byte, b'+' | b'#'));
    Some(match wildcard {
        _ if name.is_empty() => TextError::new(SHARE.len(), Flaw::EmptyShareName),
        Some(at) => TextError::new(SHARE.len().saturating_add(at), Flaw::WildcardInShareName),
        None => TextError::new(filter.len(), Flaw::NoFilterAfterShareName),
    })
}

/// The first wildcard that is not a whole level, a `#` before the last level, or nothing at all.
#[inline]
fn filter_flaw(filter: &[u8]) -> Option<TextError> {
    if filter.is_empty() {
        return Some(TextError::new(0, Flaw::EmptyTopic));
    }
    let Some(last) = filter.last_chunk::<8>() else {
        return (0..filter.len()).find_map(|at| wildcard_flaw(filter, at));
    };
    let mut at = 0_usize;
    for word in filter.as_chunks::<8>().0 {
        if let Some(error) = word_flaw(filter, at, word) {
            return Some(error);
        }
        at = at.saturating_add(8);
    }
    // The last eight bytes overlap with those before them.
    word_flaw(filter, filter.len().saturating_sub(8), last)
}

/// The first misplaced wildcard among the eight bytes at `start`.
#[inline(always)]
fn word_flaw(filter: &[u8], start: usize, word: &[u8; 8]) -> Option<TextError> {
    let mut found = text::wildcard_bits(u64::from_le_bytes(*word));
    while found != 0 {
        let at = start.saturating_add((found.trailing_zeros() / 8) as usize);
        if let Some(error) = wildcard_flaw(filter, at) {
            return Some(error);
        }
        found &= found.wrapping_sub(1);
    }
    None
}

#[inline(always)]
fn wildcard_flaw(filter: &[u8], at: usize) -> Option<TextError> {
    let byte = filter.get(at)?;
    if !matches!(byte, b'+' | b'#') {
        return None;
    }
    let starts_level = at.checked_sub(1).is_none_or(|before| filter.get(before) == Some(&b'/'));
    let next = filter.get(at.saturating_add(1));
    match byte {
        b'#' if !(starts_level && next.is_none()) => Some(TextError::new(at, Flaw::MisplacedMultiLevelWildcard)),
        b'+' if !(starts_level && matches!(next, None | Some(b'/'))) => {
            Some(TextError::new(at, Flaw::MisplacedSingleLevelWildcard))
        }
        _ => None,
    }
}
