//! A service that squares numbers, and a client that asks it, by response topic and correlation data (section 4.10).
//!
//! ```text
//! cargo run -p mqtt-sansio-tokio --example request_response -- 127.0.0.1:1883
//! ```

use anyhow::{Context, Result};
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::{Message, QoS, TopicName};
use mqtt_sansio_tokio::{Client, Event, Events, connect, tcp};

fn start(address: &str, client_id: &str) -> (Client, Events) {
    let config = ClientConfig { client_id: client_id.into(), ..ClientConfig::default() };
    let (client, events, driver) = connect(config, tcp(address));
    tokio::spawn(driver);
    (client, events)
}

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:1883".into());
    let (service, mut requests) = start(&address, "squares");
    service.subscribe("squares", QoS::AtLeastOnce).await?;
    tokio::spawn(async move {
        while let Some(event) = requests.next().await {
            let Event::Message(request) = event else { continue };
            let square = std::str::from_utf8(request.payload())?.parse::<u64>()?.pow(2);
            if let Some(reply) = request.reply(square.to_string()) {
                drop(service.try_publish(&reply)?); // not `publish().await`: the loop has to go on
            }
        }
        anyhow::Ok(())
    });

    let (client, mut responses) = start(&address, "asker");
    let answers = TopicName::new("answers/asker")?;
    client.subscribe(answers.as_str(), QoS::AtLeastOnce).await?;
    for number in 1..=5_u8 {
        let (question, correlation_data) = (number.to_string(), [number]);
        let request = Message::new("squares", question).response_topic(answers).correlation_data(&correlation_data);
        client.publish(request.qos(QoS::AtLeastOnce)).await?;
    }
    let mut left = 5;
    while left > 0 {
        if let Event::Message(response) = responses.next().await.context("the client has ended")? {
            println!("{:?} squared: {:?}", response.properties().correlation_data, response.payload());
            left -= 1;
        }
    }
    Ok(client.disconnect().await?)
}
