//! A bridge that moves messages between two brokers, with acknowledgements from end to end.
//!
//! ```text
//! cargo run --example bridge -- [SEED]
//! ```
//!
//! `bridge.rs` is the part to copy to another program. `world.rs` has two brokers in memory, whose links with the bridge are cut
//! a hundred times, each time at a random byte. No message of QoS 1 or 2 is lost, and none of QoS 2 comes twice.

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
    let mut sent = Vec::new();
    while world.cut < CUTS {
        for _ in 0..world.below(4) {
            let (side, qos) = (world.below(2), [QoS::AtLeastOnce, QoS::ExactlyOnce][world.below(2)]);
            let payload = format!("{} {}", NAMES[side], sent.len());
            world.publish(side, &payload, qos)?;
            sent.push((side, payload, qos));
        }
        world.step()?;
    }
    world.cuts = false;
    for _ in 0..20 {
        world.step()?; // what has waited arrives
    }

    for (of, name) in [(QoS::AtLeastOnce, "at least once"), (QoS::ExactlyOnce, "exactly once")] {
        let (mut messages, mut again) = (0, 0);
        for (side, payload, _) in sent.iter().filter(|(.., qos)| *qos == of) {
            let (here, there) = (world.heard(*side, payload), world.heard(1 - side, payload));
            ensure!(here == 1, "\"{payload}\" has come {here} times to the listener where it was published");
            ensure!(there >= 1, "\"{payload}\" is lost");
            ensure!(there == 1 || of == QoS::AtLeastOnce, "\"{payload}\" has come {there} times");
            messages += 1;
            again += there - 1;
        }
        println!("{name}: {messages} messages between {} and {}, none lost, {again} again", NAMES[0], NAMES[1]);
    }
    println!("the links of the bridge were cut {} times", world.cut);
    Ok(())
}
