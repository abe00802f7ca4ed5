//! The messages for a client: the time, and its own messages.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use mqtt_sansio::codec::{
    List, PublishProperties, SubAckReasonCode, Subscription, SubscriptionIdentifier, UnsubAckReasonCode,
};
use mqtt_sansio::server::{Action, AnswerError, ServerSession, SubscribeRequest, UnsubscribeRequest};
use mqtt_sansio::{
    Instant, Message, Outcome, PublishError, QoS, ReceivedMessage, TopicFilter, TopicName, Version, Will,
};

use crate::arguments::Arguments;
use crate::text::{log, printable};

/// The topic of the clock.
const CLOCK: &str = "clock";

/// More than a client of this service can use.
const MOST_SUBSCRIPTIONS: usize = 100;

/// A session and the service's data about its client, with or without a connection.
pub(crate) struct Client {
    pub(crate) session: ServerSession,
    pub(crate) wishes: Wishes,
}

/// The subscriptions of a client. They belong to the session and end with it.
#[derive(Default)]
pub(crate) struct Wishes {
    subscriptions: BTreeMap<String, Granted>,
    /// The number of messages of the clock.
    ticks: u64,
    /// When the next one is due; `None` if the client has not subscribed to it.
    next_tick: Option<Instant>,
}

/// A granted subscription.
struct Granted {
    qos: QoS,
    no_local: bool,
    identifier: Option<SubscriptionIdentifier>,
}

/// The state of a client or of its connection.
pub(crate) enum State {
    /// The session continues.
    Open,
    /// The connection is to be closed.
    Closed(String),
    /// The session has expired.
    Expired,
}

impl Client {
    /// Returns when [`advance`](Self::advance) must be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.session.deadline(), self.wishes.next_tick].into_iter().flatten().min()
    }

    /// Runs the timers, and handles the actions of the session on the input. Without a connection there is no input.
    pub(crate) fn advance(
        &mut self,
        now: Instant,
        input: &mut &[u8],
        arguments: &Arguments,
    ) -> Result<State, AnswerError> {
        self.tick(now, arguments.tick);
        while let Some(action) = self.session.poll(now, input) {
            match action {
                Action::Message(message) => self.echo(now, &message),
                Action::Subscribe(request) => self.subscribe(now, &request, arguments.tick)?,
                Action::Unsubscribe(request) => self.unsubscribe(now, &request)?,
                Action::Done { token, outcome: Outcome::Abandoned(loss) } => {
                    log(format_args!("{}: message {token} is lost: {loss}", self.session.client_id()));
                }
                Action::Will(will) => self.log_will(&will, arguments.log_wills),
                Action::Close(why) => return Ok(State::Closed(why.to_string())),
                Action::Expired => return Ok(State::Expired),
                _ => {} // no AUTH without an authentication method
            }
        }
        Ok(State::Open)
    }

    fn subscribe(&mut self, now: Instant, request: &SubscribeRequest<'_>, tick: Duration) -> Result<(), AnswerError> {
        let identifier = request.properties.subscription_identifier;
        let codes: Vec<_> = request.subscriptions.iter().map(|it| self.grant(&it, identifier)).collect();
        if self.wishes.next_tick.is_none() && self.wishes.has_clock() {
            self.wishes.next_tick = Some(now + tick);
        }
        self.session.suback(now, request.id, &codes)
    }

    fn grant(&mut self, asked: &Subscription<'_>, identifier: Option<SubscriptionIdentifier>) -> SubAckReasonCode {
        let filter = asked.filter.as_str();
        if self.wishes.subscriptions.len() >= MOST_SUBSCRIPTIONS && !self.wishes.subscriptions.contains_key(filter) {
            return match self.session.version() {
                Version::V5 => SubAckReasonCode::QuotaExceeded,
                Version::V31 | Version::V311 => SubAckReasonCode::UnspecifiedError, // the only code that they have
            };
        }
        let granted = Granted { qos: asked.qos, no_local: asked.no_local, identifier };
        self.wishes.subscriptions.insert(filter.into(), granted); // replaces an older one [MQTT-3.8.4-3]
        asked.qos.into()
    }

    fn unsubscribe(&mut self, now: Instant, request: &UnsubscribeRequest<'_>) -> Result<(), AnswerError> {
        let remove = |filter: TopicFilter<'_>| match self.wishes.subscriptions.remove(filter.as_str()) {
            Some(_) => UnsubAckReasonCode::Success,
            None => UnsubAckReasonCode::NoSubscriptionExisted,
        };
        let codes: Vec<_> = request.filters.iter().map(remove).collect();
        self.wishes.next_tick = self.wishes.next_tick.filter(|_| self.wishes.has_clock());
        self.session.unsuback(now, request.id, &codes)
    }

    /// Publishes the time. A client that is away too long, or reads too little, misses messages that cannot be stored,
    /// which it can see by their numbers.
    fn tick(&mut self, now: Instant, interval: Duration) {
        let Some(due) = self.wishes.next_tick.filter(|&due| due <= now) else { return };
        let next = due + interval;
        self.wishes.next_tick = Some(if next > now { next } else { now + interval });
        self.wishes.ticks += 1;
        let ticks = self.wishes.ticks.to_string();
        if let Ok(clock) = TopicName::new(CLOCK) {
            self.deliver(now, clock, ticks.as_bytes(), QoS::ExactlyOnce, PublishProperties::default(), false);
        }
    }

    /// Sends a client its own message, and a response if it expects one.
    fn echo(&mut self, now: Instant, message: &ReceivedMessage<'_>) {
        let ReceivedMessage { topic, payload, qos, properties, .. } = message;
        self.deliver(now, topic.name(), payload, *qos, *properties, true);
        if let Some(response_topic) = properties.response_topic {
            let correlation_data = properties.correlation_data;
            let properties = PublishProperties { correlation_data, ..PublishProperties::default() };
            self.deliver(now, response_topic, payload, *qos, properties, false);
        }
    }

    /// Publishes a message to the client if it has subscribed to the topic: once, with the highest QoS and the
    /// identifiers of all the subscriptions that match \[MQTT-3.3.4-2, MQTT-3.3.4-3\].
    fn deliver(
        &mut self,
        now: Instant,
        topic: TopicName<'_>,
        payload: &[u8],
        qos: QoS,
        properties: PublishProperties<'_>,
        is_its_own: bool,
    ) {
        let matching = || self.wishes.matching(topic).filter(|granted| !(is_its_own && granted.no_local));
        let Some(granted) = matching().map(|granted| granted.qos).max() else { return };
        let identifiers: Vec<_> = matching().filter_map(|granted| granted.identifier).collect();
        let subscription_identifiers = List::from(&identifiers);
        let properties = PublishProperties { subscription_identifiers, ..properties };
        match self.session.publish(now, &Message::new(&topic, payload).qos(qos.min(granted)).properties(properties)) {
            Ok(_) | Err(PublishError::NotConnected) => {} // a message of QoS 0 does not wait for a connection
            Err(error) => log(format_args!("{}: {topic}: {error}", self.session.client_id())),
        }
    }

    /// Logs a will, because there is no other client to send it to.
    fn log_will(&self, will: &Will, on_stdout: bool) {
        let (client, payload) = (self.session.client_id(), will.payload.escape_ascii());
        if on_stdout {
            // If standard output is closed, the service continues without.
            let (client, topic) = (printable(client.as_bytes()), printable(will.topic.as_bytes()));
            let _ = writeln!(io::stdout(), "{client}\t{topic}\t{}\t{payload}", will.qos);
        } else {
            log(format_args!("{client}: its will for {}: {payload}", will.topic));
        }
    }
}

impl Wishes {
    fn has_clock(&self) -> bool {
        TopicName::new(CLOCK).is_ok_and(|clock| self.matching(clock).next().is_some())
    }

    fn matching(&self, topic: TopicName<'_>) -> impl Iterator<Item = &Granted> {
        let matches = move |filter: &str| TopicFilter::new(filter).is_ok_and(|filter| filter.matches(topic));
        self.subscriptions.iter().filter(move |(filter, _)| matches(filter)).map(|(_, granted)| granted)
    }
}
