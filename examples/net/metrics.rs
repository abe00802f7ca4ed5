//! The status and the counters of an embedded broker, for Prometheus.
//!
//! ```text
//! cargo run -p mqtt-sansio-net-examples --example metrics
//! cargo run -p mqtt-sansio-net-examples --example metrics -- 127.0.0.1:9184
//! ```
//!
//! Without an address the program asks itself for `/metrics` once, prints the answer, and ends. The broker has a few clients in
//! memory, so that there is something to count.

// The crate itself uses no sockets. A program that embeds it does.
#![allow(clippy::disallowed_types)]

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use bytes::{Buf, Bytes};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin};
use mqtt_sansio::client::{ClientConfig, ClientSession};
use mqtt_sansio::{Message, QoS, SessionExpiry, StdClock, Subscription};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let broker = Arc::new(Mutex::new(Broker::new(BrokerConfig::default(), AllowAll)));
    use_for_a_while(&mut broker.lock().unwrap_or_else(PoisonError::into_inner))?;
    let mut registry = Registry::with_prefix("mqtt");
    registry.register_collector(Box::new(Exporter(broker)));

    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let own = listener.local_addr()?;
    println!("http://{own}/metrics");
    let server = tokio::spawn(serve(listener, Arc::new(registry)));
    if address.is_some() {
        return server.await?;
    }
    let mut socket = TcpStream::connect(own).await?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    println!("{answer}");
    Ok(())
}

/// Answers HTTP requests with the metrics.
async fn serve(listener: TcpListener, registry: Arc<Registry>) -> Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        let registry = Arc::clone(&registry);
        let service = service_fn(move |request| {
            let answer = answer(&request, &registry);
            async { Ok::<_, Infallible>(answer) }
        });
        // A client that breaks off concerns nobody else.
        tokio::spawn(async { http1::Builder::new().serve_connection(TokioIo::new(socket), service).await.ok() });
    }
}

fn answer<B>(request: &Request<B>, registry: &Registry) -> Response<Full<Bytes>> {
    let mut body = String::new();
    let status = match request.uri().path() {
        "/metrics" if text::encode(&mut body, registry).is_ok() => StatusCode::OK,
        "/metrics" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::NOT_FOUND,
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let open_metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(open_metrics));
    response
}

/// Reads the broker when Prometheus asks: the broker counts anyway, and nothing is counted twice.
#[derive(Debug)]
struct Exporter(Arc<Mutex<Broker<AllowAll>>>);

impl Collector for Exporter {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (status, counters) = {
            let broker = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (broker.status(), *broker.counters())
        };
        for (name, value) in status.entries() {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let help = "A field of mqtt_sansio::broker::Status";
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        for (name, value) in counters.entries() {
            let counter = ConstCounter::new(value);
            let help = "A field of mqtt_sansio::broker::Counters";
            // Both have `connections`: those that are open, and all that were opened.
            let name = if name == "connections" { "connections_opened" } else { name };
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

/// Lets three clients connect, subscribe and publish. The first one is lost again, and misses two messages; the second one has
/// yet to read the message of the third.
fn use_for_a_while(broker: &mut Broker<AllowAll>) -> Result<()> {
    let clock = StdClock::new();
    for number in 0..3 {
        let mut client = ClientSession::new(ClientConfig {
            client_id: format!("client-{number}"),
            session_expiry_interval: SessionExpiry::after(3600),
            ..ClientConfig::default()
        });
        client.subscribe(clock.now(), &[Subscription::new("home/#", QoS::AtLeastOnce)?])?;
        let message = Message::new("home/hall/temp", "18.0").qos(QoS::AtLeastOnce).retain(true);
        client.publish(clock.now(), &message)?;
        client.open(clock.now())?;
        let id = broker.open(clock.now(), Origin::UNKNOWN);
        loop {
            let sent = take(client.transmit());
            broker.receive(clock.now(), id, &mut &sent[..]);
            let received = take(broker.transmit(id));
            let mut input = &received[..];
            while client.poll(clock.now(), &mut input).is_some() {}
            if sent.is_empty() && received.is_empty() {
                break;
            }
        }
        if number == 0 {
            broker.closed(clock.now(), id); // what it subscribes to is stored for it from now on
        }
    }
    Ok(())
}

fn take(transmit: &mut impl Buf) -> Bytes {
    transmit.copy_to_bytes(transmit.remaining())
}
