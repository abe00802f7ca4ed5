//! Futures that are dropped after any number of polls: nothing is lost and nothing is doubled.

mod common;

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use common::{Random, World};
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::{Message, QoS, SessionExpiry};
use mqtt_sansio_tokio::{Client, Event, Events, connect};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

/// Polls a future so many times, whenever it is woken, and drops it. Returns its result if it is done before.
async fn polled<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), times);
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            // What is polled last is dropped at once.
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn start(world: &World, config: ClientConfig) -> (Client, Events) {
    let (client, events, driver) = connect(config, world.connector());
    tokio::spawn(driver);
    (client, events)
}

fn config(client_id: &str) -> ClientConfig {
    ClientConfig {
        client_id: client_id.into(),
        session_expiry_interval: SessionExpiry::after(3600),
        max_backoff: 1,
        ..ClientConfig::default()
    }
}

async fn messages(events: &mut Events, quiet: Duration) -> BTreeMap<Vec<u8>, usize> {
    let mut counts = BTreeMap::new();
    while let Ok(Some(event)) = timeout(quiet, events.next()).await {
        if let Event::Message(message) = event {
            *counts.entry(message.payload().to_vec()).or_default() += 1;
        }
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn publishing_can_be_dropped_at_every_await_point() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for is_full in [false, true] {
            let world = World::new();
            let (observer, mut observed) = start(&world, config("observer"));
            observer.subscribe("t", QoS::ExactlyOnce).await.unwrap();
            let (client, _events) = start(&world, ClientConfig { max_stored: 3, ..config("client") });
            let (mut expected, mut uncertain, mut never_done) = (BTreeMap::new(), Vec::new(), 0);
            for times in 0..12_u8 {
                let mut before = Vec::new();
                if is_full {
                    world.set_down(true);
                    world.cut();
                    while client.is_connected() {
                        sleep(Duration::from_millis(1)).await;
                    }
                    for n in 0..3_u8 {
                        let payload = vec![b'f', times, n];
                        before.push(
                            client.queue(Message::new("t", payload.clone()).qos(QoS::ExactlyOnce)).await.unwrap(),
                        );
                        expected.insert(payload, 1);
                    }
                    world.set_down(false);
                }
                let payload = vec![b'p', times];
                let message = Message::new("t", payload.clone()).qos(qos);
                let done = polled(client.publish(message), times.into()).await;
                if let Some(outcome) = &done {
                    assert!(outcome.as_ref().unwrap().is_success());
                }
                // Without a wait for room the first poll gives the command; with one, it may be given or not.
                if done.is_some() || (times > 0 && !is_full) {
                    expected.insert(payload, 1);
                } else if times > 0 {
                    uncertain.push(payload);
                }
                never_done += usize::from(done.is_none());
                for completion in before {
                    assert!(completion.await.unwrap().is_success());
                }
                // A dropped waiter must not keep the room that it was given.
                let next = vec![b'n', times];
                let outcome =
                    timeout(Duration::from_secs(600), client.publish(Message::new("t", next.clone()).qos(qos)));
                assert!(outcome.await.expect("there is room").unwrap().is_success());
                expected.insert(next, 1);
            }
            assert!((1..12).contains(&never_done), "some futures were dropped and some were not: {never_done}");
            client.disconnect().await.unwrap();
            let mut received = messages(&mut observed, Duration::from_secs(300)).await;
            for payload in uncertain {
                assert!(received.remove(&payload).is_none_or(|count| count == 1));
            }
            if qos == QoS::AtMostOnce && is_full {
                // What was sent just before a cut is lost.
                expected.retain(|payload, _| payload[0] == b'f' || received.contains_key(payload));
            }
            assert_eq!(received, expected, "{qos:?}, full: {is_full}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn subscribing_and_unsubscribing_can_be_dropped_at_every_await_point() {
    let world = World::new();
    let (client, mut events) = start(&world, config("client"));
    for times in 1..8 {
        let filter = format!("f/{times}");
        let done = polled(client.subscribe(&filter, QoS::AtLeastOnce), times).await;
        assert!(done.is_none_or(|done| done.is_ok()));
        // The request goes on, and the subscription is remembered.
        client.publish(Message::new(&filter, "1").qos(QoS::AtLeastOnce)).await.unwrap();
    }
    assert_eq!(messages(&mut events, Duration::from_secs(9)).await.values().sum::<usize>(), 7);
    world.restart();
    sleep(Duration::from_secs(300)).await;
    for times in 1..8 {
        client.publish(Message::new(&format!("f/{times}"), "1").qos(QoS::AtLeastOnce)).await.unwrap();
    }
    assert_eq!(messages(&mut events, Duration::from_secs(9)).await.values().sum::<usize>(), 7);
    for times in 1..8 {
        let done = polled(client.unsubscribe(&format!("f/{times}")), times).await;
        assert!(done.is_none_or(|done| done.is_ok()));
    }
    world.restart();
    sleep(Duration::from_secs(300)).await;
    for times in 1..8 {
        client.publish(Message::new(&format!("f/{times}"), "1").qos(QoS::AtLeastOnce)).await.unwrap();
    }
    assert!(messages(&mut events, Duration::from_secs(9)).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn taking_events_can_be_dropped_at_every_await_point() {
    let world = World::new();
    let (client, mut events) = start(&world, config("client"));
    client.subscribe("t", QoS::ExactlyOnce).await.unwrap();
    let mut random = Random(7);
    let (mut sent, mut received) = (0, Vec::new());
    while sent < 200 || received.len() < 200 {
        if sent < 200 && random.below(2) == 0 {
            drop(client.try_publish(&Message::new("t", vec![sent]).qos(QoS::ExactlyOnce)).unwrap());
            sent += 1;
        }
        if random.below(200) == 0 {
            world.cut();
        }
        let next = polled(events.next(), random.below(3) as usize);
        match timeout(Duration::from_millis(50), next).await.ok().flatten() {
            Some(event) => {
                if let Event::Message(message) = event.unwrap() {
                    received.push(message.payload()[0]);
                }
            }
            None if random.below(4) == 0 => sleep(Duration::from_millis(100)).await,
            None => yield_now().await,
        }
    }
    assert_eq!(received, Vec::from_iter(0..200), "in order, each once");
}

#[tokio::test(start_paused = true)]
async fn disconnecting_can_be_dropped_at_every_await_point() {
    for times in 0..6 {
        let world = World::new();
        let (client, _events, driver) = connect(config("client"), world.connector());
        let driver = tokio::spawn(driver);
        let completion = client.try_publish(&Message::new("t", "1").qos(QoS::ExactlyOnce)).unwrap();
        let _ = polled(client.disconnect(), times).await;
        if times == 0 {
            assert!(completion.await.unwrap().is_success());
            assert!(!driver.is_finished(), "nothing was asked");
            continue;
        }
        assert!(completion.await.unwrap().is_success());
        driver.await.unwrap().unwrap();
        client.disconnect().await.unwrap();
    }
}

/// A driver that is polled between other things, and not spawned, loses nothing when the poll is given up.
#[tokio::test(start_paused = true)]
async fn a_driver_need_not_be_polled_to_its_end() {
    let world = World::new();
    let (client, mut events, mut driver) = connect(config("client"), world.connector());
    let work = async {
        client.subscribe("t", QoS::ExactlyOnce).await.unwrap();
        for n in 0..20_u8 {
            client.publish(Message::new("t", vec![n]).qos(QoS::ExactlyOnce)).await.unwrap();
        }
    };
    let mut work = pin!(work);
    for times in 0.. {
        // Both are polled a few times, and the future of the driver is borrowed anew each time.
        let _ = polled(&mut driver, times % 4).await;
        if polled(&mut work, 1).await.is_some() {
            break;
        }
        sleep(Duration::from_millis(1)).await;
        assert!(times < 10_000);
    }
    tokio::spawn(driver);
    let received = messages(&mut events, Duration::from_secs(9)).await;
    assert!(received.len() == 20 && received.values().all(|&count| count == 1), "{received:?}");
}
