//! The future of an outcome.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use mqtt_sansio::{OwnedOutcome, Token};

use crate::error::Closed;
use crate::shared::Shared;

/// The future of the outcome of an operation. The operation goes on whether the future is polled, dropped or neither.
///
/// ```
/// # use mqtt_sansio::{Message, QoS};
/// # use mqtt_sansio_tokio::Client;
/// # async fn publish(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let completion = client.try_publish(&Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
/// // ... other work ...
/// let outcome = completion.await?; // the server has acknowledged the message, or it was given up
/// println!("{outcome:?}");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Closed`] if the client ends before there is an outcome.
#[derive(Debug)]
#[must_use = "drop it if the outcome is not needed"]
pub struct Completion {
    shared: Arc<Shared>,
    token: Token,
}

impl Completion {
    pub(crate) const fn new(shared: Arc<Shared>, token: Token) -> Self {
        Self { shared, token }
    }

    /// Returns the token of the operation, which identifies it in [`withdraw`](crate::Client::withdraw).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use mqtt_sansio::{Message, QoS};
    /// # use mqtt_sansio_tokio::Client;
    /// # async fn publish(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut completion = client.try_publish(&Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
    /// if tokio::time::timeout(Duration::from_secs(10), &mut completion).await.is_err() {
    ///     client.withdraw(completion.token())?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub const fn token(&self) -> Token {
        self.token
    }
}

impl Future for Completion {
    type Output = Result<OwnedOutcome, Closed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.shared.poll_outcome(self.token, cx)
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.shared.with(|state| state.operations.forget(self.token));
    }
}
