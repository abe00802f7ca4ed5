//! Publishes a temperature each second, and prints what is to be set, whatever happens to the connection.
//!
//! ```text
//! cargo run -p mqtt-sansio-tokio --example client -- 127.0.0.1:1883
//! ```

use std::time::Duration;

use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::{Message, QoS, SessionExpiry};
use mqtt_sansio_tokio::{Event, connect, tcp};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:1883".into());
    let config = ClientConfig {
        client_id: "thermo-7".into(),
        session_expiry_interval: SessionExpiry::after(3600),
        ..ClientConfig::default()
    };
    let (client, mut events, driver) = connect(config, tcp(address));
    let driver = tokio::spawn(driver);
    let publisher = client.clone();
    tokio::spawn(async move {
        for degrees in 18..28 {
            let message = Message::new("home/temp", degrees.to_string()).qos(QoS::ExactlyOnce);
            println!("{degrees}: {:?}", publisher.publish(message).await?);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        publisher.disconnect().await?;
        anyhow::Ok(())
    });
    // In a task of its own: it waits for a connection, and the events say why there is none.
    tokio::spawn(async move { client.subscribe("home/+/set", QoS::AtLeastOnce).await });
    while let Some(event) = events.next().await {
        match event {
            Event::Message(message) => println!("{}: {:?}", message.topic(), message.payload()),
            other => println!("{other:?}"),
        }
    }
    Ok(driver.await??)
}
