//! Bridges of 3.1 and 3.1.1. The bridge bit of the protocol level stands for two subscription options of 5.0: No Local
//! and Retain As Published.

use mqtt_sansio::broker::{Answer, Decision};
use mqtt_sansio::codec::{Connect, SubAckReasonCode, Subscribe, Subscription};
use mqtt_sansio::{QoS, Version};

use crate::broker::{Net, Peer, message, named};
use crate::server::id;

const OLD: [Version; 2] = [Version::V31, Version::V311];
const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn bridge(net: &mut Net, version: Version) -> Peer {
    net.connect(&Connect { is_bridge: true, ..named(version, "bridge") })
}

/// Pitfall 28: a message published by a bridge of 3.1 or 3.1.1 is not sent back to it, whether one of its filters
/// matches or several. Other clients receive it.
#[test]
fn pitfall_28_a_bridge_does_not_receive_its_own_messages() {
    for version in OLD {
        for qos in ALL_QOS {
            let mut net = Net::plain();
            let bridge = bridge(&mut net, version);
            let other = net.client(version, "other");
            for peer in [bridge, other] {
                net.subscribe(peer, "t/#", QoS::ExactlyOnce);
                net.subscribe(peer, "t/+", QoS::ExactlyOnce);
            }
            net.publish(bridge, "t/1", "mine", qos);
            net.retain(bridge, "t/1", "mine, kept", qos);
            assert_eq!(net.received(bridge).iter().filter(|line| line.contains("mine")).count(), 0, "{version}");
            assert_eq!(net.received(other).iter().filter(|line| line.contains("mine")).count(), 2, "{version}");
            // The same after a second SUBSCRIBE with the filter, which bridges send on every connection.
            net.subscribe(bridge, "t/#", QoS::ExactlyOnce);
            assert_eq!(net.received(bridge), [""; 0], "{version}");
            net.publish(other, "t/1", "theirs", qos);
            assert_eq!(net.received(bridge).iter().filter(|line| line.contains("theirs")).count(), 1, "{version}");
        }
    }
}

/// Pitfall 28: a message for a bridge keeps the RETAIN flag with which it was published. For other clients of these
/// versions RETAIN marks messages that were stored before they subscribed.
#[test]
fn pitfall_28_a_bridge_gets_retain_as_published() {
    for version in OLD {
        for qos in ALL_QOS {
            let mut net = Net::plain();
            let bridge = bridge(&mut net, version);
            let publisher = net.client(version, "publisher");
            let other = net.client(version, "other");
            net.retain(publisher, "t/0", "before", qos);
            for peer in [bridge, other] {
                net.subscribe(peer, "t/#", QoS::AtMostOnce);
                net.received(peer);
            }
            net.retain(publisher, "t/1", "kept", qos);
            net.publish(publisher, "t/2", "passing", qos);
            net.retain(publisher, "t/1", "", qos);
            assert_eq!(net.received(bridge), ["t/1: kept retained", "t/2: passing", "t/1:  retained"], "{version}");
            assert_eq!(net.received(other), ["t/1: kept", "t/2: passing", "t/1: "], "{version}");
        }
    }
}

/// The same when the policy grants the subscription later.
#[test]
fn pitfall_28_a_subscription_granted_later_has_the_bridge_options() {
    for version in OLD {
        let mut net = Net::plain();
        let bridge = bridge(&mut net, version);
        let other = net.client(version, "other");
        net.received(bridge);
        net.broker.policy_mut().subscriptions.push_back(Decision::Later);
        net.send(bridge, &[Subscribe::new(id(1), &[Subscription::new("t/#", QoS::AtMostOnce).unwrap()]).into()]);
        let ticket = net.broker.policy().asked.last().unwrap().0;
        net.broker.answer(net.now, ticket, Answer::Subscribe(SubAckReasonCode::GrantedQoS0)).unwrap();
        net.flush();
        net.publish(bridge, "t/1", "mine", QoS::AtMostOnce);
        net.retain(other, "t/1", "theirs", QoS::AtMostOnce);
        assert_eq!(net.received(bridge), ["SUBACK 1 00", "t/1: theirs retained"], "{version}");
    }
}

/// The policy sees the subscription options that apply to a bridge.
#[test]
fn the_policy_sees_the_options_of_a_bridge() {
    for (is_bridge, version) in
        [(true, Version::V31), (true, Version::V311), (false, Version::V311), (true, Version::V5)]
    {
        let mut net = Net::plain();
        let peer = net.connect(&Connect { is_bridge, ..named(version, "bridge") });
        net.subscribe(peer, "t", QoS::AtMostOnce);
        let expected = is_bridge && version != Version::V5;
        assert_eq!(net.broker.policy().options, [(expected, expected)], "{version}");
    }
}

/// In 5.0 the subscription options decide alone, and the bridge bit changes nothing. A client that reconnects without
/// the bit subscribes like any other.
#[test]
fn clients_without_bridge_options() {
    let mut net = Net::plain();
    let peer = bridge(&mut net, Version::V5);
    net.subscribe(peer, "t", QoS::AtMostOnce);
    net.publish_packet(peer, &mqtt_sansio::codec::Publish { retain: true, ..message("t", "mine", QoS::AtMostOnce) });
    assert_eq!(net.received(peer), ["t: mine"]);
    net.lose(peer);

    let peer = net.resume(&named(Version::V311, "bridge"));
    net.subscribe(peer, "t", QoS::AtMostOnce);
    net.received(peer);
    net.publish(peer, "t", "mine again", QoS::AtMostOnce);
    assert_eq!(net.received(peer), ["t: mine again"]);
}
