//! The output of the example `demo`.

#![cfg(feature = "alloc")]

#[path = "../examples/demo/rows.rs"]
mod rows;
#[path = "../examples/demo/stage.rs"]
mod stage;
#[path = "../examples/demo/story.rs"]
mod story;
#[path = "../examples/demo/tree.rs"]
mod tree;
#[path = "../examples/demo/words.rs"]
mod words;

/// The output. The demo has checked by then that each endpoint sends the expected packets and that no delivery is left
/// unfinished.
fn output() -> String {
    let mut out = Vec::new();
    story::tell(&mut out, false).unwrap();
    String::from_utf8(out).unwrap()
}

/// The headings of the packets, without time and size: `client → server  PUBLISH`.
fn headings(text: &str) -> Vec<&str> {
    let headings = text.lines().filter(|line| line.contains(" → "));
    headings.map(|line| line[11..].rsplit_once(", ").unwrap().0).collect()
}

/// A chapter, without its title.
fn chapter<'t>(text: &'t str, title: &str) -> &'t str {
    let (_, rest) = text.split_once(&format!("── {title} ─")).unwrap();
    rest.split_once("\n── ").map_or(rest, |(chapter, _)| chapter)
}

#[test]
fn packets_come_in_order() {
    let expected = [
        "client → server  CONNECT",
        "server → client  CONNACK",
        "client → server  SUBSCRIBE",
        "server → client  SUBACK",
        // QoS 0, 1 and 2 from the client
        "client → server  PUBLISH",
        "client → server  PUBLISH",
        "server → client  PUBACK",
        "client → server  PUBLISH",
        "server → client  PUBREC",
        "client → server  PUBREL",
        "server → client  PUBCOMP",
        // and from the server
        "server → client  PUBLISH",
        "server → client  PUBLISH",
        "server → client  PUBLISH",
        "client → server  PUBACK",
        "client → server  PUBREC",
        "server → client  PUBREL",
        "client → server  PUBCOMP",
        "client → server  PINGREQ",
        "server → client  PINGRESP",
        // the cut
        "client → server  PUBLISH",
        "server → client  PUBREC, lost",
        "client → server  CONNECT",
        "server → client  CONNACK",
        "client → server  PUBLISH",
        "server → client  PUBREC",
        "client → server  PUBREL",
        "server → client  PUBCOMP",
        "client → server  UNSUBSCRIBE",
        "server → client  UNSUBACK",
        "client → server  DISCONNECT",
    ];
    assert_eq!(headings(&output()), expected);
}

/// The meaning printed beside the first field with this name.
fn meaning<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines().find_map(|line| line.split_once(&format!(" {name} "))).unwrap().1.trim()
}

/// The number of lines that contain these words.
fn count(text: &str, words: &str) -> usize {
    text.lines().filter(|line| line.contains(words)).count()
}

#[test]
fn message_of_the_cut_flow_arrives_once() {
    let text = output();
    assert_eq!(count(&text, "\"home/door\""), 2, "it is sent twice");
    assert_eq!(count(&text, "for home/door has arrived"), 1);
    let (before, after) = (chapter(&text, "The connection is cut"), chapter(&text, "The client comes back"));
    assert_eq!(count(before, "for home/door has arrived"), 1);
    for (chapter, dup) in [(before, "no"), (after, "yes")] {
        let publish = chapter.split("client → server  PUBLISH").nth(1).unwrap();
        assert_eq!((meaning(publish, "dup"), meaning(publish, "packet identifier")), (dup, "1"));
    }
    assert_eq!((meaning(after, "clean start"), meaning(after, "session present")), ("no", "yes"));
}

#[test]
fn output_is_the_same_each_time() {
    assert_eq!(output(), output());
}

#[test]
fn every_packet_has_a_reason() {
    let text = output();
    for (heading, why) in text.lines().zip(text.lines().skip(1)).filter(|(heading, _)| heading.contains(" → ")) {
        assert!(why.trim_start().len() > 10 && why.ends_with('.'), "{heading}: {why}");
    }
}
