//! Attacks on the example broker of this repository, each beside an innocent client. See README.md.

#![forbid(unsafe_code)]

mod arguments;
mod attacks;
mod broker;
mod counters;
mod innocent;
mod measure;
mod packets;
mod peer;
mod priority;
mod random;
mod report;
mod stage;
mod websocket;

use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use anyhow::{Result, ensure};
use clap::Parser;
use mqtt_bench_brokers::{Kind, raise_file_limit};

use crate::arguments::Arguments;
use crate::attacks::{ATTACKS, Attack};
use crate::broker::Brokers;
use crate::report::Row;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the attacks. Returns whether there were no objections.
fn start(arguments: &Arguments) -> Result<bool> {
    if arguments.list {
        for attack in ATTACKS {
            println!("{:20} {}", attack.name, attack.what);
        }
        return Ok(true);
    }
    for name in arguments.only.iter().chain(&arguments.known) {
        ensure!(ATTACKS.iter().any(|attack| attack.name == name), "there is no attack {name}: see --list");
    }
    raise_file_limit()?;
    let brokers = Brokers::find(arguments)?;
    let mut cases = Vec::new();
    for attack in ATTACKS {
        // The control run is part of every run, for comparison.
        if arguments.only.is_empty() || attack.is_control() || arguments.only.iter().any(|name| name == attack.name) {
            cases.push((attack, Kind::Ours));
            if arguments.mosquitto.is_some() && attack.not_mosquitto.is_none() {
                cases.push((attack, Kind::Mosquitto));
            }
        }
    }
    let rows = run(arguments, &brokers, &cases);
    print!("{}", report::table(&rows, arguments));
    let mut is_ok = true;
    for row in &rows {
        let objections = row.objections(arguments);
        if !objections.is_empty() {
            is_ok &= arguments.known.iter().any(|name| name == row.attack);
            eprintln!("{}: {}", row.attack, objections.join("; "));
        }
    }
    Ok(is_ok)
}

/// Makes the attacks, several at a time as the arguments say. Returns the rows in the order of the cases.
fn run(arguments: &Arguments, brokers: &Brokers, cases: &[(&'static Attack, Kind)]) -> Vec<Row> {
    let todo = Mutex::new(cases.iter().enumerate());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..arguments.jobs() {
            scope.spawn(|| {
                loop {
                    let next = todo.lock().ok().and_then(|mut todo| todo.next());
                    let Some((index, &(attack, kind))) = next else { return };
                    eprintln!("{}, {}", attack.name, kind.name());
                    let measured = measure::measure(arguments, brokers, kind, attack);
                    let measured = measured.map_err(|error| format!("{error:#}"));
                    if let Ok(mut done) = done.lock() {
                        done.push((index, Row { attack: attack.name, kind, measured }));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, row)| row).collect()
}
