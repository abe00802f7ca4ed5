//! Publishes with several clients for tokio to the same broker, in turns, and prints messages per second, processor time for a
//! message, and the ratios of `mqtt-sansio-tokio` to the better of the others.
//!
//! ```text
//! cargo run --release                  # five rounds of 100,000 messages
//! cargo run --release -- 1 10000       # a quick look
//! ```

mod broker;
mod clients;

use anyhow::{Context, Result};
use cpu_time::ThreadTime;
use mqtt_sansio::QoS;

use crate::clients::Work;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().map_or(Ok(5), |text| text.parse()).context("the number of rounds")?;
    let count: usize = arguments.next().map_or(Ok(100_000), |text| text.parse()).context("the number of messages")?;
    let address = broker::start();
    println!("                messages a second                        microseconds for a message");
    println!("QoS window     sansio  rumqttc  endpoint  ratio          sansio  rumqttc  endpoint  ratio");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for window in [20, 100] {
            let work = Work { address, qos, count, window };
            let mut runs = [const { Vec::new() }; 3];
            for _ in 0..rounds {
                runs[0].push(run(count, clients::sansio(work))?);
                runs[1].push(run(count, clients::rumqttc(work))?);
                runs[2].push(run(count / 10, clients::endpoint(Work { count: count / 10, ..work }))?);
            }
            let [own, rumqttc, endpoint] = runs.each_ref().map(|runs| median(runs.iter().map(|run| run.rate)));
            let ratio = own / rumqttc.max(endpoint);
            print!("{:>3} {window:>6} {own:>10.0} {rumqttc:>8.0} {endpoint:>9.0} {ratio:>6.2}", qos.value());
            let [own, rumqttc, endpoint] = runs.each_ref().map(|runs| median(runs.iter().map(|run| run.micros)));
            println!("  {own:>14.2} {rumqttc:>8.2} {endpoint:>9.2} {:>6.2}", rumqttc.min(endpoint) / own);
        }
    }
    Ok(())
}

/// The result of a client.
struct Run {
    /// Messages a second.
    rate: f64,
    /// Processor time of the client's thread for a message, in microseconds, with that of the kernel.
    micros: f64,
}

/// Runs a client on a runtime of its own with one thread.
fn run(count: usize, client: impl Future<Output = Result<std::time::Duration>>) -> Result<Run> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begin = ThreadTime::now();
    let time = runtime.block_on(client)?;
    let busy = begin.elapsed();
    Ok(Run { rate: count as f64 / time.as_secs_f64(), micros: busy.as_secs_f64() * 1e6 / count as f64 })
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
