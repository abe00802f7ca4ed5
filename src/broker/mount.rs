//! The part of the tree of topics that is the whole of it for a client.

use crate::sync::Arc;
use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

use thiserror::Error;

use crate::topic::{TopicError, TopicFilter, TopicName};

/// The topic under which a client lives: see [`Policy::mount_point`](super::Policy::mount_point). The client neither sees nor
/// names what is outside. It calls a topic by what is behind the mount point: with the mount point `tenants/a` the topic
/// `state` of the client is `tenants/a/state` for the broker.
///
/// ```
/// # use mqtt_sansio::broker::MountPoint;
/// # fn main() -> Result<(), Box<dyn core::error::Error>> {
/// let mount_point = MountPoint::new("tenants/a")?;
/// assert_eq!(mount_point.as_str(), "tenants/a");
/// assert!(MountPoint::new("tenants/+").is_err() && MountPoint::new("$SYS/x").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct MountPoint(
    /// The topic with a `/` behind.
    Arc<[u8]>,
);

/// A text is no [`MountPoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MountPointError {
    /// The text is not a topic.
    #[error("the mount point is not a topic: {0}")]
    Topic(#[from] TopicError),
    /// The first level is `$SYS` or `$share`, which mean something else.
    #[error("the mount point begins with $SYS or $share")]
    Reserved,
}

/// The most bytes of a text \[MQTT-1.5.4, 1.5.3 in 3.1.1\].
const MAX: usize = 65_535;

impl MountPoint {
    /// Makes a mount point of a topic.
    ///
    /// # Errors
    ///
    /// [`MountPointError`] if the text is not a topic, or begins with `$SYS` or `$share`.
    ///
    /// ```
    /// use mqtt_sansio::broker::MountPoint;
    ///
    /// assert!(MountPoint::new("tenants/a").is_ok() && MountPoint::new("tenants/#").is_err());
    /// ```
    pub fn new(topic: &str) -> Result<Self, MountPointError> {
        let topic = TopicName::new(topic)?;
        if topic.levels().next().is_some_and(|level| matches!(level, b"$SYS" | b"$share")) {
            return Err(MountPointError::Reserved);
        }
        Ok(Self([topic.as_bytes(), b"/"].concat().into()))
    }

    /// Returns the topic.
    ///
    /// ```
    /// # use mqtt_sansio::broker::MountPoint;
    /// assert_eq!(MountPoint::new("tenants/a")?.as_str(), "tenants/a");
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn as_str(&self) -> &str {
        TopicName::validated(self.0.strip_suffix(b"/").unwrap_or_default()).as_str()
    }

    /// The mount point that is stored as a topic with a `/` behind; `None` if it is not one.
    pub(super) fn restored(stored: &[u8]) -> Option<Self> {
        Self::new(core::str::from_utf8(stored.strip_suffix(b"/")?).ok()?).ok()
    }

    /// The topic with a `/` behind.
    pub(super) const fn as_bytes(&self) -> &Arc<[u8]> {
        &self.0
    }

    /// The topic that a client names, in full; `None` if that is too long.
    pub(super) fn topic(&self, topic: TopicName<'_>) -> Option<Vec<u8>> {
        let full = [&self.0, topic.as_bytes()].concat();
        (full.len() <= MAX).then_some(full)
    }

    /// The filter that a client names, in full; `None` if that is too long.
    pub(super) fn filter(&self, filter: TopicFilter<'_>) -> Option<Vec<u8>> {
        let (all, own) = (filter.as_bytes(), filter.without_share().as_bytes());
        let share = all.get(..all.len().saturating_sub(own.len())).unwrap_or_default();
        let full = [share, &self.0, own].concat();
        (full.len() <= MAX).then_some(full)
    }
}

/// A filter that a client names, in full; `None` if that is too long.
pub(super) fn full_filter<'a>(mount: Option<&MountPoint>, filter: TopicFilter<'a>) -> Option<Cow<'a, [u8]>> {
    match mount {
        None => Some(Cow::Borrowed(filter.as_bytes())),
        Some(mount) => mount.filter(filter).map(Cow::Owned),
    }
}

impl fmt::Debug for MountPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MountPoint").field(&self.as_str()).finish()
    }
}

impl fmt::Display for MountPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
