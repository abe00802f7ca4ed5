//! The end of a connection.

use core::fmt;

use embedded_io_async::ErrorKind;
use mqtt_sansio::ReasonCode;
use mqtt_sansio::client::{Close, OpenError};

/// How a connection has ended. The handler of [`Client::run`](crate::Client::run) gets the whole
/// [`Close`], if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// An endpoint has closed the connection.
    Closed {
        /// Whether another connection has a chance to succeed: see [`Close::may_retry`].
        may_retry: bool,
        /// The reason code of the endpoint that has ended the connection; `None` where no packet has one.
        reason_code: Option<ReasonCode>,
    },
    /// The transport was lost: an error of the reader or of the writer, or the end of the stream (`ConnectionReset`).
    Lost(ErrorKind),
    /// The configuration cannot be encoded; nothing was sent.
    NotOpened(OpenError),
}

impl End {
    pub(crate) fn by(close: &Close<'_>) -> Self {
        Self::Closed { may_retry: close.may_retry(), reason_code: close.reason_code() }
    }

    /// Returns whether another connection has a chance to succeed.
    ///
    /// ```
    /// # use embedded_io_async::ErrorKind;
    /// # use mqtt_sansio_embedded::End;
    /// assert!(End::Lost(ErrorKind::Other).may_retry());
    /// assert!(!End::Closed { may_retry: false, reason_code: None }.may_retry());
    /// ```
    pub const fn may_retry(&self) -> bool {
        match self {
            Self::Closed { may_retry, .. } => *may_retry,
            Self::Lost(_) => true,
            Self::NotOpened(_) => false,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { reason_code: Some(reason_code), .. } => write!(f, "closed: {reason_code}"),
            Self::Closed { reason_code: None, .. } => f.write_str("closed"),
            Self::Lost(error) => write!(f, "the transport was lost: {error:?}"),
            Self::NotOpened(error) => write!(f, "not opened: {error}"),
        }
    }
}
