//! The cost of a full queue: a publish that is refused, one that drops the oldest message, messages that expire, and a
//! message that is withdrawn. None of them depends on the number of queued messages.
//!
//! ```console
//! $ cargo bench --bench queue
//! $ cargo bench --bench queue -- --test    # once, to see that it works
//! ```

#![allow(missing_docs)] // for the functions that the macros of criterion define

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mqtt_sansio::client::{ClientConfig, ClientSession};
use mqtt_sansio::codec::PublishProperties;
use mqtt_sansio::{Instant, Message, Overflow, QoS, Token};

const SIZES: [u32; 3] = [1_000, 10_000, 100_000];

fn message(expires_after: Option<u32>) -> Message<'static> {
    let properties = PublishProperties { message_expiry_interval: expires_after, ..PublishProperties::default() };
    Message::new("site/device/temperature", "21.5").qos(QoS::AtLeastOnce).properties(properties)
}

/// A client without a connection whose queue is full.
fn full(size: u32, overflow: Overflow, expires_after: Option<u32>) -> (ClientSession, Vec<Token>) {
    let config = ClientConfig { max_stored: size, max_stored_bytes: u32::MAX, overflow, ..ClientConfig::default() };
    let mut client = ClientSession::new(config);
    let tokens =
        (0..size).map(|_| client.publish(Instant::EPOCH, &message(expires_after)).expect("there is room")).collect();
    client.poll_timeout(Instant::EPOCH);
    (client, tokens)
}

fn queues(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("full queue");
    for size in SIZES {
        let (mut client, _) = full(size, Overflow::Refuse, Some(3600));
        group.bench_function(BenchmarkId::new("refused", size), |bencher| {
            bencher.iter(|| client.publish(Instant::EPOCH, &message(None)).expect_err("it is full"));
        });
        let (mut client, _) = full(size, Overflow::DropOldest, Some(3600));
        group.bench_function(BenchmarkId::new("oldest dropped", size), |bencher| {
            bencher.iter(|| {
                client.publish(Instant::EPOCH, &message(Some(3600))).expect("the oldest makes room");
                client.poll_timeout(Instant::EPOCH).is_some()
            });
        });
        let (client, tokens) = full(size, Overflow::Refuse, Some(3600));
        let middle = tokens[tokens.len() / 2];
        group.bench_function(BenchmarkId::new("withdrawn", size), |bencher| {
            bencher.iter_batched_ref(
                || client.clone(),
                |client| client.withdraw(Instant::EPOCH, middle).expect("it waits"),
                BatchSize::PerIteration,
            );
        });
        let (client, _) = full(size, Overflow::Refuse, Some(10));
        group.throughput(Throughput::Elements(size.into()));
        group.bench_function(BenchmarkId::new("expired", size), |bencher| {
            bencher.iter_batched_ref(
                || client.clone(),
                |client| {
                    while client.poll_timeout(Instant::from_micros(10_000_000)).is_some() {}
                    assert_eq!(client.queued(), 0);
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = queues
}
criterion_main!(benches);
