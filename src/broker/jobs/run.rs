//! What waits has its turn.

use super::ring::{Job, Progress};
use super::turns::{Entry, JobId};
use crate::broker::context::Context;
use crate::broker::{accept, memory_use, publish, subscribe, sys};

/// Goes on with what waits, one budget of it.
pub(in crate::broker) fn run(cx: &mut Context<'_>) {
    while !cx.work().is_spent() {
        let Context { jobs, sessions, .. } = cx;
        let spend = || {
            sessions.work_mut().spend(1);
            !sessions.work_mut().is_spent()
        };
        let Some((principal, entry, credit)) = jobs.turns_mut().pop(spend) else { return };
        let before = cx.work().done();
        match entry {
            Entry::Input(id) => {
                // The connection may be over by now.
                cx.work().spend(1);
                if let Some(turn) = cx.connections.turn_mut(id) {
                    let estimate = turn.grant();
                    cx.jobs.turns_mut().charge(principal, i64::from(estimate));
                    cx.sessions.ready_mut().push(id);
                    // The work is done when the input comes, and leaves that much less to this call: so the driver looks at
                    // its transports in between, and others have their turns.
                    let left = cx.work().left();
                    cx.work().narrow(left.saturating_sub(u64::from(estimate)));
                }
                continue;
            }
            Entry::Job(id) => {
                let limit = cx.work().narrow(credit);
                step(cx, id);
                cx.work().widen(limit);
            }
        }
        let done = cx.work().done().saturating_sub(before);
        cx.jobs.turns_mut().charge(principal, i64::try_from(done).unwrap_or(i64::MAX));
    }
}

/// A job has its turn.
fn step(cx: &mut Context<'_>, id: JobId) {
    cx.work().spend(1);
    let Some(mut job) = cx.jobs.take(id) else { return bug!("a job that waits for its turn is open") };
    match advance(cx, &mut job) {
        Progress::More => {
            cx.jobs.put_back(id, job);
            memory_use::count_job(cx, id);
        }
        Progress::Done => super::end(cx, id),
    }
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
        Job::Status(count) => sys::advance(cx, count),
    }
}
