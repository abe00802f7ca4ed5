//! The lifetime of a session: its subscriptions and messages exist when the client reconnects before the session has
//! expired, and are gone otherwise, however the connection has ended (sections 3.1.2.4, 3.1.2.11.2 and 3.14.2.2.2).

use mqtt_sansio::codec::{Connect, ConnectProperties, Disconnect, DisconnectProperties, DisconnectReasonCode};
use mqtt_sansio::{QoS, SessionExpiry, Version};

use crate::broker::{Net, Peer, named, with_server};

const NEVER: u32 = u32::MAX;

/// How the connection ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// With the Session Expiry Interval in DISCONNECT, if any; otherwise with that of CONNECT.
    Disconnect(DisconnectReasonCode, Option<u32>),
    Lost,
    Silent,
    ProtocolError,
    Command,
}

const ENDS: [End; 8] = [
    End::Disconnect(DisconnectReasonCode::NormalDisconnection, None),
    End::Disconnect(DisconnectReasonCode::DisconnectWithWillMessage, None),
    End::Disconnect(DisconnectReasonCode::NormalDisconnection, Some(0)),
    End::Disconnect(DisconnectReasonCode::NormalDisconnection, Some(7)),
    End::Lost,
    End::Silent,
    End::ProtocolError,
    End::Command,
];

fn connect(expiry: u32, clean_start: bool) -> Connect<'static> {
    let properties = ConnectProperties { session_expiry_interval: Some(expiry), ..ConnectProperties::default() };
    Connect { clean_start, properties, ..named(Version::V5, "client") }
}

fn end(net: &mut Net, client: Peer, how: End) {
    match how {
        End::Disconnect(reason_code, session_expiry_interval) => {
            let properties = DisconnectProperties { session_expiry_interval, ..DisconnectProperties::default() };
            net.send(client, &[Disconnect { reason_code, properties }.into()]);
        }
        End::Lost => net.lose(client),
        End::Silent => net.wait(15),
        End::ProtocolError => net.send_bytes(client, b"\x10\x00"),
        End::Command => net.disconnect(client, DisconnectReasonCode::ServerMoved),
    }
    assert!(net.is_over(client), "{how:?}");
}

/// [5.0: MQTT-3.1.2-5, MQTT-3.1.2-6, MQTT-3.1.2-23, MQTT-4.1.0-2]
#[test]
fn subscriptions_and_messages_last_as_long_as_the_session() {
    let mut cases = 0;
    for how in ENDS {
        for asked in [0, 5, 10, NEVER] {
            if asked == 0 && matches!(how, End::Disconnect(_, Some(1..))) {
                continue; // a Protocol Error (section 3.14.2.2.2)
            }
            for maximum in [6, NEVER] {
                for (back, clean_start) in [(0, false), (4, false), (4, true), (6, false), (1000, false), (1000, true)]
                {
                    let case = format!("{how:?}, {asked} of {maximum} seconds, back after {back}, {clean_start}");
                    let mut net = Net::new(with_server(|server| {
                        server.max_session_expiry_interval = SessionExpiry::after(maximum)
                    }));
                    let publisher = net.client(Version::V311, "publisher");
                    let client = net.try_connect(&Connect { keep_alive: 10, ..connect(asked, false) });
                    net.received(client);
                    net.subscribe(client, "a/#", QoS::AtLeastOnce);
                    net.subscribe(client, "$share/g/b", QoS::AtLeastOnce);
                    end(&mut net, client, how);
                    net.publish(publisher, "a/b", "1", QoS::AtLeastOnce);
                    net.wait(back);
                    let lasts = match how {
                        End::Disconnect(_, Some(changed)) => changed,
                        _ => asked,
                    };
                    let lasts = lasts.min(maximum);
                    let is_there = lasts == NEVER || back < u64::from(lasts);
                    assert_eq!(net.broker.status().subscriptions, if is_there { 2 } else { 0 }, "{case}");
                    assert_eq!(net.broker.status().stored, u64::from(is_there), "{case}");
                    let client = net.try_connect(&connect(asked, clean_start));
                    let received = net.received(client);
                    let resumes = is_there && !clean_start;
                    let expected: &[&str] =
                        if resumes { &["CONNACK 00 present", "a/b: 1 q1"] } else { &["CONNACK 00"] };
                    assert_eq!(received, expected, "{case}");
                    net.publish(publisher, "a/b", "2", QoS::AtLeastOnce);
                    net.publish(publisher, "b", "3", QoS::AtLeastOnce);
                    let expected: &[&str] = if resumes { &["a/b: 2 q1", "b: 3 q1"] } else { &[] };
                    assert_eq!(net.received(client), expected, "{case}");
                    assert_eq!((net.broker.status().stored, net.broker.status().stored_bytes), (0, 0), "{case}");
                    cases += 1;
                }
            }
        }
    }
    assert_eq!(cases, (8 * 4 - 1) * 2 * 6);
}

/// Before 5.0 a session never expires, or it ends with its connection, unless the server has a limit.
/// [3.1.1: MQTT-3.1.2-4, MQTT-3.1.2-6]
#[test]
fn before_5_0_a_session_is_clean_or_never_expires() {
    for version in [Version::V31, Version::V311] {
        for clean_start in [false, true] {
            for maximum in [100, NEVER] {
                let mut net =
                    Net::new(with_server(|server| server.max_session_expiry_interval = SessionExpiry::after(maximum)));
                let publisher = net.client(version, "publisher");
                let client = net.connect(&Connect { clean_start, ..named(version, "client") });
                net.subscribe(client, "a", QoS::AtLeastOnce);
                net.lose(client);
                net.publish(publisher, "a", "1", QoS::AtLeastOnce);
                net.wait(99);
                assert_eq!(net.broker.status().stored, u64::from(!clean_start));
                net.wait(1);
                let is_there = !clean_start && maximum == NEVER;
                assert_eq!(net.broker.status().stored, u64::from(is_there));
                net.wait(1_000_000_000);
                assert_eq!(net.broker.status().subscriptions, u32::from(is_there));
                let client = net.try_connect(&named(version, "client"));
                // 3.1 has no Session Present flag.
                let present = if is_there && version != Version::V31 { "CONNACK 00 present" } else { "CONNACK 00" };
                let received = net.received(client);
                assert_eq!(received[0], present);
                assert_eq!(received[1..], vec!["a: 1 q1"; usize::from(is_there)]);
            }
        }
    }
}

/// A session is resumed in another version, with its messages and subscriptions.
#[test]
fn a_session_is_resumed_in_another_version() {
    for (first, second) in [(Version::V311, Version::V5), (Version::V5, Version::V311)] {
        let mut net = Net::plain();
        let publisher = net.client(Version::V5, "publisher");
        let client = net.client(first, "client");
        net.subscribe(client, "a", QoS::AtLeastOnce);
        net.lose(client);
        net.publish(publisher, "a", "1", QoS::ExactlyOnce);
        let client = net.resume(&named(second, "client"));
        assert_eq!(net.received(client), ["a: 1 q1"]);
        net.publish(publisher, "a", "2", QoS::ExactlyOnce);
        assert_eq!(net.received(client), ["a: 2 q1"]);
    }
}
