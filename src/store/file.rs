//! A file of batches.

use bytes::Bytes;
use thiserror::Error;

use super::batch::{Batch, Changes, HEADER, MAGIC, WHOLE_HEADER};
use super::checksum::Checksum;

/// Reads the batches of a file, one after the other.
///
/// A crash may leave an incomplete batch at the end, which was not confirmed. The iterator ends before it;
/// [`whole_len`](Batches::whole_len) is then the size to which the file has to be cut before more is appended.
/// Everything else that is not a batch is [`Damage`].
///
/// A file begins with a batch of any number: with that of a snapshot, for which the file was begun.
///
/// ```
/// # use mqtt_sansio::client::{ClientConfig, ClientSession};
/// # use mqtt_sansio::store::{Pairs, batches};
/// # let mut client = ClientSession::new(ClientConfig { durable: true, ..ClientConfig::default() });
/// # let mut file = client.changes().ok_or("a new session is stored")?.to_bytes();
/// # let whole = file.len();
/// # file.extend_from_slice(b"MQb"); // torn by a crash
/// let mut pairs = Pairs::default();
/// let mut read = batches(&file);
/// for batch in &mut read {
///     pairs.apply(&batch?);
/// }
/// if read.whole_len() < file.len() {
///     file.truncate(read.whole_len()); // a crash has torn the last batch: cut the file to this size
/// }
/// # assert_eq!(file.len(), whole);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub const fn batches(file: &[u8]) -> Batches<'_> {
    Batches { file, at: 0, next: None, is_over: false }
}

/// Iterator over the batches of a file, returned by [`batches`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    file: &'a [u8],
    at: usize,
    /// The number of the next batch, once the first one was read.
    next: Option<u64>,
    is_over: bool,
}

/// Bytes in a file of batches that are neither a batch nor the incomplete batch that a crash leaves at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{kind} (at byte {at}, {})", Expected(*.number))]
#[non_exhaustive]
pub struct Damage {
    /// Offset of the batch in the file.
    pub at: usize,
    /// The number that the batch must have; `None` for the first batch of the file.
    pub number: Option<u64>,
    /// The kind of the damage.
    pub kind: DamageKind,
}

struct Expected(Option<u64>);

impl core::fmt::Display for Expected {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(number) => write!(f, "batch {number}"),
            None => f.write_str("the first batch"),
        }
    }
}

/// The kind of a [`Damage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DamageKind {
    /// The header of a batch is not valid.
    #[error("header of a batch is damaged")]
    Header,
    /// The content of a batch is not valid, and more follows it.
    #[error("content of a batch is damaged")]
    Body,
    /// The batch has another number.
    #[error("batches are missing")]
    Gap,
}

impl<'a> Batches<'a> {
    /// Returns the size of the batches that were read so far, in bytes.
    ///
    /// ```
    /// # use mqtt_sansio::store::batches;
    /// let mut read = batches(b"MQb1\0\0\0"); // the begin of a batch, torn by a crash
    /// assert_eq!(read.next(), None);
    /// assert_eq!(read.whole_len(), 0); // nothing of the file is kept
    /// ```
    pub const fn whole_len(&self) -> usize {
        self.at
    }

    /// Reads the next batch and its size; `None` at the end, or before an incomplete batch.
    fn read(&self) -> Result<Option<(Batch, usize)>, DamageKind> {
        let rest = self.file.get(self.at..).unwrap_or_default();
        let Some((header, behind)) = rest.split_first_chunk::<WHOLE_HEADER>() else {
            // An incomplete header is torn, if it is one.
            return if is_begin(rest) { Ok(None) } else { Err(DamageKind::Header) };
        };
        let (fields, checksum) = header.split_at(HEADER);
        if Checksum::NEW.add(fields).value().to_be_bytes() != checksum || !is_begin(header) {
            return Err(DamageKind::Header);
        }
        let [_, _, _, _, number @ .., len_1, len_2, len_3, len_4, _, _, _, _] = *header;
        let number = u64::from_be_bytes(number);
        if self.next.is_some_and(|next| next != number) {
            return Err(DamageKind::Gap);
        }
        let len = u32::from_be_bytes([len_1, len_2, len_3, len_4]) as usize;
        let Some((body, behind)) = behind.split_at_checked(len) else { return Ok(None) };
        let Some((checksum, behind)) = behind.split_first_chunk::<4>() else { return Ok(None) };
        if Checksum::NEW.add(header).add(body).value().to_be_bytes() != *checksum {
            // The last batch is torn: the file system had written its size before its content.
            return if behind.is_empty() { Ok(None) } else { Err(DamageKind::Body) };
        }
        let mut changes = Changes::of(body);
        changes.by_ref().for_each(drop);
        if !changes.is_at_end() {
            return Err(DamageKind::Body);
        }
        let size = rest.len().saturating_sub(behind.len());
        Ok(Some((Batch::new(number, Bytes::copy_from_slice(body)), size)))
    }
}

/// Returns whether these bytes can be the begin of a batch.
fn is_begin(bytes: &[u8]) -> bool {
    bytes.iter().zip(MAGIC).all(|(byte, magic)| *byte == magic)
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch, Damage>;

    fn next(&mut self) -> Option<Result<Batch, Damage>> {
        if self.is_over {
            return None;
        }
        match self.read() {
            Ok(Some((batch, size))) => {
                self.at = self.at.saturating_add(size);
                self.next = Some(batch.number().saturating_add(1));
                Some(Ok(batch))
            }
            Ok(None) => {
                self.is_over = true;
                None
            }
            Err(kind) => {
                self.is_over = true;
                Some(Err(Damage { at: self.at, number: self.next, kind }))
            }
        }
    }
}
