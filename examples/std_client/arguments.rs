//! The command line.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::{NonZeroU8, NonZeroU16};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::error::ErrorKind;
use clap::{ArgGroup, Args, CommandFactory, Parser, Subcommand};
use mqtt_sansio::client::{ClientConfig, ClientSession};
use mqtt_sansio::codec::{RetainHandling, SubscriptionIdentifier, UserProperty};
use mqtt_sansio::{
    Instant, QoS, SessionExpiry, StdClock, TextError, TopicError, TopicFilter, TopicName, Utf8Str, Version, Will,
};
use mqtt_sansio_std::{FileStore, Store};

use crate::publisher::Publisher;
use crate::subscriber::Subscriber;

/// Publishes and subscribes over TCP.
///
/// Ctrl-C and SIGTERM end the client with DISCONNECT, so that its will is not published; a second signal ends it at
/// once.
///
/// The exit code is 0 if everything was done, 1 if something was refused, lost or not done, and 2 if the arguments are
/// wrong: then nothing was sent.
#[derive(Parser)]
#[command(name = "std_client")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Publish(PublishArguments),
    Subscribe(SubscribeArguments),
}

/// Publishes messages, and prints a line for each: NUMBER, OUTCOME and DETAIL, separated by tabs.
///
/// The outcome is one of sent, acknowledged, at least once, refused, lost, stored and unknown. "At least once" is the outcome
/// of a QoS 2 message if the server does not support QoS 2. Messages are numbered from 1.
#[derive(Args)]
#[command(group = ArgGroup::new("payloads").required(true).multiple(true))]
pub(crate) struct PublishArguments {
    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
    /// The topic of the messages
    #[arg(long, value_parser = parse_topic)]
    pub(crate) topic: String,
    /// A message; may be repeated
    #[arg(long = "message", value_name = "PAYLOAD", group = "payloads")]
    pub(crate) messages: Vec<String>,
    /// Publish each line of standard input as well
    #[arg(long, group = "payloads")]
    pub(crate) lines: bool,
    /// The QoS: 0, 1 or 2
    #[arg(long, default_value = "0")]
    pub(crate) qos: QoS,
    /// Publish with RETAIN
    #[arg(long)]
    pub(crate) retain: bool,
    /// A user property of the messages; may be repeated; 5.0 only, like the following ones
    #[arg(long = "user-property", value_name = "NAME=VALUE", value_parser = parse_pair)]
    user_properties: Vec<(String, String)>,
    /// The content type of the payload
    #[arg(long, value_parser = parse_text)]
    pub(crate) content_type: Option<String>,
    /// The response topic
    #[arg(long, value_name = "TOPIC", value_parser = parse_topic)]
    pub(crate) response_topic: Option<String>,
    /// The Message Expiry Interval
    #[arg(long, value_name = "SECONDS")]
    pub(crate) message_expiry: Option<u32>,
}

impl Arguments {
    /// Finds errors in the combination of arguments before there is a connection.
    ///
    /// # Errors
    ///
    /// A message that names the arguments; the exit code is 2.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        let wrong = |message: String| Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        let (connection, own) = match &self.command {
            Command::Publish(arguments) => (&arguments.connection, arguments.only_in_5()),
            Command::Subscribe(arguments) => (&arguments.connection, arguments.only_in_5()),
        };
        let version = connection.version;
        let too_new = connection.only_in_5().into_iter().chain(own).find(|(_, is_there)| *is_there);
        if let (Version::V31 | Version::V311, Some((name, _))) = (version, too_new) {
            return wrong(format!("{name} exists in 5.0 only, and --version is {version}"));
        }
        if let Err(mistake) = connection.check() {
            return wrong(mistake.to_string());
        }
        // All other errors are found by the session itself.
        if let Err(mistake) = self.try_without_connection() {
            return wrong(format!("{mistake:#}"));
        }
        Ok(())
    }

    /// Gives this client's commands to sessions that are never connected.
    fn try_without_connection(&self) -> Result<()> {
        match &self.command {
            Command::Publish(arguments) => {
                let mut client = arguments.connection.try_without_connection()?;
                let properties = arguments.user_properties()?;
                let publisher = Publisher::new(arguments, &properties)?;
                client
                    .publish(Instant::EPOCH, &publisher.compose(Bytes::new()))
                    .context("the messages cannot be sent")?;
            }
            Command::Subscribe(arguments) => {
                let mut client = arguments.connection.try_without_connection()?;
                let shared = arguments.filters.iter().find(|filter| filter.starts_with("$share/"));
                if let (true, Some(filter)) = (arguments.no_local, shared) {
                    bail!("--no-local is not allowed with the shared subscription --filter {filter} [MQTT-3.8.3-4]");
                }
                Subscriber::new(arguments, &mut client, Instant::EPOCH)?;
            }
        }
        Ok(())
    }
}

/// An argument that exists in 5.0 only, and whether it was given.
type OnlyIn5 = (&'static str, bool);

impl PublishArguments {
    fn only_in_5(&self) -> Vec<OnlyIn5> {
        vec![
            ("--user-property", !self.user_properties.is_empty()),
            ("--content-type", self.content_type.is_some()),
            ("--response-topic", self.response_topic.is_some()),
            ("--message-expiry", self.message_expiry.is_some()),
        ]
    }

    pub(crate) fn user_properties(&self) -> Result<Vec<UserProperty<'_>>, TextError> {
        self.user_properties.iter().map(|(name, value)| UserProperty::new(name, value)).collect()
    }
}

/// Prints a line for each message: TOPIC, QOS, RETAIN (0 or 1), PAYLOAD, and PROPERTIES if there are some, separated by
/// tabs.
///
/// A payload that is not UTF-8, or contains control characters, is printed with escapes.
#[derive(Args)]
pub(crate) struct SubscribeArguments {
    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
    /// A topic filter; may be repeated
    #[arg(long = "filter", value_name = "FILTER", required = true, value_parser = parse_filter)]
    pub(crate) filters: Vec<String>,
    /// The maximum QoS: 0, 1 or 2
    #[arg(long, default_value = "0")]
    pub(crate) qos: QoS,
    /// Exit after this many messages
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Set No Local: do not receive this client's own messages; 5.0 only, like the following ones
    #[arg(long)]
    pub(crate) no_local: bool,
    /// The Retain Handling: retained messages 0 always, 1 only for a new subscription, 2 never
    #[arg(long, default_value = "0")]
    pub(crate) retain_handling: RetainHandling,
    /// The subscription identifier, which the server adds to each message
    #[arg(long, value_name = "NUMBER")]
    pub(crate) subscription_identifier: Option<SubscriptionIdentifier>,
}

impl SubscribeArguments {
    fn only_in_5(&self) -> Vec<OnlyIn5> {
        vec![
            ("--no-local", self.no_local),
            ("--retain-handling", self.retain_handling != RetainHandling::default()),
            ("--subscription-identifier", self.subscription_identifier.is_some()),
        ]
    }
}

#[derive(Args)]
pub(crate) struct ConnectionArguments {
    /// The server: a host name or an IP address
    #[arg(long, default_value = "localhost", value_parser = parse_host)]
    pub(crate) host: String,
    /// The port of the server, for MQTT over plain TCP
    #[arg(long, default_value_t = 1883, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// The protocol version: 3.1, 3.1.1 or 5.0
    #[arg(long, default_value_t)]
    version: Version,
    /// The client identifier; the server assigns one if it is empty
    #[arg(long, value_name = "NAME", default_value = "", value_parser = parse_text)]
    client_id: String,
    /// The Keep Alive; 0 for no limit
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    keep_alive: u16,
    /// Start a new session: the default
    #[arg(long, overrides_with = "no_clean_start")]
    clean_start: bool,
    /// Resume the session that the server has stored
    #[arg(long, overrides_with = "clean_start")]
    no_clean_start: bool,
    /// The Session Expiry Interval; 5.0 only
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    session_expiry: u32,
    /// The user name
    #[arg(long, value_name = "NAME", value_parser = parse_text)]
    user: Option<String>,
    /// The password; other programs on this computer can see it
    #[arg(long, value_parser = parse_data)]
    password: Option<String>,
    /// Reconnect when the connection is lost
    #[arg(long)]
    pub(crate) reconnect: bool,
    /// The minimum and maximum pause before that, in seconds
    #[arg(long, value_name = "MIN..MAX", default_value = "1..120", value_parser = parse_range)]
    backoff: (u16, u16),
    /// Keep the session in this directory, so that it survives a crash. The next run with the same directory goes on with
    /// the messages that have no outcome; the server has to store the session as well: --session-expiry, or
    /// --no-clean-start before 5.0
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// On how many connections an unanswered subscription is sent before it is abandoned; 0 for no limit
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    request_tries: u8,
    /// Maximum number of messages of QoS 1 and 2 in flight to the server, which cannot announce its own maximum before
    /// 5.0
    #[arg(long, value_name = "NUMBER", default_value_t = NonZeroU16::MAX)]
    max_in_flight: NonZeroU16,
    #[command(flatten)]
    will: WillArguments,
}

#[derive(Args)]
struct WillArguments {
    /// The topic of the will, which the server publishes if this client disappears
    #[arg(long, value_name = "TOPIC", value_parser = parse_topic)]
    will_topic: Option<String>,
    /// The payload of the will
    #[arg(long, value_name = "PAYLOAD", default_value = "", requires = "will_topic", value_parser = parse_data)]
    will_message: String,
    /// The QoS of the will: 0, 1 or 2
    #[arg(long, value_name = "QOS", default_value = "0", requires = "will_topic")]
    will_qos: QoS,
    /// Retain the will
    #[arg(long, requires = "will_topic")]
    will_retain: bool,
    /// The Will Delay Interval; 5.0 only
    #[arg(long, value_name = "SECONDS", default_value_t = 0, requires = "will_topic")]
    will_delay: u32,
}

impl ConnectionArguments {
    fn only_in_5(&self) -> [OnlyIn5; 2] {
        [("--session-expiry", self.session_expiry != 0), ("--will-delay", self.will.will_delay != 0)]
    }

    fn check(&self) -> Result<()> {
        let is_clean = self.clean_start || !self.no_clean_start;
        ensure!(
            self.backoff.0 <= self.backoff.1,
            "--backoff {}..{} is the wrong way round",
            self.backoff.0,
            self.backoff.1
        );
        match self.version {
            Version::V5 => {}
            Version::V31 | Version::V311 => {
                let has_user = self.user.is_some() || self.password.is_none();
                ensure!(has_user, "--password needs --user before 5.0 [MQTT-3.1.2-22]");
                let has_identifier = !self.client_id.is_empty();
                ensure!(has_identifier || is_clean, "--no-clean-start needs --client-id before 5.0 [MQTT-3.1.3-7]");
                let may_be_empty = self.version == Version::V311;
                ensure!(has_identifier || may_be_empty, "--version 3.1 needs --client-id, of 1 to 23 characters");
            }
        }
        Ok(())
    }

    /// The session: a new one, or the one that is stored in the directory.
    pub(crate) fn open_session(&self) -> Result<(ClientSession, Option<FileStore>)> {
        let Some(directory) = &self.data else { return Ok((ClientSession::new(self.config()), None)) };
        let mut store = FileStore::open(directory)?;
        let pairs = store.load()?;
        let client = ClientSession::restore(self.config(), StdClock::new().now(), pairs.iter())
            .with_context(|| format!("the session in {} cannot be restored", directory.display()))?;
        let stored = &client.config().client_id;
        let is_same = self.client_id.is_empty() || self.client_id == *stored;
        ensure!(is_same, "{} contains the session of the client {stored:?}", directory.display());
        Ok((client, Some(store)))
    }

    /// A session that is never connected.
    fn try_without_connection(&self) -> Result<ClientSession> {
        let mut client = ClientSession::new(self.config());
        client.open(Instant::EPOCH).context("CONNECT cannot be sent")?;
        Ok(client)
    }

    /// The address of the server, for messages.
    pub(crate) fn address(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    pub(crate) fn config(&self) -> ClientConfig {
        ClientConfig {
            version: self.version,
            client_id: self.client_id.clone(),
            clean_start: self.clean_start || !self.no_clean_start,
            session_expiry_interval: SessionExpiry::after(self.session_expiry),
            keep_alive: NonZeroU16::new(self.keep_alive),
            will: self.will.will().map(Box::new),
            user_name: self.user.as_deref().map(Into::into),
            password: self.password.as_ref().map(|password| password.as_bytes().into()),
            max_in_flight: self.max_in_flight,
            max_request_tries: NonZeroU8::new(self.request_tries),
            min_backoff: self.backoff.0,
            max_backoff: self.backoff.1,
            durable: self.data.is_some(),
            seed: RandomState::new().build_hasher().finish() as u32, // seeded by the system
            ..ClientConfig::default()
        }
    }
}

impl WillArguments {
    fn will(&self) -> Option<Will> {
        let will = Will::new(self.will_topic.as_ref()?, self.will_message.as_bytes());
        Some(Will { qos: self.will_qos, retain: self.will_retain, delay_interval: self.will_delay, ..will })
    }
}

fn parse_topic(text: &str) -> Result<String, TopicError> {
    TopicName::new(text).map(|_| text.into())
}

fn parse_filter(text: &str) -> Result<String, TopicError> {
    TopicFilter::new(text).map(|_| text.into())
}

fn parse_text(text: &str) -> Result<String, TextError> {
    Utf8Str::new(text).map(|_| text.into())
}

/// Binary Data (section 1.5.6).
fn parse_data(text: &str) -> Result<String> {
    ensure!(text.len() <= usize::from(u16::MAX), "it is longer than 65,535 bytes");
    Ok(text.into())
}

fn parse_host(text: &str) -> Result<String> {
    ensure!(!text.contains("://"), "it is a name or an address and no URL");
    // IPv6 addresses may be written as in URLs.
    let host = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    ensure!(!host.is_empty(), "it is empty");
    // An IPv6 address has at least two colons.
    ensure!(
        host.matches(':').count() != 1 && !host.contains(['[', ']']),
        "the port has an argument of its own, --port"
    );
    Ok(host.into())
}

fn parse_pair(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("there is no = in it")?;
    Ok((parse_text(name)?, parse_text(value)?))
}

fn parse_range(text: &str) -> Result<(u16, u16)> {
    let (shortest, longest) = text.split_once("..").context("there is no .. in it")?;
    Ok((shortest.parse()?, longest.parse()?))
}
