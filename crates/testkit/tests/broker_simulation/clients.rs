//! The clients and their links.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use bytes::Buf;
use mqtt_sansio::broker::ConnectionId;
use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
use mqtt_sansio::{Instant, Outcome, SessionExpiry, Token, Version};
use mqtt_sansio_testkit::Random;

use super::model::Model;

/// A request that a client waits for an answer to.
#[derive(Clone)]
pub(crate) enum Request {
    Subscribe(String),
    Unsubscribe(String),
}

pub(crate) struct Client {
    pub(crate) session: ClientSession,
    pub(crate) link: Option<Link>,
    pub(crate) requests: BTreeMap<Token, Request>,
    /// The number of messages it has published.
    pub(crate) count: usize,
}

/// Bytes on their way in both directions.
pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    /// To the broker.
    pub(crate) up: Vec<u8>,
    /// To the client.
    pub(crate) down: Vec<u8>,
    /// Received bytes that the broker, and the client, have not taken yet.
    pub(crate) at_broker: Vec<u8>,
    pub(crate) at_client: Vec<u8>,
}

impl Client {
    pub(crate) fn new(place: usize, random: &mut Random, keep_alive: u16) -> Self {
        let version = Version::ALL[random.index(3)];
        let lasts = random.percent(70);
        let config = ClientConfig {
            version,
            client_id: format!("client-{place}"),
            clean_start: !lasts,
            session_expiry_interval: SessionExpiry::after(if version == Version::V5 && lasts { u32::MAX } else { 0 }),
            keep_alive: NonZeroU16::new(keep_alive),
            receive_maximum: [1, 2, 5, u16::MAX][random.index(4)].try_into().unwrap(),
            topic_alias_maximum: [0, 2][random.index(2)],
            topic_aliases: [0, 2][random.index(2)],
            seed: random.number() as u32,
            ..ClientConfig::default()
        };
        Self { session: ClientSession::new(config), link: None, requests: BTreeMap::new(), count: 0 }
    }

    /// Takes the received bytes. Returns whether the connection was closed.
    pub(crate) fn poll(&mut self, place: usize, now: Instant, model: &mut Model) -> bool {
        let Some(link) = &mut self.link else { return false };
        let mut input = &link.at_client[..];
        let mut is_over = false;
        while let Some(action) = self.session.poll(now, &mut input) {
            match action {
                Action::Message(message) => {
                    let payload = std::str::from_utf8(message.payload).unwrap();
                    model.receive(place, message.topic.as_str(), payload, message.qos, message.retain);
                }
                Action::Done { token, outcome } => match (self.requests.remove(&token), outcome) {
                    (Some(Request::Unsubscribe(filter)), Outcome::Unsubscribed { .. }) => {
                        model.unsubscribed(place, &filter);
                    }
                    (Some(_), Outcome::Abandoned(_)) => panic!("requests are not lost"),
                    _ => {}
                },
                Action::Close(why) => {
                    let why = why.to_string();
                    assert!(!why.contains("0x8") || why.contains("0x8e") || why.contains("0x8d"), "{why}");
                    is_over = true;
                }
                _ => {}
            }
        }
        let used = link.at_client.len() - input.len();
        link.at_client.drain(..used);
        let transmit = self.session.transmit();
        let bytes = transmit.copy_to_bytes(transmit.remaining());
        link.up.extend_from_slice(&bytes);
        is_over
    }

    /// Whether the client waits for an answer about this filter.
    pub(crate) fn is_asking(&self, filter: &str) -> bool {
        self.requests.values().any(|request| match request {
            Request::Subscribe(asked) | Request::Unsubscribe(asked) => asked == filter,
        })
    }
}
