/work/main/benches/brokers/target/debug/deps/mqtt_bench_brokers-6327e1927af609af.d: src/lib.rs src/process.rs src/program.rs src/running.rs

/work/main/benches/brokers/target/debug/deps/libmqtt_bench_brokers-6327e1927af609af.rmeta: src/lib.rs src/process.rs src/program.rs src/running.rs

src/lib.rs:
src/process.rs:
src/program.rs:
src/running.rs:

# env-dep:CARGO_MANIFEST_DIR=/work/main/benches/brokers
