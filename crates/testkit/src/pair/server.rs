//! The server of a pair.

use bytes::Buf;
use mqtt_sansio::Instant;

/// The server's endpoint of a connection, with the state that it stores between connections.
///
/// ```
/// use core::time::Duration;
///
/// use bytes::{Buf, BytesMut};
/// use mqtt_sansio::client::ClientConfig;
/// use mqtt_sansio::codec::{self, Decoded, Limits, Packet};
/// use mqtt_sansio::{Instant, Version};
/// use mqtt_sansio_testkit::{Event, Pair, Server};
///
/// /// Accepts every client, and answers nothing else.
/// #[derive(Default)]
/// struct Silent(BytesMut);
///
/// impl Server for Silent {
///     fn open(&mut self, _now: Instant) {
///         self.0.clear();
///     }
///
///     fn receive(&mut self, _now: Instant, input: &mut &[u8]) -> bool {
///         let Ok(Decoded::Packet { packet, size }) = codec::decode(input, Version::V5, Limits::from_client()) else {
///             return false; // incomplete: it is given again with the bytes that follow
///         };
///         if matches!(packet, Packet::Connect(_)) {
///             self.0.extend_from_slice(b"\x20\x03\0\0\0"); // CONNACK
///         }
///         *input = &input[size..];
///         true
///     }
///
///     fn transmit(&mut self) -> &mut impl Buf {
///         &mut self.0
///     }
///
///     fn is_over(&self) -> bool {
///         false
///     }
///
///     fn closed(&mut self, _now: Instant) {}
///
///     fn deadline(&self) -> Option<Instant> {
///         None
///     }
/// }
///
/// let mut net = Pair::seeded(42).client(ClientConfig::default()).server(Silent::default());
/// net.run_until_quiet();
/// assert!(net.client().is_connected());
/// net.run_for(Duration::from_secs(100)); // PINGREQ is not answered
/// assert!(net.events().iter().any(|event| matches!(event, Event::Close(_))));
/// ```
pub trait Server {
    /// Whether its packets are checked against the rules as well.
    const IS_CHECKED: bool = false;

    /// Opens a connection. If the last one was not [closed](Self::closed), the client has reconnected before its end
    /// was noticed: nothing written to the old connection arrives.
    fn open(&mut self, now: Instant);

    /// Takes received bytes, or runs the timers of the [`deadline`](Self::deadline), or both. Bytes left in `input` are
    /// given again with the next ones. Returns whether there may be more to do at once.
    fn receive(&mut self, now: Instant, input: &mut &[u8]) -> bool;

    /// Returns the bytes to write.
    fn transmit(&mut self) -> &mut impl Buf;

    /// Returns whether the connection is to be closed once those bytes are written.
    fn is_over(&self) -> bool;

    /// Reports that the connection has ended.
    fn closed(&mut self, now: Instant);

    /// Returns when [`receive`](Self::receive) must be called at the latest, with or without a connection.
    fn deadline(&self) -> Option<Instant>;

    /// Returns whether the server only waits for the client.
    fn is_idle(&self, _now: Instant) -> bool {
        self.deadline().is_none()
    }

    /// Returns the number of the session. Another number means another session, and 0 means none.
    fn session_number(&self) -> u32 {
        0
    }

    /// Returns how many packet identifiers are in use according to the packets written, if everything was written and
    /// nothing is queued; `None` otherwise.
    fn packet_ids_in_use(&self) -> Option<usize> {
        None
    }

    /// Panics if its parts are inconsistent.
    fn assert_consistent(&self) {}
}
