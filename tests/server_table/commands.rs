//! Every command in every state: it succeeds, or it returns the documented error and changes nothing.

use mqtt_sansio::codec::{
    AckProperties, AuthReasonCode, Connect, ConnectProperties, Disconnect, DisconnectProperties, DisconnectReasonCode,
    PubAckReasonCode, PublishProperties, SubAckReasonCode, UnsubAckReasonCode,
};
use mqtt_sansio::server::{RequestId, ServerConfig, ServerSession};
use mqtt_sansio::{AckHandle, Instant, Message, Version};

use super::server::{
    Event, QOS_0, QOS_1, QOS_2, Wire, auth, config, delivery, disconnect, lasting, published, take, text,
};

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connected,
    /// The client has started a re-authentication.
    OurTurn,
    /// The client was challenged.
    TheirTurn,
    /// The server has disconnected, and `closed` was not called yet.
    Closing,
    /// The client has disconnected.
    Over,
    Detached,
    /// The session has expired, and has not reported it.
    Due,
}

impl State {
    const ALL: [Self; 7] =
        [Self::Connected, Self::OurTurn, Self::TheirTurn, Self::Closing, Self::Over, Self::Detached, Self::Due];

    const fn is_connected(self) -> bool {
        matches!(self, Self::Connected | Self::OurTurn | Self::TheirTurn)
    }
}

/// A session in a state, and the handles that its commands need.
struct Stage {
    wire: Wire,
    open: AckHandle,
    used: AckHandle,
    subscribe: RequestId,
    unsubscribe: RequestId,
    answered: RequestId,
}

fn stage(state: State, version: Version) -> Stage {
    let properties = match version {
        Version::V5 => ConnectProperties {
            session_expiry_interval: Some(50),
            authentication_method: Some(text("M")),
            maximum_packet_size: 200.try_into().ok(),
            ..Default::default()
        },
        _ => ConnectProperties::default(),
    };
    let connect = Connect { properties, ..lasting(version) };
    let mut wire = Wire::connected(ServerConfig { manual_acks: true, max_stored_bytes: 1000, ..config() }, &connect);
    wire.receive(&[published("1", delivery(QOS_1, 1)), published("2", delivery(QOS_2, 2))]);
    let (used, open) = (wire.ack_handles[0], wire.ack_handles[1]);
    wire.server.ack(wire.now, used, PubAckReasonCode::Success).unwrap();
    let (subscribe, unsubscribe) = (wire.subscribe(3, &["a", "b"]), wire.unsubscribe(4, &["c"]));
    let answered = wire.subscribe(5, &["d"]);
    wire.server.suback(wire.now, answered, &[SubAckReasonCode::GrantedQoS0]).unwrap();
    match state {
        State::Connected => {}
        State::OurTurn | State::TheirTurn => {
            wire.receive(&[auth(AuthReasonCode::ReAuthenticate, "M", b"")]);
            if state == State::TheirTurn {
                wire.server.challenge(wire.now, b"x").unwrap();
            }
        }
        State::Closing => wire.server.disconnect(wire.now, &Disconnect::default()).unwrap(),
        State::Over => {
            wire.receive(&[disconnect(DisconnectReasonCode::NormalDisconnection)]);
        }
        State::Detached => drop(wire.lose()),
        State::Due => {
            wire.server.closed(wire.now);
            wire.later(60_000);
        }
    }
    Stage { wire, open, used, subscribe, unsubscribe, answered }
}

/// The observable state of a session: its queries, the actions it would report and the packets it would send.
fn seen(wire: &Wire) -> (String, Vec<Event>, Vec<u8>) {
    let server = &wire.server;
    let mut copy = server.clone();
    let numbers = (
        server.deadline(),
        server.keep_alive(),
        server.session_expiry_interval(),
        (server.packet_ids_in_use(), server.in_flight(), server.queued()),
        server.is_connected(),
    );
    let before = take(copy.transmit());
    let mut reported = Vec::new();
    while let Some(action) = copy.poll_timeout(wire.now) {
        reported.push((&action).into());
    }
    (format!("{server:?} {numbers:?}"), reported, before)
}

type Command = (&'static str, fn(&mut ServerSession, &Arguments) -> Result<(), String>);

/// The name of an error, without what it holds.
fn word(error: impl std::fmt::Debug) -> String {
    format!("{error:?}").chars().take_while(|letter| letter.is_alphabetic()).collect()
}

/// The arguments of a command.
struct Arguments {
    now: Instant,
    open: AckHandle,
    used: AckHandle,
    subscribe: RequestId,
    unsubscribe: RequestId,
    answered: RequestId,
    is_v5: bool,
}

const LONG: &str =
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

const COMMANDS: [Command; 26] = [
    ("publish 0", |server, stage| server.publish(stage.now, &Message::new("t", "x")).map(drop).map_err(word)),
    ("publish 1", |server, stage| {
        server.publish(stage.now, &Message::new("t", "x").qos(QOS_1)).map(drop).map_err(word)
    }),
    ("publish 2", |server, stage| {
        server.publish(stage.now, &Message::new("t", "x").qos(QOS_2)).map(drop).map_err(word)
    }),
    ("publish to a wildcard", |server, stage| {
        server.publish(stage.now, &Message::new("a/+", "x").qos(QOS_1)).map(drop).map_err(word)
    }),
    ("publish to nothing", |server, stage| server.publish(stage.now, &Message::new("", "x")).map(drop).map_err(word)),
    ("publish too much", |server, stage| {
        server.publish(stage.now, &Message::new("t", LONG.repeat(11).as_str()).qos(QOS_1)).map(drop).map_err(word)
    }),
    ("publish under an alias", |server, stage| {
        let properties = PublishProperties { topic_alias: 1.try_into().ok(), ..Default::default() };
        server.publish(stage.now, &Message::new("t", "x").qos(QOS_1).properties(properties)).map(drop).map_err(word)
    }),
    ("publish with a property", |server, stage| {
        let properties = PublishProperties { message_expiry_interval: Some(9), ..Default::default() };
        server.publish(stage.now, &Message::new("t", "x").qos(QOS_1).properties(properties)).map(drop).map_err(word)
    }),
    ("ack", |server, stage| server.ack(stage.now, stage.open, PubAckReasonCode::Success).map_err(word)),
    ("ack, refusing", |server, stage| server.ack(stage.now, stage.open, PubAckReasonCode::QuotaExceeded).map_err(word)),
    ("ack with a property", |server, stage| {
        let properties = AckProperties { reason_string: Some(text("why")), ..Default::default() };
        server.ack_with(stage.now, stage.open, PubAckReasonCode::Success, &properties).map_err(word)
    }),
    ("ack again", |server, stage| server.ack(stage.now, stage.used, PubAckReasonCode::Success).map_err(word)),
    ("suback", |server, stage| {
        server.suback(stage.now, stage.subscribe, &[SubAckReasonCode::GrantedQoS1; 2]).map_err(word)
    }),
    ("suback with a code of 5.0", |server, stage| {
        server
            .suback(stage.now, stage.subscribe, &[SubAckReasonCode::NotAuthorized, SubAckReasonCode::GrantedQoS0])
            .map_err(word)
    }),
    ("suback with a property", |server, stage| {
        let properties = AckProperties { reason_string: Some(text("why")), ..Default::default() };
        server.suback_with(stage.now, stage.subscribe, &[SubAckReasonCode::GrantedQoS1; 2], &properties).map_err(word)
    }),
    ("suback, too few", |server, stage| {
        server.suback(stage.now, stage.subscribe, &[SubAckReasonCode::GrantedQoS1]).map_err(word)
    }),
    ("suback, too many", |server, stage| {
        server.suback(stage.now, stage.subscribe, &[SubAckReasonCode::GrantedQoS1; 3]).map_err(word)
    }),
    ("suback, of the other kind", |server, stage| {
        server.suback(stage.now, stage.unsubscribe, &[SubAckReasonCode::GrantedQoS1]).map_err(word)
    }),
    ("suback again", |server, stage| {
        server.suback(stage.now, stage.answered, &[SubAckReasonCode::GrantedQoS1]).map_err(word)
    }),
    ("unsuback", |server, stage| {
        server.unsuback(stage.now, stage.unsubscribe, &[UnsubAckReasonCode::Success]).map_err(word)
    }),
    ("unsuback, none", |server, stage| server.unsuback(stage.now, stage.unsubscribe, &[]).map_err(word)),
    ("disconnect", |server, stage| server.disconnect(stage.now, &Disconnect::default()).map_err(word)),
    ("disconnect with an expiry interval", |server, stage| {
        let properties = DisconnectProperties { session_expiry_interval: Some(1), ..Default::default() };
        server.disconnect(stage.now, &Disconnect { properties, ..Disconnect::default() }).map_err(word)
    }),
    ("take over", |server, stage| server.take_over(stage.now).map_err(word)),
    ("challenge", |server, stage| server.challenge(stage.now, b"x").map_err(word)),
    ("authenticated", |server, stage| server.authenticated(stage.now, b"x").map_err(word)),
];

/// The documented error, if any.
fn expected(command: &str, state: State, stage: &Arguments) -> Result<(), &'static str> {
    let connected = state.is_connected();
    let is_gone = matches!(state, State::Detached | State::Due);
    let bound = |result: Result<(), &'static str>| match state {
        _ if is_gone => Err("EarlierConnection"),
        _ if !connected => Err("NotConnected"),
        _ => result,
    };
    let only_v5 = if stage.is_v5 { Ok(()) } else { Err("Encode") };
    match command {
        "publish 0" if !connected => Err("NotConnected"),
        "publish 0" | "publish 1" | "publish 2" => Ok(()),
        "publish to a wildcard" | "publish to nothing" => Err("Topic"),
        // The client's limit is announced in 5.0, for one connection. A single message is stored whatever its size.
        "publish too much" if stage.is_v5 && connected => Err("TooLarge"),
        "publish too much" => Ok(()),
        "publish under an alias" => Err("TopicAlias"),
        "publish with a property" => only_v5,
        "ack" | "ack, refusing" | "suback" | "unsuback" => bound(Ok(())),
        "ack with a property" | "suback with a code of 5.0" | "suback with a property" => bound(only_v5),
        "ack again" if is_gone => Err("EarlierConnection"),
        "ack again" => Err("AlreadyAcknowledged"),
        "suback again" => bound(Err("AlreadyAnswered")),
        "suback, too few" | "suback, too many" | "suback, of the other kind" | "unsuback, none" => {
            bound(Err("WrongReasonCodeCount"))
        }
        "disconnect" | "take over" if connected => Ok(()),
        "disconnect with an expiry interval" if connected => Err("SessionExpiry"),
        "disconnect" | "take over" | "disconnect with an expiry interval" => Err("NotConnected"),
        "challenge" | "authenticated" if state == State::OurTurn => Ok(()),
        "challenge" | "authenticated" => Err("NoAuthentication"),
        other => panic!("{other}"),
    }
}

#[test]
fn every_command_in_every_state() {
    for version in Version::ALL {
        for state in State::ALL {
            if version != Version::V5 && matches!(state, State::OurTurn | State::TheirTurn) {
                continue; // there is no AUTH before 5.0
            }
            for (name, command) in COMMANDS {
                let Stage { mut wire, open, used, subscribe, unsubscribe, answered } = stage(state, version);
                if state == State::Due && version != Version::V5 {
                    continue; // such a session does not expire
                }
                let is_v5 = version == Version::V5;
                let about = Arguments { now: wire.now, open, used, subscribe, unsubscribe, answered, is_v5 };
                let before = seen(&wire);
                let result = command(&mut wire.server, &about);
                let expected = expected(name, state, &about).map_err(String::from);
                assert_eq!(result, expected, "{name}, {state:?}, {version}");
                if result.is_err() {
                    assert_eq!(seen(&wire), before, "{name}, {state:?}, {version}");
                } else {
                    assert_ne!(seen(&wire), before, "{name}, {state:?}, {version}");
                }
                wire.server.assert_consistent();
                wire.poll();
            }
        }
    }
}

/// `closed` without a connection does nothing and does not restart the Session Expiry Interval.
#[test]
fn closed_without_a_connection_does_nothing() {
    for state in [State::Detached, State::Due] {
        let mut wire = stage(state, Version::V5).wire;
        let before = seen(&wire);
        wire.server.closed(wire.now);
        assert_eq!(seen(&wire), before);
    }
}

/// A request whose answer failed can still be answered.
#[test]
fn a_failed_answer_can_be_repeated() {
    let Stage { mut wire, open, subscribe, unsubscribe, .. } = stage(State::Connected, Version::V311);
    wire.take();
    let properties = AckProperties { reason_string: Some(text("why")), ..Default::default() };
    assert!(wire.server.ack_with(wire.now, open, PubAckReasonCode::Success, &properties).is_err());
    assert!(wire.server.suback(wire.now, subscribe, &[SubAckReasonCode::QuotaExceeded; 2]).is_err());
    assert!(wire.server.unsuback_with(wire.now, unsubscribe, &[UnsubAckReasonCode::Success], &properties).is_err());
    wire.assert_silent();
    wire.server.ack(wire.now, open, PubAckReasonCode::Success).unwrap();
    wire.server.suback(wire.now, subscribe, &[SubAckReasonCode::UnspecifiedError; 2]).unwrap();
    wire.server.unsuback(wire.now, unsubscribe, &[UnsubAckReasonCode::Success]).unwrap();
    assert_eq!(wire.sent_ids(), [2, 3, 4]);
}

/// Without a connection a message of QoS 0 is refused unless the configuration queues such messages.
#[test]
fn qos_0_without_a_connection_is_queued_only_by_configuration() {
    for store_qos_0 in [false, true] {
        let mut wire = Wire::connected(ServerConfig { store_qos_0, ..config() }, &lasting(Version::V5));
        wire.lose();
        let result = wire.server.publish(wire.now, &Message::new("t", "x").qos(QOS_0));
        assert_eq!(result.is_ok(), store_qos_0);
        wire.reconnect(&lasting(Version::V5));
        wire.poll();
        let sent = wire.take();
        assert_eq!(super::decode(&sent, Version::V5).len(), 1 + usize::from(store_qos_0));
        assert_eq!(wire.poll().len(), usize::from(store_qos_0));
    }
}
