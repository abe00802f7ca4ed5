//! Batches of changes.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::checksum::Checksum;
use super::key::KeyBytes;

/// The changes between two states, to be stored atomically. Batches are numbered, and stored in the order of their
/// numbers.
///
/// A batch never changes. A clone shares its content.
#[derive(Clone, PartialEq, Eq)]
pub struct Batch {
    number: u64,
    body: Bytes,
}

/// A change of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The key has this value from now on, whether it had another one or none.
    Put {
        /// The key, at most 32 bytes.
        key: &'a [u8],
        /// The value, at most 64 KiB.
        value: &'a [u8],
        /// Whether the key has had no value before. A store that has not stored this batch when a later one removes the key
        /// can leave out both changes. It is `false` where that is not certain.
        is_new: bool,
    },
    /// The key has no value any more. It may have had none.
    Remove {
        /// The key, at most 32 bytes.
        key: &'a [u8],
    },
}

/// The flag of a removal, in the byte with the length of the key.
const REMOVE: u8 = 0x80;

/// The flag of a key that has had no value before, in the same byte.
const NEW: u8 = 0x40;

/// The first bytes of a batch in a file; the last one is the version of this form.
pub(super) const MAGIC: [u8; 4] = *b"MQb1";

/// Size of the header of a batch in a file, in bytes, without its checksum; and with it.
pub(super) const HEADER: usize = 16;
pub(super) const WHOLE_HEADER: usize = 20;

impl Batch {
    pub(super) const fn new(number: u64, body: Bytes) -> Self {
        Self { number, body }
    }

    /// Returns the number of the batch. It is one higher than that of the batch before.
    ///
    /// The parts of a batch:
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::store::Change;
    /// # let mut client = ClientSession::new(ClientConfig { durable: true, ..ClientConfig::default() });
    /// # let batch = client.changes().ok_or("a new session is stored")?;
    /// println!("transaction {}, {} bytes", batch.number(), batch.size());
    /// for change in batch.changes() {
    ///     match change {
    ///         Change::Put { key, value, is_new } => println!("{key:02x?} = {} bytes, new: {is_new}", value.len()),
    ///         Change::Remove { key } => println!("{key:02x?} is removed"),
    ///     }
    /// }
    /// # assert!(batch.changes().count() > 0);
    /// # Ok::<(), &str>(())
    /// ```
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Returns the changes. Each key occurs at most once.
    pub fn changes(&self) -> Changes<'_> {
        Changes { rest: &self.body }
    }

    /// Returns the size of the changes, in bytes.
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// Returns the form of the batch in a file, see [`batches`](super::batches).
    ///
    /// ```
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use std::fs::File;
    /// # use std::io::{self, Write};
    /// /// Appends the changes to a file, before the output of the session is written.
    /// fn store(client: &mut ClientSession, now: Instant, file: &mut File) -> io::Result<()> {
    ///     while let Some(batch) = client.changes() {
    ///         file.write_all(&batch.to_bytes())?;
    ///         file.sync_data()?;
    ///         client.committed(now, batch.number());
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.body.len().saturating_add(WHOLE_HEADER).saturating_add(4));
        bytes.extend(MAGIC);
        bytes.extend(self.number.to_be_bytes());
        bytes.extend((self.body.len() as u32).to_be_bytes());
        let header = Checksum::NEW.add(&bytes).value();
        bytes.extend(header.to_be_bytes());
        bytes.extend_from_slice(&self.body);
        let all = Checksum::NEW.add(&bytes).value();
        bytes.extend(all.to_be_bytes());
        bytes
    }
}

/// Prints the number and the changes, without the values, which contain messages.
impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Brief<'a>(Change<'a>);
        impl fmt::Debug for Brief<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    Change::Put { key, value, .. } => write!(f, "put {key:02x?}: {} bytes", value.len()),
                    Change::Remove { key } => write!(f, "remove {key:02x?}"),
                }
            }
        }
        write!(f, "Batch {} ", self.number)?;
        f.debug_list().entries(self.changes().map(Brief)).finish()
    }
}

/// Iterator over the changes of a [`Batch`]. Their order means nothing, since no key occurs twice.
#[derive(Clone, Debug)]
pub struct Changes<'a> {
    rest: &'a [u8],
}

impl<'a> Changes<'a> {
    /// Iterates over the changes in a body.
    pub(super) const fn of(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Returns whether all bytes were read.
    pub(super) const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Change<'a>;

    fn next(&mut self) -> Option<Change<'a>> {
        let (&head, rest) = self.rest.split_first()?;
        let (key, rest) = rest.split_at_checked(usize::from(head & !(REMOVE | NEW)))?;
        if head & REMOVE != 0 {
            self.rest = rest;
            return Some(Change::Remove { key });
        }
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        self.rest = rest;
        Some(Change::Put { key, value, is_new: head & NEW != 0 })
    }
}

/// The largest size of a change without the content of its value, in bytes.
pub(super) const CHANGE: usize = 1 + KeyBytes::SIZE + 4 + 4;

/// Writes a change to a body: a value of a key, with its checksum, which is new or may have another one, or a removal.
pub(super) fn write(body: &mut Vec<u8>, key: &[u8], value: Option<(&[u8], [u8; 4])>, is_new: bool) {
    let flag = match (value, is_new) {
        (None, _) => REMOVE,
        (Some(_), true) => NEW,
        (Some(_), false) => 0,
    };
    body.push(key.len() as u8 | flag);
    body.extend_from_slice(key);
    if let Some((content, checksum)) = value {
        let len = content.len().saturating_add(checksum.len()) as u32;
        body.extend(len.to_be_bytes());
        body.extend_from_slice(content);
        body.extend(checksum);
    }
}
