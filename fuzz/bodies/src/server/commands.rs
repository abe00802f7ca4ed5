//! Commands for the acceptor and the session.

use core::fmt::Display;

use arbitrary::{Arbitrary as _, Result};
use bytes::{Buf as _, Bytes};
use mqtt_sansio::codec::{
    AckProperties, ConnAckProperties, ConnAckReasonCode, PubAck, Publish, PublishProperties, QoS, Sender,
    SubAckReasonCode, UnsubAckReasonCode, Version,
};
use mqtt_sansio::generators::Lists;
use mqtt_sansio::server::{Accept, Acceptor, ServerSession};
use mqtt_sansio::{Instant, Message, SessionExpiry};

use super::Ops;

impl Ops<'_> {
    /// Gives the session a command, and checks that a refused one changes nothing.
    pub(super) fn command<T, E: Display>(
        &mut self,
        command: impl FnOnce(&mut ServerSession, Instant) -> Result<T, E>,
    ) -> Option<T> {
        fn state(session: &mut ServerSession) -> impl PartialEq + core::fmt::Debug + use<> {
            let counts = (session.packet_ids_in_use(), session.queued(), session.in_flight());
            (session.transmit().remaining(), counts, session.is_connected(), session.deadline())
        }
        let session = self.session.as_mut()?;
        // Expired messages leave the queue when the time advances.
        let is_later = self.now > self.session_latest;
        self.session_latest = self.session_latest.max(self.now);
        let before = state(session);
        match command(session, self.now) {
            Ok(done) => Some(done),
            Err(error) => {
                assert!(is_later || state(session) == before, "refused, but something has changed: {error}");
                None
            }
        }
    }

    /// Gives the acceptor a command, and checks that a refused one changes nothing.
    fn decide<T, E: Display>(
        &mut self,
        command: impl FnOnce(&mut Acceptor, Instant) -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        let acceptor = self.acceptor.as_mut()?;
        let before = (acceptor.transmit().remaining(), acceptor.deadline());
        self.acceptor_latest = self.acceptor_latest.max(self.now);
        let result = command(acceptor, self.now);
        if let Err(error) = &result {
            let after = (acceptor.transmit().remaining(), acceptor.deadline());
            assert_eq!(after, before, "refused, but something has changed: {error}");
        }
        Some(result)
    }

    /// Accepts the client with the stored session or a new one.
    pub(super) fn accept(&mut self) -> Result<()> {
        let flags = self.u.arbitrary::<u8>()?;
        let set = |bit: u8| flags >> bit & 1 != 0;
        let accept = Accept {
            assigned_client_id: (!set(0)).then(|| "assigned".into()),
            server_keep_alive: set(1).then_some(2),
            session_expiry_interval: set(2).then_some(SessionExpiry::after(u32::from(flags) % 3)),
            reason_string: set(3).then(|| "welcome".into()),
            user_properties: if set(4) { vec![("a".into(), "b".into())] } else { Vec::new() },
            response_information: set(5).then(|| "r".into()),
            ..Accept::default()
        };
        let loses = set(6) && set(7);
        if self.acceptor.is_none() {
            return Ok(());
        }
        let counts = |session: &ServerSession| (session.packet_ids_in_use(), session.queued(), session.deadline());
        let before = self.session.as_ref().map(counts);
        let (kept, lost) = if loses { (None, self.session.take()) } else { (self.session.take(), None) };
        let is_kept = kept.is_some();
        match self.decide(|acceptor, now| acceptor.accept(now, kept, accept)) {
            Some(Ok(session)) => {
                if !is_kept {
                    self.forget();
                }
                self.session = Some(session);
            }
            Some(Err(refused)) => {
                self.session = refused.session.map(|session| *session).or(lost);
                assert_eq!(self.session.as_ref().map(counts), before, "the session is given back as it was");
                return Ok(());
            }
            None => return Ok(()),
        }
        (self.acceptor, self.is_attached) = (None, true);
        self.session_latest = self.session_latest.max(self.acceptor_latest);
        self.wills += u32::from(self.asked.has_will);
        self.receive_maximum = self.asked.receive_maximum;
        Ok(())
    }

    pub(super) fn refuse(&mut self) -> Result<()> {
        let code: ConnAckReasonCode = self.u.arbitrary()?;
        let reason_string = Some("no".try_into().expect("a text")).filter(|_| self.version == Version::V5);
        let properties = ConnAckProperties { reason_string, ..ConnAckProperties::default() };
        // A refusal with Success is an error of the caller.
        if code != ConnAckReasonCode::Success {
            self.decide(|acceptor, now| acceptor.refuse_with(now, code, &properties));
        }
        Ok(())
    }

    pub(super) fn publish(&mut self) -> Result<()> {
        let (mut lists, version) = (Lists::default(), self.version);
        let qos = *self.u.choose(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])?;
        let size = *self.u.choose(&[0, 1, 20, 100, 2047, 2048, 3000])?;
        let payload = Bytes::from(vec![b'x'; size]);
        let topic = *self.u.choose(&["a", "b", "c", "d/e", "", "#"])?;
        let message = match self.u.int_in_range(0..=2)? {
            0 => Message::new(topic, payload),
            1 => Message::new(topic, payload.as_ref()),
            _ => {
                let Publish { topic, retain, properties, .. } = lists.publish(&mut self.u, version, Sender::Server)?;
                let topic_alias = properties.topic_alias.filter(|_| size == 1);
                let properties = PublishProperties { topic_alias, ..properties };
                let message = Message::new(topic.as_bytes(), payload).retain(retain).properties(properties);
                let token = self.command(|session, now| session.publish(now, &message.qos(qos)));
                self.give(token);
                return Ok(());
            }
        };
        let token = self.command(|session, now| session.publish(now, &message.qos(qos)));
        self.give(token);
        Ok(())
    }

    fn give(&mut self, token: Option<mqtt_sansio::Token>) {
        if let Some(token) = token {
            let last = self.open.last().max(self.done.last());
            assert!(last.is_none_or(|last| *last < token), "tokens ascend");
            self.open.insert(token);
        }
    }

    pub(super) fn acknowledge(&mut self) -> Result<()> {
        if self.ack_handles.is_empty() {
            return Ok(());
        }
        let ack_handle = *self.u.choose(&self.ack_handles)?;
        let (mut lists, version) = (Lists::default(), self.version);
        let PubAck { reason_code, properties, .. } = lists.pub_ack(&mut self.u, version)?;
        let properties = if self.u.arbitrary()? { AckProperties::default() } else { properties };
        let done = self.command(|session, now| session.ack_with(now, ack_handle, reason_code, &properties));
        assert!(
            done.is_none() || self.command(|session, now| session.ack(now, ack_handle, reason_code)).is_none(),
            "an acknowledgement handle is good for one acknowledgement"
        );
        Ok(())
    }

    /// Answers a request, or one that was answered before.
    pub(super) fn answer(&mut self) -> Result<()> {
        if self.requests.is_empty() {
            return Ok(());
        }
        let (id, subscribes, filters) = *self.u.choose(&self.requests)?;
        let count = if self.u.ratio(1, 8)? { self.u.int_in_range(0..=3)? } else { filters };
        let done = if subscribes {
            let codes: Vec<SubAckReasonCode> = (0..count).map(|_| self.u.arbitrary()).collect::<Result<_>>()?;
            self.command(|session, now| session.suback(now, id, &codes))
        } else {
            let codes: Vec<UnsubAckReasonCode> = (0..count).map(|_| self.u.arbitrary()).collect::<Result<_>>()?;
            self.command(|session, now| session.unsuback(now, id, &codes))
        };
        assert!(done.is_none() || count == filters, "there is one code for each filter [MQTT-3.8.4-6]");
        Ok(())
    }

    pub(super) fn disconnect(&mut self) -> Result<()> {
        if self.u.arbitrary()? {
            self.command(ServerSession::take_over);
            return Ok(());
        }
        let (mut lists, version) = (Lists::default(), self.version);
        let disconnect = lists.disconnect(&mut self.u, version, Sender::Server)?;
        self.command(|session, now| session.disconnect(now, &disconnect));
        Ok(())
    }

    pub(super) fn authenticate(&mut self) -> Result<()> {
        let (challenges, data) = (self.u.arbitrary()?, <&[u8]>::arbitrary(&mut self.u)?);
        if self.acceptor.is_some() {
            self.decide(|acceptor, now| acceptor.challenge(now, data));
        } else {
            self.command(
                |session, now| if challenges { session.challenge(now, data) } else { session.authenticated(now, data) },
            );
        }
        Ok(())
    }

    /// Writes up to this many bytes.
    pub(super) fn write(&mut self, count: usize) {
        let transmit = match (&mut self.acceptor, &mut self.session) {
            (Some(acceptor), _) => acceptor.transmit(),
            (None, Some(session)) => session.transmit(),
            (None, None) => return,
        };
        let bytes = transmit.copy_to_bytes(usize::min(count, transmit.remaining()));
        self.sent.write(&bytes);
    }
}
