//! A session that moves in its groups.

use crate::broker::router::list_id::ListId;
use crate::broker::slab::Key;

/// A session that moves in its groups, from the last of its shared subscriptions to the first.
pub(in crate::broker) struct Moving {
    pub(super) session: Key,
    /// Where the session moves to: to the members that are connected, or to those that are not.
    pub(super) is_connected: bool,
    /// The list of the last subscription that is done.
    pub(super) last: Option<ListId>,
}
