//! Many clients around a broker, over links that split, delay and cut, and a simple model that computes the messages
//! that each of them must receive. A run follows from its seed alone: repeat one with
//! `SEED=… cargo test --all-features --test broker_simulation`.

mod clients;
mod model;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use self::world::{Plan, World};

/// Runs these seeds, or the one that the environment names.
fn run(seeds: std::ops::Range<u64>, plan: Plan) {
    let only = std::env::var("SEED").ok().map(|seed| seed.parse::<u64>().expect("a number"));
    let (mut routed, mut delivered) = (0, 0);
    for seed in only.map_or(seeds, |seed| seed..seed + 1) {
        let done = catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::new(seed, plan);
            (0..plan.steps).for_each(|_| world.step());
            world.heal();
            world.model.check();
            (world.model.routed(), world.model.delivered())
        }));
        match done {
            Ok((more_routed, more_delivered)) => {
                routed += more_routed;
                delivered += more_delivered;
            }
            Err(panic) => {
                eprintln!("seed {seed} with {plan:?}: SEED={seed} cargo test --all-features --test broker_simulation");
                resume_unwind(panic);
            }
        }
    }
    println!("{routed} messages routed, {delivered} copies delivered");
    assert!(only.is_some() || (routed > 1000 && delivered > 1000), "something has happened");
}

/// [3.1.1: MQTT-3.1.2-5, MQTT-3.3.2-3, MQTT-3.3.5-1, MQTT-3.8.4-6, MQTT-3.10.4-2, MQTT-4.5.0-1, MQTT-4.6.0-5,
/// MQTT-4.6.0-6; 5.0: MQTT-3.3.2-3, MQTT-3.3.4-2, MQTT-3.8.4-8, MQTT-3.10.4-2, MQTT-4.5.0-1, MQTT-4.6.0-5,
/// MQTT-4.6.0-6, U-4.8.2-a]
#[test]
fn every_client_receives_the_messages_of_the_model() {
    run(0..250, Plan { steps: 400, ..Plan::default() });
}

/// Each item of work is one call, and clients go on between two of them.
#[test]
fn with_one_item_of_work_a_call() {
    run(4000..4060, Plan { steps: 600, work: Some(1), ..Plan::default() });
    run(4200..4230, Plan { steps: 600, work: Some(5), later: true, ..Plan::default() });
    run(4300..4330, Plan { steps: 600, work: Some(2), little_room: true, ..Plan::default() });
    run(4400..4430, Plan { steps: 600, work: Some(3), jumps: true, ..Plan::default() });
}

#[test]
fn with_deferred_decisions() {
    run(1000..1120, Plan { steps: 400, later: true, ..Plan::default() });
}

#[test]
fn with_small_queues_every_missing_message_was_reported() {
    run(2000..2120, Plan { steps: 400, little_room: true, ..Plan::default() });
}

#[test]
fn with_keep_alive_and_jumps_of_the_clock() {
    run(3000..3120, Plan { steps: 400, jumps: true, ..Plan::default() });
}
