//! The subscribers of a topic filter.

use super::list_id::GroupIndex;
use super::ordered::{Ordered, OrderedList};
use super::subscribers::Subscriber;
use crate::broker::index::SessionIndex;
use crate::broker::slab::Slab;

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
#[derive(Clone)]
pub(super) struct Lists {
    own: Ordered<Subscriber>,
    /// The groups that share the subscription, in the order of their indices.
    groups: Ordered<GroupIndex>,
}

impl Subscribers {
    pub(super) const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The subscribers that do not share the subscription.
    #[inline]
    pub(super) fn own<'t>(&'t self, lists: &'t Slab<Lists>) -> OrderedList<'t, Subscriber> {
        match self {
            Self::None => OrderedList::EMPTY,
            Self::One(one) => OrderedList::One(core::slice::from_ref(one)),
            Self::Many(index) => lists.get(*index).map_or(OrderedList::EMPTY, |lists| lists.own.read()),
        }
    }

    /// The groups that share the subscription.
    pub(super) fn groups<'t>(&self, lists: &'t Slab<Lists>) -> OrderedList<'t, GroupIndex> {
        match self {
            Self::None | Self::One(_) => OrderedList::EMPTY,
            Self::Many(index) => lists.get(*index).map_or(OrderedList::EMPTY, |lists| lists.groups.read()),
        }
    }

    /// The size of the lists on the heap, in bytes.
    pub(super) fn bytes(&self, lists: &Slab<Lists>) -> usize {
        let Self::Many(index) = *self else { return 0 };
        lists.get(index).map_or(0, |Lists { own, groups }| own.bytes().saturating_add(groups.bytes()))
    }

    /// The subscribers as lists that can be changed; `None` if no index is left.
    fn many<'t>(&mut self, lists: &'t mut Slab<Lists>) -> Option<&'t mut Lists> {
        let index = match self {
            Self::Many(index) => *index,
            Self::None | Self::One(_) => {
                let mut own = Ordered::new();
                if let Self::One(one) = self {
                    own.insert(*one);
                }
                let index = lists.insert(Lists { own, groups: Ordered::new() })?.index;
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
        if groups.read().len() != 0 || own.read().len() > 1 {
            return;
        }
        let smaller = own.read().first_from(SessionIndex::new(0)).map_or(Self::None, |&one| Self::One(one));
        *self = smaller;
        lists.remove(index);
    }

    pub(super) fn get_mut<'t>(
        &'t mut self,
        lists: &'t mut Slab<Lists>,
        session: SessionIndex,
    ) -> Option<&'t mut Subscriber> {
        match self {
            Self::None => None,
            Self::One(one) => (one.session == session).then_some(one),
            Self::Many(index) => lists.get_mut(*index)?.own.get_mut(session),
        }
    }

    /// Adds a subscriber.
    pub(super) fn insert(&mut self, lists: &mut Slab<Lists>, subscriber: Subscriber) -> Option<()> {
        if self.is_none() {
            *self = Self::One(subscriber);
        } else {
            self.many(lists)?.own.insert(subscriber);
        }
        Some(())
    }

    /// Removes a subscriber.
    pub(super) fn remove(&mut self, lists: &mut Slab<Lists>, session: SessionIndex) {
        match *self {
            Self::None => bug!("a subscriber is in the list that its session names"),
            Self::One(_) => *self = Self::None,
            Self::Many(index) => {
                if let Some(lists) = lists.get_mut(index) {
                    lists.own.remove(session);
                }
                self.shrink(lists);
            }
        }
    }

    /// Adds a group.
    pub(super) fn insert_group(&mut self, lists: &mut Slab<Lists>, group: GroupIndex) -> Option<()> {
        self.many(lists)?.groups.insert(group);
        Some(())
    }

    /// Removes a group.
    pub(super) fn remove_group(&mut self, lists: &mut Slab<Lists>, group: GroupIndex) {
        match self.many(lists) {
            Some(lists) => lists.groups.remove(group),
            None => return bug!("a group shares the filter that it names"),
        }
        self.shrink(lists);
    }
}
