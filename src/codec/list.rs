//! Lists in packets: subscriptions, reason codes, user properties.

#[cfg(feature = "alloc")]
use alloc::{string::String, vec::Vec};
use core::fmt;
use core::hash::{Hash, Hasher};
use core::iter::FusedIterator;

#[cfg(feature = "alloc")]
use super::user_property::UserProperty;
use super::version::Version;
#[cfg(feature = "alloc")]
use crate::text::TextError;

/// A list in a packet: a view over validated bytes on decode, and entries that the caller owns on encode.
///
/// Neither allocates. Two lists are equal if their entries are equal.
///
/// ```
/// # use mqtt_sansio::codec::{List, UserProperty};
/// let entries = [UserProperty::new("site", "berlin-03")?];
/// let user_properties = List::from(&entries);
/// assert_eq!(user_properties.iter().next().unwrap().name, "site");
/// # Ok::<(), mqtt_sansio::TextError>(())
/// ```
pub struct List<'a, T>(Repr<'a, T>);

// An eight-byte tag, for the same reason as that of `Packet`.
#[repr(u64)]
enum Repr<'a, T> {
    /// No entries. Cheaper to create than an empty slice.
    Empty,
    /// `count` entries in wire format, validated by the rules of `version`.
    Wire {
        bytes: &'a [u8],
        count: u32,
        version: Version,
    },
    /// `count` properties of one kind, mixed with others; `bytes` starts at the first of them.
    Properties {
        bytes: &'a [u8],
        count: u32,
    },
    Slice(&'a [T]),
    /// Validated names and values of user properties.
    #[cfg(feature = "alloc")]
    Pairs(&'a [(String, String)]),
}

/// A type of which a [`List`] can be made. It is implemented by the types of the codec and cannot be implemented by
/// others.
pub trait Entry<'a>: sealed::Entry<'a> {}

pub(crate) mod sealed {
    use crate::codec::version::Version;

    /// An entry that is stored in its wire format.
    pub trait Entry<'a>: Copy {
        /// Removes the next entry from bytes that were validated by the rules of `version`; `None` at the end.
        fn next(bytes: &mut &'a [u8], version: Version) -> Option<Self>;

        /// Creates a user property of a validated name and value; `None` if `Self` is another type.
        #[cfg(feature = "alloc")]
        fn of_pair(_name: &'a str, _value: &'a str) -> Option<Self> {
            None
        }
    }
}

impl<'a, T: sealed::Entry<'a>> Entry<'a> for T {}

/// Removes the next byte, for entries of one byte.
#[inline(always)]
pub(crate) fn next_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (&byte, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(byte)
}

impl<'a, T> List<'a, T> {
    /// A list without entries.
    pub const EMPTY: Self = Self(Repr::Empty);

    /// Creates a view over `count` entries that were validated by the rules of `version`.
    pub(crate) const fn wire(bytes: &'a [u8], count: u32, version: Version) -> Self {
        Self(Repr::Wire { bytes, count, version })
    }

    /// Creates a view over `count` validated properties of one kind.
    pub(crate) const fn properties(bytes: &'a [u8], count: u32) -> Self {
        Self(Repr::Properties { bytes, count })
    }

    /// Returns the bytes of a view over properties.
    pub(crate) const fn property_bytes(&self) -> Option<&'a [u8]> {
        match self.0 {
            Repr::Properties { bytes, .. } => Some(bytes),
            _ => None,
        }
    }

    /// Returns the entries in wire format, if the list is a view over bytes that are valid in `wanted`. Those of 3.1
    /// are not reused: bits that 3.1 does not use may be set, and must not be sent on.
    pub(crate) fn wire_bytes_of(&self, wanted: Version) -> Option<&'a [u8]> {
        match self.0 {
            Repr::Wire { bytes, version, .. } if version == wanted && wanted != Version::V31 => Some(bytes),
            _ => None,
        }
    }

    /// Returns the entries in wire format, and the version that they are valid in, if the list is a view over bytes.
    #[allow(dead_code, reason = "for a broker: a long list is worked on in parts")]
    pub(crate) const fn wire_parts(&self) -> Option<(&'a [u8], Version)> {
        match self.0 {
            Repr::Wire { bytes, version, .. } => Some((bytes, version)),
            _ => None,
        }
    }

    /// Returns the number of entries.
    pub const fn len(&self) -> usize {
        match self.0 {
            Repr::Empty => 0,
            Repr::Wire { count, .. } | Repr::Properties { count, .. } => count as usize,
            Repr::Slice(slice) => slice.len(),
            #[cfg(feature = "alloc")]
            Repr::Pairs(pairs) => pairs.len(),
        }
    }

    /// Returns whether the list has no entries.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a, T: Entry<'a>> List<'a, T> {
    /// Returns an iterator over the entries.
    #[inline]
    pub fn iter(&self) -> ListIter<'a, T> {
        ListIter(self.0)
    }
}

impl<T> Copy for Repr<'_, T> {}

impl<T> Clone for Repr<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<'_, T> {}

impl<T> Clone for List<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<'a, T> From<&'a [T]> for List<'a, T> {
    fn from(entries: &'a [T]) -> Self {
        Self(Repr::Slice(entries))
    }
}

impl<'a, T, const N: usize> From<&'a [T; N]> for List<'a, T> {
    fn from(entries: &'a [T; N]) -> Self {
        Self(Repr::Slice(entries))
    }
}

#[cfg(feature = "alloc")]
impl<'a, T> From<&'a Vec<T>> for List<'a, T> {
    fn from(entries: &'a Vec<T>) -> Self {
        Self(Repr::Slice(entries))
    }
}

/// Makes a list of user properties of owned names and values, as configurations and wills hold them.
///
/// ```
/// # use mqtt_sansio::codec::{List, UserProperty};
/// let owned = vec![(String::from("site"), String::from("berlin-03"))];
/// let user_properties = List::<UserProperty<'_>>::try_from(&owned[..])?;
/// assert_eq!(user_properties.iter().next().unwrap().value, "berlin-03");
/// # Ok::<(), mqtt_sansio::TextError>(())
/// ```
///
/// # Errors
///
/// [`TextError`] if a text contains U+0000 or is longer than 65,535 bytes.
#[cfg(feature = "alloc")]
impl<'a> TryFrom<&'a [(String, String)]> for List<'a, UserProperty<'a>> {
    type Error = TextError;

    fn try_from(pairs: &'a [(String, String)]) -> Result<Self, TextError> {
        for (name, value) in pairs {
            UserProperty::new(name, value)?;
        }
        Ok(Self(Repr::Pairs(pairs)))
    }
}

impl<'a, T: Entry<'a> + Hash> Hash for List<'a, T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.len());
        self.iter().for_each(|entry| entry.hash(state));
    }
}

impl<'a, T: Entry<'a> + PartialEq> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<'a, T: Entry<'a> + Eq> Eq for List<'a, T> {}

impl<'a, T: Entry<'a> + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, T: Entry<'a>> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = ListIter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T: Entry<'a>> IntoIterator for &List<'a, T> {
    type Item = T;
    type IntoIter = ListIter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// An iterator over the entries of a [`List`].
pub struct ListIter<'a, T>(Repr<'a, T>);

impl<T> Clone for ListIter<'_, T> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<'a, T: Entry<'a>> Iterator for ListIter<'a, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            Repr::Empty => None,
            Repr::Wire { bytes, count, version } => {
                *count = count.checked_sub(1)?;
                T::next(bytes, *version)
            }
            Repr::Properties { bytes, count } => {
                *count = count.checked_sub(1)?;
                T::next(bytes, Version::V5)
            }
            Repr::Slice(slice) => {
                let (first, rest) = slice.split_first()?;
                *slice = rest;
                Some(*first)
            }
            #[cfg(feature = "alloc")]
            Repr::Pairs(pairs) => {
                let ((name, value), rest) = pairs.split_first()?;
                *pairs = rest;
                T::of_pair(name, value)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = List(self.0).len();
        (len, Some(len))
    }
}

impl<'a, T: Entry<'a>> ExactSizeIterator for ListIter<'a, T> {}
impl<'a, T: Entry<'a>> FusedIterator for ListIter<'a, T> {}
