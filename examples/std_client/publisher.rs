//! Publishes messages and prints their outcomes.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, BufRead, ErrorKind, Write};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;

use anyhow::{Context, Result};
use bytes::Bytes;
use mqtt_sansio::client::{ClientSession, Connected};
use mqtt_sansio::codec::{PublishProperties, UserProperty};
use mqtt_sansio::{
    Instant, Message, OperationKind, Outcome, PublishError, QoS, ReceivedMessage, Token, TopicName, Utf8Str,
};

use crate::arguments::PublishArguments;
use crate::connection::Task;
use crate::text::log;

pub(crate) struct Publisher<'a> {
    arguments: &'a PublishArguments,
    properties: PublishProperties<'a>,
    /// The messages of the command line that are not published yet.
    messages: std::slice::Iter<'a, String>,
    /// The lines of standard input that are not published yet; `None` at the end of the input.
    lines: Option<Receiver<io::Result<Bytes>>>,
    /// A message for which the client had no room yet.
    held: Option<Bytes>,
    /// The messages without an outcome.
    open: BTreeSet<Token>,
    /// The number of messages that the client has accepted.
    published: usize,
    has_failed: bool,
}

impl<'a> Publisher<'a> {
    pub(crate) fn new(arguments: &'a PublishArguments, user_properties: &'a [UserProperty<'a>]) -> Result<Self> {
        let properties = PublishProperties {
            message_expiry_interval: arguments.message_expiry,
            content_type: arguments.content_type.as_deref().map(Utf8Str::new).transpose()?,
            response_topic: arguments.response_topic.as_deref().map(TopicName::new).transpose()?,
            user_properties: user_properties.into(),
            ..PublishProperties::default()
        };
        Ok(Self {
            arguments,
            properties,
            messages: arguments.messages.iter(),
            lines: None,
            held: None,
            open: BTreeSet::new(),
            published: 0,
            has_failed: false,
        })
    }

    /// Waits for the outcomes of the messages that a run before has published, too.
    pub(crate) fn go_on(&mut self, client: &ClientSession) {
        for operation in client.operations() {
            self.open.insert(operation.token);
            let topic = match operation.kind {
                OperationKind::Publish { topic: Some(topic), .. } => format!(" for {topic}"),
                _ => String::new(),
            };
            log(format_args!("message {}{topic} of a run before has no outcome yet", operation.token));
        }
    }

    /// Starts to read standard input, if it contains messages. This thread is woken for each.
    pub(crate) fn start(&mut self) {
        self.lines = self.arguments.lines.then(lines_in_background);
    }

    /// Creates the message with this payload, as the arguments describe it.
    pub(crate) fn compose(&self, payload: Bytes) -> Message<'_> {
        Message::new(&self.arguments.topic, payload)
            .qos(self.arguments.qos)
            .retain(self.arguments.retain)
            .properties(self.properties)
    }

    /// Prints the messages that have no outcome, which may be stored for the next run. Returns whether every message was published with success.
    pub(crate) fn finish(&mut self, is_stored: bool) -> Result<bool> {
        let is_stored = is_stored && self.arguments.qos != QoS::AtMostOnce;
        for token in std::mem::take(&mut self.open) {
            let (outcome, detail) = match is_stored {
                true => ("stored", "the next run with this directory goes on with the message"),
                false => ("unknown", "the client has ended before the server has answered"),
            };
            print(format_args!("{token}\t{outcome}\t{detail}"))?;
            self.has_failed = true;
        }
        // A line that was not typed yet is not missing; one that was read is.
        let was_read = self.held.is_some() || matches!(self.next_payload(), Ok(Some(_)));
        if was_read || self.published < self.arguments.messages.len() {
            log("not all messages were published");
            self.has_failed = true;
        }
        Ok(!self.has_failed)
    }

    fn next_payload(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(payload) = self.held.take() {
            return Ok(Some(payload));
        }
        if let Some(message) = self.messages.next() {
            return Ok(Some(Bytes::copy_from_slice(message.as_bytes())));
        }
        match self.lines.as_ref().map_or(Err(TryRecvError::Disconnected), |lines| lines.try_recv()) {
            Ok(payload) => payload.map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => {
                self.lines = None;
                Ok(None)
            }
        }
    }
}

/// Reads the lines of standard input. Few of them are buffered: while they are not taken, no more are read.
fn lines_in_background() -> Receiver<io::Result<Bytes>> {
    let (sender, receiver) = sync_channel(64);
    let publisher = thread::current();
    thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            if sender.send(line.map(Bytes::from)).is_err() {
                break;
            }
            publisher.unpark();
        }
        drop(sender); // tells the publisher that the input has ended
        publisher.unpark();
    });
    receiver
}

/// Prints a line. If standard output is closed, the messages are published nevertheless.
fn print(line: fmt::Arguments<'_>) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

impl Task for Publisher<'_> {
    fn advance(&mut self, now: Instant, client: &mut ClientSession) -> Result<()> {
        while let Some(payload) = self.next_payload().context("standard input")? {
            let result = client.publish(now, &self.compose(payload.clone()));
            match result {
                Ok(token) => {
                    self.open.insert(token);
                    self.published = self.published.saturating_add(1);
                }
                // There will be room when other messages have their outcomes.
                Err(PublishError::QueueFull) if !self.open.is_empty() => {
                    self.held = Some(payload);
                    break;
                }
                Err(error) => return Err(error).context("cannot publish"),
            }
        }
        Ok(())
    }

    fn connected(&mut self, _: Instant, _: &mut ClientSession, _: &Connected<'_>) -> Result<()> {
        Ok(()) // the session sends unacknowledged messages by itself
    }

    fn message(&mut self, message: &ReceivedMessage<'_>) -> Result<()> {
        // An old session may have subscriptions.
        log(format_args!("a message for {}, although this client only publishes", message.topic));
        Ok(())
    }

    fn done(&mut self, token: Token, outcome: &Outcome<'_>) -> Result<()> {
        self.open.remove(&token);
        self.has_failed |= !outcome.is_success();
        match outcome {
            Outcome::Sent => print(format_args!("{token}\tsent\t"))?,
            Outcome::Abandoned(loss) => print(format_args!("{token}\tlost\t{loss}"))?,
            outcome => {
                let word = match outcome {
                    outcome if !outcome.is_success() => "refused",
                    Outcome::AtLeastOnce { .. } => "at least once",
                    _ => "acknowledged",
                };
                let codes: Vec<_> = outcome.codes().map(|code| code.to_string()).collect();
                print(format_args!("{token}\t{word}\t{}", codes.join(", ")))?;
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.messages.len() == 0 && self.lines.is_none() && self.held.is_none() && self.open.is_empty()
    }
}
