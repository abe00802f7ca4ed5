//! The interface that a codec must provide to be measured, and the loops that measure it.
//!
//! [`Decode`] and [`Encode`] are implemented once for each codec, with the codec's own types. [`Contender`] hides
//! those, so that all codecs can take turns.

use std::fmt;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::alloc::{self, Allocations};
use crate::frames::Version;

/// The size of the chunks of a stream: the payload of a TCP segment in an Ethernet frame.
pub const CHUNK: usize = 1460;

/// The fields by which a PUBLISH is recognized, to check that it was decoded and not skipped.
#[derive(Debug, PartialEq)]
pub struct Message {
    pub topic: String,
    pub payload_len: usize,
    pub qos: u8,
}

impl Message {
    pub fn new(topic: impl Into<String>, payload_len: usize, qos: u8) -> Self {
        Self { topic: topic.into(), payload_len, qos }
    }
}

/// The reason why there is no packet.
pub enum Failure {
    Incomplete,
    Error(String),
    Panic,
}

impl Failure {
    /// Wraps the codec's own error, outside of the timed code.
    #[cold]
    #[inline(never)]
    pub fn error(error: impl std::fmt::Debug) -> Self {
        Self::Error(format!("{error:?}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => f.write_str("asks for more bytes"),
            Self::Error(error) => write!(f, "error: {error:.80}"),
            Self::Panic => f.write_str("panics"),
        }
    }
}

/// A decoder.
pub trait Decode: Default + 'static {
    /// The result of the codec's own decode. It is timed without being moved into another type.
    type Decoded<'a>;
    type Packet<'a>;

    /// Whether the codec reads from a buffer of its own type, into which the bytes must be copied.
    const OWN_BUFFER: bool = false;

    /// Decodes one frame, including the copy into a buffer of the codec's own.
    fn decode<'a>(&mut self, frame: &'a [u8]) -> Self::Decoded<'a>;

    fn is_packet(decoded: &Self::Decoded<'_>) -> bool;

    fn packet(decoded: Self::Decoded<'_>) -> Result<Self::Packet<'_>, Failure>;

    fn message(packet: &Self::Packet<'_>) -> Option<Message>;

    /// Copies bytes into the codec's own buffer.
    fn fill(&mut self, _bytes: &[u8]) {}

    /// Decodes all frames of `bytes`, or of the codec's own buffer if it has one. Returns the number of frames.
    fn drain(&mut self, bytes: &[u8]) -> usize;

    /// Decodes all frames of a stream that arrives in chunks of [`CHUNK`].
    fn drain_chunks(&mut self, stream: &[u8]) -> usize {
        let mut count = 0;
        for chunk in stream.chunks(CHUNK) {
            self.fill(chunk);
            count += self.drain(chunk);
        }
        count
    }
}

/// An encoder.
pub trait Encode: Default + 'static {
    /// The value to encode.
    type Value: 'static;
    /// The output, which is reused.
    type Out: 'static;

    /// The size from which the payload of a PUBLISH is not copied, but passed by reference for a vectored write.
    const ATTACHES_FROM: Option<usize> = None;

    /// The value that encodes to a frame, or `None` if this encoder is not meant for it.
    fn value(&mut self, frame: &'static [u8]) -> Option<Self::Value>;

    fn out() -> Self::Out;

    /// Encodes into a cleared `out` and returns the number of bytes.
    fn encode(&mut self, value: &Self::Value, out: &mut Self::Out) -> usize;

    /// The bytes written by the last encode.
    fn written(value: &Self::Value, out: &mut Self::Out) -> Vec<u8>;
}

/// The form in which a stream is given to a decoder.
#[derive(Clone, Copy)]
pub enum Feed {
    /// In one piece, including the copy into the codec's own buffer.
    Whole,
    /// In one piece that is already in the codec's own buffer.
    Filled,
    /// In chunks.
    Chunks,
}

/// A [`Decode`] of any type.
pub trait Decoder {
    fn own_buffer(&self) -> bool;

    /// Decodes with a fresh decoder; a panic is caught.
    fn try_decode(&mut self, frame: &[u8]) -> Result<Option<Message>, Failure>;

    /// The time in nanoseconds to decode a frame and drop the packet.
    fn time(&mut self, frame: &[u8], iterations: usize) -> f64;

    /// The time in nanoseconds for a whole stream, and the number of its packets.
    fn time_stream(&mut self, stream: &[u8], feed: Feed) -> (f64, usize);

    /// Whether the decoder finds all frames of a stream.
    fn can_stream(&mut self, stream: &[u8], feed: Feed, count: usize) -> bool;

    fn allocations(&mut self, frame: &[u8]) -> Allocations;

    fn packet_size(&self) -> usize;
}

struct AnyDecoder<D>(D);

impl<D: Decode> Decoder for AnyDecoder<D> {
    fn own_buffer(&self) -> bool {
        D::OWN_BUFFER
    }

    fn try_decode(&mut self, frame: &[u8]) -> Result<Option<Message>, Failure> {
        self.0 = D::default();
        let attempt = AssertUnwindSafe(|| D::packet(self.0.decode(frame)).map(|packet| D::message(&packet)));
        let result = catch_unwind(attempt).unwrap_or(Err(Failure::Panic));
        self.0 = D::default();
        result
    }

    #[inline(never)]
    fn time(&mut self, frame: &[u8], iterations: usize) -> f64 {
        let start = Instant::now();
        for _ in 0..iterations {
            let decoded = self.0.decode(black_box(frame));
            black_box(&decoded);
        }
        start.elapsed().as_nanos() as f64 / iterations as f64
    }

    #[inline(never)]
    fn time_stream(&mut self, stream: &[u8], feed: Feed) -> (f64, usize) {
        if let Feed::Filled = feed {
            self.0.fill(black_box(stream));
        }
        let start = Instant::now();
        let count = match feed {
            Feed::Whole => {
                self.0.fill(black_box(stream));
                self.0.drain(black_box(stream))
            }
            Feed::Filled => self.0.drain(black_box(stream)),
            Feed::Chunks => self.0.drain_chunks(black_box(stream)),
        };
        (start.elapsed().as_nanos() as f64, count)
    }

    fn can_stream(&mut self, stream: &[u8], feed: Feed, count: usize) -> bool {
        let found = catch_unwind(AssertUnwindSafe(|| self.time_stream(stream, feed).1));
        let can_stream = found.is_ok_and(|found| found == count);
        if !can_stream {
            self.0 = D::default();
        }
        can_stream
    }

    fn allocations(&mut self, frame: &[u8]) -> Allocations {
        alloc::average(|| drop(black_box(self.0.decode(black_box(frame)))))
    }

    fn packet_size(&self) -> usize {
        size_of::<D::Packet<'static>>()
    }
}

/// An [`Encode`] of any type, and the value that it encodes.
pub trait Encoder {
    fn attaches_from(&self) -> Option<usize>;

    /// Loads the value that encodes to a frame. If that fails, the other methods must not be called.
    fn load(&mut self, frame: &'static [u8]) -> bool;

    /// The bytes that the value encodes to. They are encoded twice into the same buffer, to check that it is cleared.
    fn encode(&mut self) -> Vec<u8>;

    /// The time of an encode in nanoseconds.
    fn time(&mut self, iterations: usize) -> f64;

    fn allocations(&mut self) -> Allocations;
}

struct AnyEncoder<E: Encode> {
    encoder: E,
    value: Option<E::Value>,
    out: E::Out,
}

impl<E: Encode> AnyEncoder<E> {
    #[inline(always)]
    fn parts(&mut self) -> (&mut E, &E::Value, &mut E::Out) {
        (&mut self.encoder, self.value.as_ref().expect("a value"), &mut self.out)
    }
}

impl<E: Encode> Encoder for AnyEncoder<E> {
    fn attaches_from(&self) -> Option<usize> {
        E::ATTACHES_FROM
    }

    fn load(&mut self, frame: &'static [u8]) -> bool {
        let attempt = AssertUnwindSafe(|| {
            let value = self.encoder.value(frame)?;
            self.encoder.encode(&value, &mut self.out);
            Some(value)
        });
        self.value = catch_unwind(attempt).unwrap_or(None);
        self.value.is_some()
    }

    fn encode(&mut self) -> Vec<u8> {
        let (encoder, value, out) = self.parts();
        let first = encoder.encode(value, out);
        let second = encoder.encode(value, out);
        let written = E::written(value, out);
        assert_eq!((first, second), (written.len(), written.len()));
        written
    }

    #[inline(never)]
    fn time(&mut self, iterations: usize) -> f64 {
        let (encoder, value, out) = self.parts();
        let start = Instant::now();
        for _ in 0..iterations {
            black_box(encoder.encode(black_box(value), out));
            black_box(&*out);
        }
        start.elapsed().as_nanos() as f64 / iterations as f64
    }

    fn allocations(&mut self) -> Allocations {
        let (encoder, value, out) = self.parts();
        alloc::average(|| {
            black_box(encoder.encode(black_box(value), out));
        })
    }
}

/// A codec, or a part of one, of any type.
pub struct Contender {
    pub name: &'static str,
    pub version: Version,
    /// What the times cover.
    pub note: &'static str,
    pub decoder: Option<Box<dyn Decoder>>,
    pub encoder: Option<Box<dyn Encoder>>,
}

impl Contender {
    pub fn new(name: &'static str, version: Version, note: &'static str) -> Self {
        Self { name, version, note, decoder: None, encoder: None }
    }

    pub fn decoder<D: Decode>(self) -> Self {
        Self { decoder: Some(Box::new(AnyDecoder(D::default()))), ..self }
    }

    pub fn encoder<E: Encode>(self) -> Self {
        Self { encoder: Some(Box::new(AnyEncoder { encoder: E::default(), value: None, out: E::out() })), ..self }
    }

    /// Whether it belongs to this crate.
    pub fn is_ours(&self) -> bool {
        self.name.starts_with(OURS)
    }

    /// Whether it is a codec published by others.
    pub fn is_peer(&self) -> bool {
        !self.is_ours() && self.name != FLOOR
    }
}

/// The common prefix of this crate's contenders.
const OURS: &str = "mqtt-sansio";

/// The name of the yardstick.
pub const FLOOR: &str = "(floor)";
