//! The state of a client, and what its actions do to it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use mqtt_sansio::client::{Action, ClientSession, Close, Resumption, SubscribeError};
use mqtt_sansio::codec::{Disconnect, PacketBuf};
use mqtt_sansio::store::Batch;
use mqtt_sansio::{AbandonReason, Instant, Outcome, OwnedMessage, OwnedOutcome, ReasonCode, ReceivedMessage, Version};

use crate::error::{CloseReason, DriverError};
use crate::event::Event;
use crate::operations::{Operations, Request};
use crate::options::Options;
use crate::subscriptions::Subscriptions;

/// Payloads of this size are not copied, unless they would keep a much larger buffer in memory.
const LARGE: usize = 2048;

/// How far the client has come.
pub(crate) enum Phase {
    Running,
    /// No more commands are accepted, and the driver disconnects when all operations have their outcomes.
    Draining,
    /// The driver disconnects at once.
    Leaving,
    Ended(Result<(), DriverError>),
}

/// How a connection has ended.
pub(crate) enum Over {
    /// The application has disconnected.
    Requested,
    Closed(CloseReason),
}

/// The state under the lock.
pub(crate) struct State {
    pub(crate) session: ClientSession,
    pub(crate) operations: Operations,
    pub(crate) phase: Phase,
    /// Wakes the driver; `None` if it is running or will run.
    pub(crate) driver: Option<Waker>,
    pub(crate) events: VecDeque<Event>,
    /// Number of messages among the events, and their size in bytes.
    messages: usize,
    message_bytes: usize,
    pub(crate) events_waker: Option<Waker>,
    /// Whether the application takes events.
    pub(crate) events_open: bool,
    pub(crate) has_clients: bool,
    /// Whether an operation had its outcome, so that the session may have room.
    pub(crate) has_outcome: bool,
    /// Changes of a durable session that are to be stored.
    pub(crate) batches: Vec<Batch>,
    /// Number of operations that were given up after the client was asked to end.
    pub(crate) unfinished: usize,
    subscriptions: Subscriptions,
    /// Requests of subscriptions that are to be sent again.
    due: VecDeque<Arc<PacketBuf>>,
    options: Options,
}

impl State {
    pub(crate) fn new(session: ClientSession, options: Options) -> Self {
        Self {
            session,
            operations: Operations::default(),
            phase: Phase::Running,
            driver: None,
            events: VecDeque::new(),
            messages: 0,
            message_bytes: 0,
            events_waker: None,
            events_open: true,
            has_clients: true,
            has_outcome: false,
            batches: Vec::new(),
            unfinished: 0,
            subscriptions: Subscriptions::default(),
            due: VecDeque::new(),
            options,
        }
    }

    /// Notes who wakes the driver.
    pub(crate) fn set_driver(&mut self, waker: &Waker) {
        match &mut self.driver {
            Some(own) => own.clone_from(waker),
            None => self.driver = Some(waker.clone()),
        }
    }

    /// Returns whether more messages may be added to the events.
    pub(crate) fn has_room(&self) -> bool {
        !self.events_open
            || (self.messages < self.options.max_events.get()
                && self.message_bytes < self.options.max_event_bytes.get())
    }

    /// Adds an event. If too many events about connections wait, the last of them is replaced, so that they cannot pile
    /// up while the application takes none.
    pub(crate) fn push_event(&mut self, event: Event) {
        if !self.events_open {
            return;
        }
        if event.is_message() {
            self.messages += 1;
            self.message_bytes += event.size();
        } else if self.events.len() - self.messages >= self.options.max_events.get()
            && self.events.back().is_some_and(|last| !last.is_message())
        {
            self.events.pop_back();
        }
        self.events.push_back(event);
    }

    /// Moves all events to an empty queue.
    pub(crate) fn take_events(&mut self, into: &mut VecDeque<Event>) {
        std::mem::swap(into, &mut self.events);
        (self.messages, self.message_bytes) = (0, 0);
    }

    /// Handles an action of the session; returns the reason if the connection is over. `input` is what was given to the
    /// session.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        action: Action<'_>,
        input: &Bytes,
        wakers: &mut Vec<Waker>,
    ) -> Option<Over> {
        match action {
            Action::Message(_) if !self.events_open => {}
            Action::Message(message) => self.push_event(Event::Message(own(&message, input))),
            Action::Done { token, outcome } => {
                self.has_outcome = true;
                if !matches!(self.phase, Phase::Running) && matches!(outcome, Outcome::Abandoned(_)) {
                    self.unfinished += 1;
                }
                if let Some((request, outcome)) = self.operations.finish(token, || outcome.to_owned(), wakers) {
                    self.requested(request, outcome);
                }
            }
            Action::Payload(part) => self.push_event(Event::payload(&part)),
            Action::Auth(auth) => {
                let data = auth.properties.authentication_data.map(Bytes::copy_from_slice);
                self.push_event(Event::Auth { reason_code: auth.reason_code, data });
            }
            Action::Connected(connected) => {
                self.push_event(Event::Connected(connected.to_owned()));
                let may_be_new =
                    connected.session != Resumption::Resumed || self.session.config().version == Version::V31;
                if may_be_new && self.options.resubscribe {
                    let requests = self.subscriptions.requests().into_iter();
                    self.due = requests.filter(|request| !self.operations.is_requested_again(request)).collect();
                }
                self.resubscribe(now); // now, so that the session sends the requests before what is queued
            }
            Action::Close(Close::Requested) => return Some(Over::Requested),
            Action::Close(why) => return Some(Over::Closed(CloseReason::from(&why))),
            _ => {}
        }
        None
    }

    /// Handles the outcome of a request.
    fn requested(&mut self, request: Request, outcome: OwnedOutcome) {
        match request {
            Request::Subscribe(packet) => self.subscriptions.subscribed(&packet, &outcome),
            Request::Unsubscribe(packet) => self.subscriptions.unsubscribed(&packet, &outcome),
            Request::Resubscribe(packet, filters) => {
                self.subscriptions.remove(&packet, &filters, &outcome);
                self.push_event(Event::Resubscribed { filters, outcome });
            }
        }
    }

    /// Takes the changes of a durable session. It holds back what depends on them until they are stored.
    pub(crate) fn collect_changes(&mut self) {
        while let Some(batch) = self.session.changes() {
            self.batches.push(batch);
        }
    }

    /// Requests the subscriptions again that are due. If the session is full, the rest stays due until operations have
    /// their outcomes.
    pub(crate) fn resubscribe(&mut self, now: Instant) {
        while let Some(request) = self.due.pop_front() {
            let (subscriptions, properties) = self.subscriptions.of(&request);
            if subscriptions.is_empty() {
                continue;
            }
            let filters = subscriptions.iter().map(|it| it.filter.as_str().into()).collect();
            let own = Arc::clone(&request);
            match self.session.subscribe_with(now, &subscriptions, &properties) {
                Ok(token) => self.operations.insert_own(token, Request::Resubscribe(own, filters)),
                Err(SubscribeError::QueueFull) => {
                    self.due.push_front(own);
                    break;
                }
                Err(error) => {
                    let outcome = Outcome::Abandoned(AbandonReason::NotSupported(match error {
                        SubscribeError::NotSupported(code) => code,
                        SubscribeError::TooLarge { .. } => ReasonCode::PacketTooLarge,
                        _ => ReasonCode::ImplementationSpecificError,
                    }));
                    self.requested(Request::Resubscribe(own, filters), outcome.to_owned());
                }
            }
        }
    }

    /// Disconnects if the client is to end and nothing is left to be done; returns whether it did.
    pub(crate) fn disconnect_if_due(&mut self, now: Instant) -> bool {
        let is_due = match self.phase {
            Phase::Running | Phase::Ended(_) => false,
            Phase::Leaving => true,
            Phase::Draining => self.session.is_connected() && self.is_idle(),
        };
        is_due && self.session.disconnect(now, &Disconnect::default()).is_ok()
    }

    /// Returns whether all operations have their outcomes, those apart whose bytes are about to be written.
    pub(crate) fn is_idle(&self) -> bool {
        self.session.queued() == 0 && self.session.operations_in_flight() == 0 && self.due.is_empty()
    }
}

/// Returns an owned message. A large payload shares the buffer of the input if the buffer is not much larger.
pub(crate) fn own(message: &ReceivedMessage<'_>, input: &Bytes) -> OwnedMessage {
    let size = message.payload.len();
    if size >= LARGE && size >= input.len() / 4 { message.to_owned_in(input) } else { message.to_owned() }
}
