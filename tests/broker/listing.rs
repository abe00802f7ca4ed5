//! Sessions, subscriptions and retained messages are listed page by page, and the embedding program ends and removes them.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use mqtt_sansio::broker::{BrokerConfig, Cursor, LocalMessage, Page};
use mqtt_sansio::codec::{DisconnectReasonCode, PublishProperties, Subscription, Will};
use mqtt_sansio::{Message, QoS, SessionExpiry, TopicFilter, TopicName, Version};

use crate::broker::{Net, config, named};

/// A broker that does this much work in a call.
fn with_work(work: u32) -> Net {
    Net::new(BrokerConfig { work_per_call: NonZeroU32::new(work).unwrap(), ..config() })
}

/// All entries, page by page. `between` is called after each page.
fn all<T>(
    net: &mut Net,
    page: impl Fn(&mut Net, Cursor) -> Page<T>,
    mut between: impl FnMut(&mut Net, usize),
) -> (Vec<T>, usize) {
    let (mut items, mut pages, mut next) = (Vec::new(), 0, Some(Cursor::START));
    while let Some(from) = next {
        let before = net.broker.work_done();
        let page = page(net, from);
        net.broker.assert_consistent();
        assert!(page.items.is_empty() || net.broker.work_done() > before, "entries are work");
        items.extend(page.items);
        next = page.next;
        pages += 1;
        between(net, pages);
    }
    (items, pages)
}

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::new(text).unwrap()
}

fn topics(messages: &[LocalMessage]) -> Vec<&str> {
    let mut topics: Vec<_> = messages.iter().map(LocalMessage::topic).collect();
    topics.sort_unstable();
    topics
}

#[test]
fn sessions_are_listed() {
    for (work, most) in [(1, 1), (7, 7), (2000, 2000)] {
        let mut net = with_work(work);
        for number in 0..40 {
            net.client(Version::V5, &format!("c{number}"));
        }
        net.broker.subscribe(net.now, "t", QoS::AtMostOnce).unwrap();
        for gone in ["c3", "c17"] {
            net.broker.end_session(net.now, gone);
        }
        net.poll();
        let (sessions, pages) = all(&mut net, |net, from| net.broker.list_sessions(from), |_, _| {});
        assert!(pages >= 38 / most, "{pages} pages of {most} sessions at most");
        let names: BTreeSet<_> = sessions.iter().map(|session| session.client_id.clone()).collect();
        assert_eq!((sessions.len(), names.len(), names.contains("c3")), (38, 38, false));
    }
}

/// What is there from the first page to the last is listed once, whatever comes and goes.
#[test]
fn a_list_goes_on_while_sessions_change() {
    let mut net = with_work(5);
    for number in 0..60 {
        net.client(Version::V5, &format!("c{number}"));
    }
    let between = |net: &mut Net, pages: usize| {
        net.broker.end_session(net.now, &format!("c{}", 59 - 2 * (pages % 30)));
        if pages < 10 {
            net.client(Version::V5, &format!("new{pages}"));
        }
    };
    let (sessions, _) = all(&mut net, |net, from| net.broker.list_sessions(from), between);
    let names: BTreeSet<_> = sessions.iter().map(|session| session.client_id.as_str()).collect();
    assert_eq!(names.len(), sessions.len(), "each is listed once");
    assert!((0..60).step_by(2).all(|number| names.contains(format!("c{number}").as_str())));
}

#[test]
fn a_session_has_its_details() {
    let mut net = Net::plain();
    assert_eq!(net.broker.session("c"), None);
    let client = net.client(Version::V5, "c");
    net.subscribe(client, "t", QoS::AtLeastOnce);
    let session = net.broker.session("c").unwrap();
    assert_eq!((session.connection, session.version), (Some(net.id(client)), Version::V5));
    assert_eq!((session.session_expiry_interval, session.subscriptions), (SessionExpiry::after(3600), 1));
    net.lose(client);
    net.publish_own(&Message::new("t", "12345").qos(QoS::AtLeastOnce));
    let session = net.broker.session("c").unwrap();
    assert_eq!((session.connection, session.stored), (None, 1));
    assert!((5..50).contains(&session.stored_bytes));
    let (sessions, _) = all(&mut net, |net, from| net.broker.list_sessions(from), |_, _| {});
    assert_eq!(sessions, [session]);
}

#[test]
fn subscriptions_are_listed() {
    for work in [1, 2000] {
        let mut net = with_work(work);
        let client = net.client(Version::V5, "c");
        let options = Subscription {
            no_local: true,
            retain_as_published: true,
            ..Subscription::new("a/+", QoS::AtLeastOnce).unwrap()
        };
        net.subscribe_on(client, &options, 7);
        for number in 0..20 {
            net.subscribe(client, &format!("t/{number}"), QoS::AtMostOnce);
        }
        net.subscribe(client, "$share/g/s/#", QoS::ExactlyOnce);
        // Others end and begin meanwhile.
        let between = |net: &mut Net, pages: usize| {
            net.unsubscribe(client, &[&format!("t/{}", 19 - pages % 10)]);
            net.forget(client);
            if pages < 10 {
                net.subscribe(client, &format!("new/{pages}"), QoS::AtMostOnce);
            }
        };
        let page = |net: &mut Net, from| net.broker.list_subscriptions("c", from);
        let (subscriptions, pages) = all(&mut net, page, between);
        assert_eq!(pages == 1, work == 2000, "{pages} pages");
        let filters: BTreeSet<_> = subscriptions.iter().map(|it| it.filter.as_str()).collect();
        assert_eq!(filters.len(), subscriptions.len(), "each is listed once");
        assert!(
            (0..10).all(|number| filters.contains(format!("t/{number}").as_str())) && filters.contains("$share/g/s/#")
        );
        let first = subscriptions.iter().find(|it| it.filter == "a/+").unwrap();
        assert_eq!((first.qos, first.no_local, first.retain_as_published), (QoS::AtLeastOnce, true, true));
        assert_eq!(first.identifier.map(|it| it.get()), Some(7));
        assert!(net.broker.list_subscriptions("d", Cursor::START).items.is_empty());
    }
}

#[test]
fn retained_messages_are_listed() {
    for work in [1, 10, 2000] {
        let mut net = with_work(work);
        for number in 0..30 {
            let payload = "x".repeat(if number == 7 { 5000 } else { 3 });
            net.publish_own(&Message::new(&format!("a/{number}/x"), payload).qos(QoS::AtLeastOnce).retain(true));
        }
        net.publish_own(&Message::new("$b", "y").retain(true));
        let between = |net: &mut Net, pages: usize| {
            net.broker.remove_retained(net.now, &format!("a/{}/x", 29 - pages % 10));
            if pages < 10 {
                net.publish_own(&Message::new(&format!("new/{pages}"), "y").retain(true));
            }
        };
        let page = |net: &mut Net, from| net.broker.list_retained(filter("a/#"), from);
        let (messages, _) = all(&mut net, page, between);
        let found: BTreeSet<_> = topics(&messages).into_iter().collect();
        assert_eq!(found.len(), messages.len(), "each is listed once");
        assert!((0..20).all(|number| found.contains(format!("a/{number}/x").as_str())), "{found:?}");
        let large = messages.iter().find(|message| message.topic() == "a/7/x").unwrap();
        assert_eq!((large.payload().len(), large.qos(), large.retain()), (5000, QoS::AtLeastOnce, true));
        let (messages, _) = all(&mut net, |net, from| net.broker.list_retained(filter("#"), from), |_, _| {});
        assert!(!topics(&messages).contains(&"$b"), "a wildcard does not match it");
        let (messages, _) = all(&mut net, |net, from| net.broker.list_retained(filter("$b"), from), |_, _| {});
        assert_eq!(topics(&messages), ["$b"]);
    }
}

#[test]
fn a_retained_message_is_looked_up_and_removed() {
    let mut net = Net::plain();
    let client = net.client(Version::V5, "c");
    net.subscribe(client, "t", QoS::AtMostOnce);
    let properties = PublishProperties { message_expiry_interval: Some(10), ..PublishProperties::default() };
    net.publish_own(&Message::new("t", "1").retain(true).properties(properties));
    net.forget(client);
    net.wait(4);
    let message = net.broker.retained_message("t").unwrap();
    assert_eq!((&message.payload()[..], message.properties().message_expiry_interval), (&b"1"[..], Some(6)));
    assert!(net.broker.retained_message("t/x").is_none() && net.broker.retained_message("#").is_none());
    assert!(net.broker.remove_retained(net.now, "t") && !net.broker.remove_retained(net.now, "t"));
    assert!(!net.broker.remove_retained(net.now, "#"));
    net.poll();
    assert_eq!((net.broker.status().retained, net.received(client).len()), (0, 0), "nobody is told");
    assert_eq!(message.payload(), "1", "a message that was looked up is the program's");
    net.wait(100);
}

/// Neither does a crash bring it back.
#[test]
fn a_removed_message_is_removed_from_the_store() {
    let mut net = Net::new(BrokerConfig { durable: true, ..config() });
    net.publish_own(&Message::new("t", "1").retain(true));
    net.publish_own(&Message::new("u", "1").retain(true));
    assert!(net.broker.remove_retained(net.now, "t"));
    net.flush();
    net.crash(net.now);
    let (messages, _) = all(&mut net, |net, from| net.broker.list_retained(filter("#"), from), |_, _| {});
    assert_eq!(topics(&messages), ["u"]);
}

#[test]
fn a_session_ends_with_a_reason() {
    for (reason_code, expected) in
        [(DisconnectReasonCode::ServerMoved, "9d"), (DisconnectReasonCode::DisconnectWithWillMessage, "00")]
    {
        let mut net = Net::plain();
        let witness = net.client(Version::V5, "w");
        net.subscribe(witness, "gone", QoS::AtMostOnce);
        let will = Will { topic: TopicName::new("gone").unwrap(), payload: b"bye", ..Will::default() };
        let connect = mqtt_sansio::codec::Connect { will: Some(will), ..named(Version::V5, "c") };
        let client = net.connect(&connect);
        assert!(net.broker.end_session_with(net.now, "c", reason_code));
        net.flush();
        assert_eq!(net.received(client), [format!("DISCONNECT {expected}")], "only a client disconnects with will");
        assert_eq!((net.received(witness), net.is_over(client)), (vec!["gone: bye".to_owned()], true));
        assert!(!net.broker.end_session_with(net.now, "c", reason_code));
        assert_eq!(net.broker.session("c"), None);
    }
}
