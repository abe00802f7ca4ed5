//! The policy: honest clients may do what they ask for, the others may do everything among themselves, and it takes its time
//! to decide about them.

use mqtt_sansio::broker::{
    Admission, Answer, AuthStep, Client, Decision, DecisionId, DropReason, Ended, Notice, Policy,
};
use mqtt_sansio::codec::{ConnAckReasonCode, Connect, PubAckReasonCode, SubAckReasonCode, Subscription};
use mqtt_sansio::server::Close;
use mqtt_sansio::{QoS, ReceivedMessage};
use mqtt_sansio_testkit::Random;

use super::honest::{USER, number_of};

/// Something that has happened to an honest client.
pub(crate) enum Event {
    /// A copy of a message for it was dropped.
    Dropped(usize, DropReason),
    /// Its connection is over, and not because of its DISCONNECT or a lost transport; or it was refused what it has asked for.
    Harmed(usize, String),
}

/// What a decision is about that comes later.
#[derive(Clone, Copy)]
enum Question {
    Connect,
    Publish,
    Subscribe(QoS),
}

pub(crate) struct Gate {
    random: Random,
    questions: Vec<(DecisionId, Question)>,
    pub(crate) events: Vec<Event>,
}

/// Topics of those that are not honest.
const OWN: &str = "nasty/";

impl Gate {
    pub(crate) const fn new(random: Random) -> Self {
        Self { random, questions: Vec::new(), events: Vec::new() }
    }

    /// Takes a decision that was put off, and its answer.
    pub(crate) fn take_answer(&mut self) -> Option<(DecisionId, Answer)> {
        if self.questions.is_empty() {
            return None;
        }
        let at = self.random.index(self.questions.len());
        let (id, question) = self.questions.swap_remove(at);
        let refuses = self.random.percent(20);
        let answer = match question {
            Question::Connect if refuses => Answer::Connect(ConnAckReasonCode::BadUserNameOrPassword.into()),
            Question::Connect => Answer::Connect(Admission::accept()),
            Question::Publish if refuses => Answer::Publish(PubAckReasonCode::NotAuthorized),
            Question::Publish => Answer::Publish(PubAckReasonCode::Success),
            Question::Subscribe(_) if refuses => Answer::Subscribe(SubAckReasonCode::NotAuthorized),
            Question::Subscribe(qos) => Answer::Subscribe(qos.into()),
        };
        Some((id, answer))
    }

    fn decide<T>(&mut self, id: DecisionId, question: Question, later: u8, answer: T) -> Decision<T> {
        if self.random.percent(later) {
            self.questions.push((id, question));
            return Decision::Later;
        }
        Decision::Now(answer)
    }
}

fn is_honest(client: Client<'_>) -> bool {
    client.user_name == Some(USER)
}

impl Policy for Gate {
    fn connect(&mut self, id: DecisionId, connect: &Connect<'_>) -> Decision<Admission> {
        if connect.user_name.is_some_and(|name| name == *USER) {
            return Decision::Now(Admission::accept());
        }
        if connect.will.as_ref().is_some_and(|will| !will.topic.as_str().starts_with(OWN)) {
            return Decision::Now(ConnAckReasonCode::NotAuthorized.into());
        }
        if connect.properties.authentication_method.is_some() && self.random.percent(50) {
            return Decision::Now(Admission::Challenge(vec![1; 100]));
        }
        self.decide(id, Question::Connect, 20, Admission::accept())
    }

    fn authenticate(&mut self, id: DecisionId, _: &AuthStep<'_>) -> Decision<Admission> {
        if self.random.percent(50) {
            return Decision::Now(Admission::Challenge(vec![2; 200]));
        }
        self.decide(id, Question::Connect, 5, Admission::accept())
    }

    fn publish(
        &mut self,
        id: DecisionId,
        client: Client<'_>,
        message: &ReceivedMessage<'_>,
    ) -> Decision<PubAckReasonCode> {
        if is_honest(client) {
            return Decision::Now(PubAckReasonCode::Success);
        }
        if !message.topic.as_str().starts_with(OWN) {
            return Decision::Now(PubAckReasonCode::NotAuthorized);
        }
        self.decide(id, Question::Publish, 2, PubAckReasonCode::Success)
    }

    fn subscribe(
        &mut self,
        id: DecisionId,
        client: Client<'_>,
        subscription: &Subscription<'_>,
    ) -> Decision<SubAckReasonCode> {
        let answer = subscription.qos.into();
        if is_honest(client) {
            return Decision::Now(answer);
        }
        // A member of the group of honest clients would get some of their messages.
        if subscription.filter.as_str().starts_with("$share/honest/") {
            return Decision::Now(SubAckReasonCode::NotAuthorized);
        }
        self.decide(id, Question::Subscribe(subscription.qos), 1, answer)
    }

    fn notice(&mut self, notice: Notice<'_>) {
        let harm = |client_id: &str, what: String| number_of(client_id).map(|number| Event::Harmed(number, what));
        let event = match notice {
            Notice::Dropped { client_id, reason } => number_of(client_id).map(|number| Event::Dropped(number, reason)),
            Notice::Disconnected { why: Ended::Lost | Ended::Close(Close::Disconnected(_)), .. } => None,
            Notice::Disconnected { client, why } => harm(client.id, why.to_string()),
            // There was no room for copies of which the model knows whether they may be missing.
            Notice::PublishRefused { reason_code: PubAckReasonCode::QuotaExceeded, .. } => None,
            Notice::PublishRefused { client, topic, reason_code } => {
                harm(client.id, format!("{topic}: {reason_code:?}"))
            }
            Notice::SubscribeRefused { client, filter, reason_code } => {
                harm(client.id, format!("{filter}: {reason_code:?}"))
            }
            Notice::WillRefused { client_id, topic, reason_code } => {
                harm(client_id, format!("{topic}: {reason_code:?}"))
            }
            _ => None,
        };
        self.events.extend(event);
    }
}
