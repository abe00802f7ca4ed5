//! The effects of a session's transitions, beside packets: outcomes for the application, and changes to be stored.

use alloc::boxed::Box;

use super::link::held::{HeldPacket, WaitsFor};
use super::outcome::AbandonReason;
use super::report::Report;
use super::store::durable::Durable;
use super::token::Token;
use crate::codec::QoS;

/// The outcomes that wait to be reported, and the changes to be stored if the session is durable.
#[derive(Clone)]
pub(crate) struct Effects {
    report: Report,
    durable: Option<Box<Durable>>,
}

impl Effects {
    pub(crate) fn new(durable: Option<Durable>) -> Self {
        Self { report: Report::default(), durable: durable.map(Box::new) }
    }

    #[inline]
    pub(crate) const fn report(&self) -> &Report {
        &self.report
    }

    #[inline]
    pub(crate) const fn report_mut(&mut self) -> &mut Report {
        &mut self.report
    }

    /// Reports that an operation was given up.
    pub(crate) fn abandoned(&mut self, token: Token, reason: AbandonReason) {
        self.report.push(token, Some(reason));
    }

    /// Returns what a durable session has beyond others.
    #[inline]
    pub(crate) fn durable(&self) -> Option<&Durable> {
        self.durable.as_deref()
    }

    #[inline]
    pub(crate) fn durable_mut(&mut self) -> Option<&mut Durable> {
        self.durable.as_deref_mut()
    }

    /// Returns whether a message of this QoS has to wait, which has its packet identifier already. `number` is that of the
    /// message in a store that is shared.
    ///
    /// A message of QoS 2 waits until the changes so far are committed. A message of QoS 1 waits only behind others,
    /// because messages are sent again in the order in which they were sent \[MQTT-4.6.0-1\].
    pub(crate) fn message_waits(&mut self, qos: QoS, number: u64) -> bool {
        self.durable_mut().is_some_and(|durable| {
            let must_wait = |durable: &mut Durable| durable.must_wait(WaitsFor::Message(number));
            durable.is_stored() && (durable.held().has_messages() || (qos == QoS::ExactlyOnce && must_wait(durable)))
        })
    }

    /// Returns whether a message of this QoS has to wait, of which the packet identifier is about to be stored.
    pub(crate) fn new_message_waits(&self, qos: QoS) -> bool {
        self.durable().is_some_and(|durable| durable.new_message_waits(qos))
    }

    /// Holds a message that has to wait. `number` is that of the message in a store that is shared.
    pub(crate) fn hold_message(&mut self, qos: QoS, number: u64, packet: HeldPacket) {
        let waits_for = if qos == QoS::ExactlyOnce { WaitsFor::Message(number) } else { WaitsFor::Nothing };
        if !self.holds(waits_for, || packet) {
            bug!("the message has to wait");
        }
    }

    /// Returns whether packets wait that promise something.
    pub(crate) fn holds_packets(&self) -> bool {
        self.durable().is_some_and(Durable::holds_packets)
    }

    /// Returns whether packets wait.
    #[inline]
    pub(crate) const fn has_held(&self) -> bool {
        match &self.durable {
            None => false,
            Some(durable) => durable.has_held(),
        }
    }

    /// Returns whether changes of the session are stored.
    #[inline]
    pub(crate) fn stores(&self) -> bool {
        self.durable.as_ref().is_some_and(|durable| durable.is_stored())
    }

    /// Makes the session durable, or no longer durable.
    pub(crate) fn set_durable(&mut self, durable: Option<Durable>) {
        self.durable = durable.map(Box::new);
    }

    /// Returns whether a packet has to wait, for this or for the packets before it, and holds it if so.
    #[inline]
    pub(crate) fn holds(&mut self, waits_for: WaitsFor, packet: impl FnOnce() -> HeldPacket) -> bool {
        self.durable.is_some() && self.holds_if_durable(waits_for, packet)
    }

    // Out of line, so that sessions that are not durable do not pay for it.
    #[cold]
    #[inline(never)]
    fn holds_if_durable(&mut self, waits_for: WaitsFor, packet: impl FnOnce() -> HeldPacket) -> bool {
        self.durable_mut().is_some_and(|durable| durable.holds(packet(), waits_for))
    }
}
