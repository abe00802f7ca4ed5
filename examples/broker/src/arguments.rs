//! What can be said on the command line.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Parser;
use mqtt_sansio::QoS;
use mqtt_sansio::broker::BrokerConfig;
use mqtt_sansio::server::ServerConfig;

use crate::access::Access;
use crate::acl::Acl;
use crate::users::Users;

/// An MQTT broker: 3.1, 3.1.1 and 5.0, over TCP, TLS and WebSocket.
///
/// For each address that it listens on it writes a line to standard output: `listening on tcp://127.0.0.1:1883`. What
/// happens is written to standard error; RUST_LOG decides how much of it.
#[derive(Parser)]
pub(crate) struct Arguments {
    /// Listen for MQTT over TCP; with port 0 the system chooses one. 127.0.0.1:1883 if nothing else is listened on
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// Listen for MQTT over TLS
    #[arg(long, value_name = "ADDRESS:PORT", requires = "cert", requires = "key")]
    pub(crate) tls: Vec<SocketAddr>,
    /// The certificate, and those that it was signed with, for TLS; PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// The private key of the certificate; PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Listen for MQTT over WebSocket
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) ws: Vec<SocketAddr>,
    /// Who is let in: lines NAME:PASSWORD; without this, everybody is
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Who may do what: lines `user NAME` and `anonymous`, and below them `read FILTER`, `write FILTER` and `readwrite FILTER`;
    /// what stands above holds for everybody. %u and %c stand for the user and the client. Without this, all is allowed
    #[arg(long, value_name = "FILE")]
    acl: Option<PathBuf>,
    /// Refuse subscriptions to exactly this filter
    #[arg(long, value_name = "FILTER")]
    deny_subscribe: Vec<String>,
    /// The longest keep-alive interval that a client may have; 0 for any
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    max_keep_alive: u16,
    /// How many messages of QoS 1 and 2 a client may have open
    #[arg(long, value_name = "COUNT", default_value_t = NonZeroU16::MAX)]
    receive_maximum: NonZeroU16,
    /// The largest packet that a client may send
    #[arg(long, value_name = "BYTES", default_value_t = 16 * 1024 * 1024, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) max_packet_size: u32,
    /// The highest topic alias that a client may use
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    topic_alias_maximum: u16,
    /// The highest QoS
    #[arg(long, value_name = "QOS", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=2))]
    max_qos: u8,
    /// How many messages of QoS 1 and 2 may be under way to a client at a time
    #[arg(long, value_name = "COUNT", default_value_t = NonZeroU16::MAX)]
    max_inflight: NonZeroU16,
    /// How many messages are kept for a client
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    max_queued: u32,
    /// How often $SYS topics are published; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    sys_interval: u32,
}

/// To how many topics a client that takes topic aliases gets one.
const TOPIC_ALIASES: u16 = 64;

impl Arguments {
    /// Where to listen for MQTT over TCP.
    pub(crate) fn tcp(&self) -> Vec<SocketAddr> {
        if self.listen.is_empty() && self.tls.is_empty() && self.ws.is_empty() {
            return vec![SocketAddr::from(([127, 0, 0, 1], 1883))];
        }
        self.listen.clone()
    }

    pub(crate) fn config(&self) -> BrokerConfig {
        let maximum_qos = match self.max_qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        BrokerConfig {
            server: ServerConfig {
                max_keep_alive: self.max_keep_alive,
                receive_maximum: self.receive_maximum,
                maximum_packet_size: self.max_packet_size,
                topic_alias_maximum: self.topic_alias_maximum,
                maximum_qos,
                max_in_flight: self.max_inflight,
                max_kept: self.max_queued,
                topic_aliases: TOPIC_ALIASES,
                ..ServerConfig::default()
            },
            // The standard library's own hash tables are seeded by the system.
            seed: RandomState::new().build_hasher().finish(),
            sys_interval: self.sys_interval,
            ..BrokerConfig::default()
        }
    }

    pub(crate) fn access(&self) -> Result<Access> {
        for filter in &self.deny_subscribe {
            if mqtt_sansio::TopicFilter::new(filter).is_err() {
                bail!("{filter:?} is no topic filter");
            }
        }
        let users = self.users.as_deref().map(Users::read).transpose()?;
        let acl = self.acl.as_deref().map(Acl::read).transpose()?;
        Ok(Access::new(users, acl, self.deny_subscribe.clone()))
    }
}
