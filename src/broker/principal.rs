//! Whoever bears the work and the memory that clients cause.

use alloc::string::String;
use core::net::IpAddr;

use crate::heap_size::ARC;
use crate::sync::Arc;

/// Where a connection comes from: the party that bears the work of clients without an authenticated user.
///
/// An address is an origin by itself, of IPv6 the network of 64 bits that it is in, because one party has all of that. An
/// embedding program that knows better gives a number of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(u128);

impl Origin {
    /// The origin of connections that nothing is known about. They share one.
    pub const UNKNOWN: Self = Self(0);

    /// Makes an origin of a number that the embedding program has chosen.
    ///
    /// ```
    /// use mqtt_sansio::broker::Origin;
    ///
    /// let port = 3; // a serial port, for instance
    /// let origin = Origin::new(port);
    /// # assert_ne!(origin, Origin::UNKNOWN);
    /// ```
    pub const fn new(number: u128) -> Self {
        Self(number)
    }
}

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u128::from(address.to_bits()) | 0xFFFF << 32),
            IpAddr::V6(address) => Self(address.to_bits() >> 64 << 64),
        }
    }
}

/// The principal of a client: the party that bears the work of all its clients. Principals have turns one after the other,
/// whatever number of clients each has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Principal {
    /// The [origin](Origin) of the connection.
    #[default]
    Origin,
    /// The user of the client; the origin if the client has none.
    User,
    /// Another party, by a name of the policy's own.
    Named(String),
}

/// What tells principals apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PrincipalName {
    Origin(Origin),
    User(Arc<str>),
    Named(Arc<str>),
}

impl PrincipalName {
    /// The size on the heap, in bytes.
    pub(super) fn heap(&self) -> usize {
        match self {
            Self::Origin(_) => 0,
            Self::User(name) | Self::Named(name) => name.len().saturating_add(ARC),
        }
    }
}

impl Principal {
    /// The name of the principal of a client with this user and this origin.
    pub(super) fn name(self, user_name: Option<&str>, origin: Origin) -> PrincipalName {
        match (self, user_name) {
            (Self::User, Some(user_name)) => PrincipalName::User(user_name.into()),
            (Self::Named(name), _) => PrincipalName::Named(name.into()),
            (Self::Origin | Self::User, _) => PrincipalName::Origin(origin),
        }
    }
}
