//! What the steps of a broker work on.

use super::config::BrokerConfig;
use super::connections::Connections;
use super::jobs::ring::Jobs;
use super::jobs::work::Work;
use super::local::LocalSubscription;
use super::policy::{Notice, Policy};
use super::registry::Registry;
use super::router::Router;
use super::session::Session;
use super::sessions::Sessions;
use super::timers::Timers;
use crate::time::Instant;

/// The parts of a [`Broker`](super::Broker), borrowed for one call. It is a bundle without invariants: each part keeps its
/// own. The policy is a trait object, so that the broker is compiled once for all policies.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    /// The time of the first call.
    pub(super) started: Instant,
    pub(super) config: &'a BrokerConfig,
    pub(super) policy: &'a mut dyn Policy,
    pub(super) connections: &'a mut Connections,
    pub(super) sessions: &'a mut Sessions,
    pub(super) registry: &'a mut Registry,
    pub(super) router: &'a mut Router,
    pub(super) timers: &'a mut Timers,
    pub(super) jobs: &'a mut Jobs,
}

impl Context<'_> {
    /// The work of the call.
    #[inline]
    pub(super) const fn work(&mut self) -> &mut Work {
        self.sessions.work_mut()
    }

    /// Tells the policy about copies of messages that were dropped.
    pub(super) fn notify_drops(&mut self) {
        for (index, reason) in self.sessions.take_drops() {
            let session = self.sessions.get(index);
            if session.is_some_and(Session::is_local)
                && let Some(key) = self.sessions.key(index)
            {
                self.policy.notice(Notice::LocalDropped { subscription: LocalSubscription::new(key), reason });
                continue;
            }
            let client_id = session.map(Session::client_id).unwrap_or_default();
            self.policy.notice(Notice::Dropped { client_id, reason });
        }
    }
}
