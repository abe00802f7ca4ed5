//! The clients. Each publishes `count` messages of 64 bytes with `window` of them in flight, and returns when the last one has
//! its outcome. A message of QoS 1 is the last one, so that the broker has taken those of QoS 0 before.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mqtt_endpoint_tokio::mqtt_ep;
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::{Message, QoS, Version};
use tokio::sync::Semaphore;

pub const TOPIC: &str = "bench/clients";
pub const PAYLOAD: &[u8] = &[7; 64];

/// What each client has to do.
#[derive(Clone, Copy)]
pub struct Work {
    pub address: SocketAddr,
    pub qos: QoS,
    pub count: usize,
    pub window: u16,
}

pub async fn sansio(work: Work) -> Result<Duration> {
    let config = ClientConfig {
        version: Version::V311,
        client_id: "sansio".into(),
        keep_alive: None,
        max_in_flight: NonZeroU16::new(work.window).context("no window")?,
        ..ClientConfig::default()
    };
    let (client, events, driver) = mqtt_sansio_tokio::connect(config, mqtt_sansio_tokio::tcp(work.address.to_string()));
    drop(events);
    let driver = tokio::spawn(driver);
    client.publish(Message::new(TOPIC, PAYLOAD).qos(QoS::AtLeastOnce)).await?;
    let begin = std::time::Instant::now();
    let mut window = VecDeque::new();
    for _ in 0..work.count {
        if window.len() == usize::from(work.window) {
            window.pop_front().context("no window")?.await?;
        }
        window.push_back(client.queue(Message::new(TOPIC, PAYLOAD).qos(work.qos)).await?);
    }
    for completion in window {
        ensure!(completion.await?.is_success(), "a message has failed");
    }
    client.publish(Message::new(TOPIC, PAYLOAD).qos(QoS::AtLeastOnce)).await?;
    let time = begin.elapsed();
    client.disconnect().await?;
    driver.await??;
    Ok(time)
}

pub async fn rumqttc(work: Work) -> Result<Duration> {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS as Qos};
    let mut options = MqttOptions::new("rumqttc", work.address.ip().to_string(), work.address.port());
    options.set_keep_alive(Duration::from_secs(600)).set_inflight(work.window);
    let (client, mut event_loop) = AsyncClient::new(options, work.window.into());
    event_loop.network_options.set_tcp_nodelay(true);
    while !matches!(event_loop.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
    let qos = match work.qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    };
    let begin = std::time::Instant::now();
    let publisher = tokio::spawn(async move {
        for _ in 0..work.count {
            client.publish(TOPIC, qos, false, PAYLOAD).await?;
        }
        client.publish(TOPIC, Qos::AtLeastOnce, false, PAYLOAD).await?;
        anyhow::Ok(client)
    });
    let mut left = if qos == Qos::AtMostOnce { 1 } else { work.count + 1 };
    while left > 0 {
        if let Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) = event_loop.poll().await? {
            left -= 1;
        }
    }
    let time = begin.elapsed();
    publisher.await??;
    Ok(time)
}

pub async fn endpoint(work: Work) -> Result<Duration> {
    use mqtt_ep::packet::{Packet, Qos, v3_1_1};
    let endpoint = mqtt_ep::Endpoint::<mqtt_ep::role::Client>::new(mqtt_ep::Version::V3_1_1);
    let stream = tokio::net::TcpStream::connect(work.address).await?;
    stream.set_nodelay(true)?;
    endpoint.attach(mqtt_ep::transport::TcpTransport::from_stream(stream), mqtt_ep::Mode::Client).await?;
    endpoint.set_auto_pub_response(true).await?;
    let connect = v3_1_1::Connect::builder().client_id("endpoint").unwrap().clean_session(true).build().unwrap();
    endpoint.send(connect).await?;
    ensure!(matches!(endpoint.recv().await?, Packet::V3_1_1Connack(_)), "no CONNACK");
    let qos = match work.qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    };
    let window = Semaphore::new(work.window.into());
    let publish = async |qos: Qos| {
        let builder = v3_1_1::Publish::builder().topic_name(TOPIC).unwrap().qos(qos).payload(PAYLOAD);
        let packet = if qos == Qos::AtMostOnce {
            builder.build().unwrap()
        } else {
            window.acquire().await?.forget();
            builder.packet_id(endpoint.acquire_packet_id().await?).build().unwrap()
        };
        endpoint.send(packet).await?;
        anyhow::Ok(())
    };
    let begin = std::time::Instant::now();
    let send = async {
        for _ in 0..work.count {
            publish(qos).await?;
        }
        publish(Qos::AtLeastOnce).await
    };
    let receive = async {
        let mut left = if qos == Qos::AtMostOnce { 1 } else { work.count + 1 };
        while left > 0 {
            if let Packet::V3_1_1Puback(_) | Packet::V3_1_1Pubcomp(_) = endpoint.recv().await? {
                left -= 1;
                window.add_permits(1);
            }
        }
        anyhow::Ok(())
    };
    tokio::try_join!(send, receive)?;
    let time = begin.elapsed();
    endpoint.close().await?;
    Ok(time)
}
