//! The programs of the guide and of the README that use this crate: they run here as they stand there.

use std::time::Duration;

use mqtt_sansio::broker::{AllowAll, BrokerConfig, Secret};
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::codec::{self, Decoded, Limits, Packet, Sender};
use mqtt_sansio::{Message, PublishError, QoS, SessionExpiry, Version};
use mqtt_sansio_testkit::{BrokerWorld, Pair, Participant, Reconnect, accept_all, strategies};
use proptest::prelude::*;

const PAGES: [&str; 3] = [
    include_str!("../../../src/guide/testing.md"),
    include_str!("../../../src/guide/fuzzing.md"),
    include_str!("../../../README.md"),
];

fn config(client_id: &str) -> ClientConfig {
    let session_expiry_interval = SessionExpiry::after(86_400);
    ClientConfig { client_id: client_id.into(), session_expiry_interval, ..ClientConfig::default() }
}

#[test]
fn a_link_that_fails() -> Result<(), PublishError> {
    let config = config("c");
    let mut net = Pair::seeded(42).client(config).server(accept_all());
    let now = net.now();
    net.client().publish(now, &Message::new("a", "1").qos(QoS::ExactlyOnce))?;
    net.cut_after(23); // the connection is lost when 23 more bytes have arrived
    net.run_until_quiet();
    assert_eq!(net.delivered_to_server(), ["1"]);
    Ok(())
}

#[test]
fn an_hour_without_a_network() -> Result<(), PublishError> {
    let config = config("c");
    let mut net = Pair::seeded(42).client(config).server(accept_all()).reconnect(Reconnect::Never);
    net.open();
    net.run_until_quiet();
    net.cut();
    let now = net.now();
    net.client().publish(now, &Message::new("a", "1").qos(QoS::AtLeastOnce))?; // the client queues it
    net.run_for(Duration::from_secs(3600));
    net.open(); // the network is there again
    net.run_until_quiet();
    assert_eq!(net.delivered_to_server(), ["1"]);
    Ok(())
}

/// A program that publishes a command for each temperature.
#[derive(Default)]
struct Controller {
    seen: usize,
}

impl Controller {
    fn react(&mut self, world: &mut BrokerWorld<AllowAll>, controller: Participant) {
        let temperatures: Vec<_> =
            world.messages(controller).skip(self.seen).map(|message| message.payload.clone()).collect();
        for temperature in temperatures {
            self.seen += 1;
            let command = if temperature < b"20".to_vec() { "on" } else { "off" };
            world.publish(controller, &Message::new("room/heating", command).qos(QoS::ExactlyOnce));
        }
    }
}

#[test]
fn a_program_that_reacts() {
    let seed = 42;
    // What the broker has acknowledged survives a crash. The secret is not random, so that the seed decides all.
    let durable = BrokerConfig { durable: true, ..BrokerConfig::new(Secret::new([7; 16])) };
    let mut my_controller = Controller::default();
    let mut world = BrokerWorld::with(seed, durable, AllowAll);
    let (sensor, controller) = (world.client(config("sensor")), world.client(config("controller")));
    world.subscribe(controller, "room/temp", QoS::ExactlyOnce);
    world.run_until_quiet();
    world.subscribe(sensor, "room/heating", QoS::ExactlyOnce);
    world.run_until_quiet();
    world.publish(sensor, &Message::new("room/temp", "18").qos(QoS::ExactlyOnce));
    world.cut_after(controller, 40); // its connection is lost when 40 more bytes have arrived
    world.crash(); // the process of the broker; it is restored from what was stored
    while !world.is_quiet() && world.step() {
        my_controller.react(&mut world, controller); // reads `messages(controller)`, and publishes
    }
    my_controller.react(&mut world, controller);
    world.run_until_quiet();
    assert_eq!(world.delivered_to(controller), ["18"]);
    assert_eq!(world.delivered_to(sensor), ["on"]);
}

/// Another parser would stand here.
fn my_parser(packet: &[u8]) -> Result<Packet<'_>, &'static str> {
    match codec::decode(packet, Version::V5, Limits::from_client()) {
        Ok(Decoded::Packet { packet, .. }) => Ok(packet),
        Ok(Decoded::Incomplete { .. }) => Err("incomplete"),
        Err(_) => Err("not valid"),
    }
}

proptest! {
    #[test]
    fn my_parser_agrees(packet in strategies::almost_valid(Version::V5, Sender::Client)) {
        let decoded = codec::decode(&packet, Version::V5, Limits::from_client());
        let is_valid = matches!(decoded, Ok(Decoded::Packet { .. }));
        prop_assert_eq!(my_parser(&packet).is_ok(), is_valid);
    }
}

/// Each line of a program on the pages is a line of this file.
#[test]
fn the_pages_show_what_runs_here() {
    let here: Vec<&str> = include_str!("guide.rs").lines().map(str::trim).collect();
    let mut programs = 0;
    for page in PAGES {
        // Every second piece is between two fences. The compiler checks those that are not marked.
        for block in page.split("```").skip(1).step_by(2) {
            let (mark, program) = block.split_once('\n').unwrap();
            let uses_this_crate = ["Pair::", "BrokerWorld::", "strategies::"].iter().any(|name| program.contains(name));
            if !matches!(mark, "text" | "rust,ignore") || !uses_this_crate {
                continue;
            }
            programs += 1;
            for line in program.lines().map(str::trim) {
                assert!(here.contains(&line), "no test has the line: {line}");
            }
        }
    }
    assert_eq!(programs, 5);
}
