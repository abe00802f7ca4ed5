//! What is refused, what is only dropped, and that the policy is told why.

#![cfg(feature = "broker")]

use mqtt_sansio::broker::BrokerConfig;
use mqtt_sansio::codec::{Connect, Will};
use mqtt_sansio::{QoS, TopicName, Version};

#[path = "common/broker.rs"]
mod broker;
#[path = "common/server.rs"]
mod server;

use self::broker::{BOTH, Net, config, named, with_server};
use self::server::will;

/// A will with this topic.
fn will_to<'a>(topic: &'a str, payload: &'a str) -> Will<'a> {
    Will { topic: TopicName::new(topic).unwrap(), ..will(payload, 0) }
}

/// A bridge announces its state under `$SYS`, and has a will there. It may connect; nobody but the broker publishes there.
#[test]
fn pitfall_29_a_will_under_sys_does_not_refuse_the_client() {
    const STATE: &str = "$SYS/broker/connection/bridge/state";
    let deep = format!("$SYS{}", "/x".repeat(200));
    for version in [Version::V31, Version::V311, Version::V5] {
        for topic in [STATE, "$SYS", deep.as_str()] {
            let mut net = Net::plain();
            let watcher = net.client(version, "watcher");
            net.subscribe_all(watcher, &[("$SYS/#", QoS::AtMostOnce)]);
            net.heard(watcher);
            let last = Will { retain: true, ..will_to(topic, "0") };
            let bridge = net.connect(&Connect { will: Some(last), ..named(version, "bridge") });
            net.notices();
            net.lose(bridge);
            let expected = ["bridge disconnected: lost".to_owned(), format!("bridge will refused: {topic} 87")];
            assert_eq!(net.notices(), expected);
            assert!(net.heard(watcher).is_empty(), "nobody gets it");
            assert_eq!(net.broker.status().retained, 0, "nor is it retained");
            let counters = net.broker.counters();
            assert_eq!((counters.wills, counters.wills_refused, counters.messages_refused), (0, 1, 0));
        }
    }
}

/// A will that could never be published for another reason is refused with its CONNECT, as before.
#[test]
fn other_wills_are_refused_with_their_client() {
    let deep = "x/".repeat(200);
    let connacks = |config: BrokerConfig, last: Will<'_>| {
        BOTH.map(|version| {
            let mut net = Net::new(config.clone());
            let client = net.try_connect(&Connect { will: Some(last), ..named(version, "client") });
            let is_over = net.is_over(client);
            (net.heard(client).concat(), is_over)
        })
    };
    let expected = |v311: &str, v5: &str| [(v311.to_owned(), v311 != "CONNACK 00"), (v5.to_owned(), true)];
    // No return code of 3.1.1 says that.
    assert_eq!(connacks(config(), will_to(&deep, "x")), expected("", "CONNACK 90"));
    // What the server does not do is unknown to a client of 3.1.1 [MQTT-3.2.2-12, MQTT-3.2.2-13].
    let without_retain = with_server(|server| server.retain_available = false);
    let retained = Will { retain: true, ..will_to("a", "x") };
    assert_eq!(connacks(without_retain, retained), expected("CONNACK 00", "CONNACK 9a"));
    let qos_0 = with_server(|server| server.maximum_qos = QoS::AtMostOnce);
    let qos_1 = Will { qos: QoS::AtLeastOnce, ..will_to("a", "x") };
    assert_eq!(connacks(qos_0, qos_1), expected("CONNACK 00", "CONNACK 9b"));
}

/// A will for which there is no room among the retained messages reaches those who are there, and the policy is told.
#[test]
fn a_will_that_is_not_retained_is_told() {
    for version in BOTH {
        let mut net = Net::new(BrokerConfig { max_retained: 0, ..config() });
        let watcher = net.client(version, "watcher");
        net.subscribe(watcher, "a", QoS::AtMostOnce);
        let last = Will { retain: true, ..will_to("a", "gone") };
        let client = net.connect(&Connect { will: Some(last), ..named(version, "client") });
        net.notices();
        net.lose(client);
        assert_eq!(net.notices(), ["client disconnected: lost", "client will refused: a 97"]);
        assert_eq!(net.heard(watcher), ["a: gone"]);
        let counters = net.broker.counters();
        assert_eq!((counters.wills, counters.wills_refused, counters.messages_refused), (1, 0, 1));
    }
}
