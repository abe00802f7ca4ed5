//! Errors of the commands of a client alone.

use thiserror::Error;

use crate::codec::{EncodeError, Field};
use crate::session::InvalidText;
use crate::topic::TopicError;

/// The error of [`ClientSession::open`](super::ClientSession::open).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The last connection has not been [`closed`](super::ClientSession::closed).
    #[error("a connection is open already")]
    AlreadyConnected,
    /// A text of the configuration is not valid.
    #[error("{field} {} (at byte {})", error.kind, error.at)]
    Text {
        /// The field of CONNECT that would contain the text.
        field: Field,
        /// The error of the text.
        error: TopicError,
    },
    /// The configuration cannot be encoded, or has what does not exist in this version of the protocol.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl From<InvalidText> for OpenError {
    fn from(InvalidText { field, error }: InvalidText) -> Self {
        Self::Text { field, error }
    }
}

/// The error of [`ClientSession::reconfigure`](super::ClientSession::reconfigure) and
/// [`ClientSession::discard_session`](super::ClientSession::discard_session).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReconfigureError {
    /// There is a connection.
    #[error("a connection is open")]
    AlreadyConnected,
    /// The version differs from that of the session, which cannot be resumed in another version of the protocol.
    #[error("version is not that of the session")]
    OtherVersion,
}
