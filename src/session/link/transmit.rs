//! The output of a session: the bytes to write to the transport.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::{Buf, Bytes};

use crate::codec::EncodeError;

/// The output of a session, in order: a [`bytes::Buf`] of the bytes to write to the transport.
///
/// Small packets are contiguous in a single chunk; a payload of 2 KiB or more that was given as [`Bytes`] is a chunk of
/// its own and is not copied. Only [`advance`](Buf::advance) removes bytes, so a write that was cancelled halfway
/// neither loses nor repeats bytes.
///
/// ```
/// # use bytes::Buf;
/// # use mqtt_sansio::Instant;
/// # use mqtt_sansio::client::{ClientConfig, ClientSession};
/// # use std::io::{IoSlice, Write};
/// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
/// # let mut transport = Vec::new();
/// # client.open(now)?;
/// let transmit = client.transmit();
/// while transmit.has_remaining() {
///     let mut chunks = [IoSlice::new(&[]); 8];
///     let count = transmit.chunks_vectored(&mut chunks);
///     let written = transport.write_vectored(&chunks[..count])?;
///     transmit.advance(written);
/// }
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Transmit {
    bytes: Vec<u8>,
    /// Number of bytes at the start of `bytes` that have been taken.
    start: u32,
    /// Payloads that are not in `bytes`.
    shared: Option<Box<Shared>>,
    /// Number of bytes that have been taken on this connection.
    taken: u64,
    /// Number of bytes that were offered while the output was last not held, and that have not been taken. With
    /// [`HELD`] no bytes are offered, because CONNACK waits until changes of a durable session are stored.
    offered: u32,
    answers: Answers,
}

/// Upper bound of the number of untaken bytes that are answers: packets that the peer has caused this endpoint to send.
///
/// The bound returns to 0 when the last answer has been taken, so that no list of the answers is needed. A peer that
/// causes answers all the time makes the bound rise to the answer limit; the session then takes no input until the
/// output up to the last answer, its own packets included, has been taken.
#[derive(Clone, Default)]
struct Answers {
    bytes: u32,
    /// Number of bytes to take until the last answer has been taken.
    ahead: u32,
}

/// Payloads that are not in [`Transmit::bytes`]; at least one.
#[derive(Clone, Default)]
struct Shared {
    /// Each payload with the index in `bytes` before which it is sent.
    payloads: VecDeque<(usize, Bytes)>,
    len: usize,
}

impl Shared {
    /// Returns the size in bytes, without the payloads.
    #[cold]
    fn heap(&self) -> usize {
        let payloads = self.payloads.capacity().saturating_mul(core::mem::size_of::<(usize, Bytes)>());
        payloads.saturating_add(core::mem::size_of::<Self>())
    }
}

/// Payloads of this size or larger that were given as [`Bytes`] are not copied.
pub(crate) const LARGE: usize = 2048;

/// Flag in [`Transmit::offered`], above every possible number of bytes.
const HELD: u32 = 1 << 31;

/// Taken bytes at the start of the buffer are removed once they exceed this number and half of the buffer.
const SLACK: usize = 4096;

impl Transmit {
    /// At most the transmit limit plus the size of a packet, so that 32 bits suffice.
    #[inline]
    const fn start(&self) -> usize {
        self.start as usize
    }

    /// Takes all bytes that can be written now, in a copy: for a transport that owns what it sends, as a channel does.
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # let mut client = ClientSession::new(ClientConfig::default());
    /// client.open(mqtt_sansio::Instant::EPOCH)?;
    /// let connect = client.transmit().take_all();
    /// assert_eq!((connect[0], client.transmit().take_all().len()), (0x10, 0));
    /// # Ok::<(), mqtt_sansio::client::OpenError>(())
    /// ```
    pub fn take_all(&mut self) -> Bytes {
        self.copy_to_bytes(self.remaining())
    }

    /// Returns the size of the buffer, in bytes, without shared payloads.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        let own = self.bytes.capacity();
        match &self.shared {
            None => own,
            Some(shared) => own.saturating_add(shared.heap()),
        }
    }

    /// Returns the number of bytes that have not been taken.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        let shared = self.shared.as_ref().map_or(0, |shared| shared.len);
        self.bytes.len().wrapping_sub(self.start()).wrapping_add(shared)
    }

    /// Returns the number of bytes that have not been taken, without shared payloads.
    pub(crate) fn own_len(&self) -> usize {
        self.bytes.len().saturating_sub(self.start())
    }

    /// Returns the number of bytes that have been taken on this connection.
    #[inline]
    pub(crate) const fn taken(&self) -> u64 {
        self.taken
    }

    /// Returns the offset at which the next packet begins in the stream of this connection.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.taken.wrapping_add(self.len() as u64)
    }

    /// Appends a packet of at most `max` bytes and returns it. If the packet is larger, appends nothing and returns
    /// `None`.
    #[inline]
    pub(crate) fn encode(
        &mut self,
        max: u32,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<usize, EncodeError>,
    ) -> Result<Option<&[u8]>, EncodeError> {
        let start = self.bytes.len();
        let size = encode(&mut self.bytes)?;
        if size > max as usize {
            self.bytes.truncate(start);
            return Ok(None);
        }
        Ok(self.bytes.get(start..))
    }

    /// Appends an answer: a packet that the peer has caused this endpoint to send.
    #[inline]
    pub(crate) fn answer(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<usize, EncodeError>,
    ) -> Result<(), EncodeError> {
        let size = encode(&mut self.bytes)?;
        self.count_answer(size);
        Ok(())
    }

    /// As [`answer`](Self::answer), for a packet of at most `max` bytes. If the packet is larger, appends nothing and
    /// returns `false`.
    pub(crate) fn answer_within(
        &mut self,
        max: u32,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<usize, EncodeError>,
    ) -> Result<bool, EncodeError> {
        let Some(size) = self.encode(max, encode)?.map(<[u8]>::len) else { return Ok(false) };
        self.count_answer(size);
        Ok(true)
    }

    /// As [`answer`](Self::answer), with an encoded packet.
    pub(crate) fn append_answer(&mut self, packet: &[u8]) {
        self.append(packet);
        self.count_answer(packet.len());
    }

    #[inline]
    fn count_answer(&mut self, size: usize) {
        self.answers.bytes = self.answers.bytes.saturating_add(size as u32);
        self.answers.ahead = self.len() as u32;
    }

    /// Whether at least `count` bytes of answers have not been taken.
    #[inline]
    pub(crate) fn has_unsent_answers(&self, count: u32) -> bool {
        // There are no more of them than bytes. Few answers are the usual case, for which the first comparison is enough.
        self.answers.bytes >= count && self.len() as u32 >= count
    }

    /// Appends an encoded packet. Returns whether the buffer has grown.
    #[inline]
    pub(crate) fn append(&mut self, packet: &[u8]) -> bool {
        let has_room = self.bytes.capacity().wrapping_sub(self.bytes.len()) >= packet.len();
        self.bytes.extend_from_slice(packet);
        !has_room
    }

    /// Appends a payload without copying it.
    pub(crate) fn push_shared(&mut self, payload: Bytes) {
        if !payload.is_empty() {
            let shared = self.shared.get_or_insert_default();
            shared.len = shared.len.saturating_add(payload.len());
            shared.payloads.push_back((self.bytes.len(), payload));
        }
    }

    /// Sets whether the output is held. A held output offers no bytes; bytes that were offered before may still be
    /// taken, since the caller may have written them already.
    pub(crate) fn hold(&mut self, held: bool) {
        self.offered = if held { self.offered | HELD } else { (self.len() as u32).min(HELD.wrapping_sub(1)) };
    }

    #[inline]
    const fn is_held(&self) -> bool {
        self.offered & HELD != 0
    }

    /// Returns the bytes that have not been taken, to be written with nothing after them. The bytes count as taken from
    /// here on: whether the caller writes them or not, they may have been sent.
    pub(crate) fn hand_over(&mut self) -> Self {
        let taken = self.end();
        let rest = core::mem::take(self);
        self.taken = taken;
        rest
    }

    /// Discards the bytes that have not been taken, because their connection is closed. The output is not held any more.
    pub(crate) fn clear(&mut self) {
        let bytes = core::mem::take(&mut self.bytes);
        *self = Self { bytes, ..Self::default() };
        self.bytes.clear();
    }

    /// Releases unused memory.
    pub(crate) fn shrink(&mut self) {
        self.compact();
        self.bytes.shrink_to_fit();
    }

    /// Removes the taken bytes from the buffer.
    fn compact(&mut self) {
        let start = self.start().min(self.bytes.len());
        self.bytes.drain(..start);
        for (at, _) in self.shared.iter_mut().flat_map(|shared| &mut shared.payloads) {
            *at = at.saturating_sub(start);
        }
        self.start = 0;
    }

    /// Returns the bytes before the first shared payload, and that payload.
    fn first(&self) -> (&[u8], &[u8]) {
        match self.shared.as_ref().and_then(|shared| shared.payloads.front()) {
            Some((at, payload)) => (self.bytes.get(self.start()..*at).unwrap_or_default(), payload),
            None => (self.bytes.get(self.start()..).unwrap_or_default(), &[]),
        }
    }

    /// Takes bytes while there are shared payloads.
    #[cold]
    fn advance_shared(&mut self, mut count: usize) {
        while count > 0 {
            let from_bytes = self.first().0.len().min(count);
            self.start = self.start.wrapping_add(from_bytes as u32);
            count = count.wrapping_sub(from_bytes);
            let Some(shared) = &mut self.shared else { return self.start = self.start.wrapping_add(count as u32) };
            let Some((_, payload)) = shared.payloads.front_mut() else {
                bug!("there are no shared payloads");
                return;
            };
            let from_payload = payload.len().min(count);
            payload.advance(from_payload);
            count = count.wrapping_sub(from_payload);
            shared.len = shared.len.wrapping_sub(from_payload);
            if payload.is_empty() {
                shared.payloads.pop_front();
            }
            if shared.payloads.is_empty() {
                self.shared = None;
            }
        }
    }
}

impl Buf for Transmit {
    #[inline]
    fn remaining(&self) -> usize {
        if self.is_held() { 0 } else { self.len() }
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        if self.is_held() {
            return &[];
        }
        let (bytes, payload) = self.first();
        if bytes.is_empty() { payload } else { bytes }
    }

    /// Removes bytes that have been written.
    ///
    /// A `count` above the number of remaining bytes removes all of them.
    #[inline]
    fn advance(&mut self, count: usize) {
        let count = if self.is_held() { count.min((self.offered & !HELD) as usize) } else { count };
        let count = count.min(self.len());
        self.taken = self.taken.wrapping_add(count as u64);
        if self.shared.is_none() {
            self.start = self.start.wrapping_add(count as u32);
        } else {
            self.advance_shared(count);
        }
        // Only a durable session counts bytes as offered, and mostly there are no answers.
        if self.offered != 0 {
            self.offered = (self.offered & HELD) | (self.offered & !HELD).saturating_sub(count as u32);
        }
        if self.answers.bytes != 0 {
            self.answers.ahead = self.answers.ahead.saturating_sub(count as u32);
            if self.answers.ahead == 0 {
                self.answers.bytes = 0;
            }
        }
        if self.start() == self.bytes.len() && self.shared.is_none() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start() > SLACK && self.start() > self.bytes.len() / 2 {
            self.compact();
        }
    }

    #[cfg(feature = "std")]
    fn chunks_vectored<'a>(&'a self, chunks: &mut [std::io::IoSlice<'a>]) -> usize {
        if self.is_held() {
            return 0;
        }
        let mut from = self.start();
        let shared = self.shared.iter().flat_map(|shared| &shared.payloads);
        let ends = shared.map(|(at, payload)| (*at, &payload[..]));
        let pieces = ends.chain([(self.bytes.len(), &[] as &[u8])]).flat_map(|(at, payload)| {
            let bytes = self.bytes.get(from..at).unwrap_or_default();
            from = at;
            [bytes, payload]
        });
        let mut count: usize = 0;
        for (chunk, piece) in chunks.iter_mut().zip(pieces.filter(|piece| !piece.is_empty())) {
            *chunk = std::io::IoSlice::new(piece);
            count = count.saturating_add(1);
        }
        count
    }
}

impl core::fmt::Debug for Transmit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Transmit").field("len", &self.len()).field("held", &self.is_held()).finish()
    }
}
