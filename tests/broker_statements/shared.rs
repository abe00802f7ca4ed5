//! Shared subscriptions (section 4.8.2).

use mqtt_sansio::broker::{BrokerConfig, SharedStrategy};
use mqtt_sansio::codec::{DisconnectReasonCode, PubAck, PubAckReasonCode, PubRec};
use mqtt_sansio::{QoS, Version};

use crate::broker::{Net, config, named, with_server};
use crate::server::id;

/// A publisher, and the members of a share.
fn group(qos: &[QoS]) -> (Net, usize, Vec<usize>) {
    let mut net = Net::plain();
    let client = net.client(Version::V5, "client");
    let members = qos.iter().enumerate().map(|(place, &qos)| {
        let member = net.client(Version::V5, &format!("member-{place}"));
        net.subscribe(member, "$share/g/a", qos);
        net.hold_acks(member);
        member
    });
    let members = members.collect();
    (net, client, members)
}

/// [5.0: U-4.8.2-a]
#[test]
fn section_4_8_2_a_each_message_goes_to_one_member_of_each_share() {
    let (mut net, client, members) = group(&[QoS::AtMostOnce; 3]);
    let other = net.client(Version::V5, "other");
    net.subscribe(other, "$share/h/a", QoS::AtMostOnce);
    for number in 0..9 {
        net.publish(client, "a", &number.to_string(), QoS::AtMostOnce);
    }
    let all: Vec<_> = (0..9).map(|number| format!("a: {number}")).collect();
    assert_eq!(net.received(other), all, "another share has its own copy");
    for (place, &member) in members.iter().enumerate() {
        let own: Vec<_> = all.iter().skip(place).step_by(3).cloned().collect();
        assert_eq!(net.received(member), own, "in turn");
    }
}

/// [5.0: U-3.8.3.1-c]
#[test]
fn section_3_8_3_1_c_a_shared_subscription_receives_no_retained_messages() {
    let (mut net, client, _) = group(&[]);
    net.retain(client, "a", "1", QoS::AtMostOnce);
    let member = net.client(Version::V5, "member");
    net.subscribe(member, "$share/g/a", QoS::AtMostOnce);
    assert!(net.received(member).is_empty());
}

/// [5.0: MQTT-4.8.2-3]
#[test]
fn mqtt_4_8_2_3_the_granted_qos_of_the_member_counts() {
    let (mut net, client, members) = group(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
    for number in 0..3 {
        net.publish(client, "a", &number.to_string(), QoS::ExactlyOnce);
    }
    let received: Vec<_> = members.iter().map(|&member| net.received(member)).collect();
    assert_eq!(received, [["a: 0"], ["a: 1 q1"], ["a: 2 q2"]]);
}

/// [5.0: MQTT-4.8.2-4]
#[test]
fn mqtt_4_8_2_4_qos_2_is_completed_with_its_member() {
    let (mut net, client, members) = group(&[QoS::ExactlyOnce; 2]);
    net.publish(client, "a", "1", QoS::ExactlyOnce);
    assert_eq!(net.received(members[0]), ["a: 1 q2"]);
    net.lose(members[0]);
    assert!(net.received(members[1]).is_empty());
    let back = net.resume(&named(Version::V5, "member-0"));
    let received = net.received(back);
    assert_eq!(received, ["a: 1 q2 again", "PUBREL 1 00"], "and it is completed");
    assert!(net.received(members[1]).is_empty());
}

/// [5.0: MQTT-4.8.2-5]
#[test]
fn mqtt_4_8_2_5_if_the_session_of_that_member_ends_no_other_receives_it() {
    let (mut net, client, members) = group(&[QoS::ExactlyOnce; 2]);
    net.publish(client, "a", "1", QoS::ExactlyOnce);
    net.lose(members[0]);
    net.wait(4000); // the session expires
    assert_eq!(net.broker.status().sessions, 2);
    net.wait(4000);
    assert!(net.received(members[1]).is_empty());
    assert_eq!(net.broker.counters().dropped.session_ended, 1);
}

/// [5.0: MQTT-4.8.2-6]
#[test]
fn mqtt_4_8_2_6_a_message_refused_by_a_member_goes_to_no_other() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (mut net, client, members) = group(&[qos; 2]);
        net.publish(client, "a", "1", qos);
        assert_eq!(net.received(members[0]).len(), 1);
        let reason_code = PubAckReasonCode::QuotaExceeded;
        match qos {
            QoS::AtLeastOnce => net.send(members[0], &[PubAck { reason_code, ..PubAck::new(id(1)) }.into()]),
            _ => net.send(members[0], &[PubRec { reason_code, ..PubRec::new(id(1)) }.into()]),
        }
        assert_eq!(net.broker.counters().dropped.refused_by_client, 1);
        net.leave(members[0], DisconnectReasonCode::NormalDisconnection);
        assert!(net.received(members[1]).is_empty());
    }
}

/// A message of QoS 1 stays with its member too: the specification allows both.
/// [5.0: U-4.8.2-b]
#[test]
fn section_4_8_2_b_qos_1_stays_with_its_member_and_new_messages_go_to_connected_ones() {
    let (mut net, client, members) = group(&[QoS::AtLeastOnce; 2]);
    net.publish(client, "a", "1", QoS::AtLeastOnce);
    net.lose(members[0]);
    for number in 2..5 {
        net.publish(client, "a", &number.to_string(), QoS::AtLeastOnce);
    }
    assert_eq!(net.received(members[1]), ["a: 2 q1", "a: 3 q1", "a: 4 q1"]);
    net.lose(members[1]);
    net.publish(client, "a", "5", QoS::AtLeastOnce);
    assert_eq!(net.broker.status().stored, 5, "with nobody there it is kept for one of them");
    let back = net.resume(&named(Version::V5, "member-0"));
    assert_eq!(net.received(back)[..2], ["a: 1 q1 again", "a: 5 q1"]);
}

/// With every strategy one member receives the message, and connected members are preferred.
/// [5.0: U-4.8.2-a]
#[test]
fn section_4_8_2_a_every_strategy_prefers_connected_members() {
    for shared_strategy in [SharedStrategy::RoundRobin, SharedStrategy::Random, SharedStrategy::LeastLoaded] {
        let mut net = Net::new(BrokerConfig { shared_strategy, ..config() });
        let client = net.client(Version::V5, "client");
        let members = ["one", "two", "away", "three"].map(|name| {
            let member = net.client(Version::V5, name);
            net.subscribe(member, "$share/g/a", QoS::AtLeastOnce);
            member
        });
        net.lose(members[2]);
        net.hold_acks(members[0]);
        let mut counts = [0; 4];
        for _ in 0..30 {
            net.publish(client, "a", "x", QoS::AtLeastOnce);
            let got = [0, 1, 3].map(|place| net.received(members[place]).len());
            assert_eq!(got.iter().sum::<usize>(), 1, "{shared_strategy:?}");
            [0, 1, 3].into_iter().zip(got).for_each(|(place, got)| counts[place] += got);
        }
        match shared_strategy {
            SharedStrategy::RoundRobin => assert_eq!(counts, [10, 10, 0, 10]),
            SharedStrategy::Random => assert!([0, 1, 3].iter().all(|&place| counts[place] > 3), "{counts:?}"),
            // The first member acknowledges nothing, so after one message it has more in flight than the others.
            _ => assert_eq!((counts[0], counts[1].abs_diff(counts[3]) <= 1), (1, true), "{counts:?}"),
        }
    }
}

/// However many members cannot take a message, it is offered to a few of them, and the next one to others.
/// [5.0: U-4.8.2-a]
#[test]
fn section_4_8_2_b_a_message_is_offered_to_at_most_eight_members() {
    for shared_strategy in [SharedStrategy::RoundRobin, SharedStrategy::LeastLoaded] {
        let limits = with_server(|server| server.max_stored = 1);
        let mut net = Net::new(BrokerConfig { shared_strategy, ..limits });
        let client = net.client(Version::V5, "client");
        let members: Vec<_> = (0..20)
            .map(|number| {
                let member = net.client(Version::V5, &format!("member-{number}"));
                net.subscribe(member, "$share/g/a", QoS::AtLeastOnce);
                net.hold_acks(member);
                member
            })
            .collect();
        for number in 0..20 {
            net.publish(client, "a", &number.to_string(), QoS::AtLeastOnce);
        }
        assert_eq!(net.broker.status().stored, 20, "each has one message, and no room for another");
        net.lose(members[19]);
        let free = net.client(Version::V5, "member-20");
        net.subscribe(free, "$share/g/a", QoS::AtLeastOnce);
        let dropped = |net: &Net| net.broker.counters().dropped.queue_full;
        let mut offers = 0;
        while net.received(free).is_empty() {
            net.publish(client, "a", "more", QoS::AtLeastOnce);
            offers += 1;
            assert!(offers <= 4, "the turn of each comes soon");
        }
        assert_eq!(dropped(&net), offers - 1, "{shared_strategy:?}: one message is dropped, not one for each member");
        assert!(offers > 1, "{shared_strategy:?}: the one with room was not among the first");
    }
}

/// Members that are not connected cost nothing: those who are get the messages, also after they have come back.
/// [5.0: U-4.8.2-a]
#[test]
fn section_4_8_2_c_many_members_that_are_away_do_not_keep_messages_from_those_who_are_there() {
    for shared_strategy in [SharedStrategy::RoundRobin, SharedStrategy::Random, SharedStrategy::LeastLoaded] {
        let mut net = Net::new(BrokerConfig { shared_strategy, ..config() });
        let client = net.client(Version::V5, "client");
        let mut members: Vec<_> = (0..30)
            .map(|number| {
                let member = net.client(Version::V5, &format!("member-{number}"));
                net.subscribe(member, "$share/g/a", QoS::AtLeastOnce);
                net.subscribe(member, "$share/h/a", QoS::AtLeastOnce);
                member
            })
            .collect();
        for round in 0..30 {
            // All but this one are away.
            for (number, member) in members.iter_mut().enumerate() {
                let is_there = net.broker.connection(&format!("member-{number}")).is_some();
                match (number == round, is_there) {
                    (true, false) => *member = net.resume(&named(Version::V5, &format!("member-{number}"))),
                    (false, true) => net.lose(*member),
                    _ => {}
                }
            }
            net.publish(client, "a", "1", QoS::AtLeastOnce);
            assert_eq!(net.received(members[round]), ["a: 1 q1", "a: 1 q1"], "{shared_strategy:?}");
            if round % 3 == 0 {
                net.unsubscribe(members[round], &["$share/h/a"]);
                assert_eq!(net.received(members[round]).len(), 1, "UNSUBACK");
                net.subscribe(members[round], "$share/h/a", QoS::AtLeastOnce);
            }
        }
        assert_eq!(net.broker.status().stored, 0);
    }
}
