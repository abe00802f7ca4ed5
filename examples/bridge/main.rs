//! A bridge that moves messages between two brokers, with acknowledgements from end to end.
//!
//! ```text
//! cargo run --example bridge -- [SEED]
//! ```
//!
//! `bridge.rs` is the part to copy to another program. `world.rs` has two brokers in memory, whose links with the bridge are
//! cut a hundred times, each time at a random byte. No message of QoS 1 or 2 is lost, and none of QoS 2 comes twice.

mod bridge;
mod world;

use std::env;

use anyhow::{Result, ensure};
use mqtt_sansio::QoS;

use crate::world::World;

const NAMES: [&str; 2] = ["north", "south"];
const CUTS: u32 = 100;

fn main() -> Result<()> {
    let seed = env::args().nth(1).map_or(Ok(42), |seed| seed.parse())?;
    let mut world = World::new(seed)?;
    let sent = exchange(&mut world, 2)?;
    for (qos, name) in [(QoS::AtLeastOnce, "at least once"), (QoS::ExactlyOnce, "exactly once")] {
        let (messages, again) = check(&world, sent.iter().filter(|message| message.qos == qos))?;
        ensure!(again == 0 || qos == QoS::AtLeastOnce, "a message of QoS 2 has come twice");
        println!("{name}: {messages} messages between {} and {}, none lost, {again} again", NAMES[0], NAMES[1]);
    }

    // A broker that loses a session loses the messages that wait in it: so they all go to the broker that does.
    world.forgets = true;
    let sent = exchange(&mut world, 1)?;
    let (messages, again) = check(&world, &sent)?;
    let forgotten = world.forgotten;
    println!("with {forgotten} sessions lost in the {}: {messages} messages, none lost, {again} again", NAMES[1]);
    println!("the links of the bridge were cut {} times", world.cut);
    Ok(())
}

struct Sent {
    broker: usize,
    payload: String,
    qos: QoS,
}

/// Publishes messages at this number of brokers while links are cut, and waits until they have arrived.
fn exchange(world: &mut World, brokers: usize) -> Result<Vec<Sent>> {
    let mut sent = Vec::new();
    let before = world.cut;
    world.set_cuts(true);
    while world.cut < before + CUTS {
        for _ in 0..world.below(4) {
            let (broker, qos) = (world.below(brokers), [QoS::AtLeastOnce, QoS::ExactlyOnce][world.below(2)]);
            let payload = format!("{} {before} {}", NAMES[broker], sent.len());
            world.publish(broker, &payload, qos)?;
            sent.push(Sent { broker, payload, qos });
        }
        world.step()?;
    }
    world.set_cuts(false);
    for _ in 0..20 {
        world.step()?;
    }
    Ok(sent)
}

/// Checks that all messages have arrived at both brokers. Returns the number of messages and the number of further copies.
fn check<'a>(world: &World, sent: impl IntoIterator<Item = &'a Sent>) -> Result<(u32, u32)> {
    let (mut messages, mut again) = (0, 0);
    for Sent { broker, payload, .. } in sent {
        let (here, there) = (world.arrivals(*broker, payload), world.arrivals(1 - broker, payload));
        ensure!(here == 1, "\"{payload}\" has come {here} times to the listener where it was published");
        ensure!(there >= 1, "\"{payload}\" is lost");
        messages += 1;
        again += there - 1;
    }
    Ok((messages, again))
}
