//! A client whose session survives a crash.

mod common;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Random, World};
use mqtt_sansio::client::{ClientConfig, ClientSession};
use mqtt_sansio::store::{Batch, Pairs};
use mqtt_sansio::{Message, QoS, SessionExpiry, StdClock};
use mqtt_sansio_tokio::{Client, DriverError, Event, Events, Options, connect, connect_durable};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

fn config(client_id: &str) -> ClientConfig {
    ClientConfig {
        client_id: client_id.into(),
        clean_start: false,
        session_expiry_interval: SessionExpiry::NEVER,
        durable: true,
        max_backoff: 1,
        ..ClientConfig::default()
    }
}

type Started = (Client, Events, JoinHandle<Result<(), DriverError>>);

/// A client that goes on where the store ends. Storing takes a while.
fn start(world: &World, pairs: &Arc<Mutex<Pairs>>) -> Started {
    let session = ClientSession::restore(config("a"), StdClock::new().now(), pairs.lock().unwrap().iter()).unwrap();
    let pairs = Arc::clone(pairs);
    let store = move |batches: Vec<Batch>| {
        let pairs = Arc::clone(&pairs);
        async move {
            sleep(Duration::from_millis(3)).await;
            batches.iter().for_each(|batch| pairs.lock().unwrap().apply(batch));
            Ok(())
        }
    };
    let (client, events, driver) = connect_durable(session, Options::default(), world.connector(), store);
    (client, events, tokio::spawn(driver))
}

#[tokio::test(start_paused = true)]
async fn messages_arrive_once_although_the_client_crashes() {
    let world = World::new();
    let (observer, mut observed, driver) =
        connect(ClientConfig { durable: false, ..config("observer") }, world.connector());
    tokio::spawn(driver);
    observer.subscribe("t", QoS::ExactlyOnce).await.unwrap();
    let (pairs, mut random) = (Arc::new(Mutex::new(Pairs::default())), Random(3));
    for n in 0..60_u8 {
        let (client, _events, driver) = start(&world, &pairs);
        drop(client.try_publish(&Message::new("t", vec![n]).qos(QoS::ExactlyOnce)).unwrap());
        // The command is stored once the driver has run; then the program may crash at any time.
        sleep(Duration::from_millis(4 + random.below(30))).await;
        driver.abort();
        let _ = driver.await;
    }
    let (client, _events, driver) = start(&world, &pairs);
    client.disconnect().await.unwrap();
    driver.await.unwrap().unwrap();
    let mut received = Vec::new();
    while let Ok(Some(event)) = timeout(Duration::from_secs(60), observed.next()).await {
        if let Event::Message(message) = event {
            received.push(message.payload()[0]);
        }
    }
    assert_eq!(received, Vec::from_iter(0..60));
    assert!(
        ClientSession::restore(config("a"), StdClock::new().now(), pairs.lock().unwrap().iter())
            .unwrap()
            .operations()
            .next()
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_ends_the_driver() {
    for is_connected in [false, true] {
        let world = World::new();
        world.set_down(!is_connected);
        let store = |_| std::future::ready(Err(io::ErrorKind::StorageFull.into()));
        let session = ClientSession::new(config("a"));
        let (client, _events, driver) = connect_durable(session, Options::default(), world.connector(), store);
        let completion = client.try_publish(&Message::new("t", "1").qos(QoS::ExactlyOnce)).unwrap();
        let end = timeout(Duration::from_secs(600), driver).await.expect("it ends");
        assert!(
            matches!(&end, Err(DriverError::Store(error)) if error.kind() == io::ErrorKind::StorageFull),
            "{end:?}"
        );
        assert!(completion.await.is_err());
    }
}
