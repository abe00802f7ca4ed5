//! A client is accepted, into the session of its client identifier or a new one.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::context::Context;
use super::index::SessionIndex;
use super::jobs;
use super::jobs::resuming::{Resuming, Step};
use super::jobs::ring::{Job, Order, Progress};
use super::lifecycle;
use super::memory_use;
use super::mount::MountPoint;
use super::pending_decisions::{Grant, PendingDecision};
use super::policy::{Client, ConnectionId, Ended, Notice};
use super::principal::{Origin, PrincipalName};
use super::publish;
use super::resume::{self, Newcomer};
use super::session::Session;
use super::slab::Slab;
use super::subscribe;
use super::timers::Due;
use crate::codec::{ConnAckReasonCode, Version};
use crate::server::Action;
use crate::topic::TopicFilter;

/// A client that has more open jobs than this is refused until they have ended.
const MAX_OPEN_JOBS: usize = 8;

/// Accepts a client into the session of its client identifier, or a new one, once all decisions about an existing session
/// have come.
pub(super) fn accept(cx: &mut Context<'_>, id: ConnectionId, grant: Grant) {
    let now = cx.now;
    let mut grant = grant;
    let Some(connecting) = cx.connections.connecting(id) else {
        return bug!("a connection is a connecting one while its client is accepted");
    };
    let acceptor = connecting.acceptor();
    let clean_start = acceptor.asks_clean_start();
    // The acceptor may have given up by now.
    let Some((client_id, version)) = acceptor.client().map(|(id, version)| (String::from(id), version)) else { return };
    let client_id = if client_id.is_empty() {
        let assigned = grant.accept.assigned_client_id.take().filter(|assigned| !assigned.is_empty());
        let assigned = assigned.unwrap_or_else(|| cx.registry.assign(cx.sessions));
        grant.accept.assigned_client_id = Some(assigned.clone());
        assigned
    } else {
        client_id
    };
    cx.work().spend_more_bytes(client_id.len().saturating_mul(3)); // it is copied, looked up, and entered
    let user_name = grant.user_name.as_deref();
    grant.mount = cx.policy.mount_point(Client { connection: id, id: &client_id, user_name, version });
    let mount = grant.mount.clone();
    let known = cx.registry.find(cx.sessions, &client_id);
    let goes_on = |session: &Session| {
        !clean_start && session.server().outlives_connection(now) && session.fits_mount(mount.as_ref())
    };
    // Those that have ended take memory until they are taken apart.
    let is_full = known.is_none()
        && (cx.sessions.len() >= cx.config.max_sessions || {
            let user_name = grant.user_name.as_deref();
            let name = principal(cx, Client { connection: id, id: &client_id, user_name, version });
            !has_room(cx, &name, client_id.len())
        });
    if is_full || cx.sessions.ended() > cx.config.max_sessions {
        return lifecycle::refuse_with(cx, id, quota_exceeded(version));
    }
    // Each connection of a client may leave a will behind. They are published one after the other.
    if cx.jobs.open_of(&client_id) > MAX_OPEN_JOBS {
        return lifecycle::refuse_with(cx, id, busy(version));
    }
    if let Some(index) = known {
        // A client that would be refused must not take over the existing session.
        let done = cx.connections.connecting(id).map(|connecting| connecting.acceptor().check(&grant.accept));
        if let Some(Err(_)) = done {
            return lifecycle::refuse_with(cx, id, ConnAckReasonCode::ImplementationSpecificError);
        }
        let newcomer = Newcomer { connection: id, client_id: &client_id, version, clean_start };
        match resume::claim(cx, index, newcomer, grant) {
            Some(claimed) => grant = claimed,
            None => return, // the client was refused, or waits for a decision
        }
        let has_subscriptions = |session: &Session| !session.subscriptions().is_empty();
        if cx.sessions.get(index).is_some_and(|session| goes_on(session) && has_subscriptions(session)) {
            return resume(cx, index, id, grant);
        }
        take_over(cx, index);
    }
    // A session that does not go on ends before the new one begins: that is another session, whatever is left of the old one.
    let resumed = known.filter(|&index| cx.sessions.get(index).is_some_and(goes_on));
    if resumed.is_none()
        && let Some(index) = known
    {
        end_session(cx, index);
    }
    enter_session(cx, id, resumed, &client_id, grant);
}

/// The name of the principal of a client.
fn principal(cx: &mut Context<'_>, client: Client<'_>) -> PrincipalName {
    let origin = cx.connections.connecting(client.connection).map_or(Origin::UNKNOWN, |connecting| connecting.origin());
    cx.policy.principal(client).name(client.user_name, origin)
}

/// Whether a principal may have one more session.
fn has_room(cx: &mut Context<'_>, name: &PrincipalName, client_id: usize) -> bool {
    let size = Slab::<Session>::SLOT_SIZE.saturating_add(client_id) as u64;
    // Most of the time there is no session to look for.
    cx.sessions.account().is_far_below(size) || {
        let principal = cx.jobs.turns().find(name);
        memory_use::has_room(cx, principal, size)
    }
}

/// Lets a client resume a session with subscriptions: at once as far as the budget goes, and then by a job. Other jobs of the
/// client, such as a SUBSCRIBE on its older connection, come first.
fn resume(cx: &mut Context<'_>, index: SessionIndex, connection: ConnectionId, grant: Grant) {
    let Some(session) = cx.sessions.get(index) else { return bug!("a session that was found exists") };
    let client_id = Box::<str>::from(session.client_id());
    let Some(session) = cx.sessions.key(index) else { return bug!("a session that was found exists") };
    let mut resuming = Resuming { connection, session, step: Step::Ask(grant), last: None, refused: Vec::new() };
    let order = Order { client_id: Some(&client_id), retained: None };
    if !cx.jobs.has_to_wait(order) {
        resuming = match go_on(cx, resuming) {
            Some(resuming) => resuming,
            None => return,
        };
    }
    if let Step::Ask(grant) | Step::Restrict(grant) = &mut resuming.step {
        resume::hold(cx, connection, grant);
    }
    let Some(principal) = cx.connections.turn_mut(connection).map(|turn| turn.principal()) else {
        return bug!("a connection exists while its client is accepted");
    };
    if jobs::start(cx, principal, order, Job::Resume(Some(Box::new(resuming)))).is_none() {
        // 2^32 jobs are open.
        cx.connections.take_pending(connection, |_| true);
        lifecycle::refuse_with(cx, connection, ConnAckReasonCode::ServerUnavailable);
    }
}

/// Goes on with a client that resumes a session, one subscription at least.
pub(super) fn advance(cx: &mut Context<'_>, job: &mut Option<Box<Resuming>>) -> Progress {
    let Some(resuming) = job.take() else {
        bug!("a job has what it works on");
        return Progress::Done;
    };
    let connection = resuming.connection;
    if let Some(rest) = go_on(cx, *resuming) {
        *job = Some(Box::new(rest));
        return Progress::More;
    }
    // The connection may have something to write, or take input again.
    if cx.connections.contains(connection) && !cx.connections.is_waiting(connection) {
        lifecycle::wake_connection(cx, connection);
        cx.sessions.ready_mut().push(connection);
    }
    Progress::Done
}

/// Does one step after the other; returns what is left when the budget of the call is used up.
fn go_on(cx: &mut Context<'_>, resuming: Resuming) -> Option<Resuming> {
    let Resuming { connection, session, step, mut last, mut refused } = resuming;
    let mut step = step;
    loop {
        let is_accepted = matches!(step, Step::Notify);
        if !is_accepted && cx.connections.connecting(connection).is_none() {
            return None; // the connection is over
        }
        let found = cx.sessions.get_by_key(session).filter(|(_, session)| !session.has_ended());
        let found = found.map(|(index, session)| (index, String::from(session.client_id())));
        step = match (step, found) {
            (Step::Ask(grant) | Step::Restrict(grant), None) => {
                // The session has ended meanwhile.
                let grant = resume::release(cx, connection, grant);
                accept(cx, connection, grant);
                return None;
            }
            (Step::Ask(mut grant), Some((index, client_id))) => {
                if !resume::ask(cx, (index, &client_id), connection, &mut grant, &mut last) {
                    return Some(Resuming { connection, session, step: Step::Ask(grant), last, refused });
                }
                if let Some(PendingDecision::Resubscribe { decisions, grant: waiting }) =
                    cx.connections.pending_mut(connection)
                    && !decisions.is_complete()
                {
                    *waiting = Some(grant);
                    return None;
                }
                last = None;
                take_over(cx, index);
                Step::Restrict(grant)
            }
            (Step::Restrict(mut grant), Some((index, client_id))) => {
                let goes_on = |it: &Session| it.server().outlives_connection(cx.now);
                let goes_on = cx.sessions.get(index).is_some_and(goes_on);
                if goes_on && !resume::restrict(cx, index, connection, &mut grant, &mut last, &mut refused) {
                    return Some(Resuming { connection, session, step: Step::Restrict(grant), last, refused });
                }
                let grant = resume::release(cx, connection, grant);
                if !goes_on {
                    end_session(cx, index);
                }
                enter_session(cx, connection, goes_on.then_some(index), &client_id, grant);
                Step::Notify
            }
            (Step::Notify, found) => {
                while let Some((filter, reason_code)) = refused.pop() {
                    if let Some((index, _)) = found {
                        subscribe::notify_refused(cx, index, TopicFilter::validated(&filter), reason_code);
                    }
                    cx.work().spend(1);
                    if cx.work().is_spent() && !refused.is_empty() {
                        return Some(Resuming { connection, session, step: Step::Notify, last, refused });
                    }
                }
                return None;
            }
        };
    }
}

/// The work of accepting a client: its session, principal and timers change, the policy gets a notice, and CONNACK is written.
const ACCEPT: u64 = 4;

/// Accepts a client into this session or, without one, into a new session.
fn enter_session(cx: &mut Context<'_>, id: ConnectionId, known: Option<SessionIndex>, client_id: &str, grant: Grant) {
    let Grant { accept, user_name, mount, .. } = grant;
    cx.work().spend(ACCEPT);
    let Some(connecting) = cx.connections.connecting(id) else {
        return bug!("a connection is a connecting one while its client is accepted");
    };
    let acceptor = connecting.acceptor();
    let version = acceptor.client().map_or(Version::V5, |(_, version)| version);
    let client = Client { connection: id, id: client_id, user_name: user_name.as_deref(), version };
    let name = principal(cx, client);
    let Some(connecting) = cx.connections.connecting(id) else {
        return bug!("a connection is a connecting one while its client is accepted");
    };
    let acceptor = connecting.acceptor();
    if let Some(mount) = &mount
        && !acceptor.mount_will(mount.as_bytes())
    {
        return lifecycle::refuse_with(cx, id, ConnAckReasonCode::TopicNameInvalid);
    }
    let exists = known.is_some();
    let index = known.or_else(|| {
        let mut session = acceptor.new_session();
        if cx.config.durable {
            session.make_durable();
        }
        cx.sessions.insert(Session::new(session))
    });
    // The slab of sessions may be full (2^32 sessions).
    let Some(index) = index else {
        return lifecycle::refuse_with(cx, id, ConnAckReasonCode::ServerUnavailable);
    };
    let now = cx.now;
    let accepted = cx.sessions.with(index, |session| {
        acceptor.accept_into(now, session, exists, *accept).map(|()| {
            if !session.is_resumed() {
                session.set_owner(user_name.clone());
            }
            session.set_mount_point(mount.as_ref().map(MountPoint::as_bytes));
            session.is_resumed()
        })
    });
    let Some(Ok(session_present)) = accepted else {
        if !exists {
            cx.sessions.remove(index);
        }
        return lifecycle::refuse_with(cx, id, ConnAckReasonCode::ImplementationSpecificError);
    };
    let is_busy = cx.jobs.open_of(client_id) != 0;
    if let Some(session) = cx.sessions.get_mut(index) {
        session.set_busy(is_busy);
    }
    cx.sessions.attach(index, id, user_name, mount);
    enter_principal(cx, id, index, name);
    cx.connections.attach(id, index);
    memory_use::count_connection(cx, id);
    cx.timers.remove(Due::Connection(id.key().index));
    let accepted = &mut cx.sessions.counters_mut().clients_accepted;
    *accepted = accepted.wrapping_add(1);
    if !exists {
        cx.registry.insert(cx.sessions, index);
    }
    if let Some(client) = cx.sessions.get(index).and_then(Session::client) {
        cx.policy.notice(Notice::Connected { client, session_present });
    }
    if session_present {
        jobs::members::start(cx, index);
    }
    cx.sessions.mark_changed(index);
}

/// The connection and the session of a client that was accepted are those of its principal.
fn enter_principal(cx: &mut Context<'_>, id: ConnectionId, index: SessionIndex, name: PrincipalName) {
    let turns = cx.jobs.turns_mut();
    // Until now the connection is that of its origin.
    let principal = match (&name, cx.connections.turn_mut(id)) {
        (PrincipalName::Origin(_), Some(turn)) => {
            let principal = turn.principal();
            turns.enter_again(principal);
            principal
        }
        _ => turns.enter(name),
    };
    memory_use::enter_principal(cx, id, index, principal);
    cx.jobs.turns_mut().leave(principal);
}

/// The client of a session has connected again: the older connection ends with Session taken over \[MQTT-3.1.4-3\].
fn take_over(cx: &mut Context<'_>, index: SessionIndex) {
    let Some(session) = cx.sessions.get_mut(index) else { return bug!("a session that was found exists") };
    if session.connection().is_some() {
        // It fails if the client accepts no packet as large as DISCONNECT.
        let now = cx.now;
        cx.sessions.with(index, |session| session.take_over(now).is_ok());
        lifecycle::end_connection(cx, index, Ended::TakenOver);
    }
}

/// Ends a session without a connection at once: its will is published, and its client identifier is free.
fn end_session(cx: &mut Context<'_>, index: SessionIndex) {
    let now = cx.now;
    if cx.sessions.with(index, |session| session.end_session(now)).is_none() {
        return bug!("a session that ends exists");
    }
    // `Action::Expired` is the last one.
    while cx.sessions.get(index).is_some_and(|session| !session.has_ended()) {
        match cx.sessions.with(index, |session| session.advance_output(now, 0, &mut 0)).flatten() {
            Some(Action::Will(will)) => publish::publish_will(cx, index, &will),
            Some(Action::Done { outcome, .. }) => cx.sessions.count_outcome(index, &outcome),
            Some(Action::Expired) => lifecycle::remove_session(cx, index),
            _ => return bug!("a session that is ended has an end"),
        }
    }
}

/// The reason code for a client whose messages are still on their way.
const fn busy(version: Version) -> ConnAckReasonCode {
    match version {
        Version::V5 => ConnAckReasonCode::ServerBusy,
        // Earlier versions have no return code that says more.
        Version::V31 | Version::V311 => ConnAckReasonCode::ServerUnavailable,
    }
}

/// The reason code for a client that would need one session too many.
const fn quota_exceeded(version: Version) -> ConnAckReasonCode {
    match version {
        Version::V5 => ConnAckReasonCode::QuotaExceeded,
        // Earlier versions have no return code that says more.
        Version::V31 | Version::V311 => ConnAckReasonCode::ServerUnavailable,
    }
}
