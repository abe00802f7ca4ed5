//! The user a session belongs to: who may resume, end and take over a session, and which of its subscriptions continue.

use mqtt_sansio::broker::{
    Admission, AllowAll, Answer, Broker, BrokerConfig, Decision, DecisionId, Origin, UnknownDecision,
};
use mqtt_sansio::codec::{AuthReasonCode, ConnAckReasonCode, Connect, SubAckReasonCode};
use mqtt_sansio::server::Accept;
use mqtt_sansio::{Instant, QoS, Version};

use crate::broker::{BOTH, Net, Peer, config, named};
use crate::server::{auth, authenticating, encoded, text, will};

const ALLOWED: ConnAckReasonCode = ConnAckReasonCode::Success;

/// A CONNECT of the client `c` with this user name and a session that does not expire.
fn of<'a>(version: Version, user: Option<&'a str>) -> Connect<'a> {
    Connect { user_name: user.map(text), ..named(version, "c") }
}

fn clean<'a>(version: Version, user: Option<&'a str>) -> Connect<'a> {
    Connect { clean_start: true, ..of(version, user) }
}

/// The CONNACK of a client that is not authorized.
const REFUSED: &str = "CONNACK 87";

fn answer(net: &mut Net, id: DecisionId, answer: Answer) -> Result<(), UnknownDecision> {
    let done = net.broker.answer(net.now, id, answer);
    net.flush();
    done
}

fn end_session(net: &mut Net) -> bool {
    let was_there = net.broker.end_session(net.now, "c");
    net.flush();
    was_there
}

/// The identifiers of all decisions of this kind so far.
fn decisions(net: &Net, kind: &str) -> Vec<DecisionId> {
    net.broker.policy().asked.iter().filter(|(_, line)| line.starts_with(kind)).map(|(id, _)| *id).collect()
}

/// A session of the user `ann` with a stored or unacknowledged message. `is_connected` says whether ann stays
/// connected.
fn session_of_ann(version: Version, is_connected: bool) -> (Net, Peer) {
    let mut net = Net::plain();
    let delay = if version == Version::V5 { 3600 } else { 0 };
    let ann = net.connect(&Connect { will: Some(will("gone", delay)), ..of(version, Some("ann")) });
    net.subscribe(ann, "a", QoS::AtLeastOnce);
    net.hold_acks(ann);
    let sender = net.client(version, "sender");
    net.publish(sender, "a", "for ann", QoS::AtLeastOnce);
    if is_connected {
        assert_eq!(net.received(ann), ["a: for ann q1"]);
    } else {
        net.lose(ann);
    }
    net.notices();
    (net, ann)
}

/// Reconnects as ann and checks that the session is complete.
#[track_caller]
fn assert_session_is_complete(net: &mut Net, version: Version) {
    let ann = net.try_connect(&of(version, Some("ann")));
    let received = net.received(ann);
    assert_eq!(received[0], "CONNACK 00 present");
    assert!(received[1].starts_with("a: for ann q1"), "{received:?}");
    let sender = net.client(version, "other sender");
    net.publish(sender, "a", "more", QoS::AtLeastOnce);
    assert_eq!(net.received(ann), ["a: more q1"]);
}

/// A client with the client identifier of another user's session is refused and changes nothing.
#[test]
fn by_default_another_user_is_refused() {
    for version in BOTH {
        for is_connected in [false, true] {
            for intruder in [Some("bob"), Some("Ann"), Some(""), None] {
                for (connect, is_clean) in [(of(version, intruder), false), (clean(version, intruder), true)] {
                    let (mut net, ann) = session_of_ann(version, is_connected);
                    // The will of the refused client is not published either.
                    let peer = net.try_connect(&Connect { will: Some(will("mine", 0)), ..connect });
                    assert_eq!(net.received(peer), [REFUSED], "{version}, {intruder:?}");
                    assert!(net.is_over(peer));
                    let who = intruder.map_or_else(String::new, |user| format!(" ({user})"));
                    assert_eq!(net.notices(), [format!("c{who} refused: CONNACK 87")]);
                    let asked = net.broker.policy().asked.last().unwrap().1.clone();
                    assert!(asked.starts_with("take over c of ann by "), "{asked}");
                    assert_eq!((asked.contains(", clean"), asked.contains(", connected")), (is_clean, is_connected));
                    if is_connected {
                        assert!(!net.is_over(ann), "she stays connected");
                        assert_eq!(net.received(ann), [""; 0]);
                    }
                    assert_session_is_complete(&mut net, version);
                }
            }
        }
    }
}

/// The same with a policy that allows everything: a session without a user is not the session of a user, and the other
/// way round.
#[test]
fn allow_all_refuses_another_user() {
    for (first, second, is_same) in [
        (None, None, true),
        (Some("ann"), Some("ann"), true),
        (Some("ann"), Some("bob"), false),
        (None, Some("ann"), false),
        (Some("ann"), None, false),
    ] {
        for clean_start in [false, true] {
            let mut broker = Broker::new(config(), AllowAll);
            let now = Instant::from_micros(1);
            let mut open = |connect: Connect<'_>| {
                let id = broker.open(now, Origin::UNKNOWN);
                broker.receive(now, id, &mut &encoded(&connect.into(), Version::V5)[..]);
                (id, broker.connection("c"))
            };
            let (id, connection) = open(of(Version::V5, first));
            assert_eq!(connection, Some(id));
            let (other, connection) = open(Connect { clean_start, ..of(Version::V5, second) });
            assert_eq!(connection, Some(if is_same { other } else { id }), "{first:?}, {second:?}");
        }
    }
}

/// A session that has expired, or that ended with its connection, belongs to no user.
#[test]
fn an_ended_session_belongs_to_no_user() {
    for version in BOTH {
        let mut net = Net::plain();
        let ann = net.connect(&clean(Version::V311, Some("ann")));
        let peer = net.try_connect(&of(version, Some("bob")));
        assert_eq!(net.received(peer), [REFUSED], "as long as she is connected it is hers");
        net.lose(ann);
        let bob = net.connect(&of(version, Some("bob")));
        net.lose(bob);
        let peer = net.try_connect(&of(version, Some("ann")));
        assert_eq!(net.received(peer), [REFUSED], "now it is his");
        // The same when the broker was not polled since the expiry.
        let mut net = Net::plain();
        let properties =
            mqtt_sansio::codec::ConnectProperties { session_expiry_interval: Some(10), ..Default::default() };
        let ann = net.connect(&Connect { properties, ..of(Version::V5, Some("ann")) });
        net.lose(ann);
        net.now = Instant::from_micros(net.now.as_micros() + 10_000_000);
        let bob = net.try_connect(&of(version, Some("bob")));
        assert_eq!(net.received(bob), ["CONNACK 00"]);
        // Clean Start by the session's user creates a new session of that user.
        let bob = net.connect(&clean(version, Some("bob")));
        assert!(!net.is_over(bob));
        assert!(end_session(&mut net));
        net.connect(&of(version, Some("ann")));
    }
}

/// The policy may allow it, at once or later. The session stays that of the user who created it.
#[test]
fn the_policy_decides_about_sessions_of_another_user() {
    for version in BOTH {
        for is_connected in [false, true] {
            for later in [false, true] {
                let decide = |net: &mut Net, connect: &Connect<'_>, code: ConnAckReasonCode| {
                    let decision = if later { Decision::Later } else { Decision::Now(code) };
                    net.broker.policy_mut().take_overs.push_back(decision);
                    let peer = net.try_connect(connect);
                    if later {
                        assert!(net.received(peer).is_empty() && !net.broker.takes_input(net.id(peer)));
                        let id = *decisions(net, "take over").last().unwrap();
                        assert_eq!(answer(net, id, Answer::Connect(Admission::accept())), Err(UnknownDecision));
                        assert_eq!(answer(net, id, Answer::TakeOver(code)), Ok(()));
                        assert_eq!(answer(net, id, Answer::TakeOver(code)), Err(UnknownDecision), "once");
                    }
                    peer
                };
                let (mut net, ann) = session_of_ann(version, is_connected);
                let refused = decide(&mut net, &of(version, Some("bob")), ConnAckReasonCode::ClientIdentifierNotValid);
                assert_eq!(net.received(refused), ["CONNACK 85"]);
                assert_eq!(net.notices(), ["c (bob) refused: CONNACK 85"]);
                assert_eq!(net.is_over(ann), !is_connected);
                let bob = decide(&mut net, &of(version, Some("bob")), ALLOWED);
                let received = net.received(bob);
                assert_eq!(received[0], "CONNACK 00 present");
                assert!(received[1].starts_with("a: for ann q1"), "{received:?}");
                assert!(net.is_over(ann));
                net.lose(bob);
                let bob = net.try_connect(&of(version, Some("bob")));
                assert_eq!(net.received(bob), [REFUSED], "it is not his");
                // Ann's own session needs no decision. If another user starts a new session, it belongs to that user.
                let ann = net.try_connect(&of(version, Some("ann")));
                net.lose(ann);
                let bob = decide(&mut net, &clean(version, Some("bob")), ALLOWED);
                assert_eq!(net.received(bob), ["CONNACK 00"]);
                net.lose(bob);
                if version == Version::V5 {
                    let ann = net.try_connect(&of(version, Some("ann")));
                    assert_eq!(net.received(ann), [REFUSED]);
                }
            }
        }
    }
}

/// While the policy decides about one user's session, the session becomes that of another user: then a decision about
/// that user is needed.
#[test]
fn an_answer_applies_to_the_user_of_its_decision() {
    let mut net = Net::plain();
    let version = Version::V5;
    let ann = net.connect(&of(version, Some("ann")));
    net.broker.policy_mut().take_overs.push_back(Decision::Later);
    let bob = net.try_connect(&of(version, Some("bob")));
    let id = decisions(&net, "take over")[0];
    net.lose(ann);
    assert!(end_session(&mut net));
    let eve = net.connect(&of(version, Some("eve")));
    assert_eq!(answer(&mut net, id, Answer::TakeOver(ALLOWED)), Ok(()));
    assert_eq!(net.received(bob), [REFUSED]);
    assert!(!net.is_over(eve));
    assert_eq!(net.broker.policy().asked.last().unwrap().1, "take over c of eve by bob, connected");
    // A session that is created while the admission of the client is pending needs a decision as well.
    let mut net = Net::plain();
    net.broker.policy_mut().admissions.push_back(Decision::Later);
    let bob = net.try_connect(&of(version, Some("bob")));
    let id = decisions(&net, "connect")[0];
    let ann = net.connect(&of(version, Some("ann")));
    assert_eq!(answer(&mut net, id, Answer::Connect(Admission::accept())), Ok(()));
    assert_eq!(net.received(bob), [REFUSED]);
    assert!(!net.is_over(ann));
    // A session that has ended before the answer needs none.
    let mut net = Net::plain();
    let ann = net.connect(&of(version, Some("ann")));
    net.broker.policy_mut().take_overs.push_back(Decision::Later);
    let bob = net.try_connect(&of(version, Some("bob")));
    let id = decisions(&net, "take over")[0];
    net.lose(ann);
    assert!(end_session(&mut net));
    assert_eq!(answer(&mut net, id, Answer::TakeOver(ALLOWED)), Ok(()));
    assert_eq!(net.received(bob), ["CONNACK 00"]);
}

/// A pending decision ends with its connection.
#[test]
fn a_lost_client_takes_no_session_over() {
    for version in BOTH {
        let (mut net, ann) = session_of_ann(version, true);
        net.broker.policy_mut().take_overs.push_back(Decision::Later);
        let bob = net.try_connect(&of(version, Some("bob")));
        let id = decisions(&net, "take over")[0];
        net.lose(bob);
        assert_eq!(answer(&mut net, id, Answer::TakeOver(ALLOWED)), Err(UnknownDecision));
        assert!(!net.is_over(ann));
        assert_session_is_complete(&mut net, version);
    }
}

/// The user of a client with enhanced authentication is known after the exchange, and may differ from the user name in
/// CONNECT.
#[test]
fn the_user_may_come_from_the_authentication() {
    let accept_as = |user: &str| Decision::Now(Admission::accept_as(user));
    let challenge = || Decision::Now(Admission::Challenge(b"?".to_vec()));
    let authenticate = |net: &mut Net, user: &str| {
        net.broker.policy_mut().admissions.extend([challenge(), accept_as(user)]);
        let peer = net.try_connect(&Connect { user_name: Some(text("x")), ..authenticating() });
        net.send(peer, &[auth(AuthReasonCode::ContinueAuthentication, "M", b"1")]);
        peer
    };
    let mut net = Net::plain();
    let ann = authenticate(&mut net, "ann");
    assert_eq!(net.received(ann), ["AUTH 18 ?", "CONNACK 00"]);
    let bob = authenticate(&mut net, "bob");
    assert_eq!(net.received(bob), ["AUTH 18 ?", REFUSED]);
    assert!(!net.is_over(ann));
    assert_eq!(net.broker.policy().asked.last().unwrap().1, "take over c of ann by bob, connected");
    let again = authenticate(&mut net, "ann");
    assert_eq!(net.received(again), ["AUTH 18 ?", "CONNACK 00 present"]);
    assert!(end_session(&mut net));
    // The user may be known from a certificate, for example.
    net.broker.policy_mut().admissions.push_back(accept_as("ann"));
    let again = net.connect(&clean(Version::V311, None));
    net.broker.policy_mut().admissions.push_back(accept_as("bob"));
    let other = net.try_connect(&clean(Version::V311, Some("ann")));
    assert_eq!(net.received(other), [REFUSED]);
    let nobody = Admission::AcceptAs { user_name: None, accept: Box::default() };
    net.broker.policy_mut().admissions.push_back(Decision::Now(nobody));
    let other = net.try_connect(&clean(Version::V311, Some("ann")));
    assert_eq!(net.received(other), [REFUSED]);
    assert!(!net.is_over(again));
    // A connection stays that of its user.
    for (user, continues) in [("ann", true), ("bob", false)] {
        let mut net = Net::plain();
        let ann = authenticate(&mut net, "ann");
        net.received(ann);
        let again = Admission::AcceptAs { user_name: Some(user.into()), accept: Accept::default().into() };
        net.broker.policy_mut().admissions.push_back(Decision::Now(again));
        net.send(ann, &[auth(AuthReasonCode::ReAuthenticate, "M", b"2")]);
        assert_eq!(net.received(ann), [if continues { "AUTH 00 " } else { "DISCONNECT 87" }]);
        assert_eq!(net.is_over(ann), !continues);
    }
}

/// A client that is assigned a client identifier in use does not get another user's session either.
#[test]
fn an_assigned_client_identifier_does_not_resume_another_users_session() {
    let mut net = Net::plain();
    let ann = net.connect(&of(Version::V5, Some("ann")));
    let accept = Accept { assigned_client_id: Some("c".into()), ..Accept::default() };
    net.broker.policy_mut().admissions.push_back(Decision::Now(accept.into()));
    let bob = Connect { client_identifier: text(""), ..of(Version::V5, Some("bob")) };
    let bob = net.try_connect(&bob);
    assert_eq!(net.received(bob), [REFUSED]);
    assert!(!net.is_over(ann));
}

const FILTERS: [&str; 7] = ["a", "b/+/c", "#", "/x//", "$share/g/s/#", "b/+/d", "a/#"];

/// The policy's decision about each filter when the session is resumed.
fn resubscription_decision(filter: &str) -> SubAckReasonCode {
    match filter {
        "#" | "$share/g/s/#" => SubAckReasonCode::NotAuthorized,
        "a" => SubAckReasonCode::GrantedQoS0,
        "b/+/d" => SubAckReasonCode::GrantedQoS1,
        _ => SubAckReasonCode::GrantedQoS2,
    }
}

/// The pending decisions about stored subscriptions.
fn resubscriptions(net: &Net) -> Vec<(DecisionId, String)> {
    let asked = net.broker.policy().asked.iter().filter(|(_, line)| line.starts_with("resubscribe"));
    asked.map(|(id, line)| (*id, line.split(' ').nth(2).unwrap().to_owned())).collect()
}

/// A stored subscription continues if the policy still allows it, at once or later: for the session's user, and for
/// another user who may resume the session.
#[test]
fn stored_subscriptions_need_a_new_decision() {
    for version in BOTH {
        let budgets = [1, 2000].map(|units: u32| units.try_into().unwrap());
        let users = [("ann", false), ("ann", true), ("bob", false), ("bob", true)];
        for (work_per_call, (user, later)) in budgets.into_iter().flat_map(|work| users.map(|user| (work, user))) {
            let mut net = Net::new(BrokerConfig { work_per_call, ..config() });
            let ann = net.connect(&of(version, Some("ann")));
            net.subscribe_all(ann, &FILTERS.map(|filter| (filter, QoS::ExactlyOnce)));
            net.lose(ann);
            net.notices();
            let policy = net.broker.policy_mut();
            policy.take_overs.push_back(Decision::Now(ALLOWED));
            for filter in FILTERS {
                let decision = if later { Decision::Later } else { Decision::Now(resubscription_decision(filter)) };
                policy.resubscriptions.insert(filter.into(), decision);
            }
            let back = net.try_connect(&of(version, Some(user)));
            let mut asked = resubscriptions(&net);
            assert_eq!(asked.len(), FILTERS.len());
            if later {
                assert!(net.received(back).is_empty(), "it is not connected before all is decided");
                assert_eq!(net.broker.client_id(net.id(back)), None);
                // In any order, each once.
                asked.reverse();
                for (id, filter) in &asked {
                    assert_eq!(answer(&mut net, *id, Answer::TakeOver(ALLOWED)), Err(UnknownDecision));
                    assert_eq!(answer(&mut net, *id, Answer::Subscribe(resubscription_decision(filter))), Ok(()));
                    assert_eq!(
                        answer(&mut net, *id, Answer::Subscribe(resubscription_decision(filter))),
                        Err(UnknownDecision)
                    );
                }
                assert_eq!(resubscriptions(&net).len(), FILTERS.len(), "nothing is asked twice");
            }
            assert_eq!(net.received(back), ["CONNACK 00 present"]);
            let mut notices = net.notices();
            assert_eq!(notices.remove(0), "c resumes");
            notices.sort();
            assert_eq!(notices, ["c subscribe refused: # 87", "c subscribe refused: $share/g/s/# 87"]);
            let status = net.broker.status();
            assert_eq!((status.subscriptions, status.shared_subscriptions), (5, 0));
            let sender = net.client(version, "sender");
            let received = ["a", "b/1/c", "/x//", "s/1", "b/1/d", "a/1", "q"].map(|topic| {
                net.publish(sender, topic, "", QoS::ExactlyOnce);
                net.received(back).into_iter().filter(|line| line.contains(": ")).collect::<String>()
            });
            // `a` matches `a/#` too, which has the higher QoS.
            assert_eq!(received, ["a:  q2", "b/1/c:  q2", "/x//:  q2", "", "b/1/d:  q1", "a/1:  q2", ""]);
        }
    }
}

/// A new session has no stored subscriptions, so no decision is needed.
#[test]
fn a_new_session_has_no_stored_subscriptions() {
    for version in BOTH {
        let mut net = Net::plain();
        let ann = net.connect(&of(version, Some("ann")));
        net.subscribe(ann, "a", QoS::ExactlyOnce);
        net.broker.policy_mut().resubscriptions.insert("a".into(), Decision::Later);
        net.connect(&clean(version, Some("ann")));
        assert_eq!(resubscriptions(&net), []);
    }
}

/// A subscription made on the old connection while the policy decides about the stored ones needs a decision too.
#[test]
fn subscriptions_made_meanwhile_need_a_decision() {
    let budgets = [1, 2000].map(|units: u32| units.try_into().unwrap());
    for (version, work_per_call) in BOTH.into_iter().flat_map(|version| budgets.map(|work| (version, work))) {
        let mut net = Net::new(BrokerConfig { work_per_call, ..config() });
        let old = net.connect(&of(version, Some("ann")));
        net.subscribe_all(old, &[("a", QoS::AtLeastOnce), ("b", QoS::AtLeastOnce)]);
        net.received(old);
        for filter in ["a", "b", "c"] {
            net.broker.policy_mut().resubscriptions.insert(filter.into(), Decision::Later);
        }
        let back = net.try_connect(&of(version, Some("ann")));
        assert!(!net.is_over(old), "nothing is taken over yet");
        net.subscribe(old, "c", QoS::AtLeastOnce);
        net.unsubscribe(old, &["a"]);
        let granted = Answer::Subscribe(SubAckReasonCode::GrantedQoS1);
        for (id, _) in resubscriptions(&net) {
            assert_eq!(answer(&mut net, id, granted.clone()), Ok(()));
        }
        let asked = resubscriptions(&net);
        assert_eq!(asked.last().unwrap().1, "c");
        assert_eq!((asked.len(), net.is_over(old)), (3, false));
        let refused = Answer::Subscribe(SubAckReasonCode::NotAuthorized);
        assert_eq!(answer(&mut net, asked[2].0, refused), Ok(()));
        assert!(net.is_over(old));
        assert_eq!(net.received(back), ["CONNACK 00 present"]);
        assert_eq!(net.broker.status().subscriptions, 1);
        assert_eq!(net.notices().last().unwrap(), "c subscribe refused: c 87");
        // A connection that ends before all decisions are made changes nothing.
        net.broker.policy_mut().resubscriptions.insert("b".into(), Decision::Later);
        let gone = net.try_connect(&of(version, Some("ann")));
        let (id, _) = resubscriptions(&net).pop().unwrap();
        net.lose(gone);
        assert_eq!(answer(&mut net, id, granted), Err(UnknownDecision));
        assert!(!net.is_over(back));
        assert_eq!(net.broker.status().subscriptions, 1);
    }
}

/// Filters of 3.1.1 that 5.0 does not allow are shown to the policy unchanged.
#[test]
fn stored_filters_are_shown_unchanged() {
    let mut net = Net::plain();
    let ann = net.connect(&of(Version::V311, None));
    let odd = b"\x82\x0e\x00\x01\x00\x09$share//a\x01";
    net.send_bytes(ann, odd);
    assert_eq!(net.received(ann), ["SUBACK 1 01"]);
    net.broker.policy_mut().resubscriptions.insert("$share//a".into(), Decision::Later);
    let back = net.try_connect(&of(Version::V311, None));
    let [(id, _)] = &resubscriptions(&net)[..] else { panic!("it is asked for") };
    assert_eq!(answer(&mut net, *id, Answer::Subscribe(SubAckReasonCode::GrantedQoS1)), Ok(()));
    assert_eq!(net.received(back), ["CONNACK 00 present"]);
    assert_eq!(net.broker.status().subscriptions, 1);
}

/// The user of a session survives a crash, with or without a connection at that time.
#[test]
fn a_session_belongs_to_its_user_after_a_crash() {
    for (version, is_connected) in BOTH.into_iter().flat_map(|version| [(version, true), (version, false)]) {
        let mut net = Net::new(BrokerConfig { durable: true, ..config() });
        let ann = net.connect(&of(version, Some("ann")));
        net.subscribe(ann, "a", QoS::AtLeastOnce);
        if !is_connected {
            net.lose(ann);
        }
        net.crash(net.now);
        let bob = net.try_connect(&of(version, Some("bob")));
        assert_eq!(net.received(bob), [REFUSED]);
        let ann = net.try_connect(&of(version, Some("ann")));
        assert_eq!(net.received(ann), ["CONNACK 00 present"]);
        net.publish(ann, "a", "1", QoS::AtLeastOnce);
        assert_eq!(net.received(ann), ["a: 1 q1"]);
    }
}
