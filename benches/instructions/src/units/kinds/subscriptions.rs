//! Subscriptions that begin and end, and their groups.

use super::*;
use crate::units::Kind;

pub const KINDS: &[Kind] = &[
    ("SUBSCRIBE of 1,000", |world| begin(world, &flat(), 1)),
    ("SUBSCRIBE of 1,000 again", |world| begin(world, &flat(), 2)),
    ("SUBSCRIBE of 1,000 one by one", |world| {
        let id = world.connect("client");
        let packets: Vec<u8> = flat().chunks(1).flat_map(|filter| subscribe(filter, ONE)).collect();
        world.count(|world| world.send(id, &packets));
    }),
    ("SUBSCRIBE of 1,000 others to the same", |world| {
        let ids: Vec<_> = (0..1000).map(|number| world.connect(&format!("{number}"))).collect();
        let packet = subscribe(&[TOPIC.to_owned()], ONE);
        world.count(|world| ids.iter().for_each(|&id| world.send(id, &packet)));
    }),
    ("SUBSCRIBE of 500 beside 9,000", |world| {
        let id = world.connect("client");
        numbered(9000, |number| format!("other-{number}"))
            .chunks(1000)
            .for_each(|all| world.send(id, &subscribe(all, ONE)));
        world.count(|world| world.send(id, &subscribe(&flat()[..500], ONE)));
    }),
    ("1,000 groups of a filter begin", |world| {
        let ids: Vec<_> = (0..1000).map(|number| world.connect(&format!("{number}"))).collect();
        world.count(|world| {
            for (number, &id) in ids.iter().enumerate() {
                world.send(id, &subscribe(&[format!("$share/{number}/{TOPIC}")], ONE));
            }
        });
    }),
    ("SUBSCRIBE of 1,000 with common levels", |world| begin(world, &nested(), 1)),
    ("SUBSCRIBE of 100 deep ones", |world| begin(world, &deep_ones(), 1)),
    ("SUBSCRIBE of 100 deep ones again", |world| begin(world, &deep_ones(), 2)),
    ("SUBSCRIBE of 100 deep ones with common levels", |world| begin(world, &deep_common(), 1)),
    ("SUBSCRIBE of long ones", |world| begin(world, &long_ones(), 1)),
    ("SUBSCRIBE of long ones again", |world| begin(world, &long_ones(), 2)),
    ("UNSUBSCRIBE of 1,000", |world| end(world, &flat())),
    ("UNSUBSCRIBE of 1,000 one by one", |world| {
        let id = world.connect("client");
        world.send(id, &subscribe(&flat(), ONE));
        let packets: Vec<u8> = flat().chunks(1).flat_map(unsubscribe).collect();
        world.count(|world| world.send(id, &packets));
    }),
    ("UNSUBSCRIBE of 1,000 that are not there", |world| {
        let id = world.connect("client");
        world.count(|world| world.send(id, &unsubscribe(&flat())));
    }),
    ("UNSUBSCRIBE of 1,000 others from the same", |world| {
        let ids = subscribers(world, 1000, TOPIC, ONE);
        let packet = unsubscribe(&[TOPIC.to_owned()]);
        world.count(|world| ids.iter().for_each(|&id| world.send(id, &packet)));
    }),
    ("UNSUBSCRIBE of 1,000 with common levels", |world| end(world, &nested())),
    ("UNSUBSCRIBE of 100 deep ones", |world| end(world, &deep_ones())),
    ("UNSUBSCRIBE of 100 deep ones that are not there", |world| {
        let id = world.connect("client");
        world.send(id, &subscribe(&numbered(2, |number| format!("{}/y{number}", deep(120))), ONE));
        world.count(|world| world.send(id, &unsubscribe(&deep_common())));
    }),
    ("UNSUBSCRIBE of 100 deep ones with common levels", |world| end(world, &deep_common())),
    ("UNSUBSCRIBE of long ones", |world| end(world, &long_ones())),
    ("one client joins 1,000 groups", |world| begin(world, &shares(), 1)),
    ("one client leaves 1,000 groups", |world| end(world, &shares())),
    ("1,000 clients join a group", |world| {
        let ids: Vec<_> = (0..1000).map(|number| world.connect(&format!("{number}"))).collect();
        let packet = subscribe(&[format!("$share/group/{TOPIC}")], ONE);
        world.count(|world| ids.iter().for_each(|&id| world.send(id, &packet)));
    }),
    ("1,000 clients leave a group", |world| {
        let ids = subscribers(world, 1000, "$share/group/a", ONE);
        let packet = unsubscribe(&["$share/group/a".to_owned()]);
        world.count(|world| ids.iter().for_each(|&id| world.send(id, &packet)));
    }),
    ("one member of 1,000 groups comes and goes", |world| {
        let id = world.connect("client");
        world.send(id, &subscribe(&shares(), ONE));
        world.count(|world| {
            world.close(id);
            world.connect("client");
        });
    }),
];

fn begin(world: &mut World, filters: &[String], times: u32) {
    let id = world.connect("client");
    let packet = subscribe(filters, ONE);
    (1..times).for_each(|_| world.send(id, &packet));
    world.count(|world| world.send(id, &packet));
}

fn end(world: &mut World, filters: &[String]) {
    let id = world.connect("client");
    world.send(id, &subscribe(filters, ONE));
    world.count(|world| world.send(id, &unsubscribe(filters)));
}

fn flat() -> Vec<String> {
    numbered(1000, |number| format!("filter-{number}"))
}

fn nested() -> Vec<String> {
    numbered(1000, |number| format!("site/{}/device/{}/+/#", number / 100, number % 100))
}

fn deep_ones() -> Vec<String> {
    numbered(100, |number| format!("{number}/{}", deep(120)))
}

fn deep_common() -> Vec<String> {
    numbered(100, |number| format!("{}/{number}", deep(120)))
}

fn long_ones() -> Vec<String> {
    numbered(4, |number| format!("{number}/{}", "x".repeat(LONG)))
}

fn shares() -> Vec<String> {
    numbered(1000, |number| format!("$share/{number}/site/#"))
}
