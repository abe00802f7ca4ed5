//! Sequences in packets: subscriptions, reason codes, user properties.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::iter::FusedIterator;

use super::version::Version;

/// A sequence in a packet: on decode a view over the bytes that were validated, on encode a slice of the caller's.
///
/// Both are the same type and neither allocates. Two lists are equal when their entries are, however they are held.
///
/// ```
/// # use mqtt_sansio::codec::{List, UserProperty};
/// let entries = [UserProperty::new("site", "berlin-03")?];
/// let user_properties = List::from(&entries);
/// assert_eq!(user_properties.iter().next().unwrap().name, "site");
/// # Ok::<(), mqtt_sansio::TextError>(())
/// ```
pub struct List<'a, T>(Repr<'a, T>);

// A tag of eight bytes, for the same reason as that of `Packet`.
#[repr(u64)]
enum Repr<'a, T> {
    /// The usual list of properties; cheaper to make than a slice of no entries.
    Empty,
    /// `count` entries in wire format that keep the rules of a version.
    Wire {
        bytes: &'a [u8],
        count: u32,
        version: Version,
    },
    /// `count` properties of one kind among others; the bytes begin at the first one.
    Properties {
        bytes: &'a [u8],
        count: u32,
    },
    Slice(&'a [T]),
}

/// What a [`List`] can be a list of.
pub trait Entry<'a>: sealed::Entry<'a> {}

pub(crate) mod sealed {
    use crate::codec::version::Version;

    /// An entry in the wire format of its list.
    pub trait Entry<'a>: Copy {
        /// Takes the next entry off bytes that were validated by the rules of a version; `None` at their end.
        fn next(bytes: &mut &'a [u8], version: Version) -> Option<Self>;
    }
}

impl<'a, T: sealed::Entry<'a>> Entry<'a> for T {}

/// Takes the next byte, for entries of a single one.
#[inline(always)]
pub(crate) fn next_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (&byte, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(byte)
}

impl<'a, T> List<'a, T> {
    /// No entry.
    pub const EMPTY: Self = Self(Repr::Empty);

    /// A view over `count` entries that have been validated by the rules of a version.
    pub(crate) const fn wire(bytes: &'a [u8], count: u32, version: Version) -> Self {
        Self(Repr::Wire { bytes, count, version })
    }

    /// A view over `count` properties of one kind that have been validated.
    pub(crate) const fn properties(bytes: &'a [u8], count: u32) -> Self {
        Self(Repr::Properties { bytes, count })
    }

    /// The bytes of a view over properties.
    pub(crate) const fn property_bytes(&self) -> Option<&'a [u8]> {
        match self.0 {
            Repr::Properties { bytes, .. } => Some(bytes),
            Repr::Empty | Repr::Wire { .. } | Repr::Slice(_) => None,
        }
    }

    /// The bytes that the entries are encoded as, if they are at hand and keep the rules of `wanted`. Those of 3.1 may
    /// have bits set that 3.1 does not use, and are not sent on.
    pub(crate) fn wire_bytes_of(&self, wanted: Version) -> Option<&'a [u8]> {
        match self.0 {
            Repr::Wire { bytes, version, .. } if version == wanted && wanted != Version::V31 => Some(bytes),
            Repr::Empty | Repr::Wire { .. } | Repr::Properties { .. } | Repr::Slice(_) => None,
        }
    }

    /// The number of entries.
    pub const fn len(&self) -> usize {
        match self.0 {
            Repr::Empty => 0,
            Repr::Wire { count, .. } | Repr::Properties { count, .. } => count as usize,
            Repr::Slice(slice) => slice.len(),
        }
    }

    /// Whether there is no entry.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a, T: Entry<'a>> List<'a, T> {
    /// The entries, in order.
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
impl<'a, T> From<&'a alloc::vec::Vec<T>> for List<'a, T> {
    fn from(entries: &'a alloc::vec::Vec<T>) -> Self {
        Self(Repr::Slice(entries))
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

/// The entries of a [`List`].
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
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = List(self.0).len();
        (len, Some(len))
    }
}

impl<'a, T: Entry<'a>> ExactSizeIterator for ListIter<'a, T> {}
impl<'a, T: Entry<'a>> FusedIterator for ListIter<'a, T> {}
