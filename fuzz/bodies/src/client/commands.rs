//! Commands for the client.

use core::fmt::Display;

use arbitrary::{Arbitrary as _, Result};
use bytes::{Buf as _, Bytes};
use mqtt_sansio::client::ClientSession;
use mqtt_sansio::codec::{AckProperties, PubAck, Publish, PublishProperties, QoS, Sender, Subscribe, Unsubscribe};
use mqtt_sansio::generators::Lists;
use mqtt_sansio::{Instant, Message, Token};

use super::Ops;

impl Ops<'_> {
    /// Gives a command, and checks that a refused one changes nothing.
    pub(super) fn command<T, E: Display>(
        &mut self,
        command: impl FnOnce(&mut ClientSession, Instant) -> Result<T, E>,
    ) -> Option<T> {
        fn state(client: &mut ClientSession) -> impl PartialEq + core::fmt::Debug + use<> {
            let changes: usize = client.clone().changes().map_or(0, |batch| batch.size());
            let transmit = client.transmit().remaining();
            let counts = (client.operations_in_flight(), client.queued(), client.in_flight());
            (changes, transmit, counts, client.is_connected())
        }
        // Expired messages leave the queue when the time advances.
        let is_later = self.now > self.latest;
        self.latest = self.latest.max(self.now);
        let before = state(&mut self.client);
        match command(&mut self.client, self.now) {
            Ok(done) => Some(done),
            Err(error) => {
                assert!(is_later || state(&mut self.client) == before, "refused, but something has changed: {error}");
                None
            }
        }
    }

    fn ask<E: Display>(&mut self, command: impl FnOnce(&mut ClientSession, Instant) -> Result<Token, E>) {
        if let Some(token) = self.command(command) {
            let last = self.open.last().max(self.done.last());
            assert!(last.is_none_or(|last| *last < token), "tokens ascend");
            self.open.insert(token);
        }
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
                let Publish { topic, payload, retain, properties, .. } =
                    lists.publish(&mut self.u, version, Sender::Client)?;
                let topic_alias = properties.topic_alias.filter(|_| size == 1);
                let properties = PublishProperties { topic_alias, ..properties };
                let message = Message::new(topic.as_bytes(), payload).retain(retain).properties(properties);
                self.ask(|client, now| client.publish(now, &message.qos(qos)));
                return Ok(());
            }
        };
        self.ask(|client, now| client.publish(now, &message.qos(qos)));
        Ok(())
    }

    pub(super) fn subscribe(&mut self) -> Result<()> {
        let (mut lists, version) = (Lists::default(), self.version);
        let Subscribe { subscriptions, properties, .. } = lists.subscribe(&mut self.u, version)?;
        let subscriptions: Vec<_> = subscriptions.iter().collect();
        self.ask(|client, now| client.subscribe_with(now, &subscriptions, &properties));
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self) -> Result<()> {
        let (mut lists, version) = (Lists::default(), self.version);
        let Unsubscribe { filters, properties, .. } = lists.unsubscribe(&mut self.u, version)?;
        let filters: Vec<_> = filters.iter().collect();
        self.ask(|client, now| client.unsubscribe_with(now, &filters, &properties));
        Ok(())
    }

    pub(super) fn acknowledge(&mut self) -> Result<()> {
        if self.ack_handles.is_empty() {
            return Ok(());
        }
        let ack_handle = *self.u.choose(&self.ack_handles)?;
        let (mut lists, version) = (Lists::default(), self.version);
        let PubAck { reason_code, properties, .. } = lists.pub_ack(&mut self.u, version)?;
        let is_plain = self.u.arbitrary()?;
        let properties = if is_plain { AckProperties::default() } else { properties };
        let done = self.command(|client, now| client.ack_with(now, ack_handle, reason_code, &properties));
        assert!(
            done.is_none() || self.command(|client, now| client.ack(now, ack_handle, reason_code)).is_none(),
            "an acknowledgement handle is good for one acknowledgement"
        );
        Ok(())
    }

    pub(super) fn withdraw(&mut self) -> Result<()> {
        let tokens: Vec<_> = self.open.iter().chain(&self.done).copied().collect();
        if tokens.is_empty() {
            return Ok(());
        }
        let token = *self.u.choose(&tokens)?;
        let tries = self.client.tries(token);
        let done = self.command(|client, now| client.withdraw(now, token));
        assert!(done.is_none() || (tries.is_some() && self.open.contains(&token)), "{token} was open");
        assert!(done.is_none() || self.client.tries(token).is_none(), "{token} is not open any more");
        Ok(())
    }

    pub(super) fn disconnect(&mut self) -> Result<()> {
        let (mut lists, version) = (Lists::default(), self.version);
        let disconnect = lists.disconnect(&mut self.u, version, Sender::Client)?;
        self.command(|client, now| client.disconnect(now, &disconnect));
        Ok(())
    }

    pub(super) fn authenticate(&mut self) -> Result<()> {
        let (again, data) = (self.u.arbitrary()?, <&[u8]>::arbitrary(&mut self.u)?);
        self.command(
            |client, now| if again { client.reauthenticate(now, data) } else { client.authenticate(now, data) },
        );
        Ok(())
    }
}
