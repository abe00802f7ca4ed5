//! When a connection of a broker is ready: for output that its driver does not know of, and for input that is taken again.

use bytes::Buf;
use mqtt_sansio::broker::{Admission, ConnectionId, Decision};
use mqtt_sansio::{Message, Version};

use crate::broker::{BOTH, Net};
use crate::server::{QOS_0, QOS_1};

const PINGREQ: &[u8] = b"\xc0\x00";
/// The beginning of a PINGREQ, or of an AUTH packet.
const BEGINNING: &[u8] = &[0xc0];

/// Serves a connection whose transport takes no bytes, as a driver that gives what is left of the input again each time that
/// the connection is ready. Returns how often that is.
fn turns(net: &mut Net, id: ConnectionId, rest: &[u8]) -> u32 {
    let mut turns = 0;
    while let Some(ready) = net.broker.next_ready() {
        assert_eq!(ready, id, "nothing happens to others");
        turns += 1;
        assert!(turns < 10, "the connection is ready again and again");
        assert!(net.broker.transmit(id).has_remaining(), "it is ready for its output");
        let mut input = rest;
        net.broker.receive(net.now, id, &mut input);
        assert_eq!(input, rest, "the rest of the packet is missing");
    }
    turns
}

/// A connection whose output waits is ready once for it, whatever is done with its input meanwhile.
#[test]
fn a_connection_is_ready_once_for_the_same_output() {
    for version in BOTH {
        for qos in [QOS_0, QOS_1] {
            let mut net = Net::plain();
            let peer = net.client(version, "a");
            net.subscribe(peer, "t", qos);
            let id = net.id(peer);
            let mut input = &[PINGREQ, BEGINNING].concat()[..];
            net.broker.receive(net.now, id, &mut input);
            assert_eq!((input, turns(&mut net, id, input)), (BEGINNING, 1), "{version}: PINGRESP");
            net.broker.publish(net.now, &Message::new("t", "x").qos(qos)).unwrap();
            assert_eq!(turns(&mut net, id, BEGINNING), 1, "{version} {qos}: a message more");
            // A part is written, and nothing is added.
            net.broker.transmit(id).advance(1);
            net.broker.receive(net.now, id, &mut &*BEGINNING);
            assert_eq!(turns(&mut net, id, BEGINNING), 0, "{version} {qos}: the driver knows of the rest");
            let transmit = net.broker.transmit(id);
            transmit.advance(transmit.remaining());
            net.broker.receive(net.now, id, &mut &*PINGREQ);
            assert_eq!(turns(&mut net, id, BEGINNING), 1, "{version} {qos}: as much as before, at another place");
        }
    }
}

/// As above, before the client is accepted: its challenge waits to be written.
#[test]
fn a_connecting_client_is_ready_once_for_the_same_challenge() {
    let mut net = Net::plain();
    net.broker.policy_mut().admissions.push_back(Decision::Now(Admission::Challenge(b"prove it".to_vec())));
    let peer = net.open_unserved(Version::V5);
    let id = net.id(peer);
    let connect = b"\x10\x12\x00\x04MQTT\x05\x02\x00\x3c\x04\x15\x00\x01M\x00\x01a";
    let mut input = &[&connect[..], &[0xf0]].concat()[..];
    net.broker.receive(net.now, id, &mut input);
    assert_eq!((input, turns(&mut net, id, input)), (&[0xf0][..], 1));
}
