//! The honest clients: they read whatever comes, acknowledge it, and send little.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use bytes::Buf;
use mqtt_sansio::broker::ConnectionId;
use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Close, Resumption};
use mqtt_sansio::codec::{Disconnect, ReasonCode, Subscription};
use mqtt_sansio::{Instant, Message, Outcome, QoS, SessionExpiry, Token, TopicFilter, Version, Will};
use mqtt_sansio_testkit::Random;

use super::model::{Model, Payload, SHARE, Turn};

/// What an honest client does besides publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It stays.
    Steady,
    /// It subscribes and unsubscribes.
    Churner,
    /// It disconnects, and comes back to its session.
    Sleeper,
    /// It loses its connection and has a will, and comes back to a new session.
    Mortal,
}

/// What a client waits for an answer to.
enum Request {
    Subscribe(String, QoS),
    Unsubscribe(String),
}

/// The link of an honest client carries everything at once.
pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    /// What the broker has not taken.
    pub(crate) up: Vec<u8>,
    /// Since which turn the broker has taken nothing of that.
    pub(crate) waits_since: Option<Turn>,
}

pub(crate) struct Honest {
    pub(crate) number: usize,
    pub(crate) role: Role,
    pub(crate) session: ClientSession,
    pub(crate) link: Option<Link>,
    requests: BTreeMap<Token, Request>,
    publishing: BTreeMap<Token, (Payload, QoS)>,
    count: usize,
    /// Whether the broker may end the connection: the client has asked for that.
    is_leaving: bool,
    was_connected: bool,
}

/// The filters of all honest clients but the mortal ones.
const FILTERS: [&str; 8] = ["h/+/1", "h/#", "h/0/+", "h/1/2", "h/2/#", "h/+/3", "h/+/#", "h/3/0"];

/// The filter of topics with retained messages.
const RETAINED: &str = "r/#";

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// The user name of all honest clients.
pub(crate) const USER: &str = "honest";

pub(crate) fn name(number: usize) -> String {
    format!("{USER}-{number}")
}

/// The number of an honest client, if the client identifier is that of one.
pub(crate) fn number_of(client_id: &str) -> Option<usize> {
    client_id.strip_prefix("honest-")?.parse().ok()
}

impl Honest {
    pub(crate) fn new(number: usize, role: Role, random: &mut Random) -> Self {
        let version = if role == Role::Churner { Version::V5 } else { [Version::V311, Version::V5][random.index(2)] };
        let lasts = role != Role::Mortal;
        // Retained messages come slowly to the one that subscribes to them again and again.
        let receive_maximum = if role == Role::Churner { 2 } else { [100, u16::MAX][random.index(2)] };
        let config = ClientConfig {
            version,
            client_id: name(number),
            user_name: Some(USER.into()),
            clean_start: !lasts,
            session_expiry_interval: if version == Version::V5 && lasts {
                SessionExpiry::NEVER
            } else {
                SessionExpiry::WITH_CONNECTION
            },
            keep_alive: NonZeroU16::new(10),
            receive_maximum: receive_maximum.try_into().unwrap(),
            topic_alias_maximum: [0, 4][random.index(2)],
            topic_aliases: [0, 4][random.index(2)],
            seed: random.number() as u32,
            ..ClientConfig::default()
        };
        let session = ClientSession::new(config);
        let (requests, publishing) = Default::default();
        Self {
            number,
            role,
            session,
            link: None,
            requests,
            publishing,
            count: 0,
            is_leaving: false,
            was_connected: false,
        }
    }

    /// Connects. The filters that a new session needs are subscribed to as soon as the client is connected.
    pub(crate) fn open(&mut self, now: Instant, id: ConnectionId) {
        if self.role == Role::Mortal {
            self.count += 1;
            let payload = format!("{}:{}", self.number, self.count);
            let will = Will { qos: QoS::AtLeastOnce, ..Will::new(format!("w/{}", self.number), payload) };
            let config = ClientConfig { will: Some(Box::new(will)), ..self.session.config().clone() };
            self.session.reconfigure(config).unwrap();
        }
        self.session.open(now).unwrap();
        self.link = Some(Link { id, up: Vec::new(), waits_since: None });
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.link.is_some() && self.session.is_connected() && !self.is_leaving
    }

    /// Whether it waits for nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.requests.is_empty()
            && self.publishing.is_empty()
            && self.link.as_ref().is_none_or(|link| link.up.is_empty() && self.session.is_connected())
    }

    /// Takes what has come; whether the connection is over as the client has wished.
    pub(crate) fn poll(&mut self, now: Instant, input: &[u8], model: &mut Model, turn: Turn) -> bool {
        let Self { number, session, requests, publishing, .. } = self;
        let mut input = input;
        let (mut is_over, mut is_new) = (false, false);
        while let Some(action) = session.poll(now, &mut input) {
            match action {
                Action::Connected(connected) => {
                    let is_resumed = connected.session == Resumption::Resumed;
                    let lasts = self.role != Role::Mortal;
                    assert_eq!(is_resumed, lasts && self.was_connected, "honest client {number} has its session");
                    self.was_connected = true;
                    is_new = !is_resumed;
                    model.back(*number);
                }
                Action::Message(message) => {
                    let payload = std::str::from_utf8(message.payload).expect("messages of honest clients are texts");
                    model.receive(*number, message.topic.as_str(), payload, message.qos, message.retain, turn);
                }
                Action::Done { token, outcome } => {
                    let codes: Vec<_> = outcome.codes().collect();
                    if let Some(request) = requests.remove(&token) {
                        match (request, outcome) {
                            (Request::Subscribe(filter, qos), Outcome::Subscribed { .. }) => {
                                assert_eq!(codes.len(), 1);
                                assert_eq!(
                                    codes[0].value(),
                                    qos.value(),
                                    "honest client {number}: SUBACK for {filter}"
                                );
                                model.granted(*number, &filter, qos);
                            }
                            (Request::Unsubscribe(filter), Outcome::Unsubscribed { .. }) => {
                                model.unsubscribed(*number, &filter);
                            }
                            (_, outcome) => panic!("honest client {number}: {outcome:?}"),
                        }
                    } else if let Some((payload, qos)) = publishing.remove(&token) {
                        let is_good =
                            |code: &ReasonCode| matches!(code, ReasonCode::Success | ReasonCode::NoMatchingSubscribers);
                        match outcome {
                            Outcome::Sent => assert_eq!(qos, QoS::AtMostOnce),
                            Outcome::Acknowledged { reason_code: ReasonCode::QuotaExceeded, .. } => {
                                model.refused(&payload);
                            }
                            Outcome::Acknowledged { .. } => {
                                assert!(codes.iter().all(is_good), "honest client {number}, {payload}: {codes:?}");
                                model.acknowledged(&payload);
                            }
                            outcome => panic!("honest client {number}: {payload} {outcome:?}"),
                        }
                    }
                }
                Action::Close(Close::Requested) if self.is_leaving => is_over = true,
                Action::Close(why) => panic!("honest client {number} is disconnected: {why}"),
                other => panic!("honest client {number}: {other:?}"),
            }
        }
        assert!(input.is_empty() || is_over, "an honest client takes whatever comes");
        if is_new && self.role != Role::Mortal {
            self.subscribe_all(now, model);
        }
        self.write();
        is_over
    }

    /// Puts what the session has to send on the link.
    fn write(&mut self) {
        if let Some(link) = &mut self.link {
            let transmit = self.session.transmit();
            let bytes = transmit.copy_to_bytes(transmit.remaining());
            link.up.extend_from_slice(&bytes);
        }
    }

    /// What every client is subscribed to that has just begun its session.
    fn subscribe_all(&mut self, now: Instant, model: &mut Model) {
        let number = self.number;
        let own = [FILTERS[number % FILTERS.len()], FILTERS[(3 * number + 1) % FILTERS.len()]];
        self.subscribe(now, own[0], QOS[number % 3], model);
        if own[1] != own[0] {
            self.subscribe(now, own[1], QOS[(number + 1) % 3], model);
        }
        self.subscribe(now, "w/#", QoS::AtLeastOnce, model);
        if self.role == Role::Steady {
            self.subscribe(now, RETAINED, QoS::AtLeastOnce, model);
            self.subscribe(now, SHARE, QoS::ExactlyOnce, model);
        }
    }

    fn subscribe(&mut self, now: Instant, filter: &str, qos: QoS, model: &mut Model) {
        let token = self.session.subscribe(now, &[Subscription::new(filter, qos).unwrap()]).unwrap();
        self.requests.insert(token, Request::Subscribe(filter.into(), qos));
        model.subscribing(self.number, filter, qos);
    }

    /// Publishes one message, or several at once.
    pub(crate) fn publish(
        &mut self,
        now: Instant,
        random: &mut Random,
        model: &mut Model,
        turn: Turn,
        may_retain: bool,
    ) {
        for _ in 0..1 + random.index(3) {
            self.count += 1;
            let (number, last) = (self.number, random.index(4));
            let (topic, qos, retain) = match random.index(10) {
                0 | 1 if may_retain && self.role != Role::Mortal => {
                    (format!("r/{number}/{}", random.index(12)), QoS::AtLeastOnce, random.percent(60))
                }
                2 | 3 => (format!("s/{last}"), QOS[1 + random.index(2)], false),
                _ => (format!("h/{number}/{last}"), QOS[random.index(3)], false),
            };
            let payload = format!("{number}:{}", self.count);
            let message = Message::new(&topic, payload.as_bytes()).qos(qos).retain(retain);
            let token = self.session.publish(now, &message).expect("there is room for an honest message");
            model.publish(&topic, &payload, qos, retain, turn);
            self.publishing.insert(token, (payload, qos));
        }
        self.write();
    }

    /// Subscribes to something, or ends a subscription.
    pub(crate) fn churn(&mut self, now: Instant, random: &mut Random, model: &mut Model) {
        let filter = if random.percent(50) { RETAINED } else { FILTERS[random.index(FILTERS.len())] };
        if model.is_granted(self.number, filter) {
            let token = self.session.unsubscribe(now, &[TopicFilter::new(filter).unwrap()]).unwrap();
            self.requests.insert(token, Request::Unsubscribe(filter.into()));
            model.unsubscribing(self.number, filter);
        } else if !model.is_subscribed(self.number, filter) {
            let qos = if filter == RETAINED { QoS::AtLeastOnce } else { QOS[random.index(3)] };
            self.subscribe(now, filter, qos, model);
        }
        self.write();
    }

    /// Sends DISCONNECT, if nothing is open.
    pub(crate) fn leave(&mut self, now: Instant, model: &mut Model) {
        if self.is_connected() && self.is_idle() {
            self.is_leaving = true;
            self.session.disconnect(now, &Disconnect::default()).unwrap();
            model.leave(self.number);
        }
    }

    /// The transport is closed.
    pub(crate) fn closed(&mut self, now: Instant) {
        self.link = None;
        self.is_leaving = false;
        self.session.closed(now);
    }

    /// The connection of a mortal client is lost; its will is to be published.
    pub(crate) fn die(&mut self, model: &mut Model, turn: Turn) {
        let will = self.session.config().will.as_deref().expect("a mortal client has a will");
        let payload = String::from_utf8(will.payload.clone()).unwrap();
        model.publish(&format!("w/{}", self.number), &payload, QoS::AtLeastOnce, false, turn);
    }
}
