//! Publishes with several clients for tokio to the same broker, in turns, and prints messages per second and the ratio of
//! `mqtt-sansio-tokio` to the better of the others.
//!
//! ```text
//! cargo run --release                  # five rounds of 100,000 messages
//! cargo run --release -- 1 10000       # a quick look
//! ```

mod broker;
mod clients;

use anyhow::{Context, Result};
use mqtt_sansio::QoS;

use crate::clients::Work;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().map_or(Ok(5), |text| text.parse()).context("the number of rounds")?;
    let count: usize = arguments.next().map_or(Ok(100_000), |text| text.parse()).context("the number of messages")?;
    let address = broker::start();
    println!("{:>4} {:>7} {:>12} {:>12} {:>12} {:>7}", "QoS", "window", "sansio/s", "rumqttc/s", "endpoint/s", "ratio");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for window in [20, 100] {
            let work = Work { address, qos, count, window };
            let mut rates = [const { Vec::new() }; 3];
            for _ in 0..rounds {
                rates[0].push(rate(count, clients::sansio(work))?);
                rates[1].push(rate(count, clients::rumqttc(work))?);
                rates[2].push(rate(count / 10, clients::endpoint(Work { count: count / 10, ..work }))?);
            }
            let [own, rumqttc, endpoint] = rates.map(median);
            let ratio = own / rumqttc.max(endpoint);
            println!("{:>4} {window:>7} {own:>12.0} {rumqttc:>12.0} {endpoint:>12.0} {ratio:>7.2}", qos.value());
        }
    }
    Ok(())
}

/// Runs a client on a runtime of its own with one thread, and returns the messages per second.
fn rate(count: usize, client: impl Future<Output = Result<std::time::Duration>>) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let time = runtime.block_on(client)?;
    Ok(count as f64 / time.as_secs_f64())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
