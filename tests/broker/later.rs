//! While a decision of the policy is pending: the connection's timers, its input, and the end of the connection.

use mqtt_sansio::broker::{Admission, Answer, Decision, DecisionId, UnknownDecision};
use mqtt_sansio::codec::{
    Connect, DisconnectReasonCode, Packet, PayloadFormat, PubAckReasonCode, Publish, PublishProperties,
    SubAckReasonCode, UserProperty,
};
use mqtt_sansio::{QoS, TopicName, Version};

use crate::broker::{BOTH, Net, Peer, message, named};
use crate::server::{delivery, encoded, encoded_all, text, will};

const PUBLISHED: Answer = Answer::Publish(PubAckReasonCode::Success);
const GRANTED: Answer = Answer::Subscribe(SubAckReasonCode::GrantedQoS1);

fn accepted() -> Answer {
    Answer::Connect(Admission::accept())
}

/// The identifier of the last decision that was asked for.
fn id(net: &Net) -> DecisionId {
    net.broker.policy().asked.last().unwrap().0
}

fn answer(net: &mut Net, id: DecisionId, answer: Answer) -> Result<(), UnknownDecision> {
    let done = net.broker.answer(net.now, id, answer);
    net.flush();
    done
}

/// A decision of each kind, its answer, and the client that waits for it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Question {
    Connect,
    Publish(QoS),
    Subscribe,
}

const QUESTIONS: [Question; 5] = [
    Question::Connect,
    Question::Publish(QoS::AtMostOnce),
    Question::Publish(QoS::AtLeastOnce),
    Question::Publish(QoS::ExactlyOnce),
    Question::Subscribe,
];

impl Question {
    fn answer(self) -> Answer {
        match self {
            Self::Connect => accepted(),
            Self::Publish(_) => PUBLISHED,
            Self::Subscribe => GRANTED,
        }
    }

    /// A client with this CONNECT causes the decision, which is deferred.
    fn ask(self, net: &mut Net, connect: &Connect<'_>) -> (Peer, DecisionId) {
        if self == Self::Connect {
            net.broker.policy_mut().admissions.push_back(Decision::Later);
            let client = net.try_connect(connect);
            return (client, id(net));
        }
        let client = net.try_connect(connect);
        assert_eq!(net.received(client).len(), 1);
        match self {
            Self::Publish(qos) => {
                net.broker.policy_mut().publications.push_back(Decision::Later);
                net.send(client, &[message("a", "asked", qos).into()]);
            }
            _ => {
                net.broker.policy_mut().subscriptions.push_back(Decision::Later);
                net.subscribe_all(client, &[("a", QoS::AtLeastOnce)]);
            }
        }
        (client, id(net))
    }
}

/// No input is taken while a decision is pending, so Keep Alive does not run. It restarts with the answer.
#[test]
fn keep_alive_does_not_run_while_a_decision_is_pending() {
    for version in BOTH {
        for (question, pings) in QUESTIONS.into_iter().flat_map(|question| [(question, false), (question, true)]) {
            let mut net = Net::plain();
            let (client, id) = question.ask(&mut net, &Connect { keep_alive: 10, ..named(version, "client") });
            net.hold_acks(client);
            if pings {
                net.send_bytes(client, b"\xC0\x00");
                assert_eq!(net.unsent(client), 2, "{question:?}: nothing is taken");
            }
            net.wait(1000);
            assert!(!net.is_over(client), "{question:?}");
            assert_eq!(answer(&mut net, id, question.answer()), Ok(()));
            let received = net.received(client);
            assert_eq!((net.unsent(client), received.last().is_some_and(|line| line == "PINGRESP")), (0, pings));
            net.wait(14);
            assert!(!net.is_over(client), "{question:?}, {pings}");
            net.wait(1);
            assert!(net.is_over(client), "{question:?}: then it is silent for one and a half intervals");
            assert_eq!(net.broker.counters().timeouts, 1);
        }
    }
}

/// However the connection ends, the decision identifier becomes invalid, its message is not delivered, and its will
/// follows the rules.
#[test]
fn the_end_of_the_connection_invalidates_the_decision() {
    type End = fn(&mut Net, Peer, Version);
    let ends: [(&str, End); 4] = [
        ("lost", |net, client, _| net.lose(client)),
        ("command", |net, client, _| net.disconnect(client, DisconnectReasonCode::ServerBusy)),
        ("taken over", |net, _, version| {
            net.try_connect(&named(version, "client"));
        }),
        ("command", |net, _, _| {
            net.broker.end_session(net.now, "client");
            net.flush();
        }),
    ];
    for version in BOTH {
        for question in QUESTIONS {
            for (why, end) in ends {
                let mut net = Net::plain();
                let watcher = net.client(version, "watcher");
                net.subscribe(watcher, "#", QoS::AtMostOnce);
                let connect = Connect { will: Some(will("gone", 0)), ..named(version, "client") };
                let (client, id) = question.ask(&mut net, &connect);
                net.notices();
                end(&mut net, client, version);
                let was_accepted = question != Question::Connect;
                if !was_accepted && why != "lost" && !net.is_over(client) {
                    continue; // there is no session with this client identifier yet
                }
                let notices = net.notices();
                let reported = if was_accepted { "client disconnected" } else { "client refused" };
                assert_eq!(notices[0], format!("{reported}: {why}"), "{question:?}");
                assert!(net.is_over(client));
                assert_eq!(answer(&mut net, id, question.answer()), Err(UnknownDecision), "{question:?}, {why}");
                let expected: &[&str] = if was_accepted { &["will: gone"] } else { &[] };
                assert_eq!(net.received(watcher), expected, "{question:?}, {why}");
                assert_eq!(net.broker.status().subscriptions, 1);
            }
        }
    }
}

/// A decision identifier is valid for an answer of its own kind only.
#[test]
fn an_answer_of_another_kind_is_refused() {
    for question in QUESTIONS {
        let mut net = Net::plain();
        let (client, id) = question.ask(&mut net, &named(Version::V5, "client"));
        for other in [accepted(), PUBLISHED, GRANTED] {
            if other != question.answer() {
                assert_eq!(answer(&mut net, id, other), Err(UnknownDecision), "{question:?}");
                assert!(!net.broker.takes_input(net.id(client)), "it still waits");
            }
        }
        assert_eq!(answer(&mut net, id, question.answer()), Ok(()));
        assert_eq!(answer(&mut net, id, question.answer()), Err(UnknownDecision));
        // It is not valid for the next decision of the same connection either.
        if question != Question::Connect {
            net.broker.policy_mut().publications.push_back(Decision::Later);
            net.send(
                client,
                &[Publish { delivery: delivery(QoS::AtLeastOnce, 9), ..message("a", "x", QoS::AtLeastOnce) }.into()],
            );
            for late in [accepted(), PUBLISHED, GRANTED] {
                assert_eq!(answer(&mut net, id, late), Err(UnknownDecision));
            }
        }
    }
}

/// Packets after the one that waits, in pieces of any size, are processed after it and in order.
#[test]
fn later_packets_wait_in_order() {
    for version in BOTH {
        let mut net = Net::plain();
        let watcher = net.client(version, "watcher");
        net.subscribe(watcher, "a", QoS::ExactlyOnce);
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::AtMostOnce];
        let packets: Vec<Packet<'_>> = (1_u16..)
            .zip(qos)
            .zip(["0", "1", "2", "3", "4"])
            .map(|((number, qos), payload)| {
                Publish { delivery: delivery(qos, number), ..message("a", payload, qos) }.into()
            })
            .collect();
        let mut bytes = encoded(&named(version, "client").into(), version);
        bytes.extend(encoded_all(&packets, version));
        net.broker.policy_mut().admissions.push_back(Decision::Later);
        net.broker.policy_mut().publications.extend(vec![Decision::Later; 5]);
        let client = net.open(version);
        for byte in bytes {
            net.send_bytes(client, &[byte]);
        }
        let first = id(&net);
        assert_eq!(answer(&mut net, first, accepted()), Ok(()));
        for (place, payload) in ["0", "1", "2", "3", "4"].into_iter().enumerate() {
            assert_eq!(net.broker.policy().asked.len(), 1 + 1 + 1 + place + 1, "one question at a time");
            assert!(net.received(watcher).is_empty());
            let next = id(&net);
            assert_eq!(answer(&mut net, next, PUBLISHED), Ok(()));
            let received = net.received(watcher);
            assert!(received[0].starts_with(&format!("a: {payload}")), "{received:?}");
        }
        assert_eq!(net.unsent(client), 0);
    }
}

/// The time for which a message has waited for its decision counts against its Message Expiry Interval [5.0:
/// MQTT-3.3.2-5, MQTT-3.3.2-6].
#[test]
fn waiting_counts_against_the_expiry_interval() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for (waited, left) in [(0, Some(10)), (7, Some(3)), (10, None), (1000, None)] {
            let mut net = Net::plain();
            let (client, watcher) = (net.client(Version::V5, "client"), net.client(Version::V5, "watcher"));
            net.subscribe(watcher, "a", QoS::AtMostOnce);
            net.broker.policy_mut().publications.push_back(Decision::Later);
            let expiring = |seconds| {
                let properties =
                    PublishProperties { message_expiry_interval: Some(seconds), ..PublishProperties::default() };
                Publish { properties, ..message("a", "x", qos) }
            };
            net.send(client, &[Publish { retain: true, ..expiring(10) }.into()]);
            net.wait(waited);
            let id = id(&net);
            assert_eq!(answer(&mut net, id, PUBLISHED), Ok(()));
            let delivered = left.map(|left| Publish { delivery: delivery(QoS::AtMostOnce, 1), ..expiring(left) });
            let expected: Vec<Packet<'_>> = delivered.into_iter().map(Packet::from).collect();
            net.assert_received(watcher, &expected);
            let retained = u32::from(left.is_some());
            assert_eq!(net.broker.status().retained, retained, "{qos}, after {waited} seconds");
            net.wait(left.unwrap_or(0).into());
            assert_eq!(net.broker.status().retained, 0, "it is not kept for longer either");
            assert_eq!(net.received(client).len(), usize::from(qos.value()), "it is acknowledged all the same");
        }
    }
}

/// Filters that begin with `$share/` and are malformed as shared ones: 3.1 and 3.1.1 have no shared subscriptions.
const ODD_FILTERS: [&str; 5] = ["$share/", "$share/g", "$share//a", "$share/g/", "$share/+/a"];

fn subscribe_to(filters: &[&str]) -> Vec<u8> {
    let mut body = vec![0, 1];
    for filter in filters {
        body.extend((filter.len() as u16).to_be_bytes());
        body.extend(filter.as_bytes());
        body.push(1);
    }
    [&[0x82, body.len() as u8], &body[..]].concat()
}

/// A filter that 3.1.1 allows and 5.0 does not is granted or refused by the policy, at once or later.
#[test]
fn filters_that_only_earlier_versions_allow() {
    for version in [Version::V31, Version::V311] {
        for odd in ODD_FILTERS {
            let filters = ["x", odd, "y"];
            let answers = [GRANTED, Answer::Subscribe(SubAckReasonCode::GrantedQoS0), GRANTED];
            let outcomes: Vec<_> = [false, true]
                .into_iter()
                .map(|later| {
                    let mut net = Net::plain();
                    let client = net.client(version, "client");
                    let decisions = answers.clone().map(|answer| match answer {
                        Answer::Subscribe(code) if !later => Decision::Now(code),
                        _ => Decision::Later,
                    });
                    net.broker.policy_mut().subscriptions.extend(decisions);
                    net.send_bytes(client, &subscribe_to(&filters));
                    if later {
                        let decisions: Vec<_> = net.broker.policy().asked[1..].iter().map(|it| it.0).collect();
                        for (id, granted) in decisions.into_iter().zip(answers.clone()) {
                            assert_eq!(answer(&mut net, id, granted), Ok(()), "{odd}");
                        }
                    }
                    let mut received = net.received(client);
                    // Without a wildcard it can also be published to as a topic.
                    if !odd.contains('+') {
                        net.publish(client, odd, "1", QoS::AtMostOnce);
                        received.extend(net.received(client));
                    }
                    (received, net.broker.status().subscriptions, net.broker.status().shared_subscriptions)
                })
                .collect();
            assert_eq!(outcomes[0], outcomes[1], "{version}: {odd}");
            assert_eq!((&*outcomes[0].0[0], outcomes[0].1, outcomes[0].2), ("SUBACK 1 01 00 01", 3, 0), "{odd}");
        }
    }
}

/// Subscribers receive every field of a message as if the policy had decided at once.
#[test]
fn a_message_granted_later_keeps_all_its_fields() {
    let user = [UserProperty::new("a", "b").unwrap(), UserProperty::new("a", "c").unwrap()];
    for version in [Version::V31, Version::V311, Version::V5] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for retain in [false, true] {
                let outcomes = [false, true].map(|later| {
                    let mut net = Net::plain();
                    let watchers = BOTH.map(|version| {
                        let watcher = net.client(version, &format!("watcher {version}"));
                        net.subscribe(watcher, "#", QoS::ExactlyOnce);
                        net.hold_acks(watcher);
                        watcher
                    });
                    let client = net.client(version, "client");
                    if later {
                        net.broker.policy_mut().publications.push_back(Decision::Later);
                    }
                    let properties = PublishProperties {
                        payload_format_indicator: Some(PayloadFormat::Utf8),
                        content_type: Some(text("t")),
                        response_topic: Some(TopicName::new("r").unwrap()),
                        correlation_data: Some(b"\0\x01"),
                        user_properties: (&user[..]).into(),
                        ..PublishProperties::default()
                    };
                    let properties = if version == Version::V5 { properties } else { PublishProperties::default() };
                    net.send(client, &[Publish { retain, properties, ..message("a/\u{7f}", "x", qos) }.into()]);
                    if later {
                        let id = id(&net);
                        assert_eq!(answer(&mut net, id, PUBLISHED), Ok(()));
                    }
                    (watchers.map(|watcher| net.received_bytes(watcher)), net.received(client), net.broker.status())
                });
                assert_eq!(outcomes[0], outcomes[1], "{version}, {qos}");
                assert!(outcomes[0].0.iter().all(|received| !received.is_empty()));
            }
        }
    }
}
