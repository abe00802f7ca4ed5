//! Refused clients, messages and subscriptions, dropped wills, and the notices about them.

use mqtt_sansio::broker::{Admission, Answer, BrokerConfig, Decision, Ended, UnknownDecision};
use mqtt_sansio::codec::{
    AuthReasonCode, ConnAckReasonCode, Connect, Disconnect, DisconnectReasonCode, Limits, PubAckReasonCode, ReasonCode,
    SubAckReasonCode, Will,
};
use mqtt_sansio::server::Close;
use mqtt_sansio::{ProtocolError, QoS, TopicName, Version};

use crate::broker::{BOTH, Net, config, message, named, with_server};
use crate::server::{auth, authenticating, text, will};

/// Answers the last decision that was asked for.
fn answer(net: &mut Net, answer: Answer) -> Result<(), UnknownDecision> {
    let id = net.broker.policy().asked.last().unwrap().0;
    let done = net.broker.answer(net.now, id, answer);
    net.flush();
    done
}

/// A will with this topic.
fn will_to<'a>(topic: &'a str, payload: &'a str) -> Will<'a> {
    Will { topic: TopicName::new(topic).unwrap(), ..will(payload, 0) }
}

/// Bridges announce their state under `$SYS` and have a will there. They may connect, but only the broker publishes
/// there.
#[test]
fn pitfall_29_a_will_under_sys_does_not_refuse_the_client() {
    const STATE: &str = "$SYS/broker/connection/bridge/state";
    let deep = format!("$SYS{}", "/x".repeat(200));
    for version in [Version::V31, Version::V311, Version::V5] {
        for topic in [STATE, "$SYS", deep.as_str()] {
            let mut net = Net::plain();
            let watcher = net.client(version, "watcher");
            net.subscribe_all(watcher, &[("$SYS/#", QoS::AtMostOnce)]);
            net.received(watcher);
            let last = Will { retain: true, ..will_to(topic, "0") };
            let bridge = net.connect(&Connect { will: Some(last), ..named(version, "bridge") });
            net.notices();
            net.lose(bridge);
            let expected = ["bridge disconnected: lost".to_owned(), format!("bridge will refused: {topic} 87")];
            assert_eq!(net.notices(), expected);
            assert!(net.received(watcher).is_empty(), "nobody gets it");
            assert_eq!(net.broker.status().retained, 0, "nor is it retained");
            let counters = net.broker.counters();
            assert_eq!((counters.wills, counters.wills_refused, counters.messages_refused), (0, 1, 0));
        }
    }
}

/// A will that could never be published for another reason is refused with its CONNECT.
#[test]
fn other_invalid_wills_are_refused_with_their_connect() {
    let deep = "x/".repeat(200);
    let connacks = |config: BrokerConfig, last: Will<'_>| {
        BOTH.map(|version| {
            let mut net = Net::new(config.clone());
            let client = net.try_connect(&Connect { will: Some(last), ..named(version, "client") });
            let is_over = net.is_over(client);
            (net.received(client).concat(), is_over)
        })
    };
    let expected = |v311: &str, v5: &str| [(v311.to_owned(), v311 != "CONNACK 00"), (v5.to_owned(), true)];
    // 3.1.1 has no return code for it.
    assert_eq!(connacks(config(), will_to(&deep, "x")), expected("", "CONNACK 90"));
    // A client of 3.1.1 cannot know what a server does not support [MQTT-3.2.2-12, MQTT-3.2.2-13].
    let without_retain = with_server(|server| server.retain_available = false);
    let retained = Will { retain: true, ..will_to("a", "x") };
    assert_eq!(connacks(without_retain, retained), expected("CONNACK 00", "CONNACK 9a"));
    let qos_0 = with_server(|server| server.maximum_qos = QoS::AtMostOnce);
    let qos_1 = Will { qos: QoS::AtLeastOnce, ..will_to("a", "x") };
    assert_eq!(connacks(qos_0, qos_1), expected("CONNACK 00", "CONNACK 9b"));
}

/// A will for which the retained messages have no room is sent to the current subscribers, and the policy is notified.
#[test]
fn a_will_that_could_not_be_retained_is_reported() {
    for version in BOTH {
        let mut net = Net::new(BrokerConfig { max_retained: 0, ..config() });
        let watcher = net.client(version, "watcher");
        net.subscribe(watcher, "a", QoS::AtMostOnce);
        let last = Will { retain: true, ..will_to("a", "gone") };
        let client = net.connect(&Connect { will: Some(last), ..named(version, "client") });
        net.notices();
        net.lose(client);
        assert_eq!(net.notices(), ["client disconnected: lost", "client will refused: a 97"]);
        assert_eq!(net.received(watcher), ["a: gone"]);
        let counters = net.broker.counters();
        assert_eq!((counters.wills, counters.wills_refused, counters.messages_refused), (1, 0, 1));
    }
}

/// A refusal by the policy, at once or later, or by a limit of the broker, is reported with the client and the reason
/// code.
#[test]
fn refused_clients_are_reported() {
    let connect =
        |version| Connect { user_name: Some(text("ann")), password: Some(b"secret"), ..named(version, "client") };
    for version in [Version::V31, Version::V311, Version::V5] {
        for later in [false, true] {
            let mut net = Net::plain();
            let refusal: Admission = ConnAckReasonCode::NotAuthorized.into();
            let decision = if later { Decision::Later } else { Decision::Now(refusal.clone()) };
            net.broker.policy_mut().admissions.push_back(decision);
            let client = net.try_connect(&connect(version));
            if later {
                assert!(net.notices().is_empty());
                assert_eq!(answer(&mut net, Answer::Connect(refusal)), Ok(()));
            }
            assert_eq!(net.notices(), ["client (ann) refused: CONNACK 87"]);
            assert!(net.is_over(client));
        }
        let mut net = Net::new(BrokerConfig { max_sessions: 0, ..config() });
        net.try_connect(&connect(version));
        let code = if version == Version::V5 { "97" } else { "88" };
        assert_eq!(net.notices(), [format!("client (ann) refused: CONNACK {code}")]);
        // A client whose connection ends while its decision is pending is reported too.
        let mut net = Net::plain();
        net.broker.policy_mut().admissions.push_back(Decision::Later);
        let client = net.try_connect(&connect(version));
        net.lose(client);
        assert_eq!(net.notices(), ["client (ann) refused: lost"]);
        net.broker.policy_mut().admissions.push_back(Decision::Later);
        let client = net.try_connect(&connect(version));
        net.disconnect(client, DisconnectReasonCode::ServerBusy);
        assert_eq!(net.notices(), ["client (ann) refused: command"]);
        let stranger = net.open(version);
        net.lose(stranger);
        assert_eq!(net.notices(), ["refused: lost"], "of whom nothing has come is not known");
    }
    // Refused by the acceptor, before the policy is asked [MQTT-3.2.2-12].
    let mut net = Net::new(with_server(|server| server.maximum_qos = QoS::AtMostOnce));
    let last = Will { qos: QoS::AtLeastOnce, ..will_to("a", "x") };
    net.try_connect(&Connect { will: Some(last), ..connect(Version::V5) });
    assert_eq!(net.notices(), ["client (ann) refused: CONNACK 9b"]);
    // Refused after a challenge.
    let mut net = Net::plain();
    let challenge = Admission::Challenge(b"?".to_vec());
    let refusal = ConnAckReasonCode::BadAuthenticationMethod.into();
    net.broker.policy_mut().admissions.extend([Decision::Now(challenge), Decision::Now(refusal)]);
    let client = net.try_connect(&Connect { user_name: Some(text("ann")), ..authenticating() });
    net.send(client, &[auth(AuthReasonCode::ContinueAuthentication, "M", b"1")]);
    assert_eq!(net.notices(), ["c (ann) refused: CONNACK 8c"]);
    // Refused in a re-authentication, which closes the connection.
    for later in [false, true] {
        let mut net = Net::plain();
        let client = net.connect(&Connect { user_name: Some(text("ann")), ..authenticating() });
        net.notices();
        let refusal: Admission = ConnAckReasonCode::NotAuthorized.into();
        let decision = if later { Decision::Later } else { Decision::Now(refusal.clone()) };
        net.broker.policy_mut().admissions.push_back(decision);
        net.send(client, &[auth(AuthReasonCode::ReAuthenticate, "M", b"2")]);
        if later {
            assert_eq!(answer(&mut net, Answer::Connect(refusal)), Ok(()));
        }
        assert_eq!(net.received(client), ["DISCONNECT 87"]);
        assert_eq!(net.notices()[0], "c disconnected: CONNACK 87");
    }
}

/// Refused messages and subscriptions are reported with their own reason code, even if the client received another one.
#[test]
fn refused_messages_and_subscriptions_are_reported() {
    for version in BOTH {
        for later in [false, true] {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let mut net = Net::plain();
                let client = net.client(version, "client");
                net.notices();
                let code = PubAckReasonCode::NotAuthorized;
                let decision = if later { Decision::Later } else { Decision::Now(code) };
                net.broker.policy_mut().publications.push_back(decision);
                net.send(client, &[message("a/b", "x", qos).into()]);
                if later {
                    assert_eq!(answer(&mut net, Answer::Publish(code)), Ok(()));
                }
                assert_eq!(net.notices(), ["client publish refused: a/b 87"], "{version}, {qos}");
            }
            let mut net = Net::plain();
            let client = net.client(version, "client");
            net.notices();
            let code = SubAckReasonCode::QuotaExceeded;
            let decision = if later { Decision::Later } else { Decision::Now(code) };
            net.broker.policy_mut().subscriptions.push_back(decision);
            net.subscribe_all(client, &[("a/+", QoS::AtLeastOnce), ("b", QoS::AtLeastOnce)]);
            if later {
                assert_eq!(net.broker.policy().asked.len(), 3);
                let (id, _) = net.broker.policy().asked[1];
                assert_eq!(net.broker.answer(net.now, id, Answer::Subscribe(code)), Ok(()));
                net.flush();
            }
            assert_eq!(net.notices(), ["client subscribe refused: a/+ 97"]);
        }
        // Refused by the broker itself.
        let mut net = Net::new(BrokerConfig { max_topic_levels: 2, max_retained: 0, ..config() });
        let client = net.client(version, "client");
        net.notices();
        net.retain(client, "a", "x", QoS::AtLeastOnce);
        net.publish(client, "a/b/c", "x", QoS::AtLeastOnce);
        net.publish(client, "$SYS/x", "x", QoS::AtMostOnce);
        net.subscribe_all(client, &[("a/b/#", QoS::AtLeastOnce)]);
        let reported = [
            "publish refused: a 97",
            "publish refused: a/b/c 90",
            "publish refused: $SYS/x 87",
            "subscribe refused: a/b/# 8f",
        ];
        assert_eq!(net.notices(), reported.map(|reported| format!("client {reported}")));
        let counters = net.broker.counters();
        assert_eq!((counters.messages_refused, counters.subscriptions_refused), (3, 1));
    }
}

/// The reason code of a closed connection can be queried, whichever peer has chosen it.
#[test]
fn the_reason_code_of_a_closed_connection() {
    let malformed = mqtt_sansio::codec::decode(b"\xE0\x01\x01", Version::V5, Limits::DEFAULT).unwrap_err();
    for (end, code) in [
        (Ended::Close(Close::Refused(ReasonCode::Banned)), Some(ReasonCode::Banned)),
        (Ended::Close(Close::Malformed(malformed)), Some(malformed.reason_code())),
        (Ended::Close(Close::ProtocolError(ProtocolError::SecondConnect)), Some(ReasonCode::ProtocolError)),
        (
            Ended::Close(Close::Disconnected(Disconnect::default())),
            Some(DisconnectReasonCode::NormalDisconnection.into()),
        ),
        (Ended::Close(Close::KeepAliveTimeout), Some(ReasonCode::KeepAliveTimeout)),
        (Ended::Close(Close::ConnectTimeout), None),
        (Ended::Close(Close::Requested), None),
        (Ended::TakenOver, Some(ReasonCode::SessionTakenOver)),
        (Ended::Lost, None),
        (Ended::ConnectionLimit, None),
    ] {
        assert_eq!(end.reason_code(), code, "{end}");
    }
}
