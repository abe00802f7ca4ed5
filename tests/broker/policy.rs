//! Decisions of the policy, made at once or later, and its notices.

use mqtt_sansio::broker::{
    Admission, AllowAll, Answer, Broker, Decision, DecisionId, Origin, Refusal, UnknownDecision,
};
use mqtt_sansio::codec::{
    AuthReasonCode, ConnAckReasonCode, Connect, DisconnectReasonCode, Packet, PubAckReasonCode, SubAckReasonCode,
};
use mqtt_sansio::server::Accept;
use mqtt_sansio::{QoS, Version};

use crate::broker::{BOTH, Net, config, message, named};
use crate::server::{at, auth, authenticating, decode, encoded, refused, take, text};

/// The last decision that was asked for, with its identifier.
fn asked(net: &Net) -> (DecisionId, String) {
    net.broker.policy().asked.last().cloned().unwrap()
}

fn answer(net: &mut Net, id: DecisionId, answer: Answer) -> Result<(), UnknownDecision> {
    let done = net.broker.answer(net.now, id, answer);
    net.flush();
    done
}

fn accepted() -> Answer {
    Answer::Connect(Admission::accept())
}

#[test]
fn a_client_is_refused_in_the_form_of_its_version() {
    for (version, expected) in
        [(Version::V5, "CONNACK 86"), (Version::V311, "CONNACK 86"), (Version::V31, "CONNACK 86")]
    {
        let mut net = Net::plain();
        net.broker.policy_mut().admissions.push_back(Decision::Now(ConnAckReasonCode::BadUserNameOrPassword.into()));
        let client = net.try_connect(&named(version, "client"));
        assert_eq!(net.received(client), [expected]);
        assert!(net.is_over(client));
        assert_eq!(net.notices(), ["client refused: CONNACK 86"]);
    }
    let mut net = Net::plain();
    let refusal = Refusal {
        reason_code: ConnAckReasonCode::UseAnotherServer,
        reason_string: Some("try there".into()),
        server_reference: Some("there:1883".into()),
    };
    net.broker.policy_mut().admissions.push_back(Decision::Now(refusal.into()));
    let client = net.try_connect(&named(Version::V5, "client"));
    let bytes = net.received_bytes(client);
    let packets = decode(&bytes, Version::V5);
    let [Packet::ConnAck(connack)] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!(connack.reason_code, ConnAckReasonCode::UseAnotherServer);
    assert_eq!(connack.properties.server_reference.unwrap(), "there:1883");
    assert_eq!(connack.properties.reason_string.unwrap(), "try there");
}

#[test]
fn an_empty_client_identifier_can_be_assigned_one() {
    let mut net = Net::plain();
    let accept = Accept { assigned_client_id: Some("chosen".into()), ..Accept::default() };
    net.broker.policy_mut().admissions.push_back(Decision::Now(accept.into()));
    let connect = Connect { client_identifier: text(""), ..named(Version::V5, "") };
    let client = net.try_connect(&connect);
    assert_eq!(net.broker.client_id(net.id(client)), Some("chosen"));
    let old = Connect { clean_start: true, ..Connect { version: Version::V311, ..Connect::default() } };
    let client = net.try_connect(&old);
    let name = net.broker.client_id(net.id(client)).unwrap();
    assert!(name.starts_with("auto-"), "{name}");
}

/// While one client waits, others are served, and none of its packets is lost or out of order.
#[test]
fn a_decision_about_a_client_may_come_later() {
    for version in BOTH {
        let mut net = Net::plain();
        let other = net.client(version, "other");
        net.subscribe(other, "a", QoS::AtMostOnce);
        net.broker.policy_mut().admissions.push_back(Decision::Later);
        let client = net.open(version);
        let mut bytes = encoded(&named(version, "client").into(), version);
        bytes.extend(encoded(&message("a", "1", QoS::AtMostOnce).into(), version));
        net.send_bytes(client, &bytes);
        let (id, question) = asked(&net);
        assert_eq!(question, "connect client");
        assert_eq!(id.connection(), net.id(client));
        assert!(!net.broker.takes_input(net.id(client)) && net.unsent(client) > 0);
        net.publish(other, "a", "meanwhile", QoS::AtMostOnce);
        assert_eq!(net.received(other), ["a: meanwhile"]);
        net.wait(3600); // the time of the decision does not count against the client
        assert!(!net.is_over(client));
        assert_eq!(answer(&mut net, id, Answer::Publish(PubAckReasonCode::Success)), Err(UnknownDecision));
        assert_eq!(answer(&mut net, id, accepted()), Ok(()));
        assert_eq!(answer(&mut net, id, accepted()), Err(UnknownDecision), "once");
        assert_eq!(net.received(client), ["CONNACK 00"]);
        assert_eq!(net.received(other), ["a: 1"], "what was behind CONNECT");
    }
}

#[test]
fn an_answer_after_the_connection_has_ended_is_refused() {
    let mut net = Net::plain();
    net.broker.policy_mut().admissions.push_back(Decision::Later);
    let client = net.try_connect(&named(Version::V5, "client"));
    let (id, _) = asked(&net);
    net.lose(client);
    assert_eq!(answer(&mut net, id, accepted()), Err(UnknownDecision));
    // The slot of the connection is reused by another one that waits too.
    net.broker.policy_mut().admissions.push_back(Decision::Later);
    let next = net.try_connect(&named(Version::V5, "next"));
    assert_eq!(answer(&mut net, id, accepted()), Err(UnknownDecision));
    let (id, _) = asked(&net);
    let refusal = ConnAckReasonCode::ServerBusy;
    assert_eq!(answer(&mut net, id, Answer::Connect(refusal.into())), Ok(()));
    assert_eq!(net.received(next), ["CONNACK 89"]);
    assert!(net.is_over(next));
}

#[test]
fn messages_wait_for_their_decision_in_order() {
    for version in BOTH {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut net = Net::plain();
            let (client, watcher) = (net.client(version, "client"), net.client(version, "watcher"));
            net.subscribe(watcher, "#", QoS::AtMostOnce);
            net.broker.policy_mut().publications.extend([Decision::Later, Decision::Later]);
            let packets = ["1", "2"].map(|payload| message("a", payload, qos).into());
            net.send(client, &packets[..1]);
            assert!(net.received(client).is_empty() && net.received(watcher).is_empty());
            net.send(client, &packets[1..]);
            let (id, question) = asked(&net);
            assert_eq!((&*question, net.broker.policy().asked.len()), ("publish client a", 2 + 1 + 1));
            net.wait(3600);
            assert_eq!(answer(&mut net, id, Answer::Publish(PubAckReasonCode::Success)), Ok(()));
            assert_eq!(net.received(watcher), ["a: 1"]);
            let (id, _) = asked(&net);
            let refused = PubAckReasonCode::NotAuthorized;
            let done = answer(&mut net, id, Answer::Publish(refused));
            // A second message of QoS 2 with the same packet identifier is the same message and needs no decision.
            let is_new = qos != QoS::ExactlyOnce;
            assert_eq!(done.is_ok(), is_new);
            assert!(net.received(watcher).is_empty());
            let code = if version == Version::V5 { "87" } else { "00" };
            let expected = match qos {
                QoS::AtMostOnce => vec![],
                QoS::AtLeastOnce => vec!["PUBACK 1 00".to_owned(), format!("PUBACK 1 {code}")],
                QoS::ExactlyOnce => vec!["PUBREC 1 00".into(), "PUBCOMP 1 00".into()],
            };
            let received = net.received(client);
            if is_new {
                assert_eq!(received, expected);
            } else {
                assert_eq!(received[0], "PUBREC 1 00");
            }
            assert_eq!(net.broker.counters().messages_refused, u64::from(is_new));
        }
    }
}

#[test]
fn each_filter_has_its_own_decision() {
    for version in BOTH {
        let mut net = Net::plain();
        let client = net.client(version, "client");
        let granted = |code| Decision::Now(code);
        net.broker.policy_mut().subscriptions.extend([
            Decision::Later,
            granted(SubAckReasonCode::NotAuthorized),
            Decision::Later,
            granted(SubAckReasonCode::GrantedQoS0),
        ]);
        net.subscribe_all(client, &["a", "b", "c", "d"].map(|filter| (filter, QoS::AtLeastOnce)));
        let decisions: Vec<_> = net.broker.policy().asked[1..].iter().map(|(id, _)| *id).collect();
        assert!(net.received(client).is_empty());
        // Answers in any order. No more than the requested QoS is granted.
        let later = Answer::Subscribe(SubAckReasonCode::GrantedQoS2);
        assert_eq!(answer(&mut net, decisions[2], later.clone()), Ok(()));
        assert!(net.received(client).is_empty());
        assert_eq!(answer(&mut net, decisions[2], later.clone()), Err(UnknownDecision));
        assert_eq!(answer(&mut net, decisions[1], later), Err(UnknownDecision), "that was decided");
        let refused = Answer::Subscribe(SubAckReasonCode::TopicFilterInvalid);
        assert_eq!(answer(&mut net, decisions[0], refused), Ok(()));
        let codes = if version == Version::V5 { "8f 87 01 00" } else { "80 80 01 00" };
        assert_eq!(net.received(client), [format!("SUBACK 1 {codes}")]);
        assert_eq!(net.broker.status().subscriptions, 2);
        net.publish(client, "c", "1", QoS::AtMostOnce);
        assert_eq!(net.received(client), ["c: 1"]);
    }
}

#[test]
fn a_connection_may_end_while_a_decision_is_pending() {
    let mut net = Net::plain();
    let client = net.client(Version::V5, "client");
    net.broker.policy_mut().publications.push_back(Decision::Later);
    net.send(client, &[message("a", "1", QoS::AtLeastOnce).into()]);
    let (id, _) = asked(&net);
    net.disconnect(client, DisconnectReasonCode::ServerBusy);
    assert_eq!(net.received(client), ["DISCONNECT 89"]);
    assert_eq!(answer(&mut net, id, Answer::Publish(PubAckReasonCode::Success)), Err(UnknownDecision));
    // The message was not acknowledged, so the client sends it again.
    let client = net.resume(&named(Version::V5, "client"));
    net.send(client, &[message("a", "1", QoS::AtLeastOnce).into()]);
    assert_eq!(net.received(client), ["PUBACK 1 10"]);
}

/// [5.0: MQTT-4.12.0-2, MQTT-4.12.0-4, MQTT-4.12.0-5, MQTT-4.12.1-2]
#[test]
fn enhanced_authentication_continues_until_it_is_decided() {
    for later in [false, true] {
        let mut net = Net::plain();
        let challenge = |data: &str| Admission::Challenge(data.into());
        let success = Accept { authentication_data: Some(b"proof".to_vec()), ..Accept::default() };
        let steps = [challenge("first"), challenge("second"), success.into()];
        let decisions = steps.clone().map(|step| if later { Decision::Later } else { Decision::Now(step) });
        net.broker.policy_mut().admissions.extend(decisions);
        let decide = |net: &mut Net, step: usize| {
            if later {
                let (id, _) = asked(net);
                assert_eq!(answer(net, id, Answer::Connect(steps[step].clone())), Ok(()));
            }
        };
        let client = net.try_connect(&authenticating());
        decide(&mut net, 0);
        assert_eq!(net.received(client), ["AUTH 18 first"]);
        net.send(client, &[auth(AuthReasonCode::ContinueAuthentication, "M", b"1")]);
        assert_eq!(asked(&net).1, "authenticate c M 1");
        decide(&mut net, 1);
        assert_eq!(net.received(client), ["AUTH 18 second"]);
        net.send(client, &[auth(AuthReasonCode::ContinueAuthentication, "M", b"2")]);
        decide(&mut net, 2);
        assert_eq!(net.received(client), ["CONNACK 00"]);

        // The same with deferred answers.
        let steps =
            [challenge("again"), Accept { authentication_data: Some(b"fine".to_vec()), ..Accept::default() }.into()];
        let decisions = steps.clone().map(|step| if later { Decision::Later } else { Decision::Now(step) });
        net.broker.policy_mut().admissions.extend(decisions);
        let decide = |net: &mut Net, step: usize| {
            if later {
                let (id, _) = asked(net);
                assert_eq!(answer(net, id, Answer::Connect(steps[step].clone())), Ok(()));
            }
        };
        net.send(client, &[auth(AuthReasonCode::ReAuthenticate, "M", b"3")]);
        assert_eq!(asked(&net).1, "authenticate again c M 3");
        decide(&mut net, 0);
        assert_eq!(net.received(client), ["AUTH 18 again"]);
        net.send(client, &[auth(AuthReasonCode::ContinueAuthentication, "M", b"4")]);
        decide(&mut net, 1);
        assert_eq!(net.received(client), ["AUTH 00 fine"]);
        net.broker.policy_mut().admissions.push_back(Decision::Now(ConnAckReasonCode::NotAuthorized.into()));
        net.send(client, &[auth(AuthReasonCode::ReAuthenticate, "M", b"5")]);
        assert_eq!(net.received(client), ["DISCONNECT 87"]);
        assert!(net.is_over(client));
    }
}

/// The defaults of [`Policy`](mqtt_sansio::broker::Policy) support no method: a client that names one is refused, and
/// is not accepted as if something had been proved [5.0: MQTT-4.12.0-1].
#[test]
fn the_default_policy_supports_no_authentication_method() {
    let mut broker = Broker::new(config(), AllowAll);
    let id = broker.open(at(0), Origin::UNKNOWN);
    let connect = encoded(&authenticating().into(), Version::V5);
    broker.receive(at(0), id, &mut &connect[..]);
    let sent = take(broker.transmit(id));
    assert_eq!(decode(&sent, Version::V5), [refused(ConnAckReasonCode::BadAuthenticationMethod)]);
    assert!(broker.is_over(id));
    assert_eq!(broker.status().sessions, 0);
}

#[test]
fn a_challenge_needs_an_authentication_method() {
    let mut net = Net::plain();
    net.broker.policy_mut().admissions.push_back(Decision::Now(Admission::Challenge(b"?".to_vec())));
    let client = net.try_connect(&named(Version::V5, "client"));
    assert_eq!(net.received(client), ["CONNACK 8c"]);
    assert!(net.is_over(client));
}

#[test]
fn events_are_reported_as_notices() {
    let mut net = Net::plain();
    let client = net.client(Version::V5, "client");
    net.resume(&named(Version::V5, "client"));
    assert!(net.is_over(client));
    net.broker.end_session(net.now, "client");
    net.flush();
    assert!(!net.broker.end_session(net.now, "client"));
    let expected = [
        "client connected",
        "client disconnected: taken over",
        "client resumes",
        "client disconnected: command",
        "client session ended",
    ];
    assert_eq!(net.notices(), expected);
    let stranger = net.open(Version::V5);
    net.send_bytes(stranger, b"GET / HTTP/1.1\r\n\r\n");
    assert!(net.is_over(stranger));
    assert_eq!(net.notices().len(), 1);
}
