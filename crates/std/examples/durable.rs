//! Survives SIGKILL: a line of standard input whose outcome is printed has arrived at the server once, and each message is
//! acknowledged when it is printed: `seq 1000 | cargo run -p mqtt-sansio-std --example durable`. The next run goes on with the line
//! that was under way; a line that is given to it again is another message.

use std::{io, thread};

use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::codec::PubAckReasonCode;
use mqtt_sansio::{Message, QoS, SessionExpiry, Subscription};
use mqtt_sansio_std::{Builder, Event, FileStore, tcp};

fn main() -> anyhow::Result<()> {
    let config = ClientConfig {
        client_id: "durable-7".into(),
        clean_start: false,
        session_expiry_interval: SessionExpiry::after(24 * 3600),
        manual_acks: true,
        ..ClientConfig::default()
    };
    let directory = std::env::temp_dir().join("mqtt-durable-7");
    let (client, events) = Builder::new(config).store(FileStore::open(directory)?).connect(tcp("127.0.0.1:1883"))?;
    println!("{} messages of a run before are under way", client.operations().len());
    client.try_subscribe(&[Subscription::new("commands/#", QoS::AtLeastOnce)?], None)?;
    let publisher = client.clone();
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            println!("{line}: {:?}", publisher.publish(&Message::new("lines", &line).qos(QoS::ExactlyOnce)));
        }
        publisher.disconnect();
    });
    for event in events {
        let Event::Message(message) = event else { continue };
        println!("{}: {:?}", message.topic(), message.payload());
        if let Some(handle) = message.ack_handle() {
            client.ack(handle, PubAckReasonCode::Success)?;
        }
    }
    Ok(())
}
