//! The broker of this repository on a thread of its own, over TCP on 127.0.0.1.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::mpsc::channel;
use std::task::{Context, Poll};
use std::thread;

use bytes::{Buf, BytesMut};
use mqtt_sansio::StdClock;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin};
use tokio::io::AsyncWrite;
use tokio::net::{TcpListener, TcpStream};

struct Link {
    id: ConnectionId,
    stream: TcpStream,
    input: BytesMut,
    is_over: bool,
}

/// Starts the broker, which lives as long as the program.
pub fn start() -> SocketAddr {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            let mut service = Service {
                listener,
                broker: Broker::new(BrokerConfig::default(), AllowAll),
                links: Vec::new(),
                clock: StdClock::new(),
            };
            poll_fn(|cx| service.poll(cx)).await;
        });
    });
    receiver.recv().unwrap()
}

struct Service {
    listener: TcpListener,
    broker: Broker<AllowAll>,
    links: Vec<Link>,
    clock: StdClock,
}

impl Service {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = self.clock.now();
            let mut has_progress = false;
            while let Poll::Ready(Ok((stream, _))) = self.listener.poll_accept(cx) {
                stream.set_nodelay(true).unwrap();
                let id = self.broker.open(now, Origin::UNKNOWN);
                self.links.push(Link { id, stream, input: BytesMut::with_capacity(1 << 17), is_over: false });
                has_progress = true;
            }
            for link in &mut self.links {
                if self.broker.takes_input(link.id) {
                    link.input.reserve(1 << 16);
                    match tokio_util::io::poll_read_buf(Pin::new(&mut link.stream), cx, &mut link.input) {
                        Poll::Ready(Ok(1..)) => has_progress = true,
                        Poll::Ready(Ok(0) | Err(_)) => link.is_over = true,
                        Poll::Pending => {}
                    }
                }
                let mut rest = &link.input[..];
                self.broker.receive(now, link.id, &mut rest);
                let used = link.input.len() - rest.len();
                link.input.advance(used);
                has_progress |= used > 0;
            }
            self.broker.poll(now);
            while self.broker.next_ready().is_some() {}
            for link in &mut self.links {
                let transmit = self.broker.transmit(link.id);
                while transmit.has_remaining() {
                    match Pin::new(&mut link.stream).poll_write(cx, transmit.chunk()) {
                        Poll::Ready(Ok(count)) => transmit.advance(count),
                        Poll::Ready(Err(_)) => {
                            link.is_over = true;
                            break;
                        }
                        Poll::Pending => break,
                    }
                }
                link.is_over |= self.broker.is_over(link.id);
            }
            let broker = &mut self.broker;
            self.links.retain(|link| {
                if link.is_over {
                    broker.closed(now, link.id);
                }
                !link.is_over
            });
            if !has_progress {
                return Poll::Pending; // no keep-alive: the clients are busy
            }
        }
    }
}
