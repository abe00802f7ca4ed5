//! Deficit round robin among principals, and among the members of each principal.
//!
//! The cost of a turn is known only afterwards, so a turn may cost more than the credit of its member. The member pays this
//! debt off before its next turn. A member that was idle joins in front, once: it waits for the turn in progress and for other
//! members that were idle, not for a round of the busy ones. The scheme is that of FQ-CoDel (RFC 8290, section 4.2).

use std::collections::HashMap;
use std::hash::Hash;

/// The credit that a member or a principal gets in each round, in microseconds.
pub(crate) const QUANTUM: i64 = 100;

/// Maximum debt, in microseconds. The system may have run another program during a turn: a turn that was long for this reason
/// must not shut a member out for long.
const MAX_DEBT: i64 = 20 * QUANTUM;

/// The end of a list.
const NONE: u32 = u32::MAX;

/// Index of a member of [`Fair`], valid until the member leaves.
pub(crate) type MemberIndex = u32;

/// The order of the turns of members, each of which belongs to a principal.
pub(crate) struct Fair<K> {
    members: Slab<Member>,
    principals: Slab<Principal<K>>,
    by_key: HashMap<K, u32>,
    ring: Ring,
}

struct Member {
    turn: Turn,
    principal: u32,
}

struct Principal<K> {
    turn: Turn,
    key: K,
    /// The order of its members.
    ring: Ring,
    /// Number of members, and of busy members.
    members: usize,
    busy: usize,
}

/// The position of a member or of a principal in a ring, and its credit.
struct Turn {
    list: List,
    previous: u32,
    next: u32,
    /// The rest of the credit, in microseconds; negative for a debt.
    credit: i64,
    is_busy: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum List {
    /// Not in the ring: idle when its last turn came, and without debt.
    Out,
    /// The list of members or principals that were idle before.
    Fresh,
    /// The list of the others.
    Rest,
}

/// The members or principals that take turns, as two lists that are linked through their [`Turn`]s.
struct Ring {
    fresh: Ends,
    rest: Ends,
}

struct Ends {
    first: u32,
    last: u32,
}

/// The front of a ring.
enum Front {
    /// The member or principal with this index has the next turn.
    Busy(u32),
    /// The member or principal with this index was idle, and has left the ring.
    Left(u32),
}

impl<K: Hash + Eq + Clone> Fair<K> {
    pub(crate) fn new() -> Self {
        Self { members: Slab::new(), principals: Slab::new(), by_key: HashMap::new(), ring: Ring::new() }
    }

    /// Adds an idle member.
    pub(crate) fn join(&mut self, key: K) -> MemberIndex {
        let principal = self.principal(key);
        self.members.insert(Member { turn: Turn::new(), principal })
    }

    /// Removes a member.
    pub(crate) fn leave(&mut self, index: MemberIndex) {
        self.detach(index);
        self.members.remove(index);
    }

    /// Moves a member to another principal.
    pub(crate) fn reassign(&mut self, index: MemberIndex, key: K) {
        let was_busy = self.members.get(index).turn.is_busy;
        self.detach(index);
        let principal = self.principal(key);
        self.members.get(index).principal = principal;
        if was_busy {
            self.wake(index);
        }
    }

    /// Marks a member as busy.
    pub(crate) fn wake(&mut self, index: MemberIndex) {
        let member = self.members.get(index);
        if std::mem::replace(&mut member.turn.is_busy, true) {
            return;
        }
        let number = member.principal;
        let principal = self.principals.get(number);
        principal.busy += 1;
        principal.turn.is_busy = true;
        principal.ring.join(&mut self.members, index);
        self.ring.join(&mut self.principals, number);
    }

    /// Returns the member that has the next turn. It is idle from now on, unless it is woken again.
    pub(crate) fn next(&mut self) -> Option<MemberIndex> {
        loop {
            let number = match self.ring.front(&mut self.principals)? {
                Front::Busy(number) => number,
                Front::Left(number) => {
                    self.forget_if_unused(number);
                    continue;
                }
            };
            let principal = self.principals.get(number);
            match principal.ring.front(&mut self.members) {
                Some(Front::Busy(index)) => {
                    self.rest(index);
                    return Some(index);
                }
                Some(Front::Left(_)) => {}
                None => principal.turn.is_busy = false, // not reached: a busy principal has a busy member
            }
        }
    }

    /// Charges a member and its principal with the cost of a turn, in microseconds.
    pub(crate) fn charge(&mut self, index: MemberIndex, cost: i64) {
        let member = self.members.get(index);
        member.turn.charge(cost);
        self.principals.get(member.principal).turn.charge(cost);
    }

    /// Number of principals, including those that have a debt but no members.
    #[cfg(test)]
    pub(crate) fn principals(&self) -> usize {
        self.by_key.len()
    }

    /// Counts one more member of a principal, and returns the index of the principal.
    fn principal(&mut self, key: K) -> u32 {
        let principals = &mut self.principals;
        let number = *self.by_key.entry(key).or_insert_with_key(|key| {
            principals.insert(Principal { turn: Turn::new(), key: key.clone(), ring: Ring::new(), members: 0, busy: 0 })
        });
        self.principals.get(number).members += 1;
        number
    }

    /// Marks a member as idle.
    fn rest(&mut self, index: MemberIndex) {
        let member = self.members.get(index);
        if std::mem::take(&mut member.turn.is_busy) {
            let principal = self.principals.get(member.principal);
            principal.busy -= 1;
            principal.turn.is_busy = principal.busy != 0;
        }
    }

    /// Removes a member from its principal.
    fn detach(&mut self, index: MemberIndex) {
        self.rest(index);
        let number = self.members.get(index).principal;
        let principal = self.principals.get(number);
        principal.ring.unlink(&mut self.members, index);
        principal.members -= 1;
        self.forget_if_unused(number);
    }

    /// Removes a principal without members. A principal that is still in the ring may have a debt, and is kept until it leaves
    /// the ring: a client must not cancel the debt by connecting again.
    fn forget_if_unused(&mut self, number: u32) {
        let principal = self.principals.get(number);
        if principal.members == 0 && principal.turn.list == List::Out {
            let principal = self.principals.remove(number);
            self.by_key.remove(&principal.key);
        }
    }
}

impl Turn {
    const fn new() -> Self {
        Self { list: List::Out, previous: NONE, next: NONE, credit: QUANTUM, is_busy: false }
    }

    fn charge(&mut self, cost: i64) {
        self.credit = self.credit.saturating_sub(cost).max(-MAX_DEBT);
    }
}

impl Ring {
    const fn new() -> Self {
        Self { fresh: Ends { first: NONE, last: NONE }, rest: Ends { first: NONE, last: NONE } }
    }

    /// Adds a member or principal in front of the rest, unless it is in the ring already.
    fn join<T: AsMut<Turn>>(&mut self, all: &mut Slab<T>, index: u32) {
        let turn = all.turn(index);
        if turn.list == List::Out {
            turn.credit = turn.credit.min(0) + QUANTUM;
            self.link(all, index, List::Fresh);
        }
    }

    /// Finds the first member or principal that is busy and has no debt. It stays in front until its credit is used up.
    fn front<T: AsMut<Turn>>(&mut self, all: &mut Slab<T>) -> Option<Front> {
        loop {
            let index = if self.fresh.first == NONE { self.rest.first } else { self.fresh.first };
            if index == NONE {
                return None;
            }
            let turn = all.turn(index);
            if turn.credit <= 0 {
                turn.credit += QUANTUM;
            } else if turn.is_busy {
                return Some(Front::Busy(index));
            } else if turn.list == List::Rest {
                self.unlink(all, index);
                return Some(Front::Left(index));
            }
            // An idle member of the fresh list waits for a round before it may join in front again.
            self.unlink(all, index);
            self.link(all, index, List::Rest);
        }
    }

    const fn ends(&mut self, list: List) -> Option<&mut Ends> {
        match list {
            List::Out => None,
            List::Fresh => Some(&mut self.fresh),
            List::Rest => Some(&mut self.rest),
        }
    }

    fn link<T: AsMut<Turn>>(&mut self, all: &mut Slab<T>, index: u32, list: List) {
        let Some(ends) = self.ends(list) else { return };
        let last = std::mem::replace(&mut ends.last, index);
        if last == NONE {
            ends.first = index;
        } else {
            all.turn(last).next = index;
        }
        let turn = all.turn(index);
        (turn.list, turn.previous, turn.next) = (list, last, NONE);
    }

    fn unlink<T: AsMut<Turn>>(&mut self, all: &mut Slab<T>, index: u32) {
        let turn = all.turn(index);
        let (list, previous, next) = (turn.list, turn.previous, turn.next);
        let Some(ends) = self.ends(list) else { return };
        if previous == NONE {
            ends.first = next;
        } else {
            all.turn(previous).next = next;
        }
        if next == NONE {
            ends.last = previous;
        } else {
            all.turn(next).previous = previous;
        }
        all.turn(index).list = List::Out;
    }
}

impl AsMut<Turn> for Member {
    fn as_mut(&mut self) -> &mut Turn {
        &mut self.turn
    }
}

impl<K> AsMut<Turn> for Principal<K> {
    fn as_mut(&mut self) -> &mut Turn {
        &mut self.turn
    }
}

/// Items by index. Indexes are used again.
struct Slab<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    const fn new() -> Self {
        Self { items: Vec::new(), free: Vec::new() }
    }

    fn insert(&mut self, item: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.items[index as usize] = Some(item);
            return index;
        }
        self.items.push(Some(item));
        u32::try_from(self.items.len() - 1).expect("fewer than 2^32 connections")
    }

    fn get(&mut self, index: u32) -> &mut T {
        self.items[index as usize].as_mut().expect("the item was not removed")
    }

    fn remove(&mut self, index: u32) -> T {
        self.free.push(index);
        self.items[index as usize].take().expect("the item was not removed")
    }
}

impl<T: AsMut<Turn>> Slab<T> {
    fn turn(&mut self, index: u32) -> &mut Turn {
        self.get(index).as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs turns of members that are always busy, each with its cost, and returns the sum of the costs of each member.
    fn run(fair: &mut Fair<char>, busy: &[(MemberIndex, i64)], turns: usize) -> HashMap<MemberIndex, i64> {
        let costs: HashMap<_, _> = busy.iter().copied().collect();
        let mut used = HashMap::new();
        busy.iter().for_each(|&(index, _)| fair.wake(index));
        for _ in 0..turns {
            let index = fair.next().unwrap();
            fair.charge(index, costs[&index]);
            *used.entry(index).or_default() += costs[&index];
            fair.wake(index);
        }
        used
    }

    #[test]
    fn principals_share_first_and_then_their_members() {
        let mut fair = Fair::new();
        let alone = fair.join('a');
        let many: Vec<_> = (0..100).map(|_| fair.join('b')).collect();
        // The turns have different lengths, shorter and longer than the quantum.
        let busy: Vec<_> = std::iter::once((alone, 30)).chain((1..).zip(many).map(|(n, it)| (it, 7 * n))).collect();
        let used = run(&mut fair, &busy, 100_000);
        let others: i64 = used.iter().filter(|&(&index, _)| index != alone).map(|(_, used)| used).sum();
        let share = used[&alone] as f64 / (used[&alone] + others) as f64;
        assert!((0.49..0.51).contains(&share), "{share}");
        let of_each = busy[1..].iter().map(|(index, _)| used[index]);
        let (least, most) = (of_each.clone().min().unwrap(), of_each.max().unwrap());
        assert!(most - least <= 2 * 700, "{least} to {most}");
    }

    /// A member that was idle waits for no turn but the one in progress, however many busy members another principal or its own
    /// has.
    #[test]
    fn a_member_that_was_idle_is_next() {
        for key in ['a', 'b'] {
            let mut fair = Fair::new();
            let quiet = fair.join(key);
            let busy: Vec<_> = (0..1000).map(|_| (fair.join('b'), 100)).collect();
            run(&mut fair, &busy, 3000); // all of them were fresh once
            fair.wake(quiet);
            assert_eq!(fair.next(), Some(quiet), "{key}");
            fair.charge(quiet, QUANTUM);
            // It is not next again before a round is over: that is a thousand turns among members of one principal.
            fair.wake(quiet);
            let waited = (0..).take_while(|_| {
                let index = fair.next().unwrap();
                fair.charge(index, 100);
                fair.wake(index);
                index != quiet
            });
            let waited = waited.count();
            assert!(if key == 'a' { waited <= 2 } else { (900..=1100).contains(&waited) }, "{key}: {waited}");
        }
    }

    #[test]
    fn a_debt_is_paid_off() {
        let mut fair = Fair::new();
        let (long, short) = (fair.join('a'), fair.join('b'));
        let used = run(&mut fair, &[(long, 1500), (short, 10)], 10_000);
        assert!((used[&long] - used[&short]).abs() <= 1500 + QUANTUM, "{used:?}");
        // To leave and join again does not cancel a debt either.
        let mut fair = Fair::new();
        let busy = fair.join('b');
        let mut used = (0, 0);
        fair.wake(busy);
        for _ in 0..10_000 {
            let hasty = fair.join('a');
            fair.wake(hasty);
            let mut next = fair.next().unwrap();
            while next == busy {
                fair.charge(busy, 10);
                used.0 += 10;
                fair.wake(busy);
                next = fair.next().unwrap();
            }
            fair.charge(hasty, 1500);
            used.1 += 1500;
            fair.leave(hasty);
        }
        assert!(used.1 <= used.0 + 3000, "{used:?}");
    }

    #[test]
    fn members_and_principals_that_leave_are_removed() {
        let mut fair = Fair::new();
        let mut seed = 7_u32;
        let mut random = move |below: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize % below
        };
        let mut members = Vec::new();
        let mut woken = std::collections::HashSet::new();
        for _ in 0..100_000 {
            match random(6) {
                0 if members.len() < 50 => members.push(fair.join((b'a' + random(9) as u8) as char)),
                1 if !members.is_empty() => {
                    let index = members.swap_remove(random(members.len()));
                    woken.remove(&index);
                    fair.leave(index);
                }
                2 if !members.is_empty() => {
                    let index = members[random(members.len())];
                    fair.reassign(index, (b'a' + random(9) as u8) as char);
                }
                3 | 4 if !members.is_empty() => {
                    let index = members[random(members.len())];
                    fair.wake(index);
                    woken.insert(index);
                }
                _ => match fair.next() {
                    Some(index) => {
                        assert!(woken.remove(&index), "only a busy member has a turn");
                        fair.charge(index, random(300) as i64);
                    }
                    None => assert!(woken.is_empty(), "{woken:?} are busy"),
                },
            }
        }
        members.into_iter().for_each(|index| fair.leave(index));
        assert_eq!(fair.next(), None);
        assert_eq!((fair.principals(), fair.members.items.len() - fair.members.free.len()), (0, 0));
    }
}
