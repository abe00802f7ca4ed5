//! A microcontroller on the host: a UART of small buffers with a broker at its other end, a virtual clock, and an executor
//! that advances the clock when nothing else can happen.

#![allow(dead_code)] // each program uses only some of these items

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Buf;
use embassy_futures::select::select;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use mqtt_sansio::Instant;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin};
use mqtt_sansio_embedded::Clock;

/// A clock that stands still until the executor advances it.
#[derive(Clone, Default)]
pub(crate) struct TestClock(Rc<Timers>);

#[derive(Default)]
struct Timers {
    now: Cell<Instant>,
    /// The timers that are waited for.
    waiting: RefCell<Vec<(Instant, Waker)>>,
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        self.0.now.get()
    }

    async fn wait_until(&self, at: Instant) {
        poll_fn(|cx| {
            if at <= self.now() {
                return Poll::Ready(());
            }
            self.0.waiting.borrow_mut().push((at, cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl TestClock {
    /// Advances to the next timer. Returns whether there is one.
    fn advance(&self) -> bool {
        // A future that is still waiting sets its timer again.
        let timers = self.0.waiting.take();
        let Some(next) = timers.iter().map(|(at, _)| *at).min() else { return false };
        self.0.now.set(next.max(self.now()));
        timers.into_iter().for_each(|(_, waker)| waker.wake());
        true
    }
}

/// Notes that the future can go on.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a future to its end, in virtual time.
///
/// # Panics
///
/// If the future waits for something that never happens, or does not end within a virtual day.
#[track_caller]
pub(crate) fn run<F: Future>(clock: &TestClock, future: F) -> F::Output {
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut future = pin!(future);
    loop {
        while flag.0.swap(false, Ordering::Relaxed) {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
        }
        assert!(clock.advance(), "the future waits for nothing that can happen");
        assert!(clock.now() < Instant::from_micros(86_400_000_000), "the future does not end");
    }
}

/// One direction of a UART.
#[derive(Default)]
struct Wire {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// Number of bytes that are still transferred before one is lost; `None` if none is lost.
    lost_after: Option<usize>,
    /// Whether a lost byte is an error of the reader: an overrun.
    has_overrun: bool,
    /// Whether the other end is gone.
    is_closed: bool,
    wakers: Vec<Waker>,
}

impl Wire {
    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// A half of a UART. The other end sees its end when the half is dropped.
pub(crate) struct Half(Rc<RefCell<Wire>>);

impl Drop for Half {
    fn drop(&mut self) {
        let mut wire = self.0.borrow_mut();
        wire.is_closed = true;
        wire.wake();
    }
}

impl ErrorType for Half {
    type Error = ErrorKind;
}

impl Read for Half {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        poll_fn(|cx| {
            let mut wire = self.0.borrow_mut();
            if wire.bytes.is_empty() {
                return match (std::mem::take(&mut wire.has_overrun), wire.is_closed) {
                    (true, _) => Poll::Ready(Err(ErrorKind::Other)),
                    (false, true) => Poll::Ready(Ok(0)),
                    (false, false) => {
                        wire.wakers.push(cx.waker().clone());
                        Poll::Pending
                    }
                };
            }
            let count = buffer.len().min(wire.bytes.len());
            buffer.iter_mut().zip(wire.bytes.drain(..count)).for_each(|(to, from)| *to = from);
            wire.wake();
            Poll::Ready(Ok(count))
        })
        .await
    }
}

impl Write for Half {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        poll_fn(|cx| {
            let mut wire = self.0.borrow_mut();
            let count = bytes.len().min(wire.capacity - wire.bytes.len());
            if wire.is_closed {
                return Poll::Ready(Err(ErrorKind::BrokenPipe));
            }
            if count == 0 {
                wire.wakers.push(cx.waker().clone());
                return Poll::Pending;
            }
            for &byte in bytes.iter().take(count) {
                if wire.has_overrun {
                    break; // until the reader has noticed
                }
                match &mut wire.lost_after {
                    Some(0) => {
                        wire.lost_after = None;
                        wire.has_overrun = true;
                    }
                    Some(left) => {
                        *left -= 1;
                        wire.bytes.push_back(byte);
                    }
                    None => wire.bytes.push_back(byte),
                }
            }
            wire.wake();
            Poll::Ready(Ok(count))
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// The two ends of a UART: reader and writer of the client, and of the broker.
pub(crate) struct Uart {
    pub(crate) client: (Half, Half),
    pub(crate) broker: (Half, Half),
}

/// A UART that holds `capacity` bytes in each direction, and loses a byte to the client after `lost_after` bytes.
pub(crate) fn uart(capacity: usize, lost_after: Option<usize>) -> Uart {
    let wire = |lost_after| Rc::new(RefCell::new(Wire { capacity, lost_after, ..Wire::default() }));
    let (down, up) = (wire(lost_after), wire(None));
    let ends = |wire: &Rc<RefCell<Wire>>| (Half(Rc::clone(wire)), Half(Rc::clone(wire)));
    let ((client_reader, broker_writer), (broker_reader, client_writer)) = (ends(&down), ends(&up));
    Uart { client: (client_reader, client_writer), broker: (broker_reader, broker_writer) }
}

/// A broker at the other end of UARTs.
pub(crate) struct Server {
    pub(crate) broker: RefCell<Broker<AllowAll>>,
    clock: TestClock,
}

impl Server {
    pub(crate) fn new(clock: &TestClock) -> Self {
        Self { broker: RefCell::new(Broker::new(BrokerConfig::default(), AllowAll)), clock: clock.clone() }
    }

    /// Runs one connection until its end.
    pub(crate) async fn serve(&self, (mut reader, mut writer): (Half, Half)) {
        let id = self.broker.borrow_mut().open(self.clock.now(), Origin::UNKNOWN);
        let (mut input, mut piece) = (Vec::new(), [0; 64]);
        'connection: loop {
            {
                let mut broker = self.broker.borrow_mut();
                let mut rest = &input[..];
                broker.receive(self.clock.now(), id, &mut rest);
                let used = input.len() - rest.len();
                input.drain(..used);
                broker.poll(self.clock.now());
                while broker.next_ready().is_some() {}
            }
            loop {
                let output = {
                    let mut broker = self.broker.borrow_mut();
                    let transmit = broker.transmit(id);
                    transmit.copy_to_bytes(transmit.remaining())
                };
                if output.is_empty() {
                    break;
                }
                if writer.write_all(&output).await.is_err() {
                    break 'connection;
                }
            }
            let (is_over, deadline) = {
                let broker = self.broker.borrow();
                (broker.is_over(id), broker.deadline())
            };
            if is_over {
                break;
            }
            let read = async {
                let count = reader.read(&mut piece).await.unwrap_or_default();
                input.extend_from_slice(&piece[..count]);
                count > 0
            };
            let timer = async {
                match deadline {
                    Some(deadline) => self.clock.wait_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            if let embassy_futures::select::Either::First(false) = select(read, timer).await {
                break;
            }
        }
        self.broker.borrow_mut().closed(self.clock.now(), id);
    }
}
