//! A packet in one line.

use mqtt_sansio::codec::{Delivery, Packet};

pub(crate) fn describe(packet: &Packet<'_>) -> String {
    let name = packet.packet_type();
    match packet {
        Packet::Connect(it) => {
            format!("{name} {} \"{}\", keep alive {} s", it.version, it.client_identifier, it.keep_alive)
        }
        Packet::ConnAck(it) => format!("{name} {}, session present: {}", it.reason_code, it.session_present),
        Packet::Publish(it) => {
            let delivery = match it.delivery {
                Delivery::AtMostOnce => "QoS 0".to_owned(),
                Delivery::AtLeastOnce { id, dup } => format!("QoS 1, {id}{}", if dup { ", again" } else { "" }),
                Delivery::ExactlyOnce { id, dup } => format!("QoS 2, {id}{}", if dup { ", again" } else { "" }),
            };
            let retain = if it.retain { ", retain" } else { "" };
            format!("{name} {delivery}{retain}, \"{}\": {} bytes of payload", it.topic, it.payload.len())
        }
        Packet::Subscribe(it) => {
            let filters: Vec<_> = it.subscriptions.iter().map(|it| format!("\"{}\" {}", it.filter, it.qos)).collect();
            format!("{name} {}, {}", it.id, filters.join(", "))
        }
        Packet::Unsubscribe(it) => {
            let filters: Vec<_> = it.filters.iter().map(|filter| format!("\"{filter}\"")).collect();
            format!("{name} {}, {}", it.id, filters.join(", "))
        }
        Packet::Disconnect(it) => format!("{name} {}", it.reason_code),
        Packet::Auth(it) => format!("{name} {}", it.reason_code),
        // Acknowledgements and pings.
        other => other.packet_id().map_or(name.to_string(), |id| format!("{name} {id}")),
    }
}
