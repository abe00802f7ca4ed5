//! A client and a server in one program, over a pipe in memory: no socket, and no broker.
//!
//! ```text
//! cargo run -p mqtt-sansio-tokio --example in_memory
//! ```

use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{Message, QoS};
use mqtt_sansio_tokio::{Decision, ServerEvent, accept, connect};
use tokio::io::duplex;
use tokio::sync::mpsc::channel;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let (sender, mut streams) = channel(1);
    let connector = move || {
        let (own, other) = duplex(64 * 1024);
        let sent = sender.try_send(other).map_err(std::io::Error::other);
        std::future::ready(sent.map(|()| own))
    };
    let config = ClientConfig { client_id: "thermo-7".into(), ..ClientConfig::default() };
    let (client, events, driver) = connect(config, connector);
    drop(events);
    tokio::spawn(driver);
    let publisher = tokio::spawn(async move {
        for degrees in 18..22 {
            client.publish(Message::new("home/temp", degrees.to_string()).qos(QoS::ExactlyOnce)).await?;
        }
        anyhow::Ok(client.disconnect().await?)
    });
    while let Some(stream) = streams.recv().await {
        let mut connection = accept(stream, ServerConfig::default(), async |_| Decision::accept()).await?;
        while let Some(event) = connection.next().await {
            match event {
                ServerEvent::Message(message) => println!("{}: {:?}", message.topic(), message.payload()),
                other => println!("{other:?}"),
            }
        }
        println!("{}", connection.end().map(ToString::to_string).unwrap_or_default());
    }
    publisher.await?
}
