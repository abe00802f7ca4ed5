//! What a codec has to provide to be measured, and the loops that measure it.
//!
//! [`Decode`] and [`Encode`] are written once for each codec, with the codec's own types. [`Contender`] hides those, so
//! that all of them can take turns.

use std::fmt;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::alloc::{self, Allocations};
use crate::frames::Version;

/// The size of the chunks in which a stream is handed over: what a TCP segment carries in an Ethernet frame.
pub const CHUNK: usize = 1460;

/// What a PUBLISH is recognized by, to see that it was decoded and not skipped.
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

/// Why there is no packet.
pub enum Failure {
    Incomplete,
    Error(String),
    Panic,
}

impl Failure {
    /// Wraps the codec's own error. Kept out of the way of what is timed.
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
    /// What the codec's own decode returns. It is timed as it is, without being moved into another type.
    type Decoded<'a>;
    type Packet<'a>;

    /// Whether the codec reads from a buffer of its own type, into which the bytes have to be copied.
    const OWN_BUFFER: bool = false;

    /// Decodes one frame; with a buffer of its own, the copy into it included.
    fn decode<'a>(&mut self, frame: &'a [u8]) -> Self::Decoded<'a>;

    fn is_packet(decoded: &Self::Decoded<'_>) -> bool;

    fn packet(decoded: Self::Decoded<'_>) -> Result<Self::Packet<'_>, Failure>;

    fn message(packet: &Self::Packet<'_>) -> Option<Message>;

    /// Copies bytes into the codec's own buffer.
    fn fill(&mut self, _bytes: &[u8]) {}

    /// Decodes all frames of `bytes`, or, with a buffer of its own, of that. Returns how many they are.
    fn drain(&mut self, bytes: &[u8]) -> usize;

    /// Decodes all frames of a stream that comes in chunks of [`CHUNK`].
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
    /// What is encoded.
    type Value: 'static;
    /// What it is written to, again and again.
    type Out: 'static;

    /// The size from which on the payload of a PUBLISH is not copied, but handed on by reference for a vectored write.
    const ATTACHES_FROM: Option<usize> = None;

    /// The value that encodes to a frame; `None` when there is none, or none that this encoder is meant for.
    fn value(&mut self, frame: &'static [u8]) -> Option<Self::Value>;

    fn out() -> Self::Out;

    /// Encodes into an emptied `out`, and returns how many bytes it takes.
    fn encode(&mut self, value: &Self::Value, out: &mut Self::Out) -> usize;

    /// The bytes that the last encode has written.
    fn written(value: &Self::Value, out: &mut Self::Out) -> Vec<u8>;
}

/// How a stream is handed over.
#[derive(Clone, Copy)]
pub enum Feed {
    /// In one piece, the copy into the codec's own buffer included.
    Whole,
    /// In one piece that already lies in the codec's own buffer.
    Filled,
    /// In chunks.
    Chunks,
}

/// A [`Decode`] of any type.
pub trait Decoder {
    fn own_buffer(&self) -> bool;

    /// Decodes with a fresh decoder; a panic is caught.
    fn try_decode(&mut self, frame: &[u8]) -> Result<Option<Message>, Failure>;

    /// Nanoseconds for the decode of a frame, and the drop of the packet.
    fn time(&mut self, frame: &[u8], iterations: usize) -> f64;

    /// Nanoseconds for a whole stream, and the number of packets in it.
    fn time_stream(&mut self, stream: &[u8], feed: Feed) -> (f64, usize);

    /// Whether all the frames of a stream are found.
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

/// An [`Encode`] of any type, and the value that it is about to encode.
pub trait Encoder {
    fn attaches_from(&self) -> Option<usize>;

    /// Takes the value that encodes to a frame. Without one, the other methods must not be called.
    fn load(&mut self, frame: &'static [u8]) -> bool;

    /// The bytes that the value encodes to. Twice into the same buffer, to see that it is emptied.
    fn encode(&mut self) -> Vec<u8>;

    /// Nanoseconds for an encode.
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
    /// What is timed.
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

    /// Whether it is a codec that others have published.
    pub fn is_peer(&self) -> bool {
        !self.is_ours() && self.name != FLOOR
    }
}

/// What the names of this crate's contenders begin with.
const OURS: &str = "mqtt-sansio";

/// The name of the yardstick.
pub const FLOOR: &str = "(floor)";
