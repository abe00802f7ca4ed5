//! Prints the messages of a topic filter, over WebSocket.
//!
//! ```text
//! cargo run -p mqtt-sansio-tokio --features websocket --example websocket -- 127.0.0.1:8080 'home/#'
//! ```

use anyhow::Context;
use mqtt_sansio::QoS;
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio_tokio::{Event, connect, tcp, websocket};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (address, filter) = (arguments.next().context("HOST:PORT")?, arguments.next().context("a topic filter")?);
    let connector = websocket(format!("ws://{address}/mqtt"), tcp(address));
    let (client, mut events, driver) = connect(ClientConfig::default(), connector);
    let driver = tokio::spawn(driver);
    tokio::spawn(async move { client.subscribe(&filter, QoS::ExactlyOnce).await });
    while let Some(event) = events.next().await {
        match event {
            Event::Message(message) => println!("{}: {:?}", message.topic(), message.payload()),
            other => println!("{other:?}"),
        }
    }
    Ok(driver.await??)
}
