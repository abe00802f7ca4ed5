//! Shared subscriptions: which member of a group gets a message (section 4.8.2).

use alloc::boxed::Box;

use super::list_id::ListId;
use super::subscribers::Subscriber;
use crate::broker::config::SharedStrategy;
use crate::broker::pieces::Pieces;
use crate::broker::sessions::Sessions;
use crate::codec::QoS;
use crate::random::Random;
use crate::server::Copies;

/// The members of a shared subscription. Those that are connected come first, so that a message finds one of them however
/// many others there are.
#[derive(Clone)]
pub(super) struct Group {
    /// The filter that the members share.
    list: ListId,
    name: Box<[u8]>,
    /// A number that tells the group from earlier ones at its index: from 1 to [`MAX_GROUP_NUMBER`](super::list_id::MAX_GROUP_NUMBER), and then from 1 again.
    number: u32,
    members: Pieces<Subscriber, 256>,
    /// Number of members that are connected.
    connected: u32,
    /// The position of the member whose turn is next among those that are connected.
    next: u32,
    /// The same among the others; `u32::MAX` for the last one.
    next_absent: u32,
}

/// Maximum number of members that a message is offered to. If all of them refuse it, as their queues are full, the message is
/// dropped, and the next one is offered to others.
const MAX_OFFERS: usize = 8;

impl Group {
    pub(super) fn new(list: ListId, name: &[u8], number: u32) -> Self {
        Self { list, name: name.into(), number, members: Pieces::new(), connected: 0, next: 0, next_absent: u32::MAX }
    }

    /// The filter that the members share.
    pub(super) const fn list(&self) -> ListId {
        self.list
    }

    /// The share name.
    pub(super) const fn name(&self) -> &[u8] {
        &self.name
    }

    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// The size on the heap, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.name.len().saturating_add(self.members.bytes())
    }

    /// Number of members.
    pub(super) const fn len(&self) -> u32 {
        self.members.len()
    }

    pub(super) fn member(&self, position: u32) -> Option<&Subscriber> {
        self.members.get(position)
    }

    pub(super) fn member_mut(&mut self, position: u32) -> Option<&mut Subscriber> {
        self.members.get_mut(position)
    }

    /// Whether the member at a position is one of those that are connected.
    pub(super) const fn is_connected(&self, position: u32) -> bool {
        position < self.connected
    }

    /// Adds a member that is not connected, or not [said](Self::set_connected) to be, and returns its position.
    pub(super) fn push(&mut self, member: Subscriber) -> Option<u32> {
        self.members.push(member)
    }

    /// Moves a member to those that are connected, or to those that are not. Returns its new position, and the member that is
    /// at its old one now.
    pub(super) fn set_connected(&mut self, position: u32, is_connected: bool) -> Option<(u32, Subscriber)> {
        if self.is_connected(position) == is_connected || position >= self.len() {
            return None;
        }
        let border = if is_connected { self.connected } else { self.connected.saturating_sub(1) };
        self.connected = if is_connected { border.saturating_add(1) } else { border };
        let (member, other) = (*self.members.get(position)?, *self.members.get(border)?);
        *self.members.get_mut(position)? = other;
        *self.members.get_mut(border)? = member;
        Some((border, other))
    }

    /// Removes a member that is not connected, or not [said](Self::set_connected) to be. The last one moves to its position,
    /// and is returned if there is one.
    pub(super) fn swap_remove(&mut self, position: u32) -> Option<Subscriber> {
        if self.is_connected(position) || position >= self.len() {
            bug!("a member is where its session says, and not connected when it leaves");
            return None;
        }
        let last = self.members.pop()?;
        if position == self.len() {
            return None;
        }
        *self.members.get_mut(position)? = last;
        Some(last)
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
            SharedStrategy::RoundRobin if self.connected == 0 => self.next_absent,
            SharedStrategy::RoundRobin => self.next,
            SharedStrategy::Random if self.connected == 0 => random.index(self.len() as usize) as u32,
            SharedStrategy::Random => random.index(self.connected as usize) as u32,
            SharedStrategy::LeastLoaded => self.least_loaded(sessions),
        };
        copies.set_mark(Mark { group: self.number, retain: copies.retain(), qos: copies.qos() }.number());
        let chosen = self.deliver_from(start, sessions, copies);
        copies.set_mark(0);
        // Those that have refused the message are not the first ones for the next.
        let first = if self.is_connected(self.next) { self.next } else { 0 };
        let behind = first.wrapping_add(self.max_connected() as u32);
        self.next = chosen.filter(|&chosen| self.is_connected(chosen)).map_or(behind, |chosen| chosen.wrapping_add(1));
        if let Some(chosen) = chosen.filter(|&chosen| !self.is_connected(chosen)) {
            self.next_absent = chosen.wrapping_sub(1);
        }
        chosen.is_some()
    }

    /// Maximum number of connected members that a message is offered to: one offer is for a member that is not, if there is one.
    const fn max_connected(&self) -> usize {
        if self.connected == self.len() { MAX_OFFERS } else { MAX_OFFERS.saturating_sub(1) }
    }

    /// Gives a message to the first member from `start` on that is connected and accepts it, or else to the first that
    /// accepts it, and returns its position. If none of those that it is offered to does, one message is dropped, however many
    /// could not accept it.
    fn deliver_from(&self, start: u32, sessions: &mut Sessions, copies: &mut Copies<'_>) -> Option<u32> {
        let dropped_before = sessions.drop_count();
        let is_any_moving = sessions.is_any_moving();
        let mut lost = None;
        let absent = if self.connected == 0 { start } else { self.next_absent };
        let connected = self.connected_in_turn(start).take(self.max_connected());
        let offers = connected.chain(self.absent_in_turn(absent)).take(MAX_OFFERS);
        for position in offers {
            let Some(member) = self.members.get(position) else {
                bug!("positions are those of members");
                continue;
            };
            if is_any_moving && self.has_lost_connection(position, sessions) {
                lost = lost.or(Some(position));
                continue;
            }
            if sessions.deliver_to(member, copies) {
                sessions.take_back_drops(dropped_before);
                return Some(position);
            }
        }
        if let Some(position) = lost
            && let Some(member) = self.members.get(position)
            && sessions.deliver_to(member, copies)
        {
            sessions.take_back_drops(dropped_before);
            return Some(position);
        }
        sessions.take_back_drops(dropped_before.saturating_add(1));
        None
    }

    /// Whether a member is still among those that are connected, though its session has lost its connection.
    #[cold]
    fn has_lost_connection(&self, position: u32, sessions: &Sessions) -> bool {
        let session = self.members.get(position).and_then(|member| sessions.get(member.session));
        self.is_connected(position) && session.is_some_and(|session| !session.is_connected())
    }

    /// The position of the member with the fewest messages in flight or queued, among those that are connected, or among all
    /// if none is; among equals the first one from the next turn on. Of many members the next few are compared.
    fn least_loaded(&self, sessions: &Sessions) -> u32 {
        let load = |position: &u32| {
            let member = self.members.get(*position)?;
            Some(sessions.get(member.session)?.server().load())
        };
        // Those that are not connected count only if none is.
        let absent = if self.connected == 0 { MAX_OFFERS } else { 0 };
        let next = self
            .connected_in_turn(self.next)
            .take(MAX_OFFERS)
            .chain(self.absent_in_turn(self.next_absent).take(absent));
        next.min_by_key(|position| load(position).unwrap_or(usize::MAX)).unwrap_or(0)
    }

    /// The positions of the members that are connected, from `start` on and around.
    fn connected_in_turn(&self, start: u32) -> impl Iterator<Item = u32> + use<> {
        let start = if self.is_connected(start) { start } else { 0 };
        (start..self.connected).chain(0..start)
    }

    /// The positions of the members that are not connected, from `start` down and around: nearly always the one that has lost
    /// its connection first is the last.
    fn absent_in_turn(&self, start: u32) -> impl Iterator<Item = u32> + use<> {
        let (begin, end) = (self.connected, self.len());
        let behind = if (begin..end).contains(&start) { start.saturating_add(1) } else { end };
        (begin..behind).rev().chain((behind..end).rev())
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
