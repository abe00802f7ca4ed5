//! What a server decides while a client connects.

use bytes::Bytes;
use mqtt_sansio::codec::{ConnAckReasonCode, Connect, Packet, PacketBuf};
use mqtt_sansio::server::{Accept, ServerSession};

/// What a server has to decide about, while a client connects.
///
/// The steps of an enhanced authentication are requests to the same closure, which has the state between them:
///
/// ```
/// use mqtt_sansio::codec::ConnAckReasonCode;
/// use mqtt_sansio::server::{Accept, ServerConfig};
/// use mqtt_sansio_tokio::{Decision, Request, accept};
/// # fn sum(number: u8) -> Vec<u8> { vec![number + 1] }
///
/// # async fn serve(stream: tokio::net::TcpStream) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let mut expected = None;
/// let decide = async move |request: Request| match (&request, expected.take()) {
///     (Request::Auth(answer), Some(sum)) if *answer == sum => {
///         let authentication_data = Some(b"welcome".to_vec()); // or the proof of the server
///         Decision::Accept(None, Accept { authentication_data, ..Accept::default() })
///     }
///     (Request::Connect(_), _) if request.connect().is_some_and(|it| it.properties.authentication_method.is_some()) => {
///         expected = Some(sum(7));
///         Decision::Challenge(vec![7])
///     }
///     _ => Decision::Refuse(ConnAckReasonCode::NotAuthorized),
/// };
/// let connection = accept(stream, ServerConfig::default(), decide).await?;
/// # drop(connection);
/// # Ok(())
/// # }
/// # fn spawn(stream: tokio::net::TcpStream) { tokio::spawn(serve(stream)); }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Request {
    /// A client wants to connect: its CONNECT.
    Connect(PacketBuf),
    /// The client has answered a challenge with these data.
    Auth(Bytes),
}

impl Request {
    /// Returns the CONNECT of a client that wants to connect; `None` for the answer to a challenge.
    ///
    /// ```
    /// # use mqtt_sansio::codec::ConnAckReasonCode;
    /// # use mqtt_sansio_tokio::{Decision, Request};
    /// fn decide(request: &Request) -> Decision {
    ///     match request.connect() {
    ///         Some(connect) if connect.password == Some(b"secret") => Decision::accept(),
    ///         _ => Decision::Refuse(ConnAckReasonCode::BadUserNameOrPassword),
    ///     }
    /// }
    /// ```
    pub fn connect(&self) -> Option<Connect<'_>> {
        match self {
            Self::Connect(packet) => match packet.packet() {
                Packet::Connect(connect) => Some(connect),
                _ => None,
            },
            Self::Auth(_) => None,
        }
    }
}

/// The answer to a [`Request`].
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // once for each connection
pub enum Decision {
    /// Accepts the client, with its session from an earlier connection if there is one: see
    /// [`Acceptor::accept`](mqtt_sansio::server::Acceptor::accept).
    Accept(Option<ServerSession>, Accept),
    /// Refuses the client.
    Refuse(ConnAckReasonCode),
    /// Asks the client for the next step of an enhanced authentication; its answer is [`Request::Auth`]. The last data for
    /// the client are in [`Accept::authentication_data`].
    Challenge(Vec<u8>),
}

impl Decision {
    /// Accepts the client into a new session.
    ///
    /// ```
    /// # use mqtt_sansio_tokio::{Decision, Request, ServerConnection, accept};
    /// # async fn serve(stream: tokio::net::TcpStream) -> Result<(), Box<dyn std::error::Error>> {
    /// let connection = accept(stream, mqtt_sansio::server::ServerConfig::default(), async |_| Decision::accept()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn accept() -> Self {
        Self::Accept(None, Accept::default())
    }
}
