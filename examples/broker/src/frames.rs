//! The frames of a WebSocket that a client sends (RFC 6455, section 5), as a stream.
//!
//! Neither frames nor messages are buffered, so neither has a maximum size: MQTT alone decides where packets begin and
//! end, and how large they may be \[MQTT-6.0.0-2\].

use std::fmt;
use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The maximum size of a frame header.
const MAX_HEADER: usize = 14;

/// The maximum payload of a control frame.
const MAX_CONTROL: usize = 125;

/// A decoder of frames.
#[derive(Default)]
pub(crate) struct Frames {
    state: State,
    /// Whether more frames of a message follow.
    is_in_message: bool,
    /// The payload of the last PING, until it is answered.
    ping: Option<Vec<u8>>,
}

enum State {
    /// In a header.
    Header { bytes: [u8; MAX_HEADER], length: usize },
    /// In the payload of a data frame.
    Data(Rest),
    /// In the payload of a control frame.
    Control { kind: Control, payload: Vec<u8>, rest: Rest },
    /// The client has sent a CLOSE frame: later bytes are ignored.
    Closed,
    /// The client has violated the protocol.
    Failed(ProtocolError),
}

/// The rest of a payload.
#[derive(Clone, Copy)]
struct Rest {
    length: u64,
    /// The mask, rotated to start with the byte for the next byte of the payload.
    mask: [u8; 4],
}

/// A violation of WebSocket, or of MQTT over WebSocket, by a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProtocolError {
    /// A text frame \[MQTT-6.0.0-1\].
    Text,
    /// A frame without a mask.
    Unmasked,
    /// A header with reserved bits or a reserved opcode, or one that does not fit the frames before.
    Header,
    /// Too many bytes of headers and control frames before the client is accepted.
    Flood,
}

impl ProtocolError {
    /// The status code for the CLOSE frame (section 7.4.1 of RFC 6455).
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::Text => 1003,
            Self::Unmasked | Self::Header => 1002,
            Self::Flood => 1008,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "a text frame, where only binary frames are allowed",
            Self::Unmasked => "a frame that is not masked",
            Self::Header => "a frame with a wrong header",
            Self::Flood => "too many frames without payload before CONNECT",
        })
    }
}

impl std::error::Error for ProtocolError {}

impl Default for State {
    fn default() -> Self {
        Self::Header { bytes: [0; MAX_HEADER], length: 0 }
    }
}

impl Frames {
    /// Takes received bytes, moves the payload of binary frames to the start of `bytes`, and returns its length.
    pub(crate) fn take(&mut self, bytes: &mut [u8]) -> usize {
        let (mut read, mut written) = (0, 0);
        while read < bytes.len() {
            match &mut self.state {
                State::Header { bytes: header, length } => {
                    let needed = header_length(&header[..*length]);
                    let count = (needed - *length).min(bytes.len() - read);
                    header[*length..*length + count].copy_from_slice(&bytes[read..read + count]);
                    *length += count;
                    read += count;
                    if *length < header_length(&header[..*length]) {
                        continue;
                    }
                    let mut cursor = Cursor::new(&header[..*length]);
                    match FrameHeader::parse(&mut cursor) {
                        Ok(Some((header, length))) => self.begin(&header, length),
                        Ok(None) | Err(_) => self.state = State::Failed(ProtocolError::Header),
                    }
                }
                State::Data(rest) => {
                    let count = rest.fitting(bytes.len() - read);
                    bytes.copy_within(read..read + count, written);
                    rest.unmask(&mut bytes[written..written + count]);
                    (read, written) = (read + count, written + count);
                    if rest.length == 0 {
                        self.state = State::default();
                    }
                }
                State::Control { kind, payload, rest } => {
                    let count = rest.fitting(bytes.len() - read);
                    rest.unmask(&mut bytes[read..read + count]);
                    payload.extend_from_slice(&bytes[read..read + count]);
                    read += count;
                    if rest.length == 0 {
                        let (kind, payload) = (*kind, std::mem::take(payload));
                        self.end_control(kind, payload);
                    }
                }
                State::Closed | State::Failed(_) => break,
            }
        }
        written
    }

    /// Returns whether the client has sent a CLOSE frame.
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Returns the violation after which no more bytes are taken, if there was one.
    pub(crate) const fn error(&self) -> Option<ProtocolError> {
        match self.state {
            State::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Fails with this error; no more input is taken.
    pub(crate) fn fail(&mut self, error: ProtocolError) {
        if !matches!(self.state, State::Closed | State::Failed(_)) {
            self.state = State::Failed(error);
        }
    }

    /// Returns the payload of a PING that must be answered. Of several PINGs it is the last one, as RFC 6455 allows.
    pub(crate) const fn take_ping(&mut self) -> Option<Vec<u8>> {
        self.ping.take()
    }

    /// A header is complete.
    fn begin(&mut self, header: &FrameHeader, length: u64) {
        let is_reserved = header.rsv1 || header.rsv2 || header.rsv3 || length >> 63 != 0;
        let Some(mask) = header.mask else {
            self.state = State::Failed(ProtocolError::Unmasked);
            return;
        };
        let rest = Rest { length, mask };
        self.state = match header.opcode {
            _ if is_reserved => State::Failed(ProtocolError::Header),
            OpCode::Data(Data::Text) => State::Failed(ProtocolError::Text),
            OpCode::Data(kind) if self.is_in_message != (kind == Data::Continue) => {
                State::Failed(ProtocolError::Header)
            }
            OpCode::Data(_) => {
                self.is_in_message = !header.is_final;
                if length == 0 { State::default() } else { State::Data(rest) }
            }
            OpCode::Control(_) if !header.is_final || length > MAX_CONTROL as u64 => {
                State::Failed(ProtocolError::Header)
            }
            OpCode::Control(kind) if length == 0 => return self.end_control(kind, Vec::new()),
            OpCode::Control(kind) => State::Control { kind, payload: Vec::new(), rest },
        };
    }

    fn end_control(&mut self, kind: Control, payload: Vec<u8>) {
        self.state = if kind == Control::Close { State::Closed } else { State::default() };
        if kind == Control::Ping {
            self.ping = Some(payload);
        }
    }
}

/// Returns the size of a header that begins with these bytes, as far as they determine it.
const fn header_length(bytes: &[u8]) -> usize {
    match bytes {
        [_, second, ..] => {
            let length = match *second & 0x7f {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            2 + length + if *second & 0x80 != 0 { 4 } else { 0 }
        }
        _ => 2,
    }
}

impl Rest {
    /// Returns how many of `available` bytes belong to the payload.
    fn fitting(&self, available: usize) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX).min(available)
    }

    fn unmask(&mut self, payload: &mut [u8]) {
        let mask = self.mask;
        for (index, byte) in payload.iter_mut().enumerate() {
            *byte ^= mask[index % 4];
        }
        self.mask.rotate_left(payload.len() % 4);
        self.length -= payload.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of a client.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x11, 0x22, 0x33, 0x44];
        let mut bytes = vec![first];
        match payload.len() {
            length @ ..126 => bytes.push(0x80 | length as u8),
            length @ ..0x1_0000 => {
                bytes.push(0x80 | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(0x80 | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]));
        bytes
    }

    /// Returns the payload in these bytes, taken in pieces of this size, and the decoder after them.
    fn take(bytes: &[u8], piece: usize) -> (Vec<u8>, Frames) {
        let mut frames = Frames::default();
        let mut data = Vec::new();
        for piece in bytes.chunks(piece) {
            let mut piece = piece.to_vec();
            let count = frames.take(&mut piece);
            data.extend_from_slice(&piece[..count]);
        }
        (data, frames)
    }

    #[test]
    fn the_payload_does_not_depend_on_how_the_bytes_arrive() {
        let long: Vec<u8> = (0..70_000_u32).map(|number| number as u8).collect();
        let mut bytes = frame(0x02, b"ab");
        bytes.extend(frame(0x89, b"ping"));
        bytes.extend(frame(0x00, b""));
        bytes.extend(frame(0x80, &long[..300]));
        bytes.extend(frame(0x8a, b""));
        bytes.extend(frame(0x82, &long));
        let expected = [b"ab", &long[..300], &long].concat();
        for piece in [1, 2, 3, 7, 4096, bytes.len()] {
            let (data, mut frames) = take(&bytes, piece);
            assert!(data == expected, "pieces of {piece}");
            assert_eq!(frames.take_ping().as_deref(), Some(&b"ping"[..]));
            assert!(!frames.is_closed() && frames.error().is_none());
        }
        let (data, frames) = take(&[frame(0x82, b"a"), frame(0x88, b"\x03\xe8bye"), frame(0x82, b"b")].concat(), 5);
        assert_eq!((data, frames.is_closed()), (b"a".to_vec(), true), "bytes after CLOSE are ignored");
    }

    #[test]
    fn a_frame_may_claim_more_bytes_than_memory() {
        let mut bytes = frame(0x82, b"");
        bytes[1] = 0x80 | 127;
        bytes.splice(2..2, (u64::MAX >> 1).to_be_bytes());
        bytes.extend([0x11; 100]);
        let (data, frames) = take(&bytes, 10);
        assert_eq!((data.len(), frames.error()), (100, None));
    }

    #[test]
    fn an_error_is_reported_after_the_payload_before_it() {
        let mut unmasked = frame(0x82, b"");
        unmasked[1] = 0;
        let mut endless = frame(0x82, b"");
        endless[1] = 0x80 | 127;
        endless.splice(2..2, u64::MAX.to_be_bytes());
        for (bytes, error) in [
            (frame(0x81, b"text"), ProtocolError::Text),
            (unmasked, ProtocolError::Unmasked),
            (endless, ProtocolError::Header),
            (frame(0xc2, b"x"), ProtocolError::Header),
            (frame(0x83, b"x"), ProtocolError::Header),
            (frame(0x8b, b"x"), ProtocolError::Header),
            (frame(0x80, b"x"), ProtocolError::Header),
            (frame(0x09, b"x"), ProtocolError::Header),
            (frame(0x89, &[0; 126]), ProtocolError::Header),
            ([frame(0x02, b"x"), frame(0x82, b"x")].concat(), ProtocolError::Header),
        ] {
            let (data, frames) = take(&[frame(0x82, b"data"), bytes.clone(), frame(0x82, b"more")].concat(), 3);
            assert!(data.starts_with(b"data") && !data.ends_with(b"more"), "{bytes:x?}");
            assert_eq!(frames.error(), Some(error), "{bytes:x?}");
        }
    }
}
