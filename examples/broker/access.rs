//! The policy: who may connect, publish and subscribe; and what is logged.

use std::net::SocketAddr;

use mqtt_sansio::ReceivedMessage;
use mqtt_sansio::broker::{Admission, Answer, Client, ConnectionId, Decision, Ended, Notice, Policy, Ticket};
use mqtt_sansio::codec::{ConnAckReasonCode, Connect, PubAckReasonCode, SubAckReasonCode, Subscription};
use mqtt_sansio::server::Close;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::acl::{Acl, Who};
use crate::users::{Check, Slow, Users};

/// Who may do what, as the command line says.
#[derive(Default)]
pub(crate) struct Rights {
    /// Without users everybody is let in, and no user name is proven.
    pub(crate) users: Option<Users>,
    /// Whether clients without a user name are let in although there are users.
    pub(crate) allow_anonymous: bool,
    pub(crate) acl: Option<Acl>,
    /// Filters that nobody may subscribe to.
    pub(crate) denied: Vec<String>,
}

/// The policy.
pub(crate) struct Access {
    rights: Rights,
    /// The peers of the connections, by the connections' indexes.
    peers: Vec<Peer>,
    checks: mpsc::UnboundedSender<PasswordCheck>,
}

/// The peer of a connection.
#[derive(Clone, Debug)]
struct Peer {
    address: SocketAddr,
    identity: Identity,
    /// The user name, once it is proven by a password or a certificate.
    user: Option<Box<str>>,
    /// The CONNECT of the client, until the client is accepted.
    request: Option<Box<Request>>,
}

/// The identity of a client, as far as the transport proves it.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// The transport proves nothing.
    Unproven,
    /// The client has a certificate, with this common name if the certificate has exactly one.
    Certificate(Option<Box<str>>),
}

/// A CONNECT, as the log tells it.
#[derive(Clone, Debug)]
struct Request {
    client: Box<str>,
    user: Option<Box<str>>,
    /// The reason code, if this policy refuses the client.
    refused: Option<ConnAckReasonCode>,
}

/// A password that is to be checked while others go on.
pub(crate) struct PasswordCheck {
    pub(crate) ticket: Ticket,
    pub(crate) slow: Slow,
    pub(crate) password: Vec<u8>,
    /// The answer if the password is right.
    verdict: ConnAckReasonCode,
}

impl Access {
    /// The policy, and the passwords that it wants to be checked.
    pub(crate) fn new(rights: Rights) -> (Self, mpsc::UnboundedReceiver<PasswordCheck>) {
        // There is at most one check for each connection.
        let (checks, receiver) = mpsc::unbounded_channel();
        (Self { rights, peers: Vec::new(), checks }, receiver)
    }

    /// A connection is there.
    pub(crate) fn came_from(&mut self, connection: ConnectionId, address: SocketAddr, identity: Identity) {
        let peer = Peer { address, identity, user: None, request: None };
        if self.peers.len() <= connection.index() {
            self.peers.resize(connection.index() + 1, peer.clone());
        }
        self.peers[connection.index()] = peer;
    }

    /// The answer to a client whose password was checked.
    pub(crate) fn checked(&mut self, check: &PasswordCheck, is_right: bool) -> Answer {
        let code = if is_right { check.verdict } else { ConnAckReasonCode::BadUserNameOrPassword };
        Answer::Connect(self.admit(check.ticket.connection(), code))
    }

    fn admit(&mut self, connection: ConnectionId, code: ConnAckReasonCode) -> Admission {
        if let Some(request) = &mut self.peers[connection.index()].request {
            request.refused = code.is_error().then_some(code);
        }
        code.into()
    }

    /// The user name of a client, and the check of its password if that takes a while.
    ///
    /// # Errors
    ///
    /// The reason code that the client is refused with.
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

    /// The client of a connection, by the name that it has proven.
    fn who<'a>(&'a self, client: Client<'a>) -> Who<'a> {
        Who { client: client.id, user: self.peers[client.connection.index()].user.as_deref() }
    }

    fn log_refused(&mut self, connection: ConnectionId, why: &Ended<'_>) {
        let peer = &mut self.peers[connection.index()];
        let request = peer.request.take();
        let (client, user) = request.as_ref().map(|it| (&*it.client, it.user.as_deref())).unzip();
        let why = match request.as_ref().and_then(|request| request.refused) {
            Some(code) => code.to_string(),
            None => why.to_string(),
        };
        info!(%connection, address = %peer.address, client, user = user.flatten(), why, "refused");
    }
}

impl Policy for Access {
    fn connect(&mut self, ticket: Ticket, connect: &Connect<'_>) -> Decision<Admission> {
        let connection = ticket.connection();
        let client = connect.client_identifier.as_str();
        let claimed = connect.user_name.map(|name| name.as_str().into());
        let peer = &mut self.peers[connection.index()];
        peer.request = Some(Box::new(Request { client: client.into(), user: claimed, refused: None }));
        if connect.properties.authentication_method.is_some() {
            return Decision::Now(self.admit(connection, ConnAckReasonCode::BadAuthenticationMethod));
        }
        let identity = peer.identity.clone();
        let (user, slow) = match self.identify(&identity, connect) {
            Ok(identified) => identified,
            Err(code) => return Decision::Now(self.admit(connection, code)),
        };
        // Nobody is asked again when a will is published.
        let who = Who { client, user };
        let is_refused = |acl: &Acl| connect.will.is_some_and(|will| !acl.may_write(who, will.topic));
        let verdict = match self.rights.acl.as_ref().is_some_and(is_refused) {
            true => ConnAckReasonCode::NotAuthorized,
            false => ConnAckReasonCode::Success,
        };
        // The name is used once the client is accepted.
        self.peers[connection.index()].user = user.map(Into::into);
        let Some(slow) = slow else { return Decision::Now(self.admit(connection, verdict)) };
        let password = connect.password.unwrap_or_default().to_vec();
        match self.checks.send(PasswordCheck { ticket, slow, password, verdict }) {
            Ok(()) => Decision::Later,
            Err(_) => Decision::Now(self.admit(connection, ConnAckReasonCode::ServerUnavailable)), // it is shutting down
        }
    }

    fn publish(&mut self, _: Ticket, client: Client<'_>, message: &ReceivedMessage<'_>) -> Decision<PubAckReasonCode> {
        let topic = message.topic.name();
        if self.rights.acl.as_ref().is_none_or(|acl| acl.may_write(self.who(client), topic)) {
            return Decision::Now(PubAckReasonCode::Success);
        }
        let user = self.who(client).user;
        // There may be as many of these as a client likes: an operator is told their number, see `drops`.
        debug!(connection = %client.connection, client = client.id, user, topic = topic.as_str(), "a message is refused");
        Decision::Now(PubAckReasonCode::NotAuthorized)
    }

    fn subscribe(
        &mut self,
        _: Ticket,
        client: Client<'_>,
        subscription: &Subscription<'_>,
    ) -> Decision<SubAckReasonCode> {
        let filter = subscription.filter;
        let may = self.rights.acl.as_ref().is_none_or(|acl| acl.may_read(self.who(client), filter));
        let is_denied = self.rights.denied.iter().any(|denied| denied.as_bytes() == filter.as_bytes());
        if may && !is_denied {
            return Decision::Now(subscription.qos.into());
        }
        let user = self.who(client).user;
        info!(connection = %client.connection, client = client.id, user, filter = filter.as_str(), "a subscription is refused");
        Decision::Now(SubAckReasonCode::NotAuthorized)
    }

    fn notice(&mut self, notice: Notice<'_>) {
        match notice {
            Notice::Connected { client, session_present } => {
                let Client { connection, id, version, .. } = client;
                let peer = &mut self.peers[connection.index()];
                peer.request = None;
                // A user name that was not checked is logged as a claim.
                let user = peer.user.as_deref();
                let claimed = client.user_name.filter(|_| user.is_none());
                let address = peer.address;
                info!(%connection, %address, client = id, user, claimed, %version, session_present, "connected");
            }
            Notice::Disconnected { client, why: why @ Ended::Close(Close::Malformed(_) | Close::Breach(_)) } => {
                warn!(connection = %client.connection, client = client.id, why = why.to_string(), "disconnected");
            }
            Notice::Disconnected { client, why } => {
                info!(connection = %client.connection, client = client.id, why = why.to_string(), "disconnected");
            }
            // The address of this connection is not known yet.
            Notice::Refused { connection, why: why @ Ended::TooMany } => warn!(%connection, %why, "refused"),
            Notice::Refused { connection, why } => self.log_refused(connection, &why),
            Notice::SessionEnded { client_id } => debug!(client = client_id, "the session has ended"),
            Notice::Dropped { client_id, reason } => debug!(client = client_id, ?reason, "a message was dropped"),
            other => debug!(?other),
        }
    }
}
