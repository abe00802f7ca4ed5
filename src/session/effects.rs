//! The effects of a session's transitions, beside packets: outcomes for the application, and records for the journal.

use alloc::boxed::Box;

use super::outcome::AbandonReason;
use super::report::Report;
use super::store::journal::{Journal, Record};
use super::token::Token;
use crate::codec::Version;

/// The outcomes that wait to be reported, and the journal if the session has one.
#[derive(Clone)]
pub(crate) struct Effects {
    report: Report,
    journal: Option<Box<Journal>>,
}

impl Effects {
    pub(crate) fn new(version: Version, has_journal: bool) -> Self {
        Self { report: Report::default(), journal: has_journal.then(|| Box::new(Journal::new(version))) }
    }

    #[inline]
    pub(crate) const fn report(&self) -> &Report {
        &self.report
    }

    #[inline]
    pub(crate) const fn report_mut(&mut self) -> &mut Report {
        &mut self.report
    }

    /// Reports that an operation was given up.
    pub(crate) fn abandoned(&mut self, token: Token, reason: AbandonReason) {
        self.report.push(token, Some(reason));
    }

    #[inline]
    pub(crate) fn journal(&self) -> Option<&Journal> {
        self.journal.as_deref()
    }

    pub(crate) fn journal_mut(&mut self) -> Option<&mut Journal> {
        self.journal.as_deref_mut()
    }

    /// Writes a record to the journal, if there is one.
    #[inline]
    pub(crate) fn record(&mut self, record: Record<'_>) {
        if let Some(journal) = &mut self.journal {
            journal.write(record);
        }
    }
}
