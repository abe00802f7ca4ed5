//! A broker in the process, and transports that fail.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::collections::VecDeque;
use std::future::{Ready, poll_fn, ready};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use mqtt_sansio::Instant;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin, Secret};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Sleep, sleep_until};

/// A random number generator (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// A broker in a task of its own, and a network to it.
#[derive(Clone)]
pub struct World {
    commands: UnboundedSender<Command>,
    connections: Arc<AtomicUsize>,
    /// The numbers of bytes after which the next connections are cut; none: never.
    cuts: Arc<Mutex<VecDeque<usize>>>,
    /// Whether attempts to connect fail.
    is_down: Arc<Mutex<bool>>,
}

enum Command {
    Open(DuplexStream),
    /// All connections are lost.
    Cut,
    /// The broker forgets everything.
    Restart,
}

impl World {
    /// Starts a broker.
    pub fn new() -> Self {
        let (commands, receiver) = unbounded_channel();
        tokio::spawn(serve(receiver));
        Self { commands, connections: Arc::default(), cuts: Arc::default(), is_down: Arc::default() }
    }

    /// A connector to the broker.
    pub fn connector(&self) -> impl FnMut() -> Ready<io::Result<Cut<DuplexStream>>> + Send + 'static {
        let world = self.clone();
        move || {
            if *world.is_down.lock().unwrap() {
                return ready(Err(io::ErrorKind::ConnectionRefused.into()));
            }
            let (own, other) = duplex(1 << 14);
            world.connections.fetch_add(1, Ordering::Relaxed);
            world.commands.send(Command::Open(other)).unwrap();
            let left = world.cuts.lock().unwrap().pop_front().unwrap_or(usize::MAX);
            ready(Ok(Cut { stream: own, left }))
        }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Loses all connections.
    pub fn cut(&self) {
        self.commands.send(Command::Cut).unwrap();
    }

    /// Cuts the next connection after so many bytes.
    pub fn cut_next_after(&self, bytes: usize) {
        self.cuts.lock().unwrap().push_back(bytes);
    }

    /// Restarts the broker without its sessions.
    pub fn restart(&self) {
        self.commands.send(Command::Restart).unwrap();
    }

    pub fn set_down(&self, is_down: bool) {
        *self.is_down.lock().unwrap() = is_down;
    }
}

struct Link {
    id: ConnectionId,
    stream: DuplexStream,
    input: BytesMut,
    is_over: bool,
}

async fn serve(mut commands: UnboundedReceiver<Command>) {
    let base = tokio::time::Instant::now();
    let new = || {
        let mut config = BrokerConfig::new(Secret::new([7; 16]));
        config.server.max_stored = 100_000; // a receiver that is not connected loses nothing
        Broker::new(config, AllowAll)
    };
    let mut broker = new();
    let mut links: Vec<Link> = Vec::new();
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        loop {
            let now = Instant::from_micros(1) + base.elapsed();
            let mut has_progress = false;
            loop {
                match commands.poll_recv(cx) {
                    Poll::Ready(Some(Command::Open(stream))) => {
                        let id = broker.open(now, Origin::UNKNOWN);
                        links.push(Link { id, stream, input: BytesMut::new(), is_over: false });
                    }
                    Poll::Ready(Some(Command::Cut)) => links.drain(..).for_each(|link| broker.closed(now, link.id)),
                    Poll::Ready(Some(Command::Restart)) => {
                        links.clear();
                        broker = new();
                    }
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
                has_progress = true;
            }
            for link in &mut links {
                if broker.takes_input(link.id) {
                    match tokio_util::io::poll_read_buf(Pin::new(&mut link.stream), cx, &mut link.input) {
                        Poll::Ready(Ok(1..)) => has_progress = true,
                        Poll::Ready(Ok(0) | Err(_)) => link.is_over = true,
                        Poll::Pending => {}
                    }
                }
                if !link.input.is_empty() {
                    let mut rest = &link.input[..];
                    broker.receive(now, link.id, &mut rest);
                    let used = link.input.len() - rest.len();
                    link.input.advance(used);
                }
            }
            broker.poll(now);
            while broker.next_ready().is_some() {}
            for link in &mut links {
                let transmit = broker.transmit(link.id);
                while transmit.has_remaining() {
                    match Pin::new(&mut link.stream).poll_write(cx, transmit.chunk()) {
                        Poll::Ready(Ok(count)) => {
                            has_progress = true;
                            transmit.advance(count);
                        }
                        Poll::Ready(Err(_)) => {
                            link.is_over = true;
                            break;
                        }
                        Poll::Pending => break,
                    }
                }
                link.is_over |= !transmit.has_remaining() && broker.is_over(link.id);
            }
            links.retain(|link| {
                if link.is_over {
                    broker.closed(now, link.id);
                }
                !link.is_over
            });
            if !has_progress {
                let Some(deadline) = broker.deadline() else { return Poll::Pending };
                let deadline = base + deadline.since(Instant::from_micros(1));
                let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                timer.as_mut().reset(deadline);
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        }
    })
    .await;
}

/// A transport that is lost after so many bytes in both directions together.
pub struct Cut<S> {
    stream: S,
    left: usize,
}

impl<S> Cut<S> {
    pub const fn new(stream: S, left: usize) -> Self {
        Self { stream, left }
    }

    fn check(&self) -> io::Result<()> {
        if self.left == 0 { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        let mut bytes = vec![0; self.left.min(buffer.remaining())];
        let mut part = ReadBuf::new(&mut bytes);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut part);
        buffer.put_slice(part.filled());
        self.left -= part.filled().len();
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        let part = &bytes[..bytes.len().min(self.left)];
        let written = Pin::new(&mut self.stream).poll_write(cx, part);
        if let Poll::Ready(Ok(count)) = written {
            self.left -= count;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
