//! The policy: permissions to connect, publish and subscribe, and the log of events.

use std::net::SocketAddr;
use std::rc::Rc;

use mqtt_sansio::ReceivedMessage;
use mqtt_sansio::broker::{Admission, Client, ConnectionId, Decision, DecisionId, Ended, Notice, Origin, Policy};
use mqtt_sansio::codec::{ConnAckReasonCode, Connect, PubAckReasonCode, SubAckReasonCode, Subscription};
use mqtt_sansio::server::{Accept, Close};
use tracing::field::display;
use tracing::{debug, info, warn};

use crate::acl::{Acl, Who};
use crate::users::{Check, Slow, Users};

/// The permissions on the command line.
#[derive(Default)]
pub(crate) struct Rights {
    /// The users. Without them every client is accepted, and no user name counts as verified.
    pub(crate) users: Option<Users>,
    /// Whether clients without a user name are accepted although there are users.
    pub(crate) allow_anonymous: bool,
    pub(crate) acl: Option<Acl>,
    /// Filters that no client may subscribe to.
    pub(crate) denied: Vec<String>,
}

/// The policy.
pub(crate) struct Access {
    rights: Rights,
    /// The peers of the connections, by connection index.
    peers: Vec<Option<(ConnectionId, Peer)>>,
}

/// The peer of a connection.
pub(crate) struct Peer {
    address: SocketAddr,
    identity: Identity,
    /// The verified user name, once the client is accepted.
    user: Option<Rc<str>>,
    /// The password to check in another thread, until [`Access::take_check`].
    check: Option<Box<PasswordCheck>>,
}

/// The identity of a client, as far as the transport verifies it.
#[derive(Debug)]
pub(crate) enum Identity {
    /// The transport verifies nothing.
    Unproven,
    /// The client has a certificate, with this common name if the certificate has exactly one.
    Certificate(Option<Box<str>>),
}

/// A password to check on another thread.
pub(crate) struct PasswordCheck {
    pub(crate) id: DecisionId,
    pub(crate) slow: Slow,
    pub(crate) password: Vec<u8>,
    /// The answer if the password is right.
    admission: Admission,
}

impl Access {
    pub(crate) const fn new(rights: Rights) -> Self {
        Self { rights, peers: Vec::new() }
    }

    /// Records the peer of a new connection.
    pub(crate) fn came_from(&mut self, connection: ConnectionId, peer: Peer) {
        if self.peers.len() <= connection.index() {
            self.peers.resize_with(connection.index() + 1, || None);
        }
        self.peers[connection.index()] = Some((connection, peer));
    }

    /// Removes the peer of a connection that has ended.
    pub(crate) fn remove_peer(&mut self, connection: ConnectionId) {
        if let Some(peer) = self.peers.get_mut(connection.index()) {
            peer.take_if(|(known, _)| *known == connection);
        }
    }

    /// Takes the password that has to be checked before the client of a connection is answered.
    pub(crate) fn take_check(&mut self, connection: ConnectionId) -> Option<Box<PasswordCheck>> {
        self.peer_mut(connection)?.check.take()
    }

    /// Returns the verified user name of the accepted client of a connection.
    pub(crate) fn user(&self, connection: ConnectionId) -> Option<&Rc<str>> {
        self.peer(connection)?.user.as_ref()
    }

    fn peer(&self, connection: ConnectionId) -> Option<&Peer> {
        let (known, peer) = self.peers.get(connection.index())?.as_ref()?;
        (*known == connection).then_some(peer)
    }

    fn peer_mut(&mut self, connection: ConnectionId) -> Option<&mut Peer> {
        let (known, peer) = self.peers.get_mut(connection.index())?.as_mut()?;
        (*known == connection).then_some(peer)
    }

    /// Returns the address of a connection. It is not known yet when the broker refuses the connection in `open`.
    fn address(&self, connection: ConnectionId) -> Option<SocketAddr> {
        self.peer(connection).map(|peer| peer.address)
    }

    /// Returns the user name of a client, and the check of its password if that takes a while.
    ///
    /// # Errors
    ///
    /// The reason code to refuse the client with.
    fn identify<'a>(
        &self,
        identity: &'a Identity,
        connect: &Connect<'a>,
    ) -> Result<(Option<&'a str>, Option<Slow>), ConnAckReasonCode> {
        let claimed = connect.user_name.map(|name| name.as_str());
        if let Identity::Certificate(name) = identity {
            let name = name.as_deref().ok_or(ConnAckReasonCode::NotAuthorized)?;
            return match claimed {
                Some(claimed) if claimed != name => Err(ConnAckReasonCode::BadUserNameOrPassword),
                _ => Ok((Some(name), None)),
            };
        }
        let Some(users) = &self.rights.users else { return Ok((None, None)) };
        match (claimed, connect.password) {
            (Some(name), Some(password)) => match users.check(name, password) {
                Check::Done(true) => Ok((Some(name), None)),
                Check::Done(false) => Err(ConnAckReasonCode::BadUserNameOrPassword),
                Check::Slow(slow) => Ok((Some(name), Some(slow))),
            },
            (None, None) if self.rights.allow_anonymous => Ok((None, None)),
            _ => Err(ConnAckReasonCode::BadUserNameOrPassword),
        }
    }
}

impl Peer {
    pub(crate) const fn new(address: SocketAddr, identity: Identity) -> Self {
        Self { address, identity, user: None, check: None }
    }

    /// Returns the origin of the connection: the address of the peer, of IPv6 the network of 64 bits.
    pub(crate) fn origin(&self) -> Origin {
        self.address.ip().into()
    }
}

impl PasswordCheck {
    /// Returns the answer to a client whose password was checked.
    pub(crate) fn admission(self, is_right: bool) -> Admission {
        if is_right { self.admission } else { ConnAckReasonCode::BadUserNameOrPassword.into() }
    }
}

/// A client in the terms of the access control list: the user name of an accepted client is verified.
fn who(client: Client<'_>) -> Who<'_> {
    Who { client: client.id, user: client.user_name }
}

impl Policy for Access {
    fn connect(&mut self, id: DecisionId, connect: &Connect<'_>) -> Decision<Admission> {
        if connect.properties.authentication_method.is_some() {
            return Decision::Now(ConnAckReasonCode::BadAuthenticationMethod.into());
        }
        let Some(peer) = self.peer(id.connection()) else {
            return Decision::Now(ConnAckReasonCode::ServerUnavailable.into()); // not reached: `came_from` comes before
        };
        let (user, slow) = match self.identify(&peer.identity, connect) {
            Ok(identified) => identified,
            Err(code) => return Decision::Now(code.into()),
        };
        // A will is checked here only, and not when it is published. A will under `$SYS`, such as bridges have, is
        // never published.
        let who = Who { client: connect.client_identifier.as_str(), user };
        let will = connect.will.filter(|will| will.topic.levels().next() != Some(b"$SYS"));
        let is_refused = |acl: &Acl| will.is_some_and(|will| !acl.may_write(who, will.topic));
        let admission = match self.rights.acl.as_ref().is_some_and(is_refused) {
            true => ConnAckReasonCode::NotAuthorized.into(),
            // An unverified user name is ignored: by the access control list, and as the owner of a session.
            false => Admission::AcceptAs { user_name: user.map(Into::into), accept: Box::new(Accept::default()) },
        };
        let Some(slow) = slow else { return Decision::Now(admission) };
        let password = connect.password.unwrap_or_default().to_vec();
        if let Some(peer) = self.peer_mut(id.connection()) {
            peer.check = Some(Box::new(PasswordCheck { id, slow, password, admission }));
        }
        Decision::Later
    }

    fn publish(
        &mut self,
        _: DecisionId,
        client: Client<'_>,
        message: &ReceivedMessage<'_>,
    ) -> Decision<PubAckReasonCode> {
        let topic = message.topic.name();
        let may = self.rights.acl.as_ref().is_none_or(|acl| acl.may_write(who(client), topic));
        Decision::Now(if may { PubAckReasonCode::Success } else { PubAckReasonCode::NotAuthorized })
    }

    fn subscribe(
        &mut self,
        _: DecisionId,
        client: Client<'_>,
        subscription: &Subscription<'_>,
    ) -> Decision<SubAckReasonCode> {
        let filter = subscription.filter;
        let may = self.rights.acl.as_ref().is_none_or(|acl| acl.may_read(who(client), filter));
        let is_denied = self.rights.denied.iter().any(|denied| denied.as_bytes() == filter.as_bytes());
        Decision::Now(if may && !is_denied { subscription.qos.into() } else { SubAckReasonCode::NotAuthorized })
    }

    fn notice(&mut self, notice: Notice<'_>) {
        match notice {
            Notice::Connected { client, session_present } => {
                let Client { connection, id, user_name, version, .. } = client;
                if let Some(peer) = self.peer_mut(connection) {
                    peer.user = user_name.map(Into::into);
                }
                let address = self.address(connection).map(display);
                info!(%connection, address, client = id, user = user_name, %version, session_present, "connected");
            }
            Notice::Disconnected { client, why: why @ Ended::Close(Close::Malformed(_) | Close::ProtocolError(_)) } => {
                warn!(connection = %client.connection, client = client.id, why = why.to_string(), "disconnected");
            }
            Notice::Disconnected { client, why } => {
                info!(connection = %client.connection, client = client.id, why = why.to_string(), "disconnected");
            }
            // The address of this connection is not known yet.
            Notice::Refused { connection, why: why @ Ended::ConnectionLimit, .. } => {
                warn!(%connection, %why, "refused")
            }
            // The user name of a refused client is not verified.
            Notice::Refused { connection, client_id, user_name, why } => {
                let address = self.address(connection).map(display);
                let why = why.to_string();
                info!(%connection, address, client = client_id, user = user_name, why, "refused");
            }
            // A client can cause any number of these, so an operator sees their number only, see `drops`.
            Notice::PublishRefused { client, topic, reason_code } => {
                let Client { connection, id, user_name, .. } = client;
                debug!(%connection, client = id, user = user_name, topic, %reason_code, "a message is refused");
            }
            Notice::SubscribeRefused { client, filter, reason_code } => {
                let Client { connection, id, user_name, .. } = client;
                info!(%connection, client = id, user = user_name, filter, %reason_code, "a subscription is refused");
            }
            Notice::WillRefused { client_id, topic, reason_code } => {
                info!(client = client_id, topic, %reason_code, "a will is refused");
            }
            Notice::SessionEnded { client_id } => debug!(client = client_id, "the session has ended"),
            Notice::Dropped { client_id, reason } => debug!(client = client_id, ?reason, "a message was dropped"),
            other => debug!(?other),
        }
    }
}
