//! How a client is accepted.

use alloc::string::String;
use alloc::vec::Vec;

/// How a client is accepted: what CONNACK says beyond what the [configuration](super::ServerConfig) and the client's own
/// wishes make of it. All of it is for 5.0 only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    /// The name that the server gives a client that has come without one. It has to be given to such a client of 5.0
    /// \[MQTT-3.1.3-6\]; one of 3.1.1 is not told, and has none.
    pub assigned_client_id: Option<String>,
    /// Another keep-alive interval than the client has asked for, in seconds.
    pub server_keep_alive: Option<u16>,
    /// Another session expiry interval than the client has asked for, in seconds.
    pub session_expiry_interval: Option<u32>,
    /// What response topics are to be made from; told only to a client that has asked for it \[MQTT-3.1.2-28\].
    pub response_information: Option<String>,
    /// Another server that the client may use.
    pub server_reference: Option<String>,
    /// The last data of an enhanced authentication.
    pub authentication_data: Option<Vec<u8>>,
    /// Words for a person to read.
    pub reason_string: Option<String>,
    /// Names and values that the specification gives no meaning to.
    pub user_properties: Vec<(String, String)>,
}
