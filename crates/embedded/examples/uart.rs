//! A thermometer behind a UART, simulated on the host: `cargo run -p mqtt-sansio-embedded --example uart`.

#[path = "../tests/simulation/mod.rs"]
mod simulation;

use embassy_futures::join::join3;
use mqtt_sansio::client::{Action, ClientConfig};
use mqtt_sansio::codec::Subscription;
use mqtt_sansio::{Instant, Message, QoS};
use mqtt_sansio_embedded::{Client, Clock};
use simulation::{Server, TestClock, run, uart};

fn main() {
    let clock = TestClock::default(); // a timer of the microcontroller
    let config = ClientConfig { client_id: "thermo-7".into(), topic_aliases: 4, ..ClientConfig::default() };
    let client = Client::new(config, clock.clone());
    let subscription = Subscription::new("home/#", QoS::AtLeastOnce).expect("a valid filter");
    client.subscribe(&[subscription]).expect("an empty queue has room");

    let measure = async {
        for second in 1..=5 {
            clock.wait_until(Instant::from_micros(second * 1_000_000)).await;
            let temperature = format!("{}.{}", 20 + second / 2, second);
            client.publish(&Message::new("home/temp", &temperature).qos(QoS::AtLeastOnce)).expect("there is room");
        }
        clock.wait_until(Instant::from_micros(10_000_000)).await;
        client.disconnect().expect("the simulated link is not lost");
    };
    let handle = async |action: Action<'_>| match action {
        Action::Message(m) => println!("{:?} {}: {}", clock.now(), m.topic, String::from_utf8_lossy(m.payload)),
        action => println!("{:?} {action:?}", clock.now()),
    };
    let (server, uart) = (Server::new(&clock), uart(16, None));
    let (end, (), ()) =
        run(&clock, join3(client.run(uart.client.0, uart.client.1, handle), server.serve(uart.broker), measure));
    println!("{end}");
}
