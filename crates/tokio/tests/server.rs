//! The server's end of a connection.

use std::time::Duration;

use mqtt_sansio::client::{Authentication, ClientConfig, Resumption};
use mqtt_sansio::codec::{ConnAckReasonCode, Packet};
use mqtt_sansio::server::{Accept, ServerConfig, ServerSession};
use mqtt_sansio::{Message, Outcome, QoS, ReasonCode, SessionExpiry, Will};
use mqtt_sansio_tokio::{
    AcceptError, Client, ConnectionError, Decision, DriverError, Event, Events, Request, ServerConnection, ServerEvent,
    accept, connect,
};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A client, and the server's ends of its connections.
fn start(
    config: ClientConfig,
) -> (Client, Events, JoinHandle<Result<(), DriverError>>, UnboundedReceiver<DuplexStream>) {
    let (sender, receiver) = unbounded_channel();
    let connector = move || {
        let (own, other) = duplex(1000);
        std::future::ready(sender.send(other).map(|()| own).map_err(|_| std::io::ErrorKind::NotConnected.into()))
    };
    let (client, events, driver) = connect(config, connector);
    (client, events, tokio::spawn(driver), receiver)
}

async fn accept_with(stream: DuplexStream, stored: Option<ServerSession>) -> ServerConnection<DuplexStream> {
    let mut stored = Some(stored);
    let decide = async move |_| Decision::Accept(stored.take().unwrap(), Accept::default());
    accept(stream, ServerConfig::default(), decide).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_does_not_come_back() {
    let config = ClientConfig { password: Some(b"wrong"[..].into()), ..ClientConfig::default() };
    let (_client, mut events, driver, mut streams) = start(config);
    let decide = async |request| match request {
        Request::Connect(packet) => {
            assert!(matches!(packet.packet(), Packet::Connect(connect) if connect.password == Some(b"wrong")));
            Decision::Refuse(ConnAckReasonCode::BadUserNameOrPassword)
        }
        other => panic!("{other:?}"),
    };
    let result = accept(streams.recv().await.unwrap(), ServerConfig::default(), decide).await;
    assert!(matches!(result, Err(AcceptError::Closed(_))), "{result:?}");
    let Err(DriverError::Closed(reason)) = driver.await.unwrap() else { panic!("not refused") };
    assert_eq!(reason.reason_code(), Some(ReasonCode::BadUserNameOrPassword));
    assert!(!reason.may_retry());
    assert!(matches!(events.next().await, Some(Event::Disconnected { retry_in: None, .. })));
    assert!(events.next().await.is_none());
    assert!(streams.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_refused_for_now_comes_back() {
    let config = ClientConfig { client_id: "a".into(), ..ClientConfig::default() };
    let (client, mut events, _driver, mut streams) = start(config);
    let decide = async |_| Decision::Refuse(ConnAckReasonCode::ServerBusy);
    assert!(accept(streams.recv().await.unwrap(), ServerConfig::default(), decide).await.is_err());
    let Some(Event::Disconnected { why: ConnectionError::Closed(why), retry_in: Some(_) }) = events.next().await else {
        panic!("it gives up")
    };
    assert_eq!(why.reason_code(), Some(ReasonCode::ServerBusy));
    let mut connection = accept_with(streams.recv().await.unwrap(), None).await;
    connection.flush().await.unwrap(); // CONNACK
    assert!(matches!(events.next().await, Some(Event::Connected(_))));
    assert!(client.is_connected());
}

/// Proves by an exchange that both know the secret.
#[tokio::test(start_paused = true)]
async fn an_enhanced_authentication_has_as_many_steps_as_it_needs() {
    let authentication = Authentication { method: "ADD-ONE".into(), data: Some(vec![1]) };
    let config = ClientConfig { authentication: Some(Box::new(authentication)), ..ClientConfig::default() };
    let (client, mut events, _driver, mut streams) = start(config);
    let answers = tokio::spawn(async move {
        loop {
            match events.next().await.unwrap() {
                Event::Auth { data, .. } => client.authenticate(&[data.unwrap()[0] + 1]).unwrap(),
                Event::Connected(connected) => {
                    return connected.properties().authentication_data.map(<[u8]>::to_vec);
                }
                other => panic!("{other:?}"),
            }
        }
    });
    let decide = async |request| match request {
        Request::Connect(packet) => {
            let Packet::Connect(connect) = packet.packet() else { panic!("not CONNECT") };
            Decision::Challenge(vec![connect.properties.authentication_data.unwrap()[0] + 1])
        }
        Request::Auth(data) if data[0] < 9 => Decision::Challenge(vec![data[0] + 1]),
        Request::Auth(data) => Decision::Accept(
            None,
            Accept {
                authentication_data: Some(data.to_vec()),
                assigned_client_id: Some("c".into()),
                ..Accept::default()
            },
        ),
        other => panic!("{other:?}"),
    };
    let connection = accept(streams.recv().await.unwrap(), ServerConfig::default(), decide).await.unwrap();
    let task = tokio::spawn(async move {
        let mut connection = connection;
        connection.next().await
    });
    assert_eq!(answers.await.unwrap(), Some(vec![9]));
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_session_goes_on_in_the_next_connection() {
    let config = ClientConfig {
        client_id: "a".into(),
        clean_start: false,
        session_expiry_interval: SessionExpiry::after(100),
        ..ClientConfig::default()
    };
    let (_client, mut events, _driver, mut streams) = start(config);
    let mut connection = accept_with(streams.recv().await.unwrap(), None).await;
    let message = Message::new("t", "1").qos(QoS::ExactlyOnce);
    let token = connection.command(|session, now| session.publish(now, &message)).unwrap();
    let stored = connection.into_session(); // CONNACK was not even written
    let mut connection = accept_with(streams.recv().await.unwrap(), Some(stored)).await;
    let end = timeout(Duration::from_secs(10), async {
        loop {
            if let ServerEvent::Done { token: done, outcome } = connection.next().await.unwrap() {
                return (done, outcome);
            }
        }
    });
    let (done, outcome) = end.await.unwrap();
    assert!(done == token && matches!(outcome.outcome(), Outcome::Acknowledged { .. }), "{outcome:?}");
    let mut messages = 0;
    while let Ok(Some(event)) = timeout(Duration::from_secs(1), events.next()).await {
        match event {
            Event::Message(_) => messages += 1,
            Event::Connected(connected) => assert_ne!(connected.session, Resumption::Lost),
            _ => {}
        }
    }
    assert_eq!(messages, 1);
}

#[tokio::test(start_paused = true)]
async fn the_will_of_a_lost_client_is_an_event() {
    let config = ClientConfig { will: Some(Box::new(Will::new("wills/a", "gone"))), ..ClientConfig::default() };
    let (_client, _events, driver, mut streams) = start(ClientConfig { client_id: "a".into(), ..config });
    let mut connection = accept_with(streams.recv().await.unwrap(), None).await;
    assert!(timeout(Duration::from_secs(600), connection.next()).await.is_err(), "pings keep it alive");
    driver.abort();
    assert!(matches!(connection.next().await, Some(ServerEvent::Will(will)) if will.topic == "wills/a"));
    assert!(matches!(connection.next().await, Some(ServerEvent::Expired)));
    assert!(connection.next().await.is_none());
}

/// Events are taken by futures that are dropped again and again.
#[tokio::test(start_paused = true)]
async fn taking_events_can_be_dropped() {
    let (client, _events, _driver, mut streams) =
        start(ClientConfig { client_id: "a".into(), ..ClientConfig::default() });
    let mut connection = accept_with(streams.recv().await.unwrap(), None).await;
    let mut received = Vec::new();
    for n in 0..200_u8 {
        drop(client.try_publish(&Message::new("t", vec![n; 100]).qos(QoS::ExactlyOnce)).unwrap());
        tokio::select! {
            biased;
            event = connection.next() => {
                if let Some(ServerEvent::Message(message)) = event {
                    received.push(message.payload()[0]);
                }
            }
            () = tokio::task::yield_now() => {}
        }
    }
    while let Ok(Some(event)) = timeout(Duration::from_secs(1), connection.next()).await {
        if let ServerEvent::Message(message) = event {
            received.push(message.payload()[0]);
        }
    }
    assert_eq!(received, Vec::from_iter(0..200));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_connect_is_given_up() {
    let (_own, other) = duplex(100);
    let result = accept(other, ServerConfig::default(), async |_| Decision::accept()).await;
    assert!(matches!(result, Err(AcceptError::Closed(_))), "{result:?}");
    let (own, other) = duplex(100);
    drop(own);
    let result = accept(other, ServerConfig::default(), async |_| Decision::accept()).await;
    assert!(matches!(result, Err(AcceptError::Transport(_))), "{result:?}");
}

#[tokio::test]
async fn the_future_of_a_server_can_be_spawned() {
    let (_own, other) = duplex(100);
    let task = tokio::spawn(async move {
        let mut connection = accept(other, ServerConfig::default(), async |_| Decision::accept()).await?;
        while connection.next().await.is_some() {}
        Ok::<_, AcceptError>(connection.into_session())
    });
    task.abort();
}
