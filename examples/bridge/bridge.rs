//! A bridge between two brokers.
//!
//! The bridge is a client of both brokers, and publishes at each the messages that it receives from the other. It does not
//! acknowledge a message before the other broker has: until then the broker that the message comes from is responsible for
//! it. So a message of QoS 1 or 2 is not lost, whichever connection is cut, and even if the other broker loses the session of
//! the bridge.
//!
//! A bridge that has to survive a crash of its own makes both sessions durable (`ClientConfig::durable`), and stores
//! `unacknowledged` and `publications` with their changes.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Close, Resumption};
use mqtt_sansio::codec::{PubAckReasonCode, Subscription};
use mqtt_sansio::{
    AbandonReason, AckHandle, Instant, Message, Outcome, PacketId, PublishError, QoS, ReceivedMessage, SessionExpiry,
    Token,
};

/// Maximum number of messages that wait for the other broker, in each direction. A broker sends no more than this number
/// before it gets acknowledgements, so the bridge never has to refuse a message.
const WINDOW: u16 = 100;

/// A bridge. The caller connects both of its clients with their brokers, as it would connect any client.
pub(crate) struct Bridge {
    filter: String,
    endpoints: [Endpoint; 2],
}

/// The client of one broker.
struct Endpoint {
    client: ClientSession,
    /// Messages from this broker that are not acknowledged. A broker uses no packet identifier for another message before
    /// that, so a message that comes again after a cut is recognised by its packet identifier.
    unacknowledged: BTreeMap<PacketId, Forwarded>,
    /// The message of each publication at this broker: its packet identifier at the other one.
    publications: BTreeMap<Token, PacketId>,
    /// Whether this broker has to send its unacknowledged messages again, which it does on a new connection.
    must_reconnect: bool,
}

struct Forwarded {
    ack_handle: AckHandle,
    state: State,
}

enum State {
    /// The other broker has not answered this publication yet.
    Published(Token),
    Answered(PubAckReasonCode),
}

impl Bridge {
    /// Makes a bridge for the topics that match this filter, in both directions.
    pub(crate) fn new(name: &str, filter: &str) -> Self {
        let endpoint = |seed| {
            let config = ClientConfig {
                client_id: name.into(),
                session_expiry_interval: SessionExpiry::NEVER,
                receive_maximum: const { std::num::NonZeroU16::new(WINDOW).unwrap() },
                manual_acks: true,
                seed,
                ..ClientConfig::default()
            };
            let client = ClientSession::new(config);
            Endpoint { client, unacknowledged: BTreeMap::new(), publications: BTreeMap::new(), must_reconnect: false }
        };
        Self { filter: filter.into(), endpoints: [endpoint(0), endpoint(1)] }
    }

    /// Returns the client of a broker. The caller opens its connections and writes its output.
    pub(crate) fn client(&mut self, broker: usize) -> &mut ClientSession {
        &mut self.endpoints[broker].client
    }

    /// Returns whether the caller must close the connection with a broker, and open another one.
    pub(crate) fn must_reconnect(&mut self, broker: usize) -> bool {
        std::mem::take(&mut self.endpoints[broker].must_reconnect)
    }

    /// Processes the bytes that a broker has sent, as [`ClientSession::poll`] does. Returns the reason if the connection is
    /// over.
    pub(crate) fn poll<'a>(&mut self, now: Instant, broker: usize, input: &mut &'a [u8]) -> Result<Option<Close<'a>>> {
        while let Some(action) = self.endpoints[broker].client.poll(now, input) {
            match action {
                Action::Connected(connected) if connected.session != Resumption::Resumed => {
                    self.subscribe(now, broker)?
                }
                Action::Message(message) => self.forward(now, broker, &message)?,
                Action::Done { token, outcome } => self.settle(now, broker, token, &outcome),
                Action::Close(why) => return Ok(Some(why)),
                _ => {}
            }
        }
        Ok(None)
    }

    fn subscribe(&mut self, now: Instant, broker: usize) -> Result<()> {
        // The session is new: its broker has forgotten which messages are unacknowledged.
        self.endpoints[broker].unacknowledged.clear();
        let subscription = Subscription {
            // A message that the bridge has published does not come back to it.
            no_local: true,
            // The other broker retains the messages that this one retains.
            retain_as_published: true,
            ..Subscription::new(&self.filter, QoS::ExactlyOnce)?
        };
        self.endpoints[broker].client.subscribe(now, &[subscription])?;
        Ok(())
    }

    fn forward(&mut self, now: Instant, from: usize, message: &ReceivedMessage<'_>) -> Result<()> {
        let [source, destination] = self.directed(from);
        let Some(ack_handle) = message.ack_handle else {
            // A message of QoS 0 may be lost, so it is not queued for a broker that is not connected.
            if destination.client.is_connected() {
                let _ = destination.client.publish(now, &Message::from(message));
            }
            return Ok(());
        };
        let id = source.client.packet_id(ack_handle).context("a message that has just arrived is unacknowledged")?;
        if let Some(forwarded) = source.unacknowledged.get_mut(&id) {
            forwarded.ack_handle = ack_handle; // the message comes again, and is forwarded already
            source.acknowledge(now, id);
            return Ok(());
        }
        let state = match destination.client.publish(now, &Message::from(message)) {
            Ok(token) => {
                destination.publications.insert(token, id);
                State::Published(token)
            }
            Err(PublishError::QueueFull) => {
                source.must_reconnect = true;
                return Ok(());
            }
            // The destination does not support the message, and would not support it next time either.
            Err(_) => State::Answered(PubAckReasonCode::ImplementationSpecificError),
        };
        source.unacknowledged.insert(id, Forwarded { ack_handle, state });
        source.acknowledge(now, id);
        Ok(())
    }

    /// Handles the outcome of a publication: its reason code goes to the broker that the message came from.
    fn settle(&mut self, now: Instant, broker: usize, token: Token, outcome: &Outcome<'_>) {
        let [source, destination] = self.directed(1 - broker);
        let Some(id) = destination.publications.remove(&token) else { return };
        // If the source has lost its session since, it has forgotten the message, and the packet identifier may be that of
        // another one.
        let forwarded = source.unacknowledged.get_mut(&id);
        let Some(forwarded) = forwarded.filter(|it| matches!(it.state, State::Published(at) if at == token)) else {
            return;
        };
        forwarded.state = State::Answered(match outcome {
            Outcome::Abandoned(AbandonReason::Expired) => PubAckReasonCode::Success,
            Outcome::Abandoned(AbandonReason::NotSupported(_)) => PubAckReasonCode::ImplementationSpecificError,
            Outcome::Abandoned(_) => {
                // The destination has lost its session: whether it has the message is unknown. The source sends it again.
                source.unacknowledged.remove(&id);
                source.must_reconnect = true;
                return;
            }
            done => done.reason_code().and_then(|code| code.try_into().ok()).unwrap_or_default(),
        });
        source.acknowledge(now, id);
    }

    /// Returns the source and the destination of messages from this broker.
    fn directed(&mut self, from: usize) -> [&mut Endpoint; 2] {
        let [a, b] = &mut self.endpoints;
        if from == 0 { [a, b] } else { [b, a] }
    }
}

impl Endpoint {
    /// Acknowledges a message, if the other broker has. If the connection is lost meanwhile, this broker sends the message
    /// again, with the same packet identifier.
    fn acknowledge(&mut self, now: Instant, id: PacketId) {
        let Some(&Forwarded { ack_handle, state: State::Answered(answer) }) = self.unacknowledged.get(&id) else {
            return;
        };
        if self.client.ack(now, ack_handle, answer).is_ok() {
            self.unacknowledged.remove(&id);
        }
    }
}
