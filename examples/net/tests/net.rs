//! The examples of this package, as programs.

// The tests read the outputs of programs in threads.
#[path = "../../../tests/common/example.rs"]
mod example;

use example::Program;

/// Runs an example until it ends, and returns its output.
#[track_caller]
fn run(example: &str) -> String {
    let ended = Program::start(example, &[]).end();
    assert_eq!((ended.code, &*ended.err), (Some(0), ""), "{ended:?}");
    ended.out
}

#[test]
fn scram_accepts_the_right_password_alone() {
    let out = run("scram");
    let refused = "the server refuses the connection: 0x87 (Not authorized)";
    let expected = [
        "ann with \"pencil\": accepted, and the broker has proved that it knows the keys".to_owned(),
        format!("ann with \"crayon\": {refused}"),
        format!("bob with \"pencil\": {refused}"),
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn metrics_are_open_metrics() {
    let out = run("metrics");
    for line in [
        "HTTP/1.1 200 OK",
        "# TYPE mqtt_clients gauge",
        "mqtt_clients 2",
        "mqtt_sessions 3",
        "mqtt_stored 3",
        "mqtt_messages_received_total 3",
        "# EOF",
    ] {
        assert!(out.lines().any(|it| it == line), "{line} is not in {out}");
    }
}

#[test]
fn quic_delivers_each_message() {
    let out = run("quic");
    for line in ["home/hall/temp: 18.0", "home/kitchen/temp: 21.5", "the broker has forwarded 2 messages"] {
        assert_eq!(out.lines().filter(|it| *it == line).count(), 1, "{out}");
    }
}
