//! Publishes a temperature each second, and prints all messages under `home`: `cargo run -p mqtt-sansio-std --example client`.

use std::thread;
use std::time::Duration;

use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::{Message, QoS, SessionExpiry};
use mqtt_sansio_std::{Client, Event, connect, tcp};

fn main() -> anyhow::Result<()> {
    let config = ClientConfig {
        client_id: "thermo-7".into(),
        session_expiry_interval: SessionExpiry::after(3600),
        ..ClientConfig::default()
    };
    let (client, events) = connect(config, tcp("127.0.0.1:1883"))?;
    let publisher = client.clone();
    thread::spawn(move || publish(&publisher));
    client.try_subscribe(&[mqtt_sansio::Subscription::new("home/#", QoS::AtLeastOnce)?], None)?;
    for event in events {
        match event {
            Event::Message(message) => println!("{}: {:?}", message.topic(), message.payload()),
            event => println!("{event:?}"),
        }
    }
    Ok(())
}

fn publish(client: &Client) {
    for tenth in (200..).take(100) {
        let temperature = format!("{}.{}", tenth / 10, tenth % 10);
        match client.publish(&Message::new("home/temp", &temperature).qos(QoS::AtLeastOnce)) {
            Ok(outcome) => println!("{temperature}: {outcome:?}"),
            Err(error) => println!("{temperature}: {error}"),
        }
        thread::sleep(Duration::from_secs(1));
    }
    client.disconnect();
}
