//! Whether it makes sense to connect again.

use crate::codec::ReasonCode;

/// Returns whether a reason code that has ended a connection, or refused one, names a state that may pass: then the same
/// client may be accepted later. All others refuse what the client is or asks for, report an error, or are a decision of
/// the other endpoint that a new connection would undo.
pub(crate) const fn is_passing(reason_code: ReasonCode) -> bool {
    matches!(
        reason_code,
        ReasonCode::ServerUnavailable
            | ReasonCode::ServerBusy
            | ReasonCode::ServerShuttingDown
            | ReasonCode::KeepAliveTimeout
            | ReasonCode::MessageRateTooHigh
            | ReasonCode::QuotaExceeded
            | ReasonCode::UseAnotherServer
            | ReasonCode::ConnectionRateExceeded
            | ReasonCode::MaximumConnectTime
    )
}
