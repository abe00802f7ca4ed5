//! The connections of an [`EngineServer`], one after the other.

use bytes::Buf;
use mqtt_sansio::codec::{
    self, AckProperties, Decoded, Limits, Packet, QoS, SubAckReasonCode, UnsubAckReasonCode, Version,
};
use mqtt_sansio::server::{Accept, Acceptor, AcceptorAction, Action, SubscribeRequest, UnsubscribeRequest};
use mqtt_sansio::{Instant, Utf8Str};

use super::EngineServer;
use crate::pair::server::Server;

impl EngineServer {
    /// Handles the actions of the acceptor.
    fn accept(&mut self, input: &mut &[u8]) -> bool {
        let Some(acceptor) = &mut self.acceptor else { return false };
        let Some(action) = acceptor.poll(self.now, input) else { return false };
        self.log.add_from_acceptor(&action);
        match action {
            AcceptorAction::Connect(connect) => {
                self.asked = (connect.client_identifier.is_empty(), connect.clean_start);
                self.challenges_left =
                    if connect.properties.authentication_method.is_some() { self.challenges } else { 0 };
                if let Some(code) = self.refusal() {
                    self.with_acceptor(|acceptor, now| acceptor.refuse(now, code))
                        .expect("there is a client to be refused");
                } else {
                    self.decide();
                }
            }
            AcceptorAction::Auth(_) => self.decide(),
            AcceptorAction::Close(_) => self.is_refused = true,
        }
        true
    }

    fn with_acceptor<T>(&mut self, command: impl FnOnce(&mut Acceptor, Instant) -> T) -> T {
        command(self.acceptor.as_mut().expect("there is an acceptor"), self.now)
    }

    /// Challenges the client, or accepts it with the stored session, if there is one.
    fn decide(&mut self) {
        let (is_nameless, is_clean) = self.asked;
        if self.challenges_left > 0 {
            self.challenges_left -= 1;
            return self.with_acceptor(|acceptor, now| acceptor.challenge(now, b"who?")).expect("it can be challenged");
        }
        self.take_over();
        if core::mem::take(&mut self.forgets) {
            self.forget();
        }
        let kept = self.session.take();
        let outlives = kept.as_ref().is_some_and(|session| session.session_expiry_interval().outlives_connection());
        if kept.is_none() {
            self.sessions += 1;
        }
        let accept = Accept {
            assigned_client_id: is_nameless.then(|| format!("client-{}", self.sessions)),
            ..Accept::default()
        };
        let mut acceptor = self.acceptor.take().expect("there is an acceptor");
        let mut session = acceptor.accept(self.now, kept, accept).expect("the client can be accepted");
        let version = session.version();
        let is_present = match codec::decode(session.transmit().chunk(), version, Limits::from_server()) {
            // 3.1 has no Session Present flag.
            Ok(Decoded::Packet { packet: Packet::ConnAck(_), .. }) if version == Version::V31 => outlives && !is_clean,
            Ok(Decoded::Packet { packet: Packet::ConnAck(connack), .. }) => connack.session_present,
            other => panic!("the first packet to an accepted client is not CONNACK but {other:?} [MQTT-3.2.0-1]"),
        };
        assert!(!is_present || (outlives && !is_clean), "Session Present without a session [MQTT-3.2.2-2]");
        self.beginnings += u32::from(!is_present);
        self.session = Some(session);
    }

    /// Session taken over: the client has reconnected before the end of its last connection was noticed [MQTT-3.1.4-3].
    fn take_over(&mut self) {
        let Some(session) = &mut self.session else { return };
        if session.take_over(self.now).is_ok() {
            while let Some(action) = session.poll_timeout(self.now) {
                self.log.add_from_server(&action);
            }
        }
        session.closed(self.now);
        self.log.closed();
        self.look();
    }

    /// Handles the actions of the session.
    fn exchange(&mut self, input: &mut &[u8]) -> bool {
        let Some(session) = &mut self.session else { return false };
        let Some(action) = session.poll(self.now, input) else { return false };
        self.log.add_from_server(&action);
        match action {
            Action::Subscribe(request) => self.subscribe(&request),
            Action::Unsubscribe(request) => self.unsubscribe(&request),
            Action::Auth(_) => session.authenticated(self.now, b"again").expect("it is the server's turn"),
            Action::Expired => {
                self.look();
                assert!(
                    self.tickets.values().all(Option::is_some),
                    "a message has no outcome although the session has expired"
                );
                self.forget();
            }
            _ => {}
        }
        self.look();
        true
    }

    fn subscribe(&mut self, request: &SubscribeRequest<'_>) {
        let mut codes = Vec::new();
        for subscription in request.subscriptions {
            if self.random.percent(self.refuses) {
                codes.push(SubAckReasonCode::UnspecifiedError);
                continue;
            }
            codes.push(match subscription.qos {
                QoS::AtMostOnce => SubAckReasonCode::GrantedQoS0,
                QoS::AtLeastOnce => SubAckReasonCode::GrantedQoS1,
                QoS::ExactlyOnce => SubAckReasonCode::GrantedQoS2,
            });
            self.subscriptions.insert(subscription.filter.as_str().to_string(), subscription.qos);
        }
        let session = self.session.as_mut().expect("it has just asked");
        let explains = session.version() == Version::V5 && codes.iter().any(|code| code.is_error());
        let reason_string = explains.then(|| Utf8Str::new("refused").expect("a text"));
        let properties = AckProperties { reason_string, ..AckProperties::default() };
        session.suback_with(self.now, request.id, &codes, &properties).expect("the request can be answered");
    }

    fn unsubscribe(&mut self, request: &UnsubscribeRequest<'_>) {
        let mut codes = Vec::new();
        for filter in request.filters {
            let existed = self.subscriptions.remove(filter.as_str()).is_some();
            codes.push(if existed { UnsubAckReasonCode::Success } else { UnsubAckReasonCode::NoSubscriptionExisted });
        }
        let session = self.session.as_mut().expect("it has just asked");
        session.unsuback(self.now, request.id, &codes).expect("the request can be answered");
    }
}

impl Server for EngineServer {
    const IS_CHECKED: bool = true;

    fn open(&mut self, now: Instant) {
        self.now = now;
        self.is_refused = false;
        self.acceptor = Some(Acceptor::new(self.config.clone(), now));
    }

    fn receive(&mut self, now: Instant, input: &mut &[u8]) -> bool {
        self.now = now;
        if self.acceptor.is_some() {
            let has_more = self.accept(input);
            // The session of an earlier connection has deadlines of its own.
            return (self.acceptor.is_some() && self.exchange(&mut &[][..])) || has_more;
        }
        self.exchange(input)
    }

    fn transmit(&mut self) -> &mut impl Buf {
        match (&mut self.acceptor, &mut self.session) {
            (Some(acceptor), _) => acceptor.transmit(),
            (None, Some(session)) => session.transmit(),
            (None, None) => panic!("there is no connection"),
        }
    }

    fn is_over(&self) -> bool {
        match (&self.acceptor, &self.session) {
            (Some(_), _) => self.is_refused,
            (None, session) => session.as_ref().is_none_or(|session| !session.is_connected()),
        }
    }

    fn closed(&mut self, now: Instant) {
        self.now = now;
        self.acceptor = None;
        if let Some(session) = &mut self.session {
            session.closed(now);
        }
        self.log.closed();
    }

    fn deadline(&self) -> Option<Instant> {
        let acceptor = self.acceptor.as_ref().and_then(Acceptor::deadline);
        let session = self.session.as_ref().and_then(|session| session.deadline());
        match (acceptor, session) {
            (Some(acceptor), Some(session)) => Some(acceptor.min(session)),
            (acceptor, session) => acceptor.or(session),
        }
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.acceptor.is_none() && self.deadline().is_none_or(|at| at > now)
    }

    fn session_number(&self) -> u32 {
        self.beginnings
    }

    fn packet_ids_in_use(&self) -> Option<usize> {
        let session = self.session.as_ref().filter(|session| self.acceptor.is_none() && session.is_connected())?;
        (session.queued() == 0).then(|| session.packet_ids_in_use())
    }

    fn assert_consistent(&self) {
        if let Some(session) = &self.session {
            session.assert_consistent();
        }
    }
}
