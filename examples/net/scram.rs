//! Enhanced authentication: SCRAM-SHA-256 (RFC 7677) of a client and a broker, by the crate `rsasl`.
//!
//! ```text
//! cargo run -p mqtt-sansio-net-examples --example scram
//! ```
//!
//! The broker stores keys that are derived from the password, and never sees the password itself. The client finds out whether
//! the broker knows these keys: CONNACK proves it. Client and broker are in memory; nothing here depends on the transport.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use bytes::Buf;
use mqtt_sansio::broker::{
    Admission, AuthStep, Broker, BrokerConfig, ConnectionId, Decision, DecisionId, Notice, Origin, Policy,
};
use mqtt_sansio::client::{Action, Authentication, ClientConfig, ClientSession};
use mqtt_sansio::codec::{ConnAckReasonCode, Connect, Disconnect};
use mqtt_sansio::server::Accept;
use mqtt_sansio::{StdClock, Transmit};
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::mechanisms::scram::tools;
use rsasl::prelude::{Mechname, SASLClient, SASLConfig, SASLServer, Session, SessionError};
use rsasl::property::AuthId;
use rsasl::validate::{Validate, Validation, ValidationError};
use sha2::{Digest, Sha256};

const METHOD: &str = "SCRAM-SHA-256";

fn main() -> Result<()> {
    let clock = StdClock::new();
    let users = Users(BTreeMap::from([("ann".into(), Keys::derive("pencil", b"a random salt"))]));
    let sasl = SASLConfig::builder().with_defaults().with_callback(users)?;
    let mut broker = Broker::new(BrokerConfig::default(), Scram { sasl, exchanges: BTreeMap::new() });
    for (user, password) in [("ann", "pencil"), ("ann", "crayon"), ("bob", "pencil")] {
        println!("{user} with \"{password}\": {}", connect(&mut broker, &clock, user, password)?);
    }
    ensure!(broker.counters().clients_accepted == 1, "only ann with her password is accepted");
    Ok(())
}

/// Connects a client with the broker, and returns the outcome as a text.
fn connect(broker: &mut Broker<Scram>, clock: &StdClock, user: &str, password: &str) -> Result<String> {
    let credentials = SASLConfig::with_credentials(None, user.into(), password.into())?;
    let mut exchange = SASLClient::new(credentials).start_suggested(&[Mechname::parse(METHOD.as_bytes())?])?;
    let mut first = Vec::new();
    exchange.step(None, &mut first)?;
    let authentication = Authentication { method: METHOD.into(), data: Some(first) };
    let mut client = ClientSession::new(ClientConfig {
        client_id: format!("client of {user}"),
        authentication: Some(authentication.into()),
        ..ClientConfig::default()
    });

    let id = broker.open(clock.now(), Origin::UNKNOWN);
    client.open(clock.now())?;
    loop {
        let sent = take(client.transmit());
        broker.receive(clock.now(), id, &mut &sent[..]);
        let received = take(broker.transmit(id));
        let mut input = &received[..];
        while let Some(action) = client.poll(clock.now(), &mut input) {
            match action {
                // The server's challenge: salt, number of iterations, nonce.
                Action::Auth(auth) => {
                    let mut proof = Vec::new();
                    exchange.step(auth.properties.authentication_data, &mut proof)?;
                    client.authenticate(clock.now(), &proof)?;
                }
                Action::Connected(connected) => {
                    // Without this step the client would trust any server that accepts it.
                    exchange.step(connected.properties.authentication_data, &mut Vec::new())?;
                    client.disconnect(clock.now(), &Disconnect::default())?;
                    broker.closed(clock.now(), id);
                    return Ok("accepted, and the broker has proved that it knows the keys".into());
                }
                Action::Close(why) => {
                    broker.closed(clock.now(), id);
                    return Ok(why.to_string());
                }
                other => bail!("unexpected: {other:?}"),
            }
        }
    }
}

fn take(transmit: &mut Transmit) -> Vec<u8> {
    transmit.copy_to_bytes(transmit.remaining()).into()
}

/// The policy: a client is the user who it proves to be.
struct Scram {
    sasl: Arc<SASLConfig>,
    /// The exchange of each connection that is not accepted yet.
    exchanges: BTreeMap<ConnectionId, Session<ProvedUser>>,
}

impl Policy for Scram {
    fn connect(&mut self, id: DecisionId, connect: &Connect<'_>) -> Decision<Admission> {
        let mechanism = Mechname::parse(METHOD.as_bytes());
        let (Ok(mechanism), Some(METHOD)) =
            (mechanism, connect.properties.authentication_method.map(|method| method.as_str()))
        else {
            return Decision::Now(ConnAckReasonCode::BadAuthenticationMethod.into());
        };
        let server = SASLServer::<ProvedUser>::new(Arc::clone(&self.sasl));
        let Ok(exchange) = server.start_suggested(mechanism) else {
            return Decision::Now(ConnAckReasonCode::BadAuthenticationMethod.into());
        };
        self.exchanges.insert(id.connection(), exchange);
        self.step(id.connection(), connect.properties.authentication_data)
    }

    fn authenticate(&mut self, id: DecisionId, step: &AuthStep<'_>) -> Decision<Admission> {
        self.step(id.connection(), Some(step.data))
    }

    fn notice(&mut self, notice: Notice<'_>) {
        // A client may leave in the middle of its exchange.
        if let Notice::Refused { connection, .. } = notice {
            self.exchanges.remove(&connection);
        }
    }
}

impl Scram {
    fn step(&mut self, connection: ConnectionId, data: Option<&[u8]>) -> Decision<Admission> {
        let refused = Decision::Now(ConnAckReasonCode::NotAuthorized.into());
        let Some(exchange) = self.exchanges.get_mut(&connection) else { return refused };
        let mut answer = Vec::new();
        let state = exchange.step(data, &mut answer);
        let user = exchange.validation();
        match state {
            Ok(state) if state.is_running() => return Decision::Now(Admission::Challenge(answer)),
            _ => self.exchanges.remove(&connection),
        };
        // An exchange without a proof is finished too, with an error in the answer.
        let Some(user_name) = user else { return refused };
        let accept = Accept { authentication_data: Some(answer), ..Accept::default() };
        Decision::Now(Admission::AcceptAs { user_name: Some(user_name), accept: accept.into() })
    }
}

/// The keys that are stored in place of a password (RFC 5802, section 3).
struct Keys {
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl Keys {
    const ITERATIONS: u32 = 4096;

    fn derive(password: &str, salt: &[u8]) -> Self {
        let mut salted = Default::default();
        tools::hash_password::<Sha256>(password.as_bytes(), Self::ITERATIONS, salt, &mut salted);
        let (client_key, server_key) = tools::derive_keys::<Sha256>(&salted);
        let stored_key = Sha256::digest(client_key).to_vec();
        Self { salt: salt.into(), stored_key, server_key: server_key.to_vec() }
    }
}

/// The stored keys of each user.
struct Users(BTreeMap<String, Keys>);

/// The name of the user who has proved to know the password.
struct ProvedUser;

impl Validation for ProvedUser {
    type Value = String;
}

impl SessionCallback for Users {
    fn callback(&self, _: &SessionData, context: &Context<'_>, request: &mut Request<'_>) -> Result<(), SessionError> {
        if let Some(Keys { salt, stored_key, server_key }) =
            context.get_ref::<AuthId>().and_then(|user| self.0.get(user))
        {
            let stored = ScramStoredPassword::new(Keys::ITERATIONS, salt, stored_key, server_key);
            request.satisfy::<ScramStoredPassword<'_>>(&stored)?;
        }
        Ok(())
    }

    /// Called when the proof is correct.
    fn validate(
        &self,
        _: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        if let Some(user) = context.get_ref::<AuthId>() {
            validate.finalize::<ProvedUser>(user.into());
        }
        Ok(())
    }
}
