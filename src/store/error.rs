//! The error of restoring a session or a broker.

use core::fmt;

use thiserror::Error;

use super::key::{Key, Kind};

/// The error of restoring a session, or a broker, from its pairs: a pair that cannot be read, or that contradicts another one.
///
/// A caller that prefers to lose a part of the state may leave out the pair with this [`key`](Self::key), and restore
/// again; the text says what is lost.
#[derive(Clone, Copy, PartialEq, Eq, Error)]
#[error("{kind}: {}", Lost(self))]
pub struct RestoreError {
    key: [u8; 32],
    len: u8,
    kind: RestoreErrorKind,
}

/// The kind of a [`RestoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RestoreErrorKind {
    /// The key is none of this crate, or its numbers have another size.
    #[error("unknown key")]
    UnknownKey,
    /// The keys do not ascend.
    #[error("key is not above the key before it")]
    Order,
    /// The pairs have another version of the format, or none.
    #[error("pairs are not in the format of this version of the crate")]
    Format,
    /// The value is damaged.
    #[error("value is damaged")]
    Value,
    /// A part of a message is missing, or has another size.
    #[error("message is incomplete")]
    Incomplete,
    /// Two deliveries have the same packet identifier.
    #[error("packet identifier is used twice")]
    PacketIdInUse,
    /// The session has another version of the protocol than the configuration.
    #[error("session has another version of the protocol")]
    OtherVersion,
}

impl RestoreError {
    pub(crate) fn new(key: &[u8], kind: RestoreErrorKind) -> Self {
        let mut bytes = [0; 32];
        let key = key.get(..32).unwrap_or(key);
        if let Some(bytes) = bytes.get_mut(..key.len()) {
            bytes.copy_from_slice(key);
        }
        Self { key: bytes, len: key.len() as u8, kind }
    }

    pub(crate) fn of(key: Key, kind: RestoreErrorKind) -> Self {
        Self::new(&key.bytes(), kind)
    }

    /// Returns the key of the pair, without what exceeds 32 bytes.
    ///
    /// ```
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::store::RestoreErrorKind;
    /// let pairs = [(b"key", b"value of another program")];
    /// let error = ClientSession::restore(ClientConfig::default(), Instant::EPOCH, pairs).unwrap_err();
    /// assert_eq!((error.key(), error.kind()), (&[0][..], RestoreErrorKind::Format)); // the first key is missing
    /// println!("{error}"); // says what is lost without the pair
    /// ```
    pub fn key(&self) -> &[u8] {
        self.key.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Returns the kind of the error.
    pub const fn kind(&self) -> RestoreErrorKind {
        self.kind
    }
}

impl fmt::Debug for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoreError")
            .field("key", &format_args!("{:02x?}", self.key()))
            .field("kind", &self.kind)
            .finish()
    }
}

/// What is lost without the pair.
struct Lost<'a>(&'a RestoreError);

impl fmt::Display for Lost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.0.key();
        let Some((kind, numbers)) = Kind::split(key) else { return write!(f, "key {key:02x?}") };
        let last = numbers.iter().rev().take(8).rev().fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
        match kind {
            Kind::Format => f.write_str("the version of the format"),
            Kind::Clock => f.write_str("the time of the last batch"),
            Kind::HighWater => f.write_str("the number of the last token, message or session"),
            Kind::Message => write!(f, "message {last}, with its deliveries"),
            Kind::Part => write!(f, "key {key:02x?}, a part of a message"),
            Kind::Retained => write!(f, "retained message {last}"),
            Kind::Session => write!(f, "session {last}, with all that belongs to it"),
            Kind::Will => write!(f, "will {last}"),
            Kind::Subscription => write!(f, "subscription {last}"),
            Kind::Received => write!(f, "key {key:02x?}, a received message of QoS 2, which may come again"),
            Kind::Delivery => write!(f, "delivery {last}"),
        }
    }
}
