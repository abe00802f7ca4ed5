//! A hundred thousand devices and a broker in virtual time, on one thread.
//!
//! ```text
//! cargo run --release --example simulator -- [DEVICES [HOURS [SEED]]]
//! ```
//!
//! Each device publishes readings at its own period and is kept alive by PINGREQ in between. Links are lost, and the devices
//! resume their sessions later. The time jumps from one event to the next, so hours take seconds; and the same seed makes the
//! same events. Without arguments a debug build simulates 1,000 devices.

// The program measures how long the simulation takes; the simulation itself reads no clock.
#![allow(clippy::disallowed_types)]

mod random;
mod world;

use std::{env, fs, time};

use anyhow::{Context, Result, ensure};

use crate::world::World;

fn main() -> Result<()> {
    let arguments = env::args().skip(1).map(|text| text.parse().with_context(|| format!("not a number: {text}")));
    let arguments = arguments.collect::<Result<Vec<u32>>>()?;
    let argument = |index: usize, default| arguments.get(index).copied().unwrap_or(default);
    let devices = argument(0, if cfg!(debug_assertions) { 1_000 } else { 100_000 }).max(1);
    let (hours, seed) = (argument(1, 1), argument(2, 42));

    let start = time::Instant::now();
    let mut world = World::new(devices, seed)?;
    world.run(u64::from(hours) * 3600)?;
    let memory = world.broker_memory();
    world.settle()?;
    let seconds = start.elapsed().as_secs_f64();

    let results = world.results();
    println!("{devices} devices, {hours} h of virtual time, seed {seed}");
    println!("readings: {} published, {} arrived at the dashboard", results.readings_sent, results.readings);
    println!("commands: {} sent to devices, {} arrived", results.commands_sent, results.commands);
    println!(
        "links: {} lost, {} of them unnoticed by the broker; {} sessions resumed",
        results.lost, results.half_open, results.resumed
    );
    println!(
        "broker: {} messages received, {} forwarded, {} bytes of memory per device",
        results.received,
        results.forwarded,
        memory / u64::from(devices)
    );
    if let Some(resident) = resident() {
        println!("process: {} bytes of memory per device, the device itself included", resident / u64::from(devices));
    }
    println!("time: {seconds:.1} s, {:.0} times as fast as real time", f64::from(hours) * 3600.0 / seconds);

    ensure!(results.commands == results.commands_sent, "a command of QoS 2 is lost, or has arrived twice");
    ensure!(results.readings >= results.readings_sent, "a reading of QoS 1 is lost");
    Ok(())
}

/// Returns the size of the process in memory, in bytes, where the system says so.
fn resident() -> Option<u64> {
    let pages: u64 = fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}
