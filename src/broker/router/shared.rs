//! Shared subscriptions: which member of a group gets a message (section 4.8.2).

use alloc::vec::Vec;

use super::list_id::ListId;
use super::subscribers::{Subscriber, swap_remove};
use crate::broker::config::SharedStrategy;
use crate::broker::session::Session;
use crate::broker::sessions::Sessions;
use crate::codec::QoS;
use crate::random::Random;
use crate::server::Copies;

/// The members of a shared subscription.
#[derive(Clone)]
pub(super) struct Group {
    /// The filter that the members share.
    list: ListId,
    name: Vec<u8>,
    /// A number that tells the group from earlier ones at its index: from 1 to [`MAX_GROUP_NUMBER`], and then from 1 again.
    number: u32,
    members: Vec<Subscriber>,
    /// The position of the member whose turn is next.
    next: u32,
}

/// The highest number of a group: a [`Mark`] needs three of 32 bits for other things.
pub(super) const MAX_GROUP_NUMBER: u32 = u32::MAX >> 3;

impl Group {
    pub(super) fn new(list: ListId, name: &[u8], number: u32) -> Self {
        Self { list, name: name.into(), number, members: Vec::new(), next: 0 }
    }

    /// The filter that the members share.
    pub(super) const fn list(&self) -> ListId {
        self.list
    }

    /// The share name.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn members(&self) -> &[Subscriber] {
        &self.members
    }

    pub(super) fn member_mut(&mut self, position: u32) -> Option<&mut Subscriber> {
        self.members.get_mut(position as usize)
    }

    /// Adds a member and returns its position.
    pub(super) fn push(&mut self, member: Subscriber) -> u32 {
        self.members.push(member);
        (self.members.len() as u32).saturating_sub(1)
    }

    /// Removes a member. The last one moves to its position, and is returned if there is one.
    pub(super) fn swap_remove(&mut self, position: u32) -> Option<Subscriber> {
        swap_remove(&mut self.members, position)
    }

    /// Gives a message to one member; returns whether a member accepted it.
    pub(super) fn deliver(
        &mut self,
        sessions: &mut Sessions,
        strategy: SharedStrategy,
        random: &mut Random,
        copies: &mut Copies<'_>,
    ) -> bool {
        let start = match strategy {
            SharedStrategy::RoundRobin => self.next,
            SharedStrategy::Random => random.index(self.members.len()) as u32,
            SharedStrategy::LeastLoaded => self.least_loaded(sessions),
        };
        copies.set_mark(Mark { group: self.number, retain: copies.retain(), qos: copies.qos() }.number());
        let chosen = self.deliver_from(start, sessions, copies);
        copies.set_mark(0);
        if let Some(chosen) = chosen {
            self.next = chosen.wrapping_add(1);
        }
        chosen.is_some()
    }

    /// Gives a message to the first member from `start` on that is connected and accepts it, or else to the first that
    /// accepts it, and returns its position. If no member does, one message is dropped, however many members could not
    /// accept it.
    fn deliver_from(&self, start: u32, sessions: &mut Sessions, copies: &mut Copies<'_>) -> Option<u32> {
        let dropped_before = sessions.drop_count();
        for connected in [true, false] {
            for position in self.in_turn(start) {
                let Some(member) = self.members.get(position as usize) else {
                    bug!("positions are those of members");
                    continue;
                };
                let is_connected = |it: &Session| it.server().is_connected();
                if sessions.get(member.session).map(is_connected) == Some(connected)
                    && sessions.deliver_to(member, copies)
                {
                    sessions.take_back_drops(dropped_before);
                    return Some(position);
                }
            }
        }
        sessions.take_back_drops(dropped_before.saturating_add(1));
        None
    }

    /// The position of the member with the fewest messages in flight or queued; among equals the first one from the next
    /// turn on.
    fn least_loaded(&self, sessions: &Sessions) -> u32 {
        let load = |position: &u32| {
            let member = self.members.get(*position as usize)?;
            let server = sessions.get(member.session)?.server();
            Some((!server.is_connected(), server.load()))
        };
        self.in_turn(self.next).min_by_key(|position| load(position).unwrap_or((true, usize::MAX))).unwrap_or(0)
    }

    /// The positions of all members, from `start` on and around.
    fn in_turn(&self, start: u32) -> impl Iterator<Item = u32> + use<> {
        let len = self.members.len() as u32;
        let start = if start < len { start } else { 0 };
        (start..len).chain(0..start)
    }
}

/// The mark of a copy that is stored in the session of a member: the group, and the message as it was before the options of
/// that member applied. With these the message can go to another member when the session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The number of the group.
    pub(super) group: u32,
    pub(super) retain: bool,
    pub(super) qos: QoS,
}

impl Mark {
    const fn number(self) -> u32 {
        self.group << 3 | (self.retain as u32) << 2 | self.qos.value() as u32
    }

    pub(super) const fn from_number(number: u32) -> Self {
        let qos = match number & 3 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        Self { group: number >> 3, retain: number & 4 != 0, qos }
    }
}
