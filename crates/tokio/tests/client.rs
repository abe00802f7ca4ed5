//! A client and a broker over a pipe in memory, on a paused clock.

mod common;

use std::future::{Ready, ready};
use std::io;
use std::num::{NonZeroU16, NonZeroUsize};
use std::time::Duration;

use common::World;
use mqtt_sansio::client::{ClientConfig, Resumption};
use mqtt_sansio::codec::{Packet, PubAckReasonCode, SubAckReasonCode};
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{AbandonReason, AckError, Message, Outcome, OwnedMessage, QoS, SessionExpiry, Will};
use mqtt_sansio_tokio::{
    Client, Closed, ConnectionError, Decision, DisconnectError, Driver, DriverError, Event, Events, Options,
    PublishError, Request, ServerConnection, ServerEvent, SubscribeError, accept, connect, connect_with,
};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

fn config(client_id: &str) -> ClientConfig {
    ClientConfig {
        client_id: client_id.into(),
        session_expiry_interval: SessionExpiry::after(3600),
        ..ClientConfig::default()
    }
}

/// A client whose driver runs.
fn start(world: &World, client_id: &'static str) -> (Client, Events, JoinHandle<Result<(), DriverError>>) {
    let (client, events, driver) = connect(config(client_id), world.connector());
    (client, events, tokio::spawn(async move { driver.await.inspect_err(|error| eprintln!("{client_id}: {error:?}")) }))
}

async fn next_message(events: &mut Events) -> OwnedMessage {
    loop {
        if let Event::Message(message) = events.next().await.expect("the driver runs") {
            return message;
        }
    }
}

async fn next_connected(events: &mut Events) -> Resumption {
    loop {
        if let Event::Connected(connected) = events.next().await.expect("the driver runs") {
            return connected.session;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn messages_of_every_qos_go_there_and_back() {
    let world = World::new();
    let (client, mut events, driver) = start(&world, "a");
    let begin = Instant::now();
    client.subscribe("home/+", QoS::ExactlyOnce).await.unwrap();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let outcome = client.publish(Message::new("home/temp", "21.5").qos(qos)).await.unwrap();
        assert_eq!(matches!(outcome.outcome(), Outcome::Sent), qos == QoS::AtMostOnce, "{outcome:?}");
        assert!(outcome.is_success());
        let message = next_message(&mut events).await;
        assert_eq!((message.topic().as_str(), &message.payload()[..], message.qos()), ("home/temp", &b"21.5"[..], qos));
    }
    client.unsubscribe("home/+").await.unwrap();
    assert!(begin.elapsed() < Duration::from_millis(10), "a command wakes the driver: {:?}", begin.elapsed());
    client.disconnect().await.unwrap();
    assert!(driver.await.unwrap().is_ok());
    assert!(events.next().await.is_none());
    assert_eq!(client.publish(Message::new("a", "")).await, Err(PublishError::Closed(Closed)));
    assert_eq!(client.subscribe("a", QoS::AtMostOnce).await, Err(SubscribeError::Closed(Closed)));
    client.disconnect().await.unwrap();
    assert_eq!(world.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_published_without_a_connection_is_sent_later() {
    let world = World::new();
    world.set_down(true);
    let (client, mut events, _driver) = start(&world, "a");
    let completion = client.try_publish(&Message::new("a", "1").qos(QoS::AtLeastOnce)).unwrap();
    let Some(Event::Disconnected { why: ConnectionError::Transport(error), retry_in: Some(_) }) = events.next().await
    else {
        panic!("the attempt has failed")
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    world.set_down(false);
    assert!(completion.await.unwrap().is_success());
    assert!(client.is_connected());
}

#[tokio::test(start_paused = true)]
async fn pauses_between_attempts_grow() {
    let world = World::new();
    world.set_down(true);
    let (_client, mut events, _driver) = start(&world, "a");
    let (begin, mut pauses) = (Instant::now(), Vec::new());
    for _ in 0..8 {
        let Some(Event::Disconnected { retry_in: Some(pause), .. }) = events.next().await else { panic!() };
        pauses.push(pause);
    }
    assert!(pauses.is_sorted() && pauses[7] > Duration::from_secs(60), "{pauses:?}");
    let waited: Duration = pauses[..7].iter().sum();
    let passed = begin.elapsed();
    assert!(passed >= waited && passed < waited + Duration::from_secs(1), "{passed:?} {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_is_resumed_and_messages_in_flight_are_sent_again() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        // The connection is lost after each number of bytes of what follows CONNECT and SUBSCRIBE.
        for bytes in 0..120 {
            let world = World::new();
            let (client, mut events, _driver) = start(&world, "a");
            let (observer, mut observed, _other) = start(&world, "b");
            observer.subscribe("t/#", QoS::ExactlyOnce).await.unwrap();
            assert_eq!(next_connected(&mut observed).await, Resumption::New);
            assert_eq!(next_connected(&mut events).await, Resumption::New);
            world.cut();
            world.cut_next_after(1 + bytes);
            let sent: Vec<_> =
                (0..3).map(|n: u8| client.try_publish(&Message::new("t/1", vec![n]).qos(qos)).unwrap()).collect();
            for completion in sent {
                assert!(completion.await.unwrap().is_success());
            }
            let mut received = Vec::new();
            while let Ok(message) = timeout(Duration::from_secs(300), next_message(&mut observed)).await {
                received.push(message.payload()[0]);
            }
            if qos == QoS::AtLeastOnce {
                received.dedup();
                received.sort_unstable();
                received.dedup();
            }
            assert_eq!(received, [0, 1, 2], "{qos:?}, cut after {bytes} bytes");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn subscriptions_of_a_lost_session_are_requested_again() {
    let world = World::new();
    let (client, mut events, _driver) = start(&world, "a");
    client.subscribe("a/+", QoS::AtLeastOnce).await.unwrap();
    client.subscribe("b", QoS::AtLeastOnce).await.unwrap();
    client.subscribe("c", QoS::AtLeastOnce).await.unwrap();
    client.unsubscribe("b").await.unwrap();
    world.restart();
    let mut filters = Vec::new();
    while filters.len() < 2 {
        if let Some(Event::Resubscribed { filters: again, outcome }) = events.next().await {
            assert!(outcome.is_success());
            filters.extend(again);
        }
    }
    filters.sort();
    assert_eq!(filters, ["a/+", "c"]);
    for topic in ["b", "a/1", "c"] {
        client.publish(Message::new(topic, "1").qos(QoS::AtLeastOnce)).await.unwrap();
    }
    assert_eq!(next_message(&mut events).await.topic(), "a/1");
    assert_eq!(next_message(&mut events).await.topic(), "c");
    // A session that was resumed has its subscriptions.
    world.cut();
    assert_eq!(next_connected(&mut events).await, Resumption::Resumed);
    let event = timeout(Duration::from_secs(60), events.next()).await;
    assert!(event.is_err(), "{event:?}");
}

/// Connects to streams whose other ends are received.
fn streams() -> (UnboundedReceiver<DuplexStream>, impl FnMut() -> Ready<io::Result<DuplexStream>> + Send + 'static) {
    let (sender, streams) = unbounded_channel();
    let connector = move || {
        let (own, other) = duplex(1000);
        ready(sender.send(other).map(|()| own).map_err(io::Error::other))
    };
    (streams, connector)
}

/// Accepts the next connection with a new session.
async fn accept_next(streams: &mut UnboundedReceiver<DuplexStream>) -> ServerConnection<DuplexStream> {
    accept(streams.recv().await.unwrap(), ServerConfig::default(), async |_| Decision::accept()).await.unwrap()
}

/// Expects a SUBSCRIBE, and grants its subscription.
async fn grant(connection: &mut ServerConnection<DuplexStream>) -> String {
    let event = connection.next().await;
    let Some(ServerEvent::Subscribe { id, packet }) = event else { panic!("{event:?}") };
    connection.command(|session, now| session.suback(now, id, &[SubAckReasonCode::GrantedQoS1])).unwrap();
    connection.flush().await.unwrap();
    let Packet::Subscribe(subscribe) = packet.packet() else { panic!("{packet:?}") };
    subscribe.subscriptions.iter().map(|it| it.filter.as_str().to_owned()).collect()
}

/// A client with two subscriptions, whose connection is lost.
async fn lost_session(config: ClientConfig) -> (Client, Events, UnboundedReceiver<DuplexStream>) {
    let (mut streams, connector) = streams();
    let (client, mut events, driver) = connect(config, connector);
    tokio::spawn(driver);
    let subscribing = client.clone();
    let subscribed = tokio::spawn(async move {
        subscribing.subscribe("a", QoS::AtLeastOnce).await.unwrap();
        subscribing.subscribe("b", QoS::AtLeastOnce).await.unwrap();
    });
    let mut connection = accept_next(&mut streams).await;
    assert_eq!([grant(&mut connection).await, grant(&mut connection).await], ["a", "b"]);
    subscribed.await.unwrap();
    drop(connection);
    while !matches!(events.next().await, Some(Event::Disconnected { .. })) {}
    (client, events, streams)
}

/// All requests come before the first message, also if the queue is full.
#[tokio::test(start_paused = true)]
async fn a_lost_session_is_subscribed_again_before_queued_messages_are_sent() {
    let (client, _events, mut streams) = lost_session(ClientConfig { max_stored: 3, ..config("c") }).await;
    for payload in ["1", "2", "3"] {
        drop(client.try_publish(&Message::new("t", payload).qos(QoS::AtLeastOnce)).unwrap());
    }
    assert!(client.try_publish(&Message::new("t", "4")).is_err_and(|error| error.is_full()));
    let mut connection = accept_next(&mut streams).await;
    assert_eq!([grant(&mut connection).await, grant(&mut connection).await], ["a", "b"]);
    for payload in ["1", "2", "3"] {
        let event = connection.next().await;
        let Some(ServerEvent::Message(message)) = event else { panic!("{event:?}") };
        assert_eq!(message.payload(), payload);
    }
}

/// A session that has room for one request at a time sends one after the other, on the same connection.
#[tokio::test(start_paused = true)]
async fn subscriptions_that_find_no_room_are_requested_again_later() {
    let (_client, mut events, mut streams) = lost_session(ClientConfig { max_stored: 1, ..config("c") }).await;
    let mut connection = accept_next(&mut streams).await;
    for filter in ["a", "b"] {
        let granted = timeout(Duration::from_secs(10), grant(&mut connection)).await;
        assert_eq!(granted.expect("a SUBSCRIBE in time"), filter);
    }
    tokio::spawn(async move { while connection.next().await.is_some() {} });
    let mut again = Vec::new();
    while again.len() < 2 {
        if let Some(Event::Resubscribed { filters, outcome }) = events.next().await {
            assert!(outcome.is_success());
            again.extend(filters);
        }
    }
    assert_eq!(again, ["a", "b"]);
}

/// Messages of every QoS that wait for a connection, and a request: the future is ready when the last one has its outcome,
/// and fails when the client ends before.
#[tokio::test(start_paused = true)]
async fn a_client_is_drained_when_every_operation_has_its_outcome() {
    let world = World::new();
    world.set_down(true);
    let (client, mut events, driver) = start(&world, "c");
    client.drained().await.unwrap(); // nothing was published yet
    let completions = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
        .map(|qos| client.try_publish(&Message::new("t", "1").qos(qos)).unwrap());
    let waiting = client.clone();
    let drained = tokio::spawn(async move { waiting.drained().await });
    sleep(Duration::from_secs(600)).await;
    assert!(!drained.is_finished());
    world.set_down(false);
    timeout(Duration::from_secs(600), drained).await.expect("drained in time").unwrap().unwrap();
    assert_eq!(client.outstanding(), 0);
    for completion in completions {
        assert!(timeout(Duration::ZERO, completion).await.unwrap().unwrap().is_success(), "the outcome is known");
    }
    world.set_down(true);
    world.cut();
    while !matches!(events.next().await, Some(Event::Disconnected { .. })) {}
    drop(client.try_publish(&Message::new("t", "2").qos(QoS::AtLeastOnce)).unwrap());
    driver.abort();
    assert_eq!(timeout(Duration::from_secs(600), client.drained()).await, Ok(Err(Closed)));
}

/// The server answers late: the task that waits for the event has seen all before.
#[tokio::test(start_paused = true)]
async fn a_late_answer_to_a_repeated_subscription_is_an_event() {
    let (mut streams, connector) = streams();
    let (client, mut events, driver) = connect(config("a"), connector);
    tokio::spawn(driver);
    let subscribing = tokio::spawn(async move { client.subscribe("t", QoS::AtLeastOnce).await.map(|_| client) });
    for code in [SubAckReasonCode::GrantedQoS1, SubAckReasonCode::NotAuthorized] {
        let mut connection = accept_next(&mut streams).await;
        let Some(ServerEvent::Subscribe { id, .. }) = connection.next().await else { panic!("no SUBSCRIBE") };
        if code == SubAckReasonCode::NotAuthorized {
            while timeout(Duration::from_secs(1), events.next()).await.is_ok() {}
            let waiting = tokio::spawn(async move { (events.next().await, Instant::now()) });
            sleep(Duration::from_secs(1)).await;
            connection.command(|session, now| session.suback(now, id, &[code])).unwrap();
            connection.flush().await.unwrap();
            let answered = Instant::now();
            let (event, at) = waiting.await.unwrap();
            let Some(Event::Resubscribed { filters, outcome }) = event else { panic!("{event:?}") };
            assert!(filters == ["t"] && !outcome.is_success() && at - answered < Duration::from_secs(1));
            break;
        }
        connection.command(|session, now| session.suback(now, id, &[code])).unwrap();
        connection.flush().await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    let _client = subscribing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_nothing_is_requested_again() {
    let world = World::new();
    let options = Options { resubscribe: false, ..Options::default() };
    let (client, mut events, driver) = connect_with(config("a"), options, world.connector());
    tokio::spawn(driver);
    client.subscribe("a", QoS::AtLeastOnce).await.unwrap();
    assert_eq!(next_connected(&mut events).await, Resumption::New);
    world.restart();
    assert_eq!(next_connected(&mut events).await, Resumption::Lost);
    client.publish(Message::new("a", "1").qos(QoS::AtLeastOnce)).await.unwrap();
    assert!(timeout(Duration::from_secs(60), events.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_driver_reads_nothing_while_the_application_takes_no_events() {
    let world = World::new();
    let options = Options { max_events: NonZeroUsize::new(4).unwrap(), ..Options::default() };
    let config = ClientConfig { receive_maximum: NonZeroU16::new(500).unwrap(), ..config("slow") };
    let (slow, mut events, driver) = connect_with(config, options, world.connector());
    tokio::spawn(driver);
    slow.subscribe("t", QoS::AtLeastOnce).await.unwrap();
    let (fast, _fast_events, _fast_driver) = start(&world, "fast");
    let payload = vec![7; 1000];
    for _ in 0..300 {
        fast.publish(Message::new("t", &payload).qos(QoS::AtLeastOnce)).await.unwrap();
    }
    // Many keep-alive intervals: pings go on, so that neither side gives the other up.
    sleep(Duration::from_secs(3600)).await;
    let outcome = slow.try_publish(&Message::new("other", "1").qos(QoS::AtLeastOnce)).unwrap();
    // The acknowledgement is behind messages that are not read.
    assert!(timeout(Duration::from_secs(60), outcome).await.is_err());
    for _ in 0..300 {
        assert_eq!(next_message(&mut events).await.payload(), &payload);
    }
    assert_eq!(world.connections(), 2, "no connection was lost");
    slow.disconnect().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sender_is_slowed_down_when_the_session_is_full() {
    let world = World::new();
    world.set_down(true);
    let config = ClientConfig { max_stored: 5, ..config("a") };
    let (client, _events, driver) = connect(config, world.connector());
    tokio::spawn(driver);
    let mut completions = Vec::new();
    for n in 0..5_u8 {
        completions.push(client.queue(Message::new("t", vec![n]).qos(QoS::AtLeastOnce)).await.unwrap());
    }
    let message = Message::new("t", "5").qos(QoS::AtLeastOnce);
    assert!(client.try_publish(&message).is_err_and(|error| error.is_full()));
    // Many tasks wait for room, and each gets some.
    let waiting: Vec<_> = (0..50)
        .map(|n: u8| {
            let client = client.clone();
            tokio::spawn(async move { client.publish(Message::new("t", vec![n]).qos(QoS::AtLeastOnce)).await })
        })
        .collect();
    sleep(Duration::from_secs(1)).await;
    assert!(waiting.iter().all(|task| !task.is_finished()));
    world.set_down(false);
    for completion in completions {
        assert!(completion.await.unwrap().is_success());
    }
    for task in waiting {
        assert!(task.await.unwrap().unwrap().is_success());
    }
}

#[tokio::test(start_paused = true)]
async fn disconnect_waits_for_what_is_queued() {
    let world = World::new();
    let (observer, mut observed, _other) = start(&world, "b");
    observer.subscribe("t", QoS::ExactlyOnce).await.unwrap();
    let (client, _events, driver) = start(&world, "a");
    for n in 0..100_u8 {
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(n % 3)];
        drop(client.try_publish(&Message::new("t", vec![n]).qos(qos)).unwrap());
    }
    client.disconnect().await.unwrap();
    driver.await.unwrap().unwrap();
    let mut received = Vec::new();
    for _ in 0..100 {
        received.push(next_message(&mut observed).await.payload()[0]);
    }
    received.sort_unstable();
    assert_eq!(received, Vec::from_iter(0..100));
}

#[tokio::test(start_paused = true)]
async fn disconnect_says_what_was_not_done() {
    let world = World::new();
    let (client, mut events, driver) = start(&world, "a");
    next_connected(&mut events).await;
    world.set_down(true);
    world.cut();
    while !matches!(events.next().await, Some(Event::Disconnected { .. })) {}
    let first = client.try_publish(&Message::new("t", "1").qos(QoS::AtLeastOnce)).unwrap();
    drop(client.try_publish(&Message::new("t", "2")).unwrap());
    let result = client.disconnect().await;
    assert!(matches!(result, Err(DisconnectError::Unfinished { operations: 2 })), "{result:?}");
    assert_eq!(first.await, Err(Closed));
    driver.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn disconnect_now_does_not_wait() {
    let world = World::new();
    let (client, mut events, driver) = start(&world, "a");
    next_connected(&mut events).await;
    let first = client.try_publish(&Message::new("t", "1").qos(QoS::ExactlyOnce)).unwrap();
    let result = client.disconnect_now().await;
    assert!(matches!(result, Err(DisconnectError::Unfinished { operations: 1 })), "{result:?}");
    assert_eq!(first.await, Err(Closed));
    driver.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_will_is_discarded_by_disconnect_and_published_without() {
    let world = World::new();
    let (observer, mut observed, _other) = start(&world, "b");
    observer.subscribe("wills/#", QoS::AtLeastOnce).await.unwrap();
    for (client_id, is_orderly) in [("orderly", true), ("dropped", false)] {
        let will = Will::new(format!("wills/{client_id}"), "gone");
        let config = ClientConfig { will: Some(Box::new(will)), ..config(client_id) };
        let (client, mut events, driver) = connect(config, world.connector());
        let driver = tokio::spawn(driver);
        next_connected(&mut events).await;
        if is_orderly {
            client.disconnect().await.unwrap();
        } else {
            driver.abort();
            assert!(driver.await.unwrap_err().is_cancelled());
            assert!(events.next().await.is_none());
            assert!(matches!(client.disconnect().await, Err(DisconnectError::Driver(DriverError::Dropped))));
        }
    }
    assert_eq!(next_message(&mut observed).await.topic(), "wills/dropped");
}

#[tokio::test(start_paused = true)]
async fn a_driver_ends_when_all_handles_are_dropped() {
    let world = World::new();
    let (client, events, driver) = start(&world, "a");
    let other = client.clone();
    drop(events);
    drop(client.try_publish(&Message::new("t", "1").qos(QoS::AtLeastOnce)).unwrap());
    drop(client);
    assert!(
        timeout(Duration::from_secs(10), async {
            while !driver.is_finished() {
                sleep(Duration::from_secs(1)).await
            }
        })
        .await
        .is_err()
    );
    drop(other);
    driver.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn events_that_nobody_takes_do_not_pile_up() {
    let world = World::new();
    let options = Options { max_events: NonZeroUsize::new(3).unwrap(), ..Options::default() };
    let (client, mut events, driver) = connect_with(config("a"), options, world.connector());
    tokio::spawn(driver);
    for n in 0..50 {
        client.publish(Message::new("t", "1").qos(QoS::AtLeastOnce)).await.unwrap();
        assert_eq!(world.connections(), n + 1);
        world.cut();
    }
    client.publish(Message::new("t", "1").qos(QoS::AtLeastOnce)).await.unwrap();
    let mut count = 0;
    while let Ok(event) = timeout(Duration::from_secs(1), events.next()).await {
        assert!(event.is_some(), "the driver runs");
        count += 1;
    }
    assert!((1..=4).contains(&count), "{count}");
}

#[tokio::test(start_paused = true)]
async fn manual_acknowledgements_belong_to_their_connection() {
    let world = World::new();
    let config = ClientConfig { manual_acks: true, ..config("a") };
    let (client, mut events, driver) = connect(config, world.connector());
    tokio::spawn(driver);
    client.subscribe("t", QoS::AtLeastOnce).await.unwrap();
    client.publish(Message::new("t", "1").qos(QoS::AtLeastOnce)).await.unwrap();
    let first = next_message(&mut events).await;
    world.cut();
    let again = next_message(&mut events).await;
    assert!(again.dup() && again.payload() == first.payload());
    let ack = |message: &OwnedMessage| client.ack(message.ack_handle().unwrap(), PubAckReasonCode::Success);
    assert_eq!(ack(&first), Err(AckError::EarlierConnection));
    assert_eq!(ack(&again), Ok(()));
    client.disconnect().await.unwrap();
    assert_eq!(ack(&again), Err(AckError::NotConnected));
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_operation_has_its_outcome() {
    let world = World::new();
    world.set_down(true);
    let (client, _events, _driver) = start(&world, "a");
    let completion = client.try_publish(&Message::new("t", "1").qos(QoS::AtLeastOnce)).unwrap();
    client.withdraw(completion.token()).unwrap();
    assert_eq!(completion.await.unwrap().outcome(), Outcome::Abandoned(AbandonReason::Withdrawn));
    assert_eq!(client.outstanding(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_configuration_ends_the_driver() {
    let world = World::new();
    let (client, mut events, driver) = connect(config("a\0"), world.connector());
    let result = driver.await;
    assert!(matches!(result, Err(DriverError::Config(_))), "{result:?}");
    assert!(events.next().await.is_none());
    assert!(matches!(client.disconnect().await, Err(DisconnectError::Driver(DriverError::Config(_)))));
    assert_eq!(world.connections(), 0);
}

#[test]
fn handles_and_futures_are_send() {
    fn check<T: Send>(_: &T) {}
    fn sync<T: Sync>(_: &T) {}
    let (client, mut events, driver): (Client, Events, Driver) =
        connect(ClientConfig::default(), || std::future::ready(Ok(tokio::io::empty())));
    check(&(client.clone(), client.publish(Message::new("a", "")), client.subscribe("a", QoS::AtMostOnce)));
    check(&(client.unsubscribe("a"), client.disconnect(), events.next()));
    check(&client.try_publish(&Message::new("a", "")).unwrap());
    sync(&client);
    check(&driver);
}

/// Between two connections the client gets a new password, with which the next one begins.
#[tokio::test(start_paused = true)]
async fn a_client_is_reconfigured_between_connections() {
    let with = |password: &str| ClientConfig { password: Some(password.as_bytes().into()), ..config("a") };
    let (sender, mut passwords) = unbounded_channel();
    let connector = move || {
        let (own, other) = duplex(1024);
        let sender = sender.clone();
        tokio::spawn(async move {
            let decide = async move |request: Request| {
                if let Request::Connect(packet) = request
                    && let Packet::Connect(connect) = packet.packet()
                {
                    sender.send(connect.password.map(<[u8]>::to_vec)).unwrap();
                }
                Decision::accept()
            };
            let mut connection = accept(other, ServerConfig::default(), decide).await.unwrap();
            connection.flush().await.unwrap();
        });
        ready(Ok::<_, io::Error>(own))
    };
    let (client, mut events, driver) = connect(with("old"), connector);
    tokio::spawn(driver);
    while !matches!(events.next().await, Some(Event::Disconnected { .. })) {}
    client.reconfigure(with("new")).unwrap();
    next_connected(&mut events).await;
    for expected in ["old", "new"] {
        assert_eq!(passwords.recv().await, Some(Some(expected.into())));
    }
}
