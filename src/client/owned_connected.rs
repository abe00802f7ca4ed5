//! Reports of connections that own their content.

use super::action::{Connected, Resumption};
use super::server::ServerLimits;
use crate::codec::{ConnAck, ConnAckProperties, ConnAckReasonCode, Packet, PacketBuf, Version};

/// A [`Connected`] that owns its content, and can be passed to another thread, task or queue: `Send + 'static`. Made by
/// [`Connected::to_owned`].
///
/// ```
/// # use mqtt_sansio::Instant;
/// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession, OwnedConnected, Resumption};
/// # use std::sync::mpsc::channel;
/// # fn main() -> Result<(), Box<dyn core::error::Error>> {
/// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
/// # client.open(now)?;
/// # let mut input = &b"\x20\x0a\0\0\x07\x12\x00\x04c-17"[..];
/// let (sender, receiver) = channel::<OwnedConnected>();
/// if let Some(Action::Connected(connected)) = client.poll(now, &mut input) {
///     sender.send(connected.to_owned())?;
/// }
/// let connected = receiver.recv()?; // in another thread
/// assert_eq!(connected.session, Resumption::New);
/// assert_eq!(connected.properties().assigned_client_identifier.ok_or("none")?, "c-17");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnedConnected {
    /// Whether the session is new, resumed or lost.
    pub session: Resumption,
    /// The limits that the server has announced.
    pub server: ServerLimits,
    /// A CONNACK of 5.0 with the properties; `None` if there are none.
    connack: Option<PacketBuf>,
}

impl Connected<'_> {
    /// Returns the report with a copy of its content. Without properties it allocates nothing.
    pub fn to_owned(&self) -> OwnedConnected {
        let Connected { session, server, properties } = *self;
        let connack = ConnAck { session_present: false, reason_code: ConnAckReasonCode::Success, properties };
        let connack = if properties.is_empty() { None } else { encode(connack.into()) };
        OwnedConnected { session, server, connack }
    }
}

/// Encodes what was received, which can always be encoded again.
fn encode(connack: Packet<'_>) -> Option<PacketBuf> {
    match PacketBuf::encode(&connack, Version::V5) {
        Ok(packet) => Some(packet),
        Err(error) => {
            bug!("a received CONNACK can be encoded: {error}");
            None
        }
    }
}

impl OwnedConnected {
    /// Returns the properties of CONNACK, for instance the Assigned Client Identifier, the Response Information and the last
    /// Authentication Data; empty before 5.0. They are decoded at each call.
    pub fn properties(&self) -> ConnAckProperties<'_> {
        match self.connack.as_ref().map(PacketBuf::packet) {
            Some(Packet::ConnAck(connack)) => connack.properties,
            _ => ConnAckProperties::default(),
        }
    }
}
