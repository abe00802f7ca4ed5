//! Any sequence of subscriptions and messages of an embedding program beside a naive model of what it gets.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use bytes::Buf as _;
use mqtt_sansio::broker::{
    AllowAll, Broker, BrokerConfig, LocalMessage, LocalSubscription, Origin, Secret, SubscribeOptions,
};
use mqtt_sansio::codec::{Connect, Delivery, Packet, PacketId, PubRel, Publish, RetainHandling};
use mqtt_sansio::{Instant, Message, QoS, TopicFilter, TopicName, Utf8Str, Version};
use mqtt_sansio_testkit::Random;

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

const NOW: Instant = Instant::EPOCH;

/// A broker with one client.
struct World {
    broker: Broker<AllowAll>,
    client: mqtt_sansio::broker::ConnectionId,
}

impl World {
    fn new(work: u32) -> Self {
        let work_per_call = NonZeroU32::new(work).unwrap();
        let config = BrokerConfig { work_per_call, ..BrokerConfig::new(Secret::new([7; 16])) };
        let mut broker = Broker::new(config, AllowAll);
        let client = broker.open(NOW, Origin::UNKNOWN);
        let mut world = Self { broker, client };
        let client_identifier = Utf8Str::new("c").unwrap();
        world.send(Connect { version: Version::V5, keep_alive: 0, client_identifier, ..Connect::default() }.into());
        world
    }

    /// The client sends a packet, and all that follows from it is done.
    fn send(&mut self, packet: Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(Version::V5, &mut bytes).unwrap();
        let mut input = &bytes[..];
        while !input.is_empty() {
            self.broker.receive(NOW, self.client, &mut input);
            self.settle();
        }
    }

    fn publish(&mut self, topic: &str, payload: &str, qos: QoS, retain: bool) {
        let id = PacketId::new(1).unwrap();
        let topic = TopicName::new(topic).unwrap();
        let delivery = Delivery::new(qos, id, false);
        self.send(Publish { delivery, topic, payload: payload.as_bytes(), retain, ..Publish::default() }.into());
        if qos == QoS::ExactlyOnce {
            self.send(PubRel::new(id).into());
        }
    }

    /// Does all work that is left.
    fn settle(&mut self) {
        while self.broker.deadline() == Some(NOW) || self.serve() {
            self.broker.poll(NOW);
        }
        self.broker.assert_consistent();
    }

    /// Reads what the broker has for the client; returns whether there was something.
    fn serve(&mut self) -> bool {
        let Some(id) = self.broker.next_ready() else { return false };
        let transmit = self.broker.transmit(id);
        let count = transmit.remaining();
        transmit.advance(count);
        true
    }
}

/// A message as `topic: payload`, and where it applies its QoS and ` retained`.
fn line(message: &LocalMessage) -> String {
    let payload = String::from_utf8_lossy(message.payload());
    expected_line(message.topic(), &payload, message.qos(), message.retain())
}

/// The program as a model has it: subscriptions, and what is to come for each, in order.
#[derive(Default)]
struct Model {
    subscriptions: Vec<(LocalSubscription, String, SubscribeOptions, Vec<String>)>,
    retained: BTreeMap<String, (String, QoS, bool)>,
}

impl Model {
    fn publish(&mut self, topic: &str, payload: &str, qos: QoS, retain: bool, is_own: bool) {
        for (_, filter, options, expected) in &mut self.subscriptions {
            let matches = TopicFilter::new(filter).unwrap().matches(TopicName::new(topic).unwrap());
            if matches && !(options.no_local && is_own) {
                expected.push(expected_line(
                    topic,
                    payload,
                    qos.min(options.qos),
                    retain && options.retain_as_published,
                ));
            }
        }
        if retain {
            self.retained.remove(topic);
            if !payload.is_empty() {
                self.retained.insert(topic.to_owned(), (payload.to_owned(), qos, is_own));
            }
        }
    }
}

fn expected_line(topic: &str, payload: &str, qos: QoS, retain: bool) -> String {
    let qos = if qos == QoS::AtMostOnce { String::new() } else { format!(" q{qos}") };
    format!("{topic}: {payload}{qos}{}", if retain { " retained" } else { "" })
}

/// Any sequence of subscriptions and messages beside a naive model, with budgets of one item and more.
#[test]
fn a_program_gets_what_a_model_says() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let work = [1, 5, 2000][random.index(3)];
        let mut world = World::new(work);
        let mut model = Model::default();
        let topics = ["a", "a/b", "a/c", "b", "b/c/d"];
        let filters = ["#", "+", "a/#", "a/+", "+/c", "b", "b/+/d", "a"];
        for step in 0..60 {
            match random.index(8) {
                0 | 1 => {
                    let filter = filters[random.index(filters.len())];
                    let options = SubscribeOptions {
                        qos: ALL_QOS[random.index(3)],
                        no_local: random.percent(30),
                        retain_as_published: random.percent(50),
                        retain_handling: if random.percent(50) {
                            RetainHandling::SendAtSubscribe
                        } else {
                            RetainHandling::DoNotSend
                        },
                    };
                    let subscription = world.broker.subscribe(NOW, filter, options).unwrap();
                    world.settle();
                    let mut expected = Vec::new();
                    for (topic, (payload, qos, is_own)) in &model.retained {
                        let matches = TopicFilter::new(filter).unwrap().matches(TopicName::new(topic).unwrap());
                        if matches
                            && options.retain_handling != RetainHandling::DoNotSend
                            && !(options.no_local && *is_own)
                        {
                            expected.push(expected_line(topic, payload, (*qos).min(options.qos), true));
                        }
                    }
                    model.subscriptions.push((subscription, filter.to_owned(), options, expected));
                }
                2 if !model.subscriptions.is_empty() => {
                    let place = random.index(model.subscriptions.len());
                    let (subscription, ..) = model.subscriptions.swap_remove(place);
                    assert!(world.broker.unsubscribe(NOW, subscription));
                    world.settle();
                }
                3 => take_some(&mut world, &mut model, random.index(5)),
                _ => {
                    let topic = topics[random.index(topics.len())];
                    let (qos, retain) = (ALL_QOS[random.index(3)], random.percent(40));
                    let payload = if random.percent(20) { String::new() } else { format!("{step}") };
                    let is_own = random.percent(50);
                    if is_own {
                        let message = Message::new(topic, payload.clone()).qos(qos).retain(retain);
                        world.broker.publish(NOW, &message).unwrap();
                        world.settle();
                    } else {
                        world.publish(topic, &payload, qos, retain);
                    }
                    model.publish(topic, &payload, qos, retain, is_own);
                }
            }
        }
        take_some(&mut world, &mut model, usize::MAX);
        for (subscription, filter, _, expected) in &model.subscriptions {
            assert!(expected.is_empty(), "seed {seed}: {subscription:?} to {filter} has not got {expected:?}");
        }
        assert_eq!(world.broker.counters().dropped.queue_full, 0);
    }
}

/// Takes up to this many messages. Retained ones, which come first, come in any order.
fn take_some(world: &mut World, model: &mut Model, most: usize) {
    for _ in 0..most {
        let Some((subscription, message)) = world.broker.next_message() else { break };
        let (_, filter, _, expected) =
            model.subscriptions.iter_mut().find(|it| it.0 == subscription).expect("it is subscribed");
        let line = line(&message);
        let place = expected.iter().position(|expected| *expected == line);
        let place = place.unwrap_or_else(|| panic!("{line} for {filter}, and not {expected:?}"));
        let is_retained = |line: &String| line.ends_with(" retained");
        assert!(expected[..place].iter().all(is_retained), "{line} for {filter} comes before {expected:?}");
        expected.remove(place);
        world.settle();
    }
}
