//! What can be said on the command line.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroU16;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use mqtt_sansio::client::{ClientConfig, Will};
use mqtt_sansio::codec::{RetainHandling, SubscriptionIdentifier, UserProperty};
use mqtt_sansio::{QoS, TextError, Version};

/// Publishes and subscribes over TCP.
///
/// The exit code is 1 when something was refused or lost, and 2 when the arguments are wrong.
#[derive(Parser)]
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
/// The outcome is one of sent, acknowledged, refused, lost and unknown. Messages are numbered from 1.
#[derive(Args)]
pub(crate) struct PublishArguments {
    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
    /// Where the messages are published
    #[arg(long)]
    pub(crate) topic: String,
    /// A message; may be repeated
    #[arg(long = "message", value_name = "PAYLOAD", required_unless_present = "lines")]
    pub(crate) messages: Vec<String>,
    /// Each line of standard input is a message too
    #[arg(long)]
    pub(crate) lines: bool,
    /// The guarantee: 0, 1 or 2
    #[arg(long, default_value = "0", value_parser = parse_qos)]
    pub(crate) qos: QoS,
    /// The server is to keep the last message for later subscribers
    #[arg(long)]
    pub(crate) retain: bool,
    /// A user property of the messages; may be repeated; 5.0 only, like the following ones
    #[arg(long = "user-property", value_name = "NAME=VALUE", value_parser = parse_pair)]
    user_properties: Vec<(String, String)>,
    /// The type of the payload
    #[arg(long)]
    pub(crate) content_type: Option<String>,
    /// Where a response is expected
    #[arg(long, value_name = "TOPIC")]
    pub(crate) response_topic: Option<String>,
    /// How long a message is of use
    #[arg(long, value_name = "SECONDS")]
    pub(crate) message_expiry: Option<u32>,
}

impl PublishArguments {
    pub(crate) fn user_properties(&self) -> Result<Vec<UserProperty<'_>>, TextError> {
        self.user_properties.iter().map(|(name, value)| UserProperty::new(name, value)).collect()
    }
}

/// Prints a line for each message: TOPIC, QOS, RETAIN (0 or 1), PAYLOAD, and PROPERTIES if there are some, separated by
/// tabs.
///
/// A payload that is no text, or has control characters in it, is printed with escapes.
#[derive(Args)]
pub(crate) struct SubscribeArguments {
    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
    /// Which topics; may be repeated
    #[arg(long = "filter", value_name = "FILTER", required = true)]
    pub(crate) filters: Vec<String>,
    /// The highest guarantee: 0, 1 or 2
    #[arg(long, default_value = "0", value_parser = parse_qos)]
    pub(crate) qos: QoS,
    /// Leave after so many messages
    #[arg(long, value_name = "NUMBER")]
    pub(crate) count: Option<u64>,
    /// Not what this client itself has published; 5.0 only, like the following ones
    #[arg(long)]
    pub(crate) no_local: bool,
    /// Retained messages: 0 always, 1 only for a new subscription, 2 never
    #[arg(long, default_value = "0", value_parser = parse_retain_handling)]
    pub(crate) retain_handling: RetainHandling,
    /// What the server adds to each message
    #[arg(long, value_name = "NUMBER", value_parser = parse_subscription_identifier)]
    pub(crate) subscription_identifier: Option<SubscriptionIdentifier>,
}

#[derive(Args)]
pub(crate) struct ConnectionArguments {
    #[arg(long, default_value = "localhost")]
    pub(crate) host: String,
    #[arg(long, default_value_t = 1883)]
    pub(crate) port: u16,
    /// The version of the protocol: 3.1, 3.1.1 or 5.0
    #[arg(long, default_value_t)]
    version: Version,
    /// The name of the session; the server chooses one if it is empty
    #[arg(long, value_name = "NAME", default_value = "")]
    client_id: String,
    /// The longest time without a packet to the server; 0 for no limit
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    keep_alive: u16,
    /// Begin a new session: the default
    #[arg(long, overrides_with = "no_clean_start")]
    clean_start: bool,
    /// Go on with the session that the server has kept
    #[arg(long, overrides_with = "clean_start")]
    no_clean_start: bool,
    /// How long the session outlives the connection; 5.0 only
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    session_expiry: u32,
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    #[arg(long)]
    password: Option<String>,
    /// Connect again when the connection is lost
    #[arg(long)]
    pub(crate) reconnect: bool,
    /// The shortest and the longest pause before that, in seconds
    #[arg(long, value_name = "MIN..MAX", default_value = "1..120", value_parser = parse_range)]
    backoff: (u16, u16),
    /// How many messages of QoS 1 and 2 may be under way to the server; before 5.0 it cannot say what it takes
    #[arg(long, value_name = "NUMBER", default_value_t = NonZeroU16::MAX)]
    max_in_flight: NonZeroU16,
    #[command(flatten)]
    will: WillArguments,
}

#[derive(Args)]
struct WillArguments {
    /// Where the server publishes a message if this client vanishes
    #[arg(long)]
    will_topic: Option<String>,
    #[arg(long, value_name = "PAYLOAD", default_value = "", requires = "will_topic")]
    will_message: String,
    #[arg(long, value_name = "QOS", default_value = "0", value_parser = parse_qos, requires = "will_topic")]
    will_qos: QoS,
    #[arg(long, requires = "will_topic")]
    will_retain: bool,
    /// How long the server waits before it publishes it; 5.0 only
    #[arg(long, value_name = "SECONDS", default_value_t = 0, requires = "will_topic")]
    will_delay: u32,
}

impl ConnectionArguments {
    pub(crate) fn config(&self) -> ClientConfig {
        ClientConfig {
            version: self.version,
            client_id: self.client_id.clone(),
            clean_start: self.clean_start || !self.no_clean_start,
            session_expiry_interval: self.session_expiry,
            keep_alive: self.keep_alive,
            will: self.will.will().map(Box::new),
            user_name: self.user.clone(),
            password: self.password.as_ref().map(|password| password.as_bytes().into()),
            max_in_flight: self.max_in_flight,
            backoff: self.backoff,
            seed: RandomState::new().build_hasher().finish(), // the random number of the standard library
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

fn parse_qos(text: &str) -> Result<QoS> {
    text.parse().ok().and_then(QoS::from_value).context("a QoS is 0, 1 or 2")
}

fn parse_retain_handling(text: &str) -> Result<RetainHandling> {
    text.parse().ok().and_then(RetainHandling::from_value).context("it is 0, 1 or 2")
}

fn parse_subscription_identifier(text: &str) -> Result<SubscriptionIdentifier> {
    Ok(SubscriptionIdentifier::new(text.parse()?)?)
}

fn parse_pair(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("there is no = in it")?;
    Ok((name.into(), value.into()))
}

fn parse_range(text: &str) -> Result<(u16, u16)> {
    let (shortest, longest) = text.split_once("..").context("there is no .. in it")?;
    Ok((shortest.parse()?, longest.parse()?))
}
