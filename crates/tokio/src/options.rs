//! Settings of the driver.

use std::num::NonZeroUsize;
use std::time::Duration;

/// Settings of the driver; those of the session are in [`ClientConfig`](mqtt_sansio::client::ClientConfig).
///
/// ```
/// # use mqtt_sansio_tokio::Options;
/// let options = Options { resubscribe: false, ..Options::default() };
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether the driver subscribes again to what the server had granted, whenever a connection begins with a new
    /// session. Default: true. In 3.1, where the server does not say whether the session is new, it does so for each
    /// connection. The requests are sent before what was queued meanwhile, so that a response to a queued message finds its
    /// subscription.
    pub resubscribe: bool,
    /// Maximum number of messages that wait in the driver as events. Default: 1,024. At the limit the driver reads nothing
    /// until the application takes the events. It takes all that wait at once, so twice as many may wait in all. Events about
    /// connections do not count; of more than this number the last one is replaced.
    pub max_events: NonZeroUsize,
    /// Size of the messages that wait in the driver, in bytes of topics and payloads, above which the driver reads nothing.
    /// Default: 8 MiB. One message may exceed it.
    pub max_event_bytes: NonZeroUsize,
    /// How long the end of a connection may take: the time in which DISCONNECT is written and the server closes the
    /// transport. Default: 1 second.
    pub linger: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            resubscribe: true,
            max_events: const { NonZeroUsize::new(1024).unwrap() },
            max_event_bytes: const { NonZeroUsize::new(8 * 1024 * 1024).unwrap() },
            linger: Duration::from_secs(1),
        }
    }
}
