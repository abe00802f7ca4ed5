//! Honest clients around a broker, and among them nasty ones that do what the specification allows, or nearly, in order to
//! hurt the others. Whatever these do, the honest clients get exactly what a simple model says, are never disconnected, and
//! are served within a bounded number of driver turns. A run follows from its seed alone: replay one with
//! `SEED=… cargo test --all-features --test broker_hostile`.

mod honest;
mod model;
mod nasty;
mod policy;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use self::world::{Plan, World};

const PLAN: Plan = Plan { steps: 200, nasty: 8, little_memory: false, work: None, most_turns: 4 };

/// Runs these seeds, or the one that the environment names.
fn run(seeds: std::ops::Range<u64>, plan: Plan) {
    let only = std::env::var("SEED").ok().map(|seed| seed.parse::<u64>().expect("a number"));
    let (mut published, mut delivered, mut attacks, mut slowest) = (0, 0, 0, 0);
    for seed in only.map_or(seeds, |seed| seed..seed + 1) {
        let done = catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::new(seed, plan);
            (0..plan.steps).for_each(|_| world.step());
            world.finish();
            (world.model.published(), world.model.delivered, world.attacks, world.model.slowest)
        }));
        match done {
            Ok(done) => {
                published += done.0;
                delivered += done.1;
                attacks += done.2;
                slowest = slowest.max(done.3);
            }
            Err(panic) => {
                eprintln!("seed {seed} with {plan:?}: SEED={seed} cargo test --all-features --test broker_hostile");
                resume_unwind(panic);
            }
        }
    }
    println!(
        "{published} honest messages, {delivered} copies in at most {slowest} turns, {attacks} hostile connections"
    );
    assert!(only.is_some() || (published > 1000 && delivered > 1000 && attacks > 1000), "something has happened");
}

#[test]
fn honest_clients_get_what_the_model_says() {
    run(0..40, PLAN);
}

#[test]
fn among_a_crowd() {
    run(1000..1010, Plan { nasty: 60, ..PLAN });
}

#[test]
fn with_little_memory() {
    run(2000..2030, Plan { little_memory: true, ..PLAN });
}

/// Each item of work is one call, or few items are: whatever can be interrupted is.
#[test]
fn with_little_work_in_a_call() {
    run(3000..3015, Plan { work: Some(1), most_turns: 40, ..PLAN });
    run(3100..3115, Plan { work: Some(7), most_turns: 40, ..PLAN });
    run(3200..3215, Plan { work: Some(50), most_turns: 40, ..PLAN });
}
