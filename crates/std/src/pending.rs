//! Outcomes that are not known yet.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use mqtt_sansio::{OwnedOutcome, Token};

use crate::error::Ended;

/// An operation whose outcome is not known yet: a message, SUBSCRIBE or UNSUBSCRIBE. If this value is dropped, the
/// operation goes on, and its outcome is dropped.
///
/// ```no_run
/// # use mqtt_sansio::client::ClientConfig;
/// # use mqtt_sansio::{Message, QoS};
/// # use mqtt_sansio_std::{connect, tcp};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (client, events) = connect(ClientConfig::default(), tcp("127.0.0.1:1883"))?;
/// let messages = ["1", "2", "3"].map(|text| Message::new("home/count", text).qos(QoS::AtLeastOnce));
/// let pending: Vec<_> = messages.iter().map(|message| client.try_publish(message)).collect::<Result<_, _>>()?;
/// for pending in pending {
///     println!("{}: {:?}", pending.token(), pending.wait()?); // all three were in flight at the same time
/// }
/// # drop(events);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pending {
    token: Token,
    outcome: Receiver<OwnedOutcome>,
}

impl Pending {
    pub(crate) fn new(token: Token) -> (SyncSender<OwnedOutcome>, Self) {
        let (sender, outcome) = sync_channel(1);
        (sender, Self { token, outcome })
    }

    /// Returns the token of the operation, for [`Client::withdraw`](crate::Client::withdraw).
    ///
    /// ```
    /// # use mqtt_sansio::{Message, QoS};
    /// # fn f(client: &mqtt_sansio_std::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let pending = client.try_publish(&Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
    /// client.withdraw(pending.token())?;
    /// # Ok(())
    /// # }
    /// ```
    pub const fn token(&self) -> Token {
        self.token
    }

    /// Waits for the outcome.
    ///
    /// # Errors
    ///
    /// [`Ended`] if the client has ended before.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::{Message, QoS};
    /// # fn f(client: &mqtt_sansio_std::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let pending = client.try_publish(&Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
    /// // ... other work ...
    /// println!("{:?}", pending.wait()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait(self) -> Result<OwnedOutcome, Ended> {
        self.outcome.recv().map_err(|_| Ended)
    }

    /// Waits for the outcome, at most for this time. Returns `None` if it is not known then.
    ///
    /// # Errors
    ///
    /// [`Ended`] if the client has ended before, or if the outcome was returned already.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use mqtt_sansio::{Message, QoS};
    /// # fn f(client: &mqtt_sansio_std::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut pending = client.try_publish(&Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
    /// match pending.wait_within(Duration::from_secs(10))? {
    ///     Some(outcome) => println!("{outcome:?}"),
    ///     None => println!("no acknowledgement yet; the message stays in the session"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_within(&mut self, patience: Duration) -> Result<Option<OwnedOutcome>, Ended> {
        match self.outcome.recv_timeout(patience) {
            Ok(outcome) => Ok(Some(outcome)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Ended),
        }
    }

    /// Returns the outcome, or `None` if it is not known yet.
    ///
    /// # Errors
    ///
    /// As [`wait_within`](Self::wait_within).
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::{Message, QoS};
    /// # fn f(client: &mqtt_sansio_std::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut pending = client.try_publish(&Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
    /// if let Some(outcome) = pending.try_outcome()? {
    ///     println!("{outcome:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_outcome(&mut self) -> Result<Option<OwnedOutcome>, Ended> {
        match self.outcome.try_recv() {
            Ok(outcome) => Ok(Some(outcome)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Ended),
        }
    }
}
