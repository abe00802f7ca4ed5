//! The topic of a received message, which the packet contains or a topic alias is mapped to.

use core::fmt;

use crate::sync::Arc;
use crate::topic::TopicName;

/// The topic of a received message.
///
/// ```
/// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
/// # use mqtt_sansio::{Instant, TopicFilter};
/// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
/// # client.open(now)?;
/// # let mut connack = &b"\x20\x03\0\0\0"[..];
/// # assert!(client.poll(now, &mut connack).is_some());
/// let commands = TopicFilter::new("home/+/set")?;
/// # let mut input = &b"\x30\x10\x00\x0dhome/lamp/set\x00"[..];
/// while let Some(Action::Message(message)) = client.poll(now, &mut input) {
///     if commands.matches(message.topic.name()) {
///         println!("{} is to be changed", message.topic.as_str());
///     }
/// #   assert_eq!(message.topic, "home/lamp/set");
/// }
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Topic<'a> {
    /// The topic name in the packet.
    Named(TopicName<'a>),
    /// The topic name that a topic alias was mapped to.
    Aliased(SharedTopic),
}

/// A topic name that a topic alias is mapped to.
#[derive(Clone)]
pub struct SharedTopic(pub(crate) Arc<[u8]>);

impl Topic<'_> {
    /// Returns the topic name.
    pub fn name(&self) -> TopicName<'_> {
        match self {
            Self::Named(name) => *name,
            Self::Aliased(SharedTopic(name)) => TopicName::validated(name),
        }
    }

    /// Returns the topic name as a string. The cost is linear in its length.
    pub fn as_str(&self) -> &str {
        self.name().as_str()
    }
}

impl AsRef<[u8]> for Topic<'_> {
    fn as_ref(&self) -> &[u8] {
        self.name().as_bytes()
    }
}

impl PartialEq for Topic<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Topic<'_> {}

impl PartialEq<str> for Topic<'_> {
    fn eq(&self, other: &str) -> bool {
        self.name() == *other
    }
}

impl PartialEq<&str> for Topic<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.name() == **other
    }
}

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.name(), f)
    }
}

/// As a string.
#[cfg(feature = "serde")]
impl serde::Serialize for Topic<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.name().serialize(serializer)
    }
}

impl fmt::Debug for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.name(), f)
    }
}
