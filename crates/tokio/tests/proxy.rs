//! A connection that is cut all the time.

mod common;

use std::time::Duration;

use common::{Random, World};
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::{Message, QoS, SessionExpiry};
use mqtt_sansio_tokio::{Client, Event, Events, connect};
use tokio::time::timeout;

const COUNT: u32 = 10_000;

fn start(world: &World, client_id: &str) -> (Client, Events) {
    let config = ClientConfig {
        client_id: client_id.into(),
        session_expiry_interval: SessionExpiry::NEVER,
        max_stored: 300,
        max_backoff: 2,
        ..ClientConfig::default()
    };
    let (client, events, driver) = connect(config, world.connector());
    tokio::spawn(driver);
    (client, events)
}

/// Sends all messages; each one is numbered.
async fn send(client: Client, topic: &'static str, seed: u64) {
    let mut random = Random(seed);
    for number in 0..COUNT {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(4 + random.below(200) as usize, 7);
        drop(client.queue(Message::new(topic, payload).qos(QoS::ExactlyOnce)).await.unwrap());
    }
}

async fn receive(mut events: Events) -> Vec<u32> {
    let mut numbers = Vec::new();
    while let Ok(Some(event)) = timeout(Duration::from_secs(900), events.next()).await {
        if let Event::Message(message) = event {
            numbers.push(u32::from_be_bytes(*message.payload().first_chunk().unwrap()));
        }
    }
    numbers
}

/// Both directions at a time, each over a connection that is cut after 60 to 250 KB, and each to a receiver over such a
/// connection.
#[tokio::test(start_paused = true)]
async fn messages_of_qos_2_arrive_once_each_way_however_often_the_connection_is_cut() {
    let seed = 42;
    let world = World::new();
    let mut random = Random(seed);
    for _ in 0..2000 {
        world.cut_next_after(60_000 + random.below(190_000) as usize);
    }
    let (left, left_events) = start(&world, "left");
    let (right, right_events) = start(&world, "right");
    left.subscribe("to/left", QoS::ExactlyOnce).await.unwrap();
    right.subscribe("to/right", QoS::ExactlyOnce).await.unwrap();
    let (left_events, right_events) = (tokio::spawn(receive(left_events)), tokio::spawn(receive(right_events)));
    let senders =
        [tokio::spawn(send(left.clone(), "to/right", seed)), tokio::spawn(send(right.clone(), "to/left", seed))];
    for sender in senders {
        sender.await.unwrap();
    }
    for received in [left_events.await.unwrap(), right_events.await.unwrap()] {
        assert!(received.iter().copied().eq(0..COUNT), "seed {seed}: {} messages, in order, each once", received.len());
    }
    let connections = world.connections();
    assert!(connections > 30, "{connections} connections");
}
