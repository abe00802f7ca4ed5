//! The policy: who may connect, publish and subscribe; and what is logged.

use std::net::SocketAddr;

use mqtt_sansio::ReceivedMessage;
use mqtt_sansio::broker::{Admission, Client, ConnectionId, Decision, Ended, Notice, Policy, Ticket};
use mqtt_sansio::codec::{ConnAckReasonCode, Connect, PubAckReasonCode, SubAckReasonCode, Subscription};
use mqtt_sansio::server::Close;
use tracing::{debug, info, warn};

use crate::acl::{Acl, Who};
use crate::users::Users;

/// Who may do what, as the command line says.
pub(crate) struct Access {
    users: Option<Users>,
    acl: Option<Acl>,
    denied: Vec<String>,
    /// Where the connections come from, by their indexes.
    addresses: Vec<SocketAddr>,
}

impl Access {
    pub(crate) const fn new(users: Option<Users>, acl: Option<Acl>, denied: Vec<String>) -> Self {
        Self { users, acl, denied, addresses: Vec::new() }
    }

    /// A connection is there.
    pub(crate) fn came_from(&mut self, connection: ConnectionId, address: SocketAddr) {
        if self.addresses.len() <= connection.index() {
            self.addresses.resize(connection.index() + 1, address);
        }
        self.addresses[connection.index()] = address;
    }

    /// Whether a client is who it says.
    fn knows(&self, connect: &Connect<'_>) -> bool {
        let Some(users) = &self.users else { return true };
        let (Some(name), Some(password)) = (connect.user_name, connect.password) else { return false };
        users.lets_in(name.as_str(), password)
    }
}

impl Policy for Access {
    fn connect(&mut self, _: Ticket, connect: &Connect<'_>) -> Decision<Admission> {
        if connect.properties.authentication_method.is_some() {
            return Decision::Now(ConnAckReasonCode::BadAuthenticationMethod.into());
        }
        if !self.knows(connect) {
            return Decision::Now(ConnAckReasonCode::BadUserNameOrPassword.into());
        }
        // Nobody is asked again when a will is published. One under `$SYS`, such as bridges have, never is.
        let user = connect.user_name.map(|name| name.as_str());
        let who = Who { client: connect.client_identifier.as_str(), user };
        let will = connect.will.filter(|will| will.topic.levels().next() != Some(b"$SYS"));
        let is_refused = |acl: &Acl| will.is_some_and(|will| !acl.may_write(who, will.topic));
        if self.acl.as_ref().is_some_and(is_refused) {
            return Decision::Now(ConnAckReasonCode::NotAuthorized.into());
        }
        Decision::Now(Admission::accept())
    }

    fn publish(&mut self, _: Ticket, client: Client<'_>, message: &ReceivedMessage<'_>) -> Decision<PubAckReasonCode> {
        let may = self.acl.as_ref().is_none_or(|acl| acl.may_write(who(client), message.topic.name()));
        Decision::Now(if may { PubAckReasonCode::Success } else { PubAckReasonCode::NotAuthorized })
    }

    fn subscribe(
        &mut self,
        _: Ticket,
        client: Client<'_>,
        subscription: &Subscription<'_>,
    ) -> Decision<SubAckReasonCode> {
        let filter = subscription.filter;
        let may = self.acl.as_ref().is_none_or(|acl| acl.may_read(who(client), filter));
        let is_denied = self.denied.iter().any(|denied| denied.as_bytes() == filter.as_bytes());
        Decision::Now(if may && !is_denied { subscription.qos.into() } else { SubAckReasonCode::NotAuthorized })
    }

    fn notice(&mut self, notice: Notice<'_>) {
        match notice {
            Notice::Connected { client, session_present } => {
                let Client { connection, id, user_name, version } = client;
                let address = self.addresses[connection.index()];
                info!(%connection, %address, client = id, user = user_name, %version, session_present, "connected");
            }
            Notice::Disconnected { client, why: why @ Ended::Close(Close::Malformed(_) | Close::Breach(_)) } => {
                warn!(connection = %client.connection, client = client.id, %why, "disconnected");
            }
            Notice::Disconnected { client, why } => {
                info!(connection = %client.connection, client = client.id, %why, "disconnected");
            }
            Notice::Refused { connection, why: why @ Ended::TooMany, .. } => warn!(%connection, %why, "refused"),
            // What a client has sent is logged as a string value: those are escaped.
            Notice::Refused { connection, client_id, user_name, why } => {
                let address = self.addresses[connection.index()];
                let why = why.to_string();
                info!(%connection, %address, client = client_id, user = user_name, why, "refused");
            }
            Notice::PublishRefused { client, topic, reason_code } => {
                let Client { connection, id, user_name, .. } = client;
                info!(%connection, client = id, user = user_name, topic, %reason_code, "a message was refused");
            }
            Notice::SubscribeRefused { client, filter, reason_code } => {
                let Client { connection, id, user_name, .. } = client;
                info!(%connection, client = id, user = user_name, filter, %reason_code, "a subscription was refused");
            }
            Notice::WillRefused { client_id, topic, reason_code } => {
                info!(client = client_id, topic, %reason_code, "a will was refused");
            }
            Notice::SessionEnded { client_id } => debug!(client = client_id, "the session has ended"),
            Notice::Dropped { client_id, reason } => debug!(client = client_id, ?reason, "a message was dropped"),
            other => debug!(?other),
        }
    }
}

fn who(client: Client<'_>) -> Who<'_> {
    Who { client: client.id, user: client.user_name }
}
