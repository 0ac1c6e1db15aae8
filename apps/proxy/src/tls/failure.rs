//! Why handshakes fail, in words for statistics.

use rustls::{Error, InvalidMessage};

use crate::metrics::HandshakeFailure;

/// Which of the reasons that are counted an error of the library is.
#[must_use]
pub fn why(error: &Error) -> HandshakeFailure {
    match error {
        Error::AlertReceived(_) => HandshakeFailure::Alert,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => HandshakeFailure::NothingInCommon,
        // What the library says when the resolver gives no certificate.
        Error::General(text) if text.contains("no server certificate chain resolved") => {
            HandshakeFailure::UnknownName
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => HandshakeFailure::NotTls,
        Error::InvalidMessage(_)
        | Error::PeerMisbehaved(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::DecryptError
        | Error::PeerSentOversizedRecord => HandshakeFailure::Protocol,
        _ => HandshakeFailure::Internal,
    }
}
