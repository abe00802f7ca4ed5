//! A client and a server with a link between them, driven by data of the fuzzer.

use core::num::{NonZeroU16, NonZeroU32};
use core::time::Duration;

use arbitrary::{Result, Unstructured};
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::codec::{Disconnect, QoS, Subscription, Version};
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{Message, Overflow, SessionExpiry};
use mqtt_sansio_testkit::{EngineServer, Event, Fate, Pair, Reconnect};

use super::nonzero;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Runs a client and a server as the data say, over a link that is cut where the data say. The pair itself checks all
/// packets against the rules.
pub fn pair_ops(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(mut net) = pair(&mut u) else { return };
    let (mut tokens, mut tickets) = (Vec::new(), Vec::new());
    // Exhausted data would yield zeros without end.
    for number in 0..200 {
        if u.is_empty() || act(&mut u, &mut net, number, &mut tokens, &mut tickets).is_err() {
            break;
        }
    }
    net.run_until_quiet();
    assert_eq!((net.client().operations_in_flight(), net.client().queued()), (0, 0), "nothing is open at the client");
    assert!(net.server().is_settled(), "nothing is open at the server");
    for token in tokens {
        assert!(net.fate(token).is_some(), "{token} has an outcome");
    }
    for (ticket, payload, qos) in tickets {
        let times = net.messages().filter(|message| message.payload == payload.as_bytes()).count();
        match (qos, net.server().fate(ticket)) {
            (_, None) => panic!("{payload} has no outcome"),
            (QoS::AtLeastOnce, Some(Fate::Answered(_))) => assert!(times >= 1, "{payload} has come"),
            (QoS::ExactlyOnce, Some(Fate::Answered(_))) => assert_eq!(times, 1, "{payload} has come once"),
            _ => {}
        }
    }
    let closes =
        |events: &[Event]| events.iter().any(|event| matches!(event, Event::Close(why) if is_protocol_error(why)));
    assert!(!closes(net.events()), "the client finds no fault with the server");
    assert!(!closes(net.server().events()), "the server finds no fault with the client");
}

fn is_protocol_error(why: &str) -> bool {
    why.starts_with("protocol error") || why.starts_with("malformed")
}

fn pair(u: &mut Unstructured<'_>) -> Result<Pair<EngineServer>> {
    let version = *u.choose(&Version::ALL)?;
    let is_v5 = version == Version::V5;
    let flags = u.arbitrary::<u16>()?;
    let set = |bit: u16| flags >> bit & 1 != 0;
    let small = |u: &mut Unstructured<'_>| Ok(NonZeroU16::MIN.saturating_add(u.int_in_range(0..=3)?));
    let client = ClientConfig {
        version,
        client_id: "c".into(),
        clean_start: is_v5,
        session_expiry_interval: SessionExpiry::after(if is_v5 { 3600 } else { 0 }),
        keep_alive: None,
        receive_maximum: if set(0) { small(u)? } else { NonZeroU16::MAX },
        topic_alias_maximum: if set(1) { 2 } else { 0 },
        topic_aliases: if set(2) { 2 } else { 0 },
        max_stored: if set(3) { 4 } else { 10_000 },
        overflow: if set(4) { Overflow::DropOldest } else { Overflow::Refuse },
        transmit_limit: nonzero(if set(5) { 100 } else { 65_536 }),
        answer_limit: nonzero(if set(5) { 100 } else { 65_536 }),
        deliver_in_parts: if set(6) { NonZeroU32::new(10) } else { None },
        min_backoff: 0,
        max_backoff: 1,
        ..ClientConfig::default()
    };
    let server = ServerConfig {
        receive_maximum: if set(7) { small(u)? } else { NonZeroU16::MAX },
        topic_alias_maximum: if set(8) { 2 } else { 0 },
        topic_aliases: if set(9) { 2 } else { 0 },
        max_stored: if set(10) { 4 } else { 1000 },
        overflow: if set(11) { Overflow::DropOldest } else { Overflow::Refuse },
        transmit_limit: nonzero(if set(12) { 100 } else { 65_536 }),
        answer_limit: nonzero(if set(12) { 100 } else { 65_536 }),
        deliver_in_parts: if set(13) { NonZeroU32::new(10) } else { None },
        store_qos_0: set(14),
        ..ServerConfig::default()
    };
    let seed = u.arbitrary::<u8>()?;
    let net = Pair::seeded(seed.into()).client(client).server(EngineServer::new(server));
    let overlooks = if set(15) { 60 } else { 0 };
    Ok(net.reconnect(Reconnect::AtOnce).overlooking(overlooks))
}

type Published = (mqtt_sansio_testkit::Ticket, String, QoS);

fn act(
    u: &mut Unstructured<'_>,
    net: &mut Pair<EngineServer>,
    number: usize,
    tokens: &mut Vec<mqtt_sansio::Token>,
    tickets: &mut Vec<Published>,
) -> Result<()> {
    let now = net.now();
    match u.int_in_range(0..=15)? {
        0..=3 => {
            let message = Message::new(*u.choose(&["a", "b"])?, vec![b'x'; *u.choose(&[0, 10, 3000])?]);
            tokens.extend(net.client().publish(now, &message.qos(*u.choose(&QOS)?)));
        }
        4..=7 => {
            let (payload, qos) = (format!("{number}"), *u.choose(&QOS)?);
            let message = Message::new(*u.choose(&["a", "b"])?, &payload).qos(qos);
            // Before CONNACK the client does not know of a session and asks for a new one.
            if net.events().iter().any(|event| matches!(event, Event::Connected(_)))
                && let Ok(ticket) = net.server().publish(now, &message)
            {
                tickets.push((ticket, payload, qos));
            }
        }
        8 => {
            let filters = [Subscription::new("a", QoS::AtLeastOnce).expect("a filter")];
            tokens.extend(net.client().subscribe(now, &filters));
        }
        9..=10 => net.cut_after(u.int_in_range(0..=200)?),
        11 => net.cut(),
        12 => _ = net.client().disconnect(now, &Disconnect::default()),
        13 => {
            let pause = Duration::from_micros(u.int_in_range(0..=50_000)?);
            net.run_for(pause);
        }
        _ => {
            for _ in 0..u.int_in_range(1..=10)? {
                net.step();
            }
        }
    }
    Ok(())
}
