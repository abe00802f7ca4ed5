//! The subscribers of a topic filter.

use alloc::vec::Vec;

use super::list_id::GroupIndex;
use crate::broker::index::SessionIndex;
use crate::broker::slab::Slab;
use crate::codec::{QoS, Subscription};

/// A session that is subscribed, and the options of its subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Subscriber {
    pub(in crate::broker) session: SessionIndex,
    /// The subscription identifier, or 0.
    pub(in crate::broker) identifier: u32,
    pub(in crate::broker) options: SubscriptionOptions,
}

/// The subscription options that a delivery depends on (section 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct SubscriptionOptions {
    pub(in crate::broker) qos: QoS,
    pub(in crate::broker) no_local: bool,
    pub(in crate::broker) retain_as_published: bool,
}

impl Subscriber {
    pub(super) fn new(session: SessionIndex, subscription: &Subscription<'_>, identifier: u32) -> Self {
        let Subscription { qos, no_local, retain_as_published, .. } = *subscription;
        Self { session, identifier, options: SubscriptionOptions { qos, no_local, retain_as_published } }
    }

    /// The new options of this subscription, for retained messages that were requested under the old options: No Local keeps
    /// away what the client has published itself if either asks for it \[MQTT-3.8.3-3\].
    pub(super) const fn renewed(self, new: Self) -> Self {
        let no_local = self.options.no_local || new.options.no_local;
        Self { options: SubscriptionOptions { no_local, ..new.options }, ..new }
    }
}

/// The subscribers of a filter. Nearly all filters have one, which is stored in place.
#[derive(Clone, Default)]
pub(super) enum Subscribers {
    #[default]
    None,
    One(Subscriber),
    /// The index of their lists.
    Many(u32),
}

/// The subscribers of a filter that has several, or groups.
#[derive(Clone, Default)]
pub(super) struct Lists {
    own: Vec<Subscriber>,
    /// The groups that share the subscription.
    groups: Vec<GroupIndex>,
}

impl Subscribers {
    pub(super) const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The subscribers that do not share the subscription.
    #[inline]
    pub(super) fn own<'t>(&'t self, lists: &'t Slab<Lists>) -> &'t [Subscriber] {
        match self {
            Self::None => &[],
            Self::One(one) => core::slice::from_ref(one),
            Self::Many(index) => lists.get(*index).map_or(&[], |lists| &lists.own),
        }
    }

    /// The groups that share the subscription.
    pub(super) fn groups<'t>(&self, lists: &'t Slab<Lists>) -> &'t [GroupIndex] {
        match self {
            Self::None | Self::One(_) => &[],
            Self::Many(index) => lists.get(*index).map_or(&[], |lists| &lists.groups),
        }
    }

    /// The size of the lists on the heap, in bytes.
    pub(super) fn bytes(&self, lists: &Slab<Lists>) -> usize {
        let Self::Many(index) = *self else { return 0 };
        lists.get(index).map_or(0, |Lists { own, groups }| {
            let own = own.capacity().saturating_mul(core::mem::size_of::<Subscriber>());
            own.saturating_add(groups.capacity().saturating_mul(core::mem::size_of::<GroupIndex>()))
        })
    }

    /// The subscribers as lists that can be changed; `None` if no index is left.
    fn many<'t>(&mut self, lists: &'t mut Slab<Lists>) -> Option<&'t mut Lists> {
        let index = match self {
            Self::Many(index) => *index,
            Self::None | Self::One(_) => {
                let own = self.own(lists).to_vec();
                let index = lists.insert(Lists { own, groups: Vec::new() })?.index;
                *self = Self::Many(index);
                index
            }
        };
        lists.get_mut(index)
    }

    /// Chooses the form that takes the least memory.
    fn shrink(&mut self, lists: &mut Slab<Lists>) {
        // The other forms take no memory besides the node.
        let Self::Many(index) = *self else { return };
        let Some(Lists { own, groups }) = lists.get(index) else {
            return bug!("lists exist while a filter refers to them");
        };
        let smaller = match **own {
            [] if groups.is_empty() => Self::None,
            [one] if groups.is_empty() => Self::One(one),
            _ => return,
        };
        *self = smaller;
        lists.remove(index);
    }

    pub(super) fn get_mut<'t>(&'t mut self, lists: &'t mut Slab<Lists>, position: u32) -> Option<&'t mut Subscriber> {
        match self {
            Self::None => None,
            Self::One(one) => (position == 0).then_some(one),
            Self::Many(index) => lists.get_mut(*index)?.own.get_mut(position as usize),
        }
    }

    /// Adds a subscriber and returns its position.
    pub(super) fn push(&mut self, lists: &mut Slab<Lists>, subscriber: Subscriber) -> Option<u32> {
        if self.is_none() {
            *self = Self::One(subscriber);
            return Some(0);
        }
        let own = &mut self.many(lists)?.own;
        own.push(subscriber);
        (own.len() as u32).checked_sub(1)
    }

    /// Removes a subscriber. The last one moves to its position, and is returned if there is one.
    pub(super) fn swap_remove(&mut self, lists: &mut Slab<Lists>, position: u32) -> Option<Subscriber> {
        let Self::Many(index) = *self else {
            *self = Self::None;
            return None;
        };
        let moved = swap_remove(&mut lists.get_mut(index)?.own, position);
        self.shrink(lists);
        moved
    }

    /// How many groups there are, with room for one more.
    pub(super) fn group_count(&mut self, lists: &mut Slab<Lists>) -> Option<u32> {
        Some(self.many(lists)?.groups.len() as u32)
    }

    pub(super) fn push_group(&mut self, lists: &mut Slab<Lists>, group: GroupIndex) -> Option<()> {
        self.many(lists)?.groups.push(group);
        Some(())
    }

    /// Removes the group at a position. The last one moves there, and is returned if there is one.
    pub(super) fn swap_remove_group(&mut self, lists: &mut Slab<Lists>, position: u32) -> Option<GroupIndex> {
        let groups = &mut self.many(lists)?.groups;
        if (position as usize) < groups.len() {
            groups.swap_remove(position as usize);
        }
        let moved = groups.get(position as usize).copied();
        self.shrink(lists);
        moved
    }
}

/// Removes a subscriber from a list. The last one moves to its position, and is returned if there is one.
fn swap_remove(list: &mut Vec<Subscriber>, position: u32) -> Option<Subscriber> {
    if (position as usize) < list.len() {
        list.swap_remove(position as usize);
    } else {
        bug!("a subscriber is where its session says");
    }
    if list.capacity() > 16 && list.len() < list.capacity() / 4 {
        list.shrink_to(list.len().saturating_mul(2));
    }
    list.get(position as usize).copied()
}
