//! The command line.

use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use mqtt_sansio::QoS;
use mqtt_sansio::broker::BrokerConfig;
use mqtt_sansio::server::ServerConfig;

use crate::access::Rights;
use crate::acl::Acl;
use crate::address::Address;
use crate::driver::Limits;
use crate::origin::OriginLimits;
use crate::rate::Rates;
use crate::store::committer;
use crate::users::Users;

/// An MQTT broker for 3.1, 3.1.1 and 5.0, over TCP, TLS and WebSocket.
///
/// For each address it writes a line to standard output: `listening on tcp://127.0.0.1:1883`. Events are logged to
/// standard error; RUST_LOG sets the level. After the signal USR1 it logs the numbers of items that take memory.
#[derive(Parser)]
#[command(name = "broker", version)]
pub(crate) struct Arguments {
    /// Listen for MQTT over TCP; with port 0 the system chooses one. A host name stands for all its addresses.
    /// 127.0.0.1:1883 if no other address is given
    #[arg(long, value_name = "HOST:PORT")]
    listen: Vec<Address>,
    /// Listen for MQTT over TLS
    #[arg(long, value_name = "HOST:PORT", requires = "cert", requires = "key")]
    pub(crate) tls: Vec<Address>,
    /// The certificate for TLS with its chain; PEM
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub(crate) cert: Option<PathBuf>,
    /// The private key of the certificate; PEM
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub(crate) key: Option<PathBuf>,
    /// Over TLS, accept only clients with a certificate that one of these has signed; PEM. The common name (CN) of its
    /// subject is the user name: it needs no password, and CONNECT has the same user name or none
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub(crate) client_ca: Option<PathBuf>,
    /// Listen for MQTT over WebSocket
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) ws: Vec<Address>,
    /// The users: lines NAME:PASSWORD as written by mosquitto_passwd, hashed ($7$ or $6$); a warning is logged for
    /// passwords in plain text. Without this, every client is accepted
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Accept clients without user name and password, too, although there are users
    #[arg(long, requires = "users")]
    allow_anonymous: bool,
    /// The permissions: lines `user NAME` and `anonymous`, followed by `read FILTER`, `write FILTER` and `readwrite
    /// FILTER`; lines before them apply to all clients. %u and %c stand for user name and client identifier. Without
    /// this, everything is allowed. Only a verified user name counts: without --users (or, over TLS, --client-ca) all
    /// clients are anonymous, and rules for users are an error
    #[arg(long, value_name = "FILE")]
    acl: Option<PathBuf>,
    /// Refuse subscriptions to exactly this filter
    #[arg(long, value_name = "FILTER")]
    deny_subscribe: Vec<String>,
    /// The maximum Keep Alive of a client; 0 for any
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    max_keep_alive: u16,
    /// The Receive Maximum: unacknowledged messages of QoS 1 and 2 from a client
    #[arg(long, value_name = "COUNT", default_value_t = NonZeroU16::MAX)]
    receive_maximum: NonZeroU16,
    /// The Maximum Packet Size of packets from a client
    #[arg(long, value_name = "BYTES", default_value_t = 16 * 1024 * 1024, value_parser = clap::value_parser!(u32).range(2..))]
    max_packet_size: u32,
    /// The Topic Alias Maximum of a client
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    topic_alias_maximum: u16,
    /// The Maximum QoS
    #[arg(long, value_name = "QOS", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=2))]
    max_qos: u8,
    /// Maximum number of messages of QoS 1 and 2 in flight to a client
    #[arg(long, value_name = "COUNT", default_value_t = NonZeroU16::MAX)]
    max_inflight: NonZeroU16,
    /// Maximum number of messages stored for a client, including those in flight
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    max_queued: u32,
    /// Maximum size of the messages stored for a client; by default the Maximum Packet Size, and at least 64 MiB
    #[arg(long, value_name = "BYTES")]
    max_queued_bytes: Option<u32>,
    /// Maximum size of retained messages and of messages stored for all clients together
    #[arg(long, value_name = "BYTES", default_value_t = BrokerConfig::default().max_memory)]
    max_memory: u64,
    /// Additional memory for connected clients that acknowledge their messages, once --max-memory is used up
    #[arg(long, value_name = "BYTES", default_value_t = BrokerConfig::default().reserved_memory)]
    reserved_memory: u64,
    /// Maximum memory of connections, sessions, subscriptions and unfinished work together; 0 for no limit
    #[arg(long, value_name = "BYTES", default_value_t = BrokerConfig::default().max_state_memory.map_or(0, NonZeroU64::get))]
    max_state_memory: u64,
    /// Maximum memory of a user, or of an address that clients without a user come from, besides its share: nobody may hold
    /// more of --max-memory and --max-state-memory than all leave free; 0 for no limit
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    max_memory_per_principal: u64,
    /// Maximum number of retained messages
    #[arg(long, value_name = "COUNT", default_value_t = BrokerConfig::default().max_retained)]
    max_retained: u32,
    /// Maximum size of a CONNECT
    #[arg(long, value_name = "BYTES", default_value_t = ServerConfig::default().max_connect_size)]
    max_connect_size: NonZeroU32,
    /// Maximum number of connections
    #[arg(long, value_name = "COUNT", default_value_t = BrokerConfig::default().max_connections)]
    max_connections: u32,
    /// Maximum number of sessions, with or without a connection
    #[arg(long, value_name = "COUNT", default_value_t = BrokerConfig::default().max_sessions)]
    max_sessions: u32,
    /// Maximum number of connections from one address (a network of 64 bits for IPv6) in the TLS or WebSocket handshake; 0 for
    /// any number. A connection beyond this limit or the next one is closed at once
    #[arg(long, value_name = "COUNT", default_value_t = 256)]
    max_handshakes_per_address: u32,
    /// Maximum number of connections from one address without an accepted client, including those in a handshake; 0 for any
    /// number
    #[arg(long, value_name = "COUNT", default_value_t = 1024)]
    max_connecting_per_address: u32,
    /// Maximum number of bytes of incomplete packets that all connections together hold; by default four times the largest
    /// packet, and at least 256 MiB. The connections from one address may hold at most as much as they leave for other
    /// addresses, that is half of it if there are no others; a client beyond this is disconnected
    #[arg(long, value_name = "BYTES")]
    max_incomplete_bytes: Option<u32>,
    /// Maximum number of messages that a client may publish per second; 0 for any number. Faster messages are delayed; after a
    /// pause the messages of one second may come at once
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    max_messages_per_second: u32,
    /// Maximum number of bytes that a client may send per second; 0 for any number. Faster bytes are delayed. A packet that takes
    /// longer than one and a half times the keep-alive interval at this rate ends the connection
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    max_bytes_per_second: u32,
    /// Maximum work that the broker does at a time, in units, before it serves connections again. A unit is one item, such as a
    /// packet, a subscription that is visited or a copy of a message, or 256 bytes. A smaller number lowers the latency under
    /// load; with a larger one each write has more messages of a burst, and the throughput is higher
    #[arg(long, value_name = "UNITS", default_value_t = const { NonZeroU32::new(12_000).unwrap() })]
    work_per_call: NonZeroU32,
    /// Interval at which $SYS topics are published; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    sys_interval: u32,
    /// Store retained messages, and the sessions that outlive their connections with their subscriptions and messages, in a
    /// database in this directory, so that they survive a crash from the acknowledgement on. The directory is created if
    /// necessary; only one process at a time can use it. By default all of this is lost when the broker ends
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// When changes become permanent: `always` before they are acknowledged, or at most this time later, which may have
    /// decimals. A crash may lose the changes of this time
    #[arg(long, value_name = "always|SECONDS", default_value = "always", requires = "data")]
    pub(crate) sync: committer::Sync,
}

/// Maximum time that a client waits until the check of its password begins.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The number of topics that get a topic alias, for a client that announces a Topic Alias Maximum.
const TOPIC_ALIASES: u16 = 64;

impl Arguments {
    /// The addresses to listen on for MQTT over TCP.
    pub(crate) fn tcp(&self) -> Vec<Address> {
        if self.listen.is_empty() && self.tls.is_empty() && self.ws.is_empty() {
            return vec![Address::new("127.0.0.1", 1883)];
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
                max_keep_alive: NonZeroU16::new(self.max_keep_alive),
                receive_maximum: self.receive_maximum,
                maximum_packet_size: NonZeroU32::new(self.max_packet_size),
                topic_alias_maximum: self.topic_alias_maximum,
                maximum_qos,
                max_in_flight: self.max_inflight,
                max_stored: self.max_queued,
                max_stored_bytes: self.max_queued_bytes(),
                max_connect_size: self.max_connect_size,
                topic_aliases: TOPIC_ALIASES,
                ..ServerConfig::default()
            },
            max_connections: self.max_connections,
            max_sessions: self.max_sessions,
            max_retained: self.max_retained,
            max_memory: self.max_memory,
            reserved_memory: self.reserved_memory,
            max_state_memory: NonZeroU64::new(self.max_state_memory),
            max_memory_per_principal: NonZeroU64::new(self.max_memory_per_principal),
            sys_interval: NonZeroU32::new(self.sys_interval),
            work_per_call: self.work_per_call,
            ..BrokerConfig::default()
        }
    }

    /// The limits of the driver.
    pub(crate) fn limits(&self) -> Limits {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let max_incomplete = self.max_incomplete_bytes.unwrap_or_else(|| {
            self.max_packet_size.max(self.max_connect_size.get()).saturating_mul(4).max(256 * 1024 * 1024)
        });
        Limits {
            origins: OriginLimits {
                max_handshakes: NonZeroU32::new(self.max_handshakes_per_address),
                max_connecting: NonZeroU32::new(self.max_connecting_per_address),
                max_connections: NonZeroU32::new(self.max_connections),
                max_incomplete: max_incomplete as usize,
            },
            rates: Rates {
                messages: NonZeroU32::new(self.max_messages_per_second),
                bytes: NonZeroU32::new(self.max_bytes_per_second),
            },
            checks: processors.saturating_sub(1).max(1),
            max_wait: MAX_WAIT,
        }
    }

    /// Maximum size of the messages stored for a client. Any message that clients may send must fit.
    fn max_queued_bytes(&self) -> u32 {
        self.max_queued_bytes.unwrap_or_else(|| self.max_packet_size.max(ServerConfig::default().max_stored_bytes))
    }

    pub(crate) fn rights(&self) -> Result<Rights> {
        for filter in &self.deny_subscribe {
            if mqtt_sansio::TopicFilter::new(filter).is_err() {
                bail!("{filter:?} is no topic filter");
            }
        }
        let users = self.users.as_deref().map(Users::read).transpose()?;
        let acl = self.acl.as_deref().map(Acl::read).transpose()?;
        // Otherwise any client could claim to be that user.
        if users.is_none()
            && self.client_ca.is_none()
            && let (Some(path), Some(user)) = (&self.acl, acl.as_ref().and_then(Acl::needs_user))
        {
            bail!(
                "{}: there are rules for the user {user}, but user names are not verified without --users or --client-ca",
                path.display()
            );
        }
        Ok(Rights { users, allow_anonymous: self.allow_anonymous, acl, denied: self.deny_subscribe.clone() })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use super::*;
    use crate::tls::tests::testdata;

    fn parse(line: &str) -> Result<Arguments, ErrorKind> {
        Arguments::try_parse_from(line.split(' ')).map_err(|error| error.kind())
    }

    #[test]
    fn arguments_set_the_configuration() {
        Arguments::command().debug_assert();
        assert_eq!(parse("broker --version").err(), Some(ErrorKind::DisplayVersion));
        assert!(Arguments::command().render_version().contains(env!("CARGO_PKG_VERSION")));
        for line in
            ["--sync 1", "--cert a", "--key a", "--client-ca a", "--tls h:1", "--tls h:1 --cert a", "--allow-anonymous"]
        {
            assert_eq!(parse(&format!("broker {line}")).err(), Some(ErrorKind::MissingRequiredArgument), "{line}");
        }
        for line in ["--listen :1883", "--data d --sync never", "--data d --sync 0"] {
            assert_eq!(parse(&format!("broker {line}")).err(), Some(ErrorKind::ValueValidation), "{line}");
        }
        let (none, some) = (parse("broker").unwrap(), parse("broker --data d").unwrap());
        assert_eq!((none.data, some.data, some.sync), (None, Some("d".into()), committer::Sync::Always));
        let sync = parse("broker --data d --sync 0.5").unwrap().sync;
        assert_eq!(sync, committer::Sync::Every(Duration::from_millis(500)));
        let of = |addresses: Vec<Address>| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            of(parse("broker --listen localhost:1883 --listen [::1]:0").unwrap().tcp()),
            ["localhost:1883", "[::1]:0"]
        );
        assert_eq!(of(parse("broker").unwrap().tcp()), ["127.0.0.1:1883"]);
        assert!(parse("broker --ws localhost:80").unwrap().tcp().is_empty());
    }

    #[test]
    fn limits_in_bytes_are_options() {
        let config = parse("broker").unwrap().config();
        assert_eq!((config.server.max_stored_bytes, config.max_memory), (64 << 20, 1 << 30));
        let config = parse("broker --max-packet-size 104857600").unwrap().config();
        assert_eq!(config.server.max_stored_bytes, 104_857_600, "a message that clients may send can be stored");
        let line = "broker --max-queued-bytes 1 --max-memory 2 --reserved-memory 7 --max-state-memory 8 --max-retained 3 --max-connect-size 4 --max-connections 5 \
            --max-sessions 6 --max-memory-per-principal 9 --work-per-call 10";
        let config = parse(line).unwrap().config();
        assert_eq!((config.server.max_stored_bytes, config.max_memory, config.max_retained), (1, 2, 3));
        assert_eq!((config.reserved_memory, config.max_state_memory), (7, NonZeroU64::new(8)));
        assert_eq!(config.work_per_call.get(), 10);
        assert!(parse("broker --work-per-call 0").is_err());
        assert_eq!(config.max_memory_per_principal, NonZeroU64::new(9));
        assert_eq!((config.server.max_connect_size.get(), config.max_connections, config.max_sessions), (4, 5, 6));
    }

    #[test]
    fn limits_of_addresses_and_rates_are_options() {
        let limits = parse("broker").unwrap().limits();
        let origins = limits.origins;
        assert_eq!((origins.max_handshakes, origins.max_connecting), (NonZeroU32::new(256), NonZeroU32::new(1024)));
        assert_eq!(origins.max_incomplete, 256 << 20);
        assert!(limits.rates.messages.is_none() && limits.rates.bytes.is_none());
        let large = parse("broker --max-packet-size 200000000").unwrap().limits();
        assert!(large.origins.max_incomplete >= 2 * 200_000_000, "one address may hold one of the largest packets");
        let line = "broker --max-handshakes-per-address 0 --max-connecting-per-address 7 --max-incomplete-bytes 1 \
            --max-messages-per-second 2 --max-bytes-per-second 3";
        let limits = parse(line).unwrap().limits();
        assert_eq!((limits.origins.max_handshakes, limits.origins.max_connecting), (None, NonZeroU32::new(7)));
        assert_eq!(limits.origins.max_incomplete, 1);
        assert_eq!((limits.rates.messages, limits.rates.bytes), (NonZeroU32::new(2), NonZeroU32::new(3)));
    }

    #[test]
    fn rules_for_users_without_verification_are_an_error() {
        let rights = |more: &str| {
            let line = format!("broker --acl {}{more}", testdata("acl").display());
            parse(&line).unwrap().rights()
        };
        let error = rights("").err().unwrap().to_string();
        assert!(error.contains("acl: there are rules for the user ann, but user names are not verified"), "{error}");
        assert!(rights(&format!(" --users {}", testdata("passwd").display())).is_ok());
        assert!(rights(" --tls localhost:1 --cert a --key a --client-ca a").is_ok());
        for (rules, expected) in
            [("read a\nanonymous\nread b", None), ("read a/%u", Some("%u")), ("user z\nread a", Some("z"))]
        {
            assert_eq!(Acl::parse(rules).unwrap().needs_user(), expected, "{rules}");
        }
    }
}
