//! The example broker of this repository beside mosquitto: the same load on both. See README.md.

#![forbid(unsafe_code)]

mod arguments;
mod broker;
mod connections;
mod crowd;
mod durable;
mod load;
mod report;
mod restart;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use mqtt_bench_brokers::{Kind, NO_MOSQUITTO, Process, raise_file_limit};

use crate::arguments::{
    Arguments, Command, CompareArguments, ConnectionsArguments, DurableArguments, RestartArguments, RoundArguments,
};
use crate::broker::Brokers;
use crate::report::Row;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.command {
        None => compare(&arguments.compare),
        Some(Command::Connections(arguments)) => many_connections(arguments),
        Some(Command::Durable(arguments)) => durable(arguments),
        Some(Command::Restart(arguments)) => restart(arguments),
        Some(Command::Round(arguments)) => round(arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures all cases with both brokers in turns. Returns whether everything has worked.
fn compare(arguments: &CompareArguments) -> Result<bool> {
    let brokers = Brokers::find(&arguments.brokers, true)?;
    raise_file_limit()?;
    let mut rows: Vec<Row> = arguments.cases().into_iter().map(Row::new).collect();
    for round in 1..=arguments.rounds {
        // Each round has new processes, because the memory layout of a process affects its times.
        let mut running =
            [(Kind::Ours, brokers.start(Kind::Ours)?), (Kind::Mosquitto, brokers.start(Kind::Mosquitto)?)];
        if round % 2 == 0 {
            running.reverse(); // alternate which broker comes first
        }
        for row in &mut rows {
            for (kind, broker) in &running {
                eprintln!("round {round} of {}: {}, {}", arguments.rounds, row.case, kind.name());
                let measured = load::measure(broker.address, Some(broker.process), row.case, &arguments.load);
                row.add(*kind, unless_failed(*kind, measured));
            }
        }
    }
    print!("{}", report::comparison(&rows));
    Ok(!rows.iter().any(Row::has_failed))
}

/// Opens many connections to each broker. Returns whether everything has worked.
fn many_connections(arguments: &ConnectionsArguments) -> Result<bool> {
    let brokers = Brokers::find(&arguments.brokers, false)?;
    let limit = raise_file_limit()?;
    let needed = u64::from(arguments.count) + 100; // 100 for all other files
    ensure!(limit >= needed, "{needed} files have to be open at once, and only {limit} may be: see ulimit -Hn");
    let mut kinds = vec![Kind::Ours, Kind::Mosquitto];
    if !brokers.has_mosquitto() {
        eprintln!("{NO_MOSQUITTO}");
        kinds.pop();
    }
    let mut censuses = Vec::new();
    for &kind in &kinds {
        eprintln!("{} connections, {}", arguments.count, kind.name());
        let broker = brokers.start(kind)?;
        let measured = connections::measure(&broker, arguments);
        censuses.extend(unless_failed(kind, measured).map(|census| (kind, census)));
    }
    print!("{}", report::connections(arguments.count, &censuses));
    Ok(censuses.len() == kinds.len())
}

/// Measures brokers that store their state. Returns whether everything has worked.
fn durable(arguments: &DurableArguments) -> Result<bool> {
    let brokers = Brokers::find(&arguments.brokers, true)?;
    raise_file_limit()?;
    let results = durable::measure(&brokers, arguments)?;
    print!("{}", report::durable(&results));
    Ok(!results.have_failed())
}

/// Measures how long the example needs to start with a large state.
fn restart(arguments: &RestartArguments) -> Result<bool> {
    let brokers = Brokers::find(&arguments.brokers, false)?;
    raise_file_limit()?;
    print!("{}", report::restarts(&restart::measure(&brokers, arguments)?));
    Ok(true)
}

/// Measures once, with a running broker.
fn round(arguments: &RoundArguments) -> Result<bool> {
    raise_file_limit()?;
    let process = arguments.pid.map(Process::new).transpose()?;
    let measurement = load::measure(arguments.broker, process, arguments.case(), &arguments.load)?;
    print!("{}", report::single(arguments.case(), &measurement));
    Ok(true)
}

/// Reports a failure at once, and lets the other measurements continue.
fn unless_failed<T>(kind: Kind, result: Result<T>) -> Option<T> {
    result.inspect_err(|error| eprintln!("error: {}: {error:#}", kind.name())).ok()
}
