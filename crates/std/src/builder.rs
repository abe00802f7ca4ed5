//! How a client is started.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use mqtt_sansio::StdClock;
use mqtt_sansio::client::{ClientConfig, ClientSession};

use crate::client::Client;
use crate::driver::{Authenticator, Driver};
use crate::event::Events;
use crate::state::Shared;
use crate::store::Store;
use crate::transport::Transport;

/// Starts a client that connects with this function, for instance [`tcp`](crate::tcp), again and again. This is
/// [`Builder::connect`] with the default settings.
///
/// # Errors
///
/// The error of the system if it refuses a thread.
///
/// # Examples
///
/// ```no_run
/// # use mqtt_sansio::client::ClientConfig;
/// # use mqtt_sansio::{Message, QoS};
/// # use mqtt_sansio_std::{Event, connect, tcp};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = ClientConfig { client_id: "thermo-7".into(), ..ClientConfig::default() };
/// let (client, events) = connect(config, tcp("broker.local:1883"))?;
/// client.subscribe("home/+/set", QoS::AtLeastOnce)?; // waits for SUBACK
/// client.publish(&Message::new("home/temp", "21.5").qos(QoS::ExactlyOnce))?; // waits for PUBCOMP
/// for event in events {
///     if let Event::Message(message) = event {
///         println!("{}: {:?}", message.topic(), message.payload());
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub fn connect(
    config: ClientConfig,
    transport: impl FnMut() -> io::Result<Transport> + Send + 'static,
) -> io::Result<(Client, Events)> {
    Builder::new(config).connect(transport)
}

/// The settings of a client beyond the [configuration](ClientConfig) of its session.
pub struct Builder {
    config: ClientConfig,
    store: Option<Box<dyn Store>>,
    authenticator: Option<Box<Authenticator>>,
    max_events: usize,
    reconnects: bool,
    resubscribes: bool,
}

impl Builder {
    /// Creates the default settings.
    ///
    /// `deliver_in_parts` of the configuration is ignored: messages are delivered whole. If there is no `seed`, a random one
    /// is chosen.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio_std::Builder;
    /// let builder = Builder::new(ClientConfig::default()).max_events(100).reconnect(false).resubscribe(false);
    /// # drop(builder);
    /// ```
    pub fn new(config: ClientConfig) -> Self {
        let mut config = ClientConfig { deliver_in_parts: None, ..config };
        if config.seed == 0 {
            config.seed = RandomState::new().build_hasher().finish() as u32; // seeded by the system
        }
        Self { config, store: None, authenticator: None, max_events: 1000, reconnects: true, resubscribes: true }
    }

    /// Sets where the session is stored, which makes it [durable](ClientConfig::durable). Default: nowhere.
    ///
    /// The client must use the same configuration after a restart. It sets `clean_start` to false and a
    /// `session_expiry_interval`, so that the server stores the session too. With
    /// [`manual_acks`](ClientConfig::manual_acks) no message is lost: the application acknowledges a message when it has
    /// stored the effect, and may see it a second time after a crash. Without, a message that waits in [`Events`] is lost in
    /// a crash.
    ///
    /// ```no_run
    /// # use mqtt_sansio::SessionExpiry;
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio_std::{Builder, FileStore, tcp};
    /// let config = ClientConfig {
    ///     client_id: "meter-7".into(),
    ///     clean_start: false,
    ///     session_expiry_interval: SessionExpiry::after(24 * 60 * 60),
    ///     manual_acks: true,
    ///     ..ClientConfig::default()
    /// };
    /// let store = FileStore::open("/var/lib/meter-7")?;
    /// let (client, events) = Builder::new(config).store(store).connect(tcp("broker.local:1883"))?;
    /// # drop((client, events));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn store(self, store: impl Store + 'static) -> Self {
        Self { store: Some(Box::new(store)), ..self }
    }

    /// Sets the function that answers a step of an enhanced authentication: from the server's Authentication Data to those
    /// of the client. Default: none, the step stays unanswered, and the connection ends.
    ///
    /// The server's last Authentication Data, which may prove who it is, are in the
    /// [properties](mqtt_sansio::client::OwnedConnected::properties) of [`Event::Connected`](crate::Event::Connected). Each connection begins
    /// with the data of the configuration; [`Client::reconfigure`] changes them.
    ///
    /// ```
    /// # use mqtt_sansio::client::{Authentication, ClientConfig};
    /// # use mqtt_sansio_std::Builder;
    /// let authentication = Authentication { method: "ADD-ONE".into(), data: None };
    /// let config = ClientConfig { authentication: Some(Box::new(authentication)), ..ClientConfig::default() };
    /// let builder = Builder::new(config).authenticator(|data| data.iter().map(|byte| byte.wrapping_add(1)).collect());
    /// # drop(builder);
    /// ```
    #[must_use]
    pub fn authenticator(self, answer: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> Self {
        Self { authenticator: Some(Box::new(answer)), ..self }
    }

    /// Sets the maximum number of events that wait to be taken, at least 1. Default: 1,000. At the limit no more messages
    /// are processed.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio_std::Builder;
    /// let builder = Builder::new(ClientConfig::default()).max_events(100); // for messages of up to some KiB
    /// # drop(builder);
    /// ```
    #[must_use]
    pub fn max_events(self, max_events: usize) -> Self {
        Self { max_events: NonZeroUsize::new(max_events).map_or(1, NonZeroUsize::get), ..self }
    }

    /// Sets whether another connection follows one that was lost, or that the server has closed for a
    /// [passing](mqtt_sansio::client::Close::may_retry) reason, after the pause that the configuration describes. Default:
    /// true.
    ///
    /// ```no_run
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio_std::{Builder, tcp};
    /// // A program that publishes once, and reports an error instead of waiting.
    /// let (client, events) = Builder::new(ClientConfig::default()).reconnect(false).connect(tcp("broker.local:1883"))?;
    /// # drop((client, events));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn reconnect(self, reconnects: bool) -> Self {
        Self { reconnects, ..self }
    }

    /// Sets whether the client subscribes again, to all that the server has granted before, when the server has lost the
    /// session. Default: true. The requests are sent before what was queued meanwhile, so that a response to a queued message
    /// finds its subscription. After a restart the client does not know its subscriptions.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio_std::Builder;
    /// let builder = Builder::new(ClientConfig::default()).resubscribe(false); // the program subscribes upon `Event::Connected`
    /// # drop(builder);
    /// ```
    #[must_use]
    pub fn resubscribe(self, resubscribes: bool) -> Self {
        Self { resubscribes, ..self }
    }

    /// Starts the client. The function is called on the driving thread for each connection; it should give up after a
    /// time. An error counts as a lost connection.
    ///
    /// # Errors
    ///
    /// The error of the store if the session cannot be loaded, `InvalidData` if it cannot be restored, and the error of the
    /// system if it refuses a thread.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use std::net::TcpStream;
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio_std::Builder;
    /// let (client, events) = Builder::new(ClientConfig::default()).connect(|| {
    ///     let socket = TcpStream::connect("127.0.0.1:1883")?; // and what comes before MQTT on this port
    ///     socket.try_into()
    /// })?;
    /// # drop((client, events));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect(
        self,
        transport: impl FnMut() -> io::Result<Transport> + Send + 'static,
    ) -> io::Result<(Client, Events)> {
        let Self { config, mut store, authenticator, max_events, reconnects, resubscribes } = self;
        let clock = StdClock::new();
        let session = match &mut store {
            None => ClientSession::new(ClientConfig { durable: false, ..config }),
            Some(store) => {
                let pairs = store.load()?;
                ClientSession::restore(config, clock.now(), pairs.iter())
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?
            }
        };
        let shared = Shared::new(session, clock, max_events, resubscribes);
        let driver = Driver::new(Arc::clone(&shared), Box::new(transport), store, authenticator, reconnects);
        let thread = thread::Builder::new().name("mqtt".into()).spawn(move || driver.run())?;
        shared.set_driver(thread.thread().clone());
        shared.wake(); // for a command that was given meanwhile
        Ok((Client::new(Arc::clone(&shared)), Events(shared)))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}
