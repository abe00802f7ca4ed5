//! What waits has its turn.

use super::OUTPUT;
use super::ring::{Job, Progress};
use super::turns::{Entry, JobId, PrincipalIndex};
use crate::broker::context::Context;
use crate::broker::policy::ConnectionId;
use crate::broker::{accept, memory_use, publish, subscribe, sys};

/// Goes on with what waits, one budget of it.
pub(in crate::broker) fn run(cx: &mut Context<'_>) {
    let left = cx.work().left();
    let limit = cx.work().narrow(left);
    while !cx.work().is_spent() && serve_next(cx) {}
    cx.work().widen(limit);
    cx.jobs.turns_mut().end();
}

/// What waits next has its turn; returns whether there was something.
fn serve_next(cx: &mut Context<'_>) -> bool {
    let Context { jobs, sessions, .. } = cx;
    let spend = || {
        sessions.work_mut().spend(1);
        !sessions.work_mut().is_spent()
    };
    let Some((principal, entry, credit)) = jobs.turns_mut().pop(spend) else { return false };
    let before = cx.work().done();
    cx.sessions.begin_step(cx.now);
    match entry {
        Entry::Input(id) => {
            cx.work().spend(1);
            grant_input(cx, principal, id);
        }
        Entry::Output(id) => {
            cx.work().spend(1);
            grant_output(cx, principal, id);
        }
        Entry::Job(id) => {
            let limit = cx.work().narrow(credit);
            step(cx, id);
            cx.work().widen(limit);
        }
    }
    let done = cx.work().done().saturating_sub(before);
    let turns = cx.jobs.turns_mut();
    turns.charge(principal, i64::try_from(done).unwrap_or(i64::MAX));
    turns.served(principal);
    true
}

/// The input of a connection has its turn: it is taken when the driver comes with it. That leaves less to this call, so that
/// the driver looks at its transports in between, and others have their turns.
fn grant_input(cx: &mut Context<'_>, principal: PrincipalIndex, id: ConnectionId) {
    let left = cx.work().left();
    // The connection may be over by now.
    let Some(turn) = cx.connections.turn_mut(id) else { return };
    // Input that nothing is known of may be as much as there is.
    let estimate = turn.estimate().unwrap_or(u32::MAX);
    let estimate = u32::try_from(u64::from(estimate).min(left.max(1))).unwrap_or(u32::MAX);
    turn.grant(estimate);
    cx.jobs.turns_mut().grant(principal, estimate);
    cx.sessions.ready_mut().push(id);
    cx.work().narrow(left.saturating_sub(u64::from(estimate)));
}

/// More output of a connection has its turn: it is made when the driver asks for it.
fn grant_output(cx: &mut Context<'_>, principal: PrincipalIndex, id: ConnectionId) {
    let left = cx.work().left();
    // The connection may be over by now.
    let Some(turn) = cx.connections.turn_mut(id) else { return };
    turn.grant_output();
    cx.jobs.turns_mut().grant(principal, OUTPUT);
    cx.sessions.ready_mut().push(id);
    cx.work().narrow(left.saturating_sub(u64::from(OUTPUT)));
}

/// A job has its turn. If it waits for another one, that one runs, so that it is not as slow as its principal.
fn step(cx: &mut Context<'_>, id: JobId) {
    cx.work().spend(1);
    // Others may have run the job to its end.
    let Some(runs) = cx.jobs.to_run(id) else { return };
    let Some(mut job) = cx.jobs.take(runs) else { return bug!("a job that runs is open") };
    match advance(cx, &mut job) {
        Progress::More => {
            cx.jobs.put_back(runs, job);
            memory_use::count_job(cx, runs);
        }
        Progress::Done => super::end(cx, runs),
    }
    cx.jobs.wait(id);
}

/// Does as much of a job as the budget allows, and at least one item.
fn advance(cx: &mut Context<'_>, job: &mut Job) -> Progress {
    match job {
        Job::Publication(publication) => publish::advance(cx, publication),
        Job::Subscribe(subscribing) => subscribe::advance(cx, subscribing),
        Job::Unsubscribe(unsubscribing) => subscribe::advance_unsubscribe(cx, unsubscribing),
        Job::Resume(resuming) => accept::advance(cx, resuming),
        Job::Members(moving) => super::members::advance(cx, moving),
        Job::Teardown(key) => super::teardown::advance(cx, *key),
        Job::Walk(key) => super::walk::advance(cx, *key),
        Job::Walks(number) => super::walk::advance_waiting(cx, *number),
        Job::Status(count) => sys::advance(cx, count),
    }
}
