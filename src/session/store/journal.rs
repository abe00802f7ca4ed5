//! The journal: what must survive a crash, as small records.
//!
//! A record is a tag of one byte and what belongs to it; integers are big-endian, and bytes have their length before
//! them in four bytes.
//!
//! | tag | | what it says |
//! |---|---|---|
//! | `V` | protocol level (1) | the version that packets are encoded in; comes first |
//! | `K` | token (8) | tokens up to this one have been given |
//! | `C` | bytes | the client identifier that the server has assigned |
//! | `B` | | there is a session |
//! | `N` | | the session is gone: no message is in flight, none is half received |
//! | `Q` | token (8), PUBLISH (bytes), payload (bytes) | a message was accepted; a payload here replaces that of the packet |
//! | `D` | token (8) | an accepted message was dropped |
//! | `S` | token (8), packet identifier (2) | it is being sent |
//! | `T` | packet identifier (2) | it has not been sent after all, and waits again |
//! | `R` | packet identifier (2), reason code (1) | PUBREC has come |
//! | `H` | token (8), packet identifier (2), reason code (1) | as `Q`, `S` and `R` together |
//! | `F` | packet identifier (2) | its delivery is finished |
//! | `X` | packet identifier (2) | its delivery was given up, but the identifier stays in use; `R` and `F` may follow |
//! | `I` | packet identifier (2) | a message of QoS 2 was taken over |
//! | `O` | packet identifier (2) | its PUBREL has come |

use alloc::vec::Vec;

use bytes::Buf;
use thiserror::Error;

use super::restore::Restored;
use super::stored::Stored;
use crate::codec::{PacketId, Version};
use crate::session::token::Token;

/// Records that are to be stored before anything else leaves: a [`bytes::Buf`].
///
/// As long as it has something remaining, the stream to the transport appears to be empty.
#[derive(Clone, Debug)]
pub struct Journal {
    version: Version,
    /// Whether there has been a record.
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

    /// What has been stored is taken out. To take more than there is takes everything.
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

/// A record.
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
    TakenOver(PacketId),
    Released(PacketId),
}

impl Journal {
    pub(crate) const fn new(version: Version) -> Self {
        Self { version, has_begun: false, bytes: Vec::new(), start: 0 }
    }

    /// How many bytes of a journal that was stored are whole records. What a crash has left behind them is to be cut off
    /// before anything is appended.
    pub fn whole_len(journal: &[u8]) -> usize {
        Restored::whole_len(journal)
    }

    /// A journal of these records alone, as it is begun anew.
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
            Record::TakenOver(id) => self.write_id(b'I', id),
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

    /// No packet is longer than four bytes can say, and no payload longer than its packet.
    fn write_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend((bytes.len() as u32).to_be_bytes());
        self.bytes.extend(bytes);
    }
}

/// Bytes that are no journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no record of a journal for this version of MQTT at byte {at}")]
pub struct JournalError {
    /// The byte at which the first record begins that is none, or names another version of the protocol.
    pub at: usize,
}
