//! Clients under mount points: each sees its own part of the tree of topics, by its own names, and nothing else.

use std::num::NonZeroU32;

use mqtt_sansio::broker::{BrokerConfig, MountPoint, MountPointError};
use mqtt_sansio::codec::{
    Connect, Packet, PubAckReasonCode, Publish, PublishProperties, Subscription, Will, WillProperties,
};
use mqtt_sansio::{Message, QoS, TopicName, Version};

use crate::broker::{BOTH, Net, Peer, config, message, named};
use crate::server::at;

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A broker with clients `a1` and `a2` of one tenant, `b1` of another, and `root`, which sees all.
fn tenants(config: BrokerConfig, version: Version) -> (Net, [Peer; 4]) {
    let mut net = Net::new(config);
    for (client, mount) in [("a1", "t/a"), ("a2", "t/a"), ("b1", "t/b")] {
        net.broker.policy_mut().mounts.insert(client.into(), mount.into());
    }
    let peers = ["a1", "a2", "b1", "root"].map(|name| net.client(version, name));
    (net, peers)
}

fn asked(net: &mut Net) -> Vec<String> {
    std::mem::take(&mut net.broker.policy_mut().asked).into_iter().map(|it| it.1).collect()
}

#[test]
fn a_client_sees_its_own_names() {
    for version in BOTH {
        for (work, qos) in [1, 2000].into_iter().flat_map(|work| ALL_QOS.map(|qos| (work, qos))) {
            let config = BrokerConfig { work_per_call: NonZeroU32::new(work).unwrap(), ..config() };
            let (mut net, [a1, a2, b1, root]) = tenants(config, version);
            for peer in [a1, a2, b1, root] {
                net.subscribe(peer, "#", QoS::ExactlyOnce);
            }
            asked(&mut net);
            net.publish(a1, "x/y", "1", qos);
            assert_eq!(asked(&mut net), ["publish a1 t/a/x/y"], "the policy sees topics in full");
            let shown = if qos == QoS::AtMostOnce { String::new() } else { format!(" q{qos}") };
            let received = [a1, a2, b1, root].map(|peer| {
                net.received(peer).into_iter().filter(|line| !line.starts_with("PUBREL")).collect::<Vec<_>>()
            });
            let own = vec![format!("x/y: 1{shown}")];
            assert_eq!(received, [own.clone(), own, Vec::new(), vec![format!("t/a/x/y: 1{shown}")]]);
        }
    }
}

#[test]
fn unsubscribing_retained_messages_and_the_store_of_a_session() {
    let (mut net, [a1, a2, b1, root]) = tenants(config(), Version::V5);
    net.retain(root, "t/a/r", "1", QoS::AtLeastOnce);
    net.retain(a1, "r/2", "2", QoS::AtLeastOnce);
    net.retain(b1, "r", "3", QoS::AtLeastOnce);
    net.subscribe(a2, "r/#", QoS::AtLeastOnce);
    let mut received = net.received(a2);
    received.sort();
    assert_eq!(received, ["r/2: 2 q1 retained", "r: 1 q1 retained"]);
    assert_eq!(net.broker.list_subscriptions("a2", mqtt_sansio::broker::Cursor::START).items[0].filter, "t/a/r/#");
    // What waits for a client that is away is by its names too.
    net.lose(a2);
    net.publish(a1, "r/3", "4", QoS::AtLeastOnce);
    let a2 = net.resume(&named(Version::V5, "a2"));
    assert_eq!(net.received(a2), ["r/3: 4 q1"]);
    net.unsubscribe(a2, &["r/#", "t/a/r/#"]);
    assert_eq!(net.received(a2), ["UNSUBACK 1 00 11"]);
    net.publish(a1, "r/3", "5", QoS::AtLeastOnce);
    assert!(net.received(a2).is_empty());
}

/// Not even by names that lead out, or by the topic of the mount point itself.
#[test]
fn nothing_outside_can_be_named() {
    let (mut net, [a1, a2, _, root]) = tenants(config(), Version::V5);
    for filter in ["#", "+/+", "/#", "$SYS/#", "t/#", "t/b/#", "../b/#"] {
        net.subscribe(a1, filter, QoS::AtMostOnce);
    }
    for topic in ["t/a", "t/b/x", "t/ab", "t", "x", "t/a/$SYS/x", "$SYS/x"] {
        net.publish_own(&Message::new(topic, "1"));
    }
    assert!(net.received(a1).is_empty());
    // Nor does a client publish outside; what it names `$SYS` is not that of the broker.
    net.subscribe(root, "#", QoS::AtMostOnce);
    for topic in ["t/b/x", "$SYS/x"] {
        net.publish(a2, topic, "1", QoS::AtLeastOnce);
    }
    assert_eq!(net.received(root), ["t/a/t/b/x: 1", "t/a/$SYS/x: 1"]);
    assert_eq!(net.received(a1), ["t/b/x: 1"]);
}

#[test]
fn a_response_topic_is_rewritten_both_ways() {
    let (mut net, [a1, a2, b1, root]) = tenants(config(), Version::V5);
    for peer in [a2, root] {
        net.subscribe(peer, "#", QoS::AtMostOnce);
    }
    let with = |topic| PublishProperties { response_topic: TopicName::new(topic).ok(), ..PublishProperties::default() };
    let of = |topic, response| -> Packet<'_> {
        Publish { properties: with(response), ..message(topic, "1", QoS::AtMostOnce) }.into()
    };
    net.send(a1, &[of("q", "back")]);
    net.assert_received(a2, &[of("q", "back")]);
    net.assert_received(root, &[of("t/a/q", "t/a/back")]);
    // A client could not reach a topic outside.
    net.send(root, &[of("t/a/q", "t/b/back")]);
    net.assert_received(a2, &[message("q", "1", QoS::AtMostOnce).into()]);
    net.forget(b1);
}

#[test]
fn a_shared_subscription_is_that_of_the_tenant() {
    let (mut net, [a1, a2, b1, root]) = tenants(config(), Version::V5);
    for peer in [a1, b1] {
        net.subscribe(peer, "$share/g/x", QoS::AtLeastOnce);
    }
    net.publish(root, "t/a/x", "1", QoS::AtLeastOnce);
    assert_eq!((net.received(a1), net.received(b1).len()), (vec!["x: 1 q1".to_owned()], 0));
    // A message of a session that has ended goes to another member of the group.
    net.lose(a1);
    net.publish(root, "t/a/x", "2", QoS::AtLeastOnce);
    net.subscribe(a2, "$share/g/x", QoS::AtLeastOnce);
    net.broker.end_session(net.now, "a1");
    net.poll();
    assert_eq!((net.received(a2), net.broker.counters().dropped.total()), (vec!["x: 2 q1".to_owned()], 0));
}

#[test]
fn a_will_is_under_the_mount_point() {
    for durable in [false, true] {
        let (mut net, [_, a2, b1, root]) = tenants(BrokerConfig { durable, ..config() }, Version::V5);
        for peer in [a2, b1, root] {
            net.subscribe(peer, "#", QoS::AtLeastOnce);
        }
        net.broker.policy_mut().mounts.insert("c".into(), "t/a".into());
        let properties = WillProperties { response_topic: TopicName::new("back").ok(), ..WillProperties::default() };
        let will = Will { topic: TopicName::new("gone").unwrap(), payload: b"bye", properties, ..Will::default() };
        let connect = Connect { will: Some(will), ..named(Version::V5, "c") };
        let client = net.connect(&connect);
        net.lose(client);
        let received = [a2, b1, root].map(|peer| net.received(peer));
        assert_eq!(received, [vec!["gone: bye".to_owned()], vec![], vec!["t/a/gone: bye".to_owned()]]);
        // The policy sees it again, and may refuse it.
        net.notices();
        net.broker.policy_mut().wills.push_back(PubAckReasonCode::NotAuthorized);
        let client = net.try_connect(&connect);
        net.lose(client);
        let notices = net.notices();
        assert!(notices.contains(&"c will: t/a/gone".to_owned()), "{notices:?}");
        assert!(notices.contains(&"c will refused: t/a/gone 87".to_owned()), "{notices:?}");
        assert!([a2, b1, root].iter().all(|&peer| net.received(peer).is_empty()));
        assert_eq!(net.broker.counters().wills_refused, 1);
    }
}

/// The session of a client that comes under another mount point is not resumed: its subscriptions are to other topics.
#[test]
fn a_session_keeps_its_mount_point() {
    let (mut net, [a1, _, _, root]) = tenants(config(), Version::V5);
    net.subscribe(a1, "x", QoS::AtLeastOnce);
    net.lose(a1);
    net.broker.policy_mut().mounts.insert("a1".into(), "t/b".into());
    let a1 = net.client(Version::V5, "a1");
    net.publish(root, "t/a/x", "1", QoS::AtLeastOnce);
    net.publish(root, "t/b/x", "2", QoS::AtLeastOnce);
    assert!(net.received(a1).is_empty() && net.broker.status().subscriptions == 0);
    net.subscribe(a1, "x", QoS::AtLeastOnce);
    net.publish(root, "t/b/x", "3", QoS::AtLeastOnce);
    assert_eq!(net.received(a1), ["x: 3 q1"]);
}

/// What comes after a crash, before the client does, is by its names.
#[test]
fn a_mount_point_survives_a_crash() {
    let (mut net, [a1, _, _, _]) = tenants(BrokerConfig { durable: true, ..config() }, Version::V5);
    net.subscribe(a1, "x/#", QoS::AtLeastOnce);
    net.subscribe(a1, "$share/g/s", QoS::AtLeastOnce);
    net.publish_own(&Message::new("t/a/x", "0").qos(QoS::AtMostOnce));
    net.forget(a1);
    net.crash(at(1000));
    net.publish_own(&Message::new("t/a/x/1", "1").qos(QoS::AtLeastOnce));
    net.publish_own(&Message::new("t/a/s", "2").qos(QoS::AtLeastOnce));
    net.crash(at(2000));
    net.broker.policy_mut().mounts.insert("a1".into(), "t/a".into());
    let a1 = net.resume(&named(Version::V5, "a1"));
    assert_eq!(net.received(a1), ["x/1: 1 q1", "s: 2 q1"]);
}

/// The record of a subscription is written again when its retained messages are sent.
#[test]
fn a_mount_point_survives_a_crash_after_retained_messages() {
    let (mut net, [a1, _, _, _]) = tenants(BrokerConfig { durable: true, ..config() }, Version::V5);
    net.publish_own(&Message::new("t/a/x", "0").qos(QoS::AtLeastOnce).retain(true));
    net.subscribe(a1, "x/#", QoS::AtLeastOnce);
    net.forget(a1);
    net.crash(at(1000));
    net.publish_own(&Message::new("t/a/x/1", "1").qos(QoS::AtLeastOnce));
    net.broker.policy_mut().mounts.insert("a1".into(), "t/a".into());
    let a1 = net.resume(&named(Version::V5, "a1"));
    assert!(net.received(a1).contains(&"x/1: 1 q1".to_owned()));
}

/// A session may have messages, and no subscriptions any more. They come by the client's names after a crash too, and a client
/// that comes under another mount point does not get them.
#[test]
fn a_mount_point_survives_a_crash_without_subscriptions() {
    for (mount, is_resumed) in [(Some("t/a"), true), (Some("t/b"), false), (None, false)] {
        let (mut net, [a1, a2, _, _]) = tenants(BrokerConfig { durable: true, ..config() }, Version::V5);
        net.subscribe(a1, "x/#", QoS::AtLeastOnce);
        net.set_reading(a1, false);
        net.hold_acks(a1);
        net.publish(a2, "x/1", "1", QoS::AtLeastOnce);
        net.unsubscribe(a1, &["x/#"]);
        net.set_reading(a1, true);
        assert_eq!(net.received(a1), ["x/1: 1 q1", "UNSUBACK 1 00"]);
        net.lose(a1);
        for millis in [1000, 2000] {
            net.crash(at(millis)); // the second time from what the restored broker has stored
        }
        assert_eq!(net.broker.status().stored, 1);
        if let Some(mount) = mount {
            net.broker.policy_mut().mounts.insert("a1".into(), mount.into());
        }
        if is_resumed {
            let a1 = net.resume(&named(Version::V5, "a1"));
            assert_eq!(net.received(a1), ["x/1: 1 q1 again"], "{mount:?}");
        } else {
            let a1 = net.client(Version::V5, "a1");
            assert!(net.received(a1).is_empty(), "{mount:?}");
        }
    }
}

/// A session without subscriptions and messages has nothing of a tenant: it goes on under another mount point, and keeps that.
#[test]
fn an_empty_session_may_come_under_another_mount_point() {
    let (mut net, [a1, _, _, root]) = tenants(BrokerConfig { durable: true, ..config() }, Version::V5);
    net.lose(a1);
    net.broker.policy_mut().mounts.insert("a1".into(), "t/b".into());
    let a1 = net.resume(&named(Version::V5, "a1"));
    net.subscribe(a1, "x", QoS::AtLeastOnce);
    net.lose(a1);
    net.publish(root, "t/b/x", "1", QoS::AtLeastOnce);
    net.crash(at(1000));
    net.broker.policy_mut().mounts.insert("a1".into(), "t/b".into());
    let a1 = net.resume(&named(Version::V5, "a1"));
    assert_eq!(net.received(a1), ["x: 1 q1"]);
}

#[test]
fn what_is_too_long_in_full_is_refused() {
    let mut net = Net::plain();
    net.broker.policy_mut().mounts.insert("c".into(), "m".repeat(1000));
    let client = net.client(Version::V5, "c");
    let long = "x".repeat(65_000);
    net.send(client, &[message(&long, "1", QoS::AtLeastOnce).into()]);
    assert_eq!(net.received(client), ["PUBACK 1 90"]);
    net.subscribe_all(client, &[(&long, QoS::AtMostOnce), ("t", QoS::AtMostOnce)]);
    assert_eq!(net.received(client), ["SUBACK 1 8f 00"]);
    net.unsubscribe(client, &[&long]);
    assert_eq!(net.received(client), ["UNSUBACK 1 11"]);
    let will = Will { topic: TopicName::new(&long).unwrap(), ..Will::default() };
    net.broker.policy_mut().mounts.insert("d".into(), "m".repeat(1000));
    let client = net.try_connect(&Connect { will: Some(will), ..named(Version::V5, "d") });
    assert_eq!(net.received(client), ["CONNACK 90"]);
}

#[test]
fn a_mount_point_is_a_topic() {
    for text in ["", "a/+", "#", "a\0"] {
        assert!(matches!(MountPoint::new(text), Err(MountPointError::Topic(_))), "{text:?}");
    }
    for text in ["$share", "$share/g", "$SYS", "$SYS/x"] {
        assert_eq!(MountPoint::new(text), Err(MountPointError::Reserved));
    }
    let mount = MountPoint::new("$tenants/a").unwrap();
    assert_eq!(
        (mount.as_str(), format!("{mount} {mount:?}").as_str()),
        ("$tenants/a", "$tenants/a MountPoint(\"$tenants/a\")")
    );
}

/// Retain As Published is kept under a mount point.
/// [5.0: MQTT-3.3.1-12, MQTT-3.3.1-13]
#[test]
fn a_message_is_retained_as_the_subscription_says() {
    let (mut net, [a1, a2, _, root]) = tenants(config(), Version::V5);
    let usual = Subscription::new("r", QoS::AtMostOnce).unwrap();
    net.subscribe_on(a1, &usual, 0);
    net.subscribe_on(a2, &Subscription { retain_as_published: true, ..usual }, 0);
    net.retain(root, "t/a/r", "1", QoS::AtMostOnce);
    net.publish(root, "t/a/r", "2", QoS::AtMostOnce);
    assert_eq!(net.received(a1), ["r: 1", "r: 2"]);
    assert_eq!(net.received(a2), ["r: 1 retained", "r: 2"]);
}
