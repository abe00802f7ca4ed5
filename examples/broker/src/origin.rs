//! The origins of connections, and how much the connections of one origin may hold.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::rc::Rc;

use mqtt_sansio::broker::Origin;

/// The party that bears the work of its connections: all connections of one principal have one share of the processor.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Principal {
    /// The origin of a client without a verified user name.
    Origin(Origin),
    /// The verified user name of a client.
    User(Rc<str>),
}

/// The limits of the connections of one origin. `None` means no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OriginLimits {
    /// Maximum number of connections of an origin in the TLS or WebSocket handshake.
    pub(crate) max_handshakes: Option<NonZeroU32>,
    /// Maximum number of connections of an origin without an accepted client.
    pub(crate) max_connecting: Option<NonZeroU32>,
    /// Maximum number of connections of all origins together. It is checked before a handshake; the broker checks it after.
    pub(crate) max_connections: Option<NonZeroU32>,
    /// Maximum number of bytes of incomplete packets of all connections. The connections of one origin may hold at most as
    /// many bytes as they leave for other origins.
    pub(crate) max_incomplete: usize,
}

/// The origins that have connections.
pub(crate) struct Origins {
    limits: OriginLimits,
    counts: RefCell<HashMap<Origin, Rc<Counts>>>,
    /// Number of all connections, and of the bytes of incomplete packets that they hold.
    guests: Cell<u32>,
    held: Cell<usize>,
    /// Number of connections that were closed because of a limit.
    refused: Cell<u64>,
}

#[derive(Default)]
struct Counts {
    guests: Cell<u32>,
    handshakes: Cell<u32>,
    connecting: Cell<u32>,
    held: Cell<usize>,
}

/// A connection that is counted for its origin until it is dropped.
pub(crate) struct Guest {
    origins: Rc<Origins>,
    origin: Origin,
    counts: Rc<Counts>,
    stage: Stage,
    held: usize,
}

/// The stages of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// In the TLS or WebSocket handshake.
    Handshake,
    /// Without an accepted client.
    Connecting,
    Accepted,
}

impl Origins {
    pub(crate) fn new(limits: OriginLimits) -> Rc<Self> {
        Rc::new(Self {
            limits,
            counts: RefCell::default(),
            guests: Cell::new(0),
            held: Cell::new(0),
            refused: Cell::new(0),
        })
    }

    /// Counts a connection. Returns `None` if its origin has too many, or if there are too many in all.
    pub(crate) fn enter(self: &Rc<Self>, address: IpAddr, stage: Stage) -> Option<Guest> {
        let origin = Origin::from(address);
        let counts = Rc::clone(self.counts.borrow_mut().entry(origin).or_default());
        counts.guests.set(counts.guests.get() + 1);
        let guest = Guest { origins: Rc::clone(self), origin, counts, stage, held: 0 };
        guest.count(1);
        self.guests.set(self.guests.get() + 1);
        let is_over = |count: &Cell<u32>, limit: Option<NonZeroU32>| limit.is_some_and(|it| count.get() > it.get());
        if is_over(&guest.counts.handshakes, self.limits.max_handshakes)
            || is_over(&guest.counts.connecting, self.limits.max_connecting)
            || (stage == Stage::Handshake && is_over(&self.guests, self.limits.max_connections))
        {
            self.refused.set(self.refused.get() + 1);
            return None;
        }
        Some(guest)
    }

    /// Number of connections that were closed because their origin had too many, or because these held too much.
    pub(crate) const fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Number of bytes of incomplete packets.
    pub(crate) const fn held(&self) -> usize {
        self.held.get()
    }

    /// Number of origins with connections.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.counts.borrow().len()
    }
}

impl Guest {
    pub(crate) const fn origin(&self) -> Origin {
        self.origin
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.stage == Stage::Accepted
    }

    /// Moves the connection to a later stage.
    pub(crate) fn advance(&mut self, stage: Stage) {
        self.count(-1);
        self.stage = stage.max(self.stage);
        self.count(1);
    }

    /// Counts the bytes of an incomplete packet that the connection holds now. Returns false if there are more than before, and
    /// too many.
    #[must_use]
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        if bytes == self.held {
            return true;
        }
        let has_grown = bytes > self.held;
        let replaced = |count: &Cell<usize>| count.get() - self.held + bytes;
        let (own, all) = (replaced(&self.counts.held), replaced(&self.origins.held));
        self.counts.held.set(own);
        self.origins.held.set(all);
        self.held = bytes;
        let fits = own <= self.origins.limits.max_incomplete.saturating_sub(all);
        if has_grown && !fits {
            self.origins.refused.set(self.origins.refused.get() + 1);
        }
        !has_grown || fits
    }

    /// Changes the counts of the stage. A connection in a handshake is also one without an accepted client.
    fn count(&self, change: i32) {
        let add = |count: &Cell<u32>| count.set(count.get().saturating_add_signed(change));
        match self.stage {
            Stage::Handshake => {
                add(&self.counts.handshakes);
                add(&self.counts.connecting);
            }
            Stage::Connecting => add(&self.counts.connecting),
            Stage::Accepted => {}
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.count(-1);
        self.origins.guests.set(self.origins.guests.get() - 1);
        let _ = self.hold(0);
        let guests = self.counts.guests.get() - 1;
        self.counts.guests.set(guests);
        if guests == 0 {
            self.origins.counts.borrow_mut().remove(&self.origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn origins(max_handshakes: u32, max_connecting: u32, max_incomplete: usize) -> Rc<Origins> {
        Origins::new(OriginLimits {
            max_handshakes: NonZeroU32::new(max_handshakes),
            max_connecting: NonZeroU32::new(max_connecting),
            max_connections: NonZeroU32::new(10_000),
            max_incomplete,
        })
    }

    #[test]
    fn a_network_of_ipv6_is_one_origin() {
        let origin = |text: &str| Origin::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:1:2:3"));
        assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        assert_ne!(origin("127.0.0.1"), origin("127.0.0.2"));
        assert_eq!(origin("127.0.0.1"), origin("::ffff:127.0.0.1"), "the form that a socket for IPv4 and IPv6 reports");
    }

    #[test]
    fn the_limits_of_an_origin_do_not_affect_others() {
        let origins = origins(2, 3, 0);
        let [one, other] = ["127.0.0.1", "127.0.0.2"].map(|text| text.parse().unwrap());
        let mut guests =
            vec![origins.enter(one, Stage::Handshake).unwrap(), origins.enter(one, Stage::Handshake).unwrap()];
        assert!(origins.enter(one, Stage::Handshake).is_none());
        guests[0].advance(Stage::Connecting);
        guests.push(origins.enter(one, Stage::Handshake).unwrap());
        assert!(origins.enter(one, Stage::Connecting).is_none(), "three are not accepted");
        assert!(origins.enter(other, Stage::Connecting).is_some());
        guests[0].advance(Stage::Accepted);
        guests.push(origins.enter(one, Stage::Connecting).unwrap());
        assert!(origins.enter(one, Stage::Connecting).is_none());
        guests.swap_remove(1);
        assert!(origins.enter(one, Stage::Handshake).is_some());
        assert_eq!((origins.refused(), origins.len()), (3, 1));
        guests.clear();
        assert_eq!(origins.len(), 0, "an origin without connections is removed");
    }

    #[test]
    fn zero_is_no_limit() {
        let origins = origins(0, 0, 0);
        let guests: Vec<_> =
            (0..5000).map(|_| origins.enter(Ipv6Addr::LOCALHOST.into(), Stage::Handshake).unwrap()).collect();
        assert_eq!((origins.refused(), guests.len()), (0, 5000));
    }

    #[test]
    fn there_are_no_more_handshakes_than_connections() {
        let origins = origins(0, 0, 0);
        let enter = |number: u32, stage| origins.enter(std::net::Ipv4Addr::from_bits(number).into(), stage);
        let mut guests: Vec<_> = (0..10_000).map(|number| enter(number, Stage::Connecting).unwrap()).collect();
        assert!(enter(10_000, Stage::Handshake).is_none());
        assert!(enter(10_000, Stage::Connecting).is_some(), "the broker decides");
        guests.pop();
        assert!(enter(10_000, Stage::Handshake).is_some());
    }

    /// An origin that takes as much as it can gets half, and something is always left for a new one.
    #[test]
    fn bytes_of_incomplete_packets_are_shared_among_origins() {
        let origins = origins(0, 0, 1000);
        let enter = |last| origins.enter([127, 0, 0, last].into(), Stage::Accepted).unwrap();
        let (mut first, mut second) = (enter(1), enter(1));
        assert!(first.hold(300) && second.hold(200));
        assert!(!first.hold(301), "one origin may hold 500 of 1000");
        assert!(first.hold(300), "less is never refused");
        let mut other = enter(2);
        assert!(other.hold(250));
        assert!(!other.hold(251));
        assert_eq!(origins.held(), 751);
        drop((first, second, other));
        assert_eq!(origins.held(), 0);
    }
}
