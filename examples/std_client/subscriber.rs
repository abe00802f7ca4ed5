//! Subscribes and prints the messages received.

use std::io::{self, Write};

use anyhow::{Context, Result};
use mqtt_sansio::client::{ClientSession, Connected, Resumption};
use mqtt_sansio::codec::{SubscribeProperties, Subscription};
use mqtt_sansio::{Instant, Outcome, ReceivedMessage, Token, TopicError, Version};

use crate::arguments::SubscribeArguments;
use crate::connection::Task;
use crate::text::{log, printable};

pub(crate) struct Subscriber<'a> {
    arguments: &'a SubscribeArguments,
    subscriptions: Vec<Subscription<'a>>,
    /// The SUBSCRIBE that was not answered.
    open: Option<Token>,
    received: u64,
    was_granted: bool,
    has_failed: bool,
}

impl<'a> Subscriber<'a> {
    pub(crate) fn new(arguments: &'a SubscribeArguments, client: &mut ClientSession, now: Instant) -> Result<Self> {
        let subscription = |filter: &'a String| {
            let subscription = Subscription::new(filter, arguments.qos)?;
            let SubscribeArguments { no_local, retain_handling, .. } = *arguments;
            Ok(Subscription { no_local, retain_handling, ..subscription })
        };
        let subscriptions = arguments.filters.iter().map(subscription).collect::<Result<_, TopicError>>()?;
        let mut subscriber =
            Self { arguments, subscriptions, open: None, received: 0, was_granted: false, has_failed: false };
        subscriber.subscribe(client, now)?; // queued until there is a connection
        Ok(subscriber)
    }

    fn subscribe(&mut self, client: &mut ClientSession, now: Instant) -> Result<()> {
        let subscription_identifier = self.arguments.subscription_identifier;
        let properties = SubscribeProperties { subscription_identifier, ..SubscribeProperties::default() };
        let token = client.subscribe_with(now, &self.subscriptions, &properties).context("cannot subscribe")?;
        self.open = Some(token);
        Ok(())
    }

    /// Returns whether all expected messages have arrived, or else whether the subscription was granted.
    pub(crate) fn has_succeeded(&self) -> bool {
        !self.has_failed && self.arguments.count.map_or(self.was_granted, |count| self.received >= count)
    }
}

impl Task for Subscriber<'_> {
    fn advance(&mut self, _: Instant, _: &mut ClientSession) -> Result<()> {
        Ok(())
    }

    fn connected(&mut self, now: Instant, client: &mut ClientSession, connected: &Connected<'_>) -> Result<()> {
        // A new session has no subscriptions, and with 3.1 the client cannot know. An unanswered SUBSCRIBE is sent
        // again by the session.
        let may_be_new = connected.session != Resumption::Resumed || client.config().version == Version::V31;
        if may_be_new && self.open.is_none() {
            self.subscribe(client, now)?;
        }
        Ok(())
    }

    fn message(&mut self, message: &ReceivedMessage<'_>) -> Result<()> {
        let ReceivedMessage { topic, payload, qos, retain, properties, .. } = message;
        let mut out = io::stdout().lock();
        let topic = printable(topic.name().as_bytes());
        write!(out, "{topic}\t{qos}\t{}\t{}", u8::from(*retain), printable(payload))?;
        if !properties.is_empty() {
            write!(out, "\t{properties:?}")?;
        }
        writeln!(out)?;
        self.received += 1;
        Ok(())
    }

    fn done(&mut self, token: Token, outcome: &Outcome<'_>) -> Result<()> {
        if self.open == Some(token) {
            self.open = None;
        }
        self.was_granted |= outcome.is_success();
        self.has_failed |= !outcome.is_success();
        match outcome {
            Outcome::Abandoned(loss) => log(format_args!("not subscribed: {loss}")),
            outcome => log(format_args!("subscribed: {:?}", outcome.codes())),
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.has_failed || self.arguments.count.is_some_and(|count| self.received >= count)
    }
}
