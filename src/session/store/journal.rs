//! The journal: the state of a session that must survive a crash, as a sequence of records.
//!
//! A record is a tag of one byte, followed by its fields. Integers are big-endian; a field of bytes is preceded by its
//! length in four bytes.
//!
//! | tag | fields | meaning |
//! |---|---|---|
//! | `V` | protocol level (1) | the protocol version in which packets are encoded; precedes all other records |
//! | `K` | token (8) | the last token that was assigned |
//! | `C` | bytes | the client identifier that the server has assigned |
//! | `B` | | the server has a session |
//! | `N` | | the session ended: no message is in flight, in either direction |
//! | `Q` | token (8), PUBLISH (bytes), payload (bytes) | a message was accepted; the payload, unless empty, replaces that of the packet |
//! | `D` | token (8) | a queued message was dropped |
//! | `S` | token (8), packet identifier (2) | a queued message is sent with this packet identifier |
//! | `T` | packet identifier (2) | the message was not sent, and is queued again |
//! | `R` | packet identifier (2), reason code (1) | PUBREC has arrived |
//! | `H` | token (8), packet identifier (2), reason code (1) | `Q`, `S` and `R` in one record |
//! | `F` | packet identifier (2) | the delivery is complete |
//! | `X` | packet identifier (2) | the delivery was given up, but the identifier stays in use; `R` and `F` may follow |
//! | `I` | packet identifier (2) | ownership of a received message of QoS 2 was accepted |
//! | `O` | packet identifier (2) | PUBREL of a received message of QoS 2 has arrived |

use alloc::vec::Vec;

use bytes::Buf;
use thiserror::Error;

use super::restore::Restored;
use super::stored::Stored;
use crate::codec::{PacketId, Version};
use crate::session::token::Token;

/// The records that the application must store before it sends further output: a [`bytes::Buf`].
///
/// While the journal has remaining bytes, [`Transmit`](crate::Transmit) offers none.
#[derive(Clone, Debug)]
pub struct Journal {
    version: Version,
    /// Whether a record has been written.
    has_begun: bool,
    bytes: Vec<u8>,
    start: usize,
}

impl Buf for Journal {
    fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Removes bytes that have been stored. A `count` above the number of remaining bytes removes all of them.
    fn advance(&mut self, count: usize) {
        self.start = self.start.saturating_add(count);
        if self.start >= self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }
}

/// A record of the journal; see the table in the module documentation.
pub(crate) enum Record<'a> {
    LastToken(Token),
    ClientIdentifier(&'a [u8]),
    SessionBegun,
    SessionGone,
    Accepted(Token, &'a Stored),
    Dropped(Token),
    Sent(Token, PacketId),
    TakenBack(PacketId),
    HalfDone(Token, PacketId, u8),
    Received(PacketId, u8),
    Finished(PacketId),
    GivenUp(PacketId),
    OwnershipAccepted(PacketId),
    Released(PacketId),
}

impl Journal {
    pub(crate) const fn new(version: Version) -> Self {
        Self { version, has_begun: false, bytes: Vec::new(), start: 0 }
    }

    /// Returns the number of bytes of complete records at the start of a stored journal.
    ///
    /// A crash may leave an incomplete record behind them, which must be cut off before further records are appended.
    pub fn whole_len(journal: &[u8]) -> usize {
        Restored::whole_len(journal)
    }

    /// Creates a journal that contains only these records.
    pub(crate) fn of<'a>(version: Version, records: impl Iterator<Item = Record<'a>>) -> Self {
        let mut journal = Self::new(version);
        records.for_each(|record| journal.write(record));
        journal
    }

    pub(crate) fn write(&mut self, record: Record<'_>) {
        if !core::mem::replace(&mut self.has_begun, true) {
            self.bytes.extend([b'V', self.version.level()]);
        }
        match record {
            Record::LastToken(token) => self.write_token(b'K', token),
            Record::ClientIdentifier(id) => {
                self.bytes.push(b'C');
                self.write_bytes(id);
            }
            Record::SessionBegun => self.bytes.push(b'B'),
            Record::SessionGone => self.bytes.push(b'N'),
            Record::Accepted(token, stored) => {
                self.write_token(b'Q', token);
                self.write_bytes(stored.bytes());
                self.write_bytes(stored.payload().map_or(&[], |payload| payload));
            }
            Record::Dropped(token) => self.write_token(b'D', token),
            Record::Sent(token, id) => {
                self.write_token(b'S', token);
                self.bytes.extend(id.get().to_be_bytes());
            }
            Record::Received(id, code) => {
                self.write_id(b'R', id);
                self.bytes.push(code);
            }
            Record::TakenBack(id) => self.write_id(b'T', id),
            Record::HalfDone(token, id, code) => {
                self.write_token(b'H', token);
                self.bytes.extend(id.get().to_be_bytes());
                self.bytes.push(code);
            }
            Record::Finished(id) => self.write_id(b'F', id),
            Record::GivenUp(id) => self.write_id(b'X', id),
            Record::OwnershipAccepted(id) => self.write_id(b'I', id),
            Record::Released(id) => self.write_id(b'O', id),
        }
    }

    fn write_token(&mut self, tag: u8, token: Token) {
        self.bytes.push(tag);
        self.bytes.extend(token.get().to_be_bytes());
    }

    fn write_id(&mut self, tag: u8, id: PacketId) {
        self.bytes.push(tag);
        self.bytes.extend(id.get().to_be_bytes());
    }

    /// Neither a packet nor its payload is longer than a length of four bytes can represent.
    fn write_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend((bytes.len() as u32).to_be_bytes());
        self.bytes.extend(bytes);
    }
}

/// The error of reading bytes that are not a journal for the version of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the journal has no valid record of this version of MQTT at byte {at}")]
#[non_exhaustive]
pub struct JournalError {
    /// Offset of the first record that is invalid, or that names another version of the protocol.
    pub at: usize,
}
