//! A client over a simulated UART, in virtual time.

mod simulation;

use std::cell::RefCell;
use std::num::{NonZeroU16, NonZeroU32};
use std::pin::pin;
use std::time::Duration;

use embassy_futures::join::join;
use embassy_futures::poll_once;
use embassy_futures::select::{Either, select};
use embedded_io_async::ErrorKind;
use mqtt_sansio::client::{Action, ClientConfig, Resumption};
use mqtt_sansio::codec::{PubAckReasonCode, Subscription};
use mqtt_sansio::{AbandonReason, Instant, Message, Outcome, QoS, ReasonCode, SessionExpiry, TopicFilter, Will};
use mqtt_sansio_embedded::{Client, Clock, End};
use simulation::{Server, TestClock, run, uart};

fn config() -> ClientConfig {
    ClientConfig {
        client_id: "c".into(),
        session_expiry_interval: SessionExpiry::after(1000),
        ..ClientConfig::default()
    }
}

fn subscription(filter: &str) -> Subscription<'_> {
    Subscription::new(filter, QoS::ExactlyOnce).unwrap()
}

const REQUESTED: End = End::Closed { may_retry: false, reason_code: None };

/// Messages of every QoS come back from the broker, one byte at a time, and DISCONNECT ends the connection: the broker does
/// not publish the will.
#[test]
fn messages_of_every_qos_over_a_narrow_uart() {
    let clock = TestClock::default();
    let will = Will { retain: true, ..Will::new("will", "lost") };
    let config = ClientConfig { will: Some(Box::new(will)), ..config() };
    let (server, client) = (Server::new(&clock), Client::new(config, clock.clone()));
    client.subscribe(&[subscription("#")]).unwrap();
    let (received, outcomes) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let handler = async |action: Action<'_>| match action {
        Action::Done { outcome: Outcome::Subscribed { .. }, .. } => {
            for (payload, qos) in [("0", QoS::AtMostOnce), ("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce)] {
                client.publish(&Message::new("t", payload).qos(qos)).unwrap();
            }
        }
        Action::Message(message) => {
            received.borrow_mut().push(String::from_utf8_lossy(message.payload).into_owned());
            if received.borrow().len() == 3 {
                client.unsubscribe(&[TopicFilter::new("#").unwrap()]).unwrap();
            }
        }
        Action::Done { outcome, .. } => {
            outcomes.borrow_mut().push(outcome.is_success());
            if outcomes.borrow().len() == 4 {
                client.disconnect().unwrap();
            }
        }
        _ => {}
    };
    let uart = uart(1, None);
    let (end, ()) = run(&clock, join(client.run(uart.client.0, uart.client.1, handler), server.serve(uart.broker)));
    assert_eq!(end, REQUESTED);
    received.borrow_mut().sort();
    assert_eq!(*received.borrow(), ["0", "1", "2"]);
    assert_eq!(*outcomes.borrow(), [true; 4]);
    assert_eq!(server.broker.borrow().status().retained, 0);
}

/// A byte is lost at each possible place, with an overrun: each time the connection ends, the session is resumed, and
/// every message of QoS 2 arrives once.
#[test]
fn lost_bytes_lose_the_connection_and_no_message() {
    let mut losses = 0;
    for lost_after in 0.. {
        let clock = TestClock::default();
        let (server, client) = (Server::new(&clock), Client::new(config(), clock.clone()));
        client.subscribe(&[subscription("t")]).unwrap();
        for payload in ["1", "2", "3"] {
            client.publish(&Message::new("t", payload).qos(QoS::ExactlyOnce)).unwrap();
        }
        let received = RefCell::new(Vec::new());
        let mut connections = Vec::new();
        loop {
            let uart = uart(16, Some(lost_after).filter(|_| connections.is_empty()));
            let handler = async |action: Action<'_>| {
                if let Action::Message(message) = &action {
                    received.borrow_mut().push(String::from_utf8_lossy(message.payload).into_owned());
                }
                let is_quiet = client.with(|session, _| session.operations_in_flight() + session.unreleased() == 0);
                if received.borrow().len() == 3 && is_quiet {
                    let _ = client.disconnect(); // fails if the connection has ended
                }
            };
            let patience = async {
                clock.wait_until(clock.now() + Duration::from_secs(10)).await;
                let _ = client.disconnect(); // as above
                core::future::pending::<()>().await;
            };
            let run_client = select(client.run(uart.client.0, uart.client.1, handler), patience);
            let (end, ()) = run(&clock, join(run_client, server.serve(uart.broker)));
            let Either::First(end) = end else { unreachable!() };
            connections.push(end);
            if !end.may_retry() {
                break;
            }
            run(&clock, client.pause());
        }
        assert_eq!(*received.borrow(), ["1", "2", "3"], "a byte is lost after {lost_after}: {connections:?}");
        match &connections[..] {
            [End::Lost(ErrorKind::Other), REQUESTED] => losses += 1,
            [REQUESTED] => break, // nothing was lost: there were fewer bytes
            other => panic!("a byte is lost after {lost_after}: {other:?}"),
        }
    }
    assert!(losses > 60, "{losses} bytes from the broker");
}

/// An idle client pings; a broker that does not answer is found out, in virtual time.
#[test]
fn a_silent_transport_is_given_up() {
    let clock = TestClock::default();
    let config = ClientConfig { keep_alive: NonZeroU16::new(10), ping_timeout: NonZeroU16::new(5), ..config() };
    let (server, client) = (Server::new(&clock), Client::new(config, clock.clone()));
    let first = uart(16, None);
    let served = async {
        select(server.serve(first.broker), clock.wait_until(Instant::from_micros(100_000_000))).await;
        // The broker answers no more, and the wire stays.
    };
    let handler = async |_: Action<'_>| {};
    let hour = clock.wait_until(Instant::from_micros(3_600_000_000));
    let connection = join(client.run(first.client.0, first.client.1, handler), served);
    let Either::First((end, ())) = run(&clock, select(connection, hour)) else { panic!("the client waits for ever") };
    assert_eq!(end, End::Lost(ErrorKind::ConnectionReset), "the broker has dropped the connection");
    assert!(clock.now() >= Instant::from_micros(100_000_000), "pings were answered until then");

    // Nothing answers CONNECT, and nothing reads it.
    let silent = uart(16, None);
    let begin = clock.now();
    let end = run(&clock, client.run(silent.client.0, silent.client.1, handler));
    assert_eq!(end, End::Closed { may_retry: true, reason_code: None });
    assert_eq!(clock.now().since(begin), Duration::from_secs(30), "the connect timeout");
    assert!(client.backoff() >= Duration::from_secs(1));
    drop(silent.broker);
}

/// A run that is dropped at any of its steps is the loss of the connection: the next one resumes, and each message of QoS 2
/// arrives once.
#[test]
fn a_run_may_be_dropped() {
    for steps in 0..80 {
        let clock = TestClock::default();
        let (server, client) = (Server::new(&clock), Client::new(config(), clock.clone()));
        client.subscribe(&[subscription("t")]).unwrap();
        client.publish(&Message::new("t", "1").qos(QoS::ExactlyOnce)).unwrap();
        let received = RefCell::new(0);
        let handler = async |action: Action<'_>| {
            *received.borrow_mut() += usize::from(matches!(action, Action::Message(_)));
            let is_quiet = client.with(|session, _| session.operations_in_flight() + session.unreleased() == 0);
            if *received.borrow() == 1 && is_quiet {
                let _ = client.disconnect(); // fails if the connection has ended
            }
        };
        {
            let uart = uart(8, None);
            let mut run_client = pin!(client.run(uart.client.0, uart.client.1, handler));
            let mut serve = pin!(server.serve(uart.broker));
            for _ in 0..steps {
                let _ = poll_once(run_client.as_mut());
                let _ = poll_once(serve.as_mut());
                if *received.borrow() == 1 {
                    break; // the connection may be over soon
                }
            }
        }
        let uart = uart(8, None);
        let patience = async {
            clock.wait_until(clock.now() + Duration::from_secs(10)).await;
            let _ = client.disconnect(); // as above
            core::future::pending::<()>().await;
        };
        let second = select(client.run(uart.client.0, uart.client.1, handler), patience);
        run(&clock, join(second, server.serve(uart.broker)));
        assert_eq!(*received.borrow(), 1, "dropped after {steps} steps");
    }
}

/// A subscription that the handler makes upon the report of the connection comes before what was queued: the client gets
/// its own messages.
#[test]
fn a_subscription_upon_the_connection_comes_before_queued_messages() {
    let clock = TestClock::default();
    let config = ClientConfig { max_stored: 2, ..config() };
    let (server, client) = (Server::new(&clock), Client::new(config, clock.clone()));
    for payload in ["1", "2"] {
        client.publish(&Message::new("t", payload).qos(QoS::AtLeastOnce)).unwrap();
    }
    let received = RefCell::new(Vec::new());
    let handler = async |action: Action<'_>| match action {
        Action::Connected(_) => drop(client.subscribe(&[subscription("t")]).unwrap()),
        Action::Message(message) => {
            received.borrow_mut().push(String::from_utf8_lossy(message.payload).into_owned());
            if received.borrow().len() == 2 {
                client.disconnect().unwrap();
            }
        }
        _ => {}
    };
    let uart = uart(16, None);
    let connection = join(client.run(uart.client.0, uart.client.1, handler), server.serve(uart.broker));
    let minute = clock.wait_until(Instant::from_micros(60_000_000));
    assert!(matches!(run(&clock, select(connection, minute)), Either::First((REQUESTED, ()))));
    assert_eq!(received.into_inner(), ["1", "2"]);
}

/// While the handler waits, nothing is read; output is written.
#[test]
fn a_handler_that_waits_stops_the_reading() {
    let clock = TestClock::default();
    let (server, client) = (Server::new(&clock), Client::new(config(), clock.clone()));
    client.subscribe(&[subscription("in")]).unwrap();
    let (received, published) = (RefCell::new(Vec::new()), RefCell::new(None));
    let handler = async |action: Action<'_>| match action {
        Action::Done { outcome: Outcome::Subscribed { .. }, .. } => {
            for number in 0..20 {
                server.broker.borrow_mut().publish(clock.now(), &Message::new("in", &[number; 100])).unwrap();
            }
        }
        Action::Message(message) => {
            if received.borrow().is_empty() {
                client.publish(&Message::new("out", "o")).unwrap();
                clock.wait_until(clock.now() + Duration::from_secs(20)).await;
            }
            received.borrow_mut().push((message.payload[0], clock.now()));
            if received.borrow().len() == 20 {
                client.disconnect().unwrap();
            }
        }
        Action::Done { outcome: Outcome::Sent, .. } => *published.borrow_mut() = Some(clock.now()),
        _ => {}
    };
    let uart = uart(16, None);
    let (end, ()) = run(&clock, join(client.run(uart.client.0, uart.client.1, handler), server.serve(uart.broker)));
    assert_eq!(end, REQUESTED);
    let received = received.into_inner();
    assert!(received.iter().map(|(number, _)| *number).eq(0..20), "in order");
    assert!(received.iter().all(|(_, at)| at.as_micros() >= 20_000_000), "nothing overtakes the handler");
}

/// Commands from another future of the same task: acknowledgements, and a message that is withdrawn.
#[test]
fn commands_beside_the_connection() {
    let clock = TestClock::default();
    let config = ClientConfig { manual_acks: true, ..config() };
    let (server, client) = (Server::new(&clock), Client::new(config, clock.clone()));
    client.subscribe(&[subscription("t")]).unwrap();
    let token = client.publish(&Message::new("withdrawn", "1").qos(QoS::AtLeastOnce)).unwrap();
    client.withdraw(token).unwrap();
    let (owed, withdrawn) = (RefCell::new(None), RefCell::new(false));
    let handler = async |action: Action<'_>| match action {
        Action::Connected(connected) => assert_eq!(connected.session, Resumption::New),
        Action::Message(message) => *owed.borrow_mut() = message.ack_handle,
        Action::Done { token: done, outcome } if done == token => {
            assert_eq!(outcome, Outcome::Abandoned(AbandonReason::Withdrawn));
            *withdrawn.borrow_mut() = true;
        }
        _ => {}
    };
    let commands = async {
        clock.wait_until(Instant::from_micros(1_000_000)).await;
        assert!(client.is_connected());
        client.publish(&Message::new("t", "1").qos(QoS::AtLeastOnce)).unwrap();
        clock.wait_until(Instant::from_micros(2_000_000)).await;
        let handle = owed.borrow_mut().take().expect("the message has arrived");
        client.ack(handle, PubAckReasonCode::Success).unwrap();
        clock.wait_until(Instant::from_micros(3_000_000)).await;
        assert_eq!(server.broker.borrow().status().sessions, 1);
        client.disconnect().unwrap();
    };
    let uart = uart(16, None);
    let connection = join(client.run(uart.client.0, uart.client.1, handler), server.serve(uart.broker));
    let ((end, ()), ()) = run(&clock, join(connection, commands));
    assert_eq!((end, withdrawn.into_inner()), (REQUESTED, true));
}

/// A large message arrives in parts, without being collected.
#[test]
fn a_large_message_in_parts() {
    let clock = TestClock::default();
    let config = ClientConfig { deliver_in_parts: Some(NonZeroU32::MIN), ..config() };
    let (server, client) = (Server::new(&clock), Client::new(config, clock.clone()));
    client.subscribe(&[subscription("t")]).unwrap();
    let (size, most) = (RefCell::new(0), RefCell::new(0));
    let handler = async |action: Action<'_>| {
        let (bytes, missing) = match action {
            Action::Done { .. } => {
                server.broker.borrow_mut().publish(clock.now(), &Message::new("t", &[7; 50_000])).unwrap();
                return;
            }
            Action::Message(message) => (message.payload.len(), message.missing),
            Action::Payload(part) => (part.bytes.len(), part.missing),
            _ => return,
        };
        *size.borrow_mut() += bytes;
        let longest = bytes.max(*most.borrow());
        *most.borrow_mut() = longest;
        if missing == 0 {
            client.disconnect().unwrap();
        }
    };
    let uart = uart(64, None);
    run(&clock, join(client.run(uart.client.0, uart.client.1, handler), server.serve(uart.broker)));
    assert_eq!(size.into_inner(), 50_000);
    assert!(most.into_inner() <= 512);
}

/// A configuration that cannot be encoded, and a transport that was never connected.
#[test]
fn connections_that_do_not_begin() {
    let clock = TestClock::default();
    let client = Client::new(ClientConfig { client_id: "\0".into(), ..config() }, clock.clone());
    let uart = uart(16, None);
    let end = run(&clock, client.run(uart.client.0, uart.client.1, async |_: Action<'_>| {}));
    assert!(matches!(end, End::NotOpened(_)) && !end.may_retry());
    drop(uart.broker);

    let client = Client::new(config(), clock.clone());
    run(&clock, client.pause());
    assert_eq!(clock.now(), Instant::EPOCH);
    client.not_connected();
    run(&clock, client.pause());
    assert!(clock.now().as_micros() >= 500_000);
    assert_eq!(
        End::Closed { may_retry: true, reason_code: Some(ReasonCode::ServerBusy) }.to_string(),
        "closed: 0x89 (Server busy)"
    );
}
