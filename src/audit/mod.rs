//! Whether single sessions in the store have the numbers that their platform gives them.
//!
//! The platform is asked for its own word on a session, and what it says is compared with the session's record. Only
//! what both speak of the same moment is compared: a session that goes on, or that has moved since it was last read, is
//! left out and counted. What a platform does not say is not compared.

mod ask;
mod compare;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::domain::{SessionNo, SourceIx};
use crate::ingest::access::Access;
use crate::ingest::platforms::Platform;
use crate::journal::{Journal, JournalError};
use crate::projection::{LabelPolicy, Names, SessionHead};

pub use ask::Silent;
use ask::{Asker, Said};
use compare::{Comparison, compare};

/// A source whose platform can be asked.
pub struct Watched {
    /// Its number in the store.
    pub ix: SourceIx,
    /// Its name.
    pub name: String,
    /// Its platform's side.
    pub platform: Arc<dyn Platform>,
    /// The way to it.
    pub access: Access,
    /// How many sessions are asked for at the same time.
    pub concurrency: usize,
}

/// Of how many sessions the platform is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// So many, drawn at random.
    Sample(usize),
    /// All.
    All,
}

/// What came of asking for the sessions of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// The source.
    pub source: String,
    /// Sessions that say the same on both sides.
    pub equal: u64,
    /// Sessions that differ.
    pub differing: u64,
    /// Of both, those of which tokens were not compared: events of them were lost, or are copies of another session's.
    pub without_tokens: u64,
    /// Sessions that were not asked for, or not compared.
    pub left_out: LeftOut,
    /// Sessions that could not be asked for, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Each difference.
    pub differences: Vec<Difference>,
}

/// Why sessions were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// They had not come to rest when they were last read.
    pub going_on: u64,
    /// Nothing is kept of them but that they exist, so there is nothing to compare.
    pub only_known: u64,
    /// They were deleted on the platform, as the store knows.
    pub gone: u64,
    /// They were not drawn.
    pub not_drawn: u64,
    /// They have moved since they were last read.
    pub moved: u64,
    /// The platform does not know them any more.
    pub unknown: u64,
}

/// A number of a session on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The session's id on the platform.
    pub session: String,
    /// Which number.
    pub what: String,
    /// What the store says.
    pub ours: String,
    /// What the platform says.
    pub theirs: String,
}

impl Audit {
    /// Sessions that were compared.
    pub fn compared(&self) -> u64 {
        self.equal + self.differing
    }

    /// Sessions that could not be asked for.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// None of the sessions that were asked for is known there: this is hardly their account.
    pub fn is_of_another_account(&self) -> bool {
        self.left_out.unknown > 0 && self.compared() + self.left_out.moved + self.failures() == 0
    }
}

/// Compares sessions of one source with what its platform says of them.
///
/// # Errors
///
/// Where the store cannot be read. That the platform cannot be asked is part of the answer.
pub async fn audit(
    journal: &Journal,
    watched: Watched,
    extent: Extent,
    policy: LabelPolicy,
) -> Result<Audit, JournalError> {
    let mut audit = Audit { source: watched.name.clone(), ..Audit::default() };
    let mut names = journal.dictionary(policy)?;
    let mut chosen = choose(journal, watched.ix, &mut audit.left_out)?;
    if let Extent::Sample(count) = extent {
        fastrand::shuffle(&mut chosen);
        audit.left_out.not_drawn = chosen.len().saturating_sub(count) as u64;
        chosen.truncate(count);
        // What differs is listed in the order in which the store knows it.
        chosen.sort_unstable();
    }
    let mut asker = Asker::new(watched, chosen);
    while let Some((no, said)) = asker.next(journal, &names).await? {
        let Some(session) = journal.session(no)? else { continue };
        match said {
            Said::Told(statement) => match compare(&session, &statement, &mut names) {
                Comparison::Moved => audit.left_out.moved += 1,
                Comparison::Made { differences, without_tokens } => {
                    audit.without_tokens += u64::from(without_tokens);
                    *(if differences.is_empty() { &mut audit.equal } else { &mut audit.differing }) += 1;
                    audit.differences.extend(differences);
                }
            },
            Said::Unknown => audit.left_out.unknown += 1,
            Said::Failed(failure) => *audit.failed.entry(failure.to_string()).or_default() += 1,
        }
    }
    audit.differences.sort_by(|one, other| one.session.cmp(&other.session));
    Ok(audit)
}

/// Sessions that have come to rest and were read; the others are counted.
fn choose(journal: &Journal, ix: SourceIx, left_out: &mut LeftOut) -> Result<Vec<SessionNo>, JournalError> {
    let mut chosen = Vec::new();
    journal.each_head(&mut |no, head: SessionHead| {
        if head.source != ix {
            return;
        }
        let progress = head.progress;
        match () {
            () if progress.gone => left_out.gone += 1,
            () if !progress.settled => left_out.going_on += 1,
            () if progress.cursor == 0 && !head.status.is_terminal() => left_out.only_known += 1,
            () => chosen.push(no),
        }
    })?;
    Ok(chosen)
}

/// What the label of a session's agent says.
fn agent_label(names: &Names, head: &SessionHead) -> String {
    names.text(head.agent).to_owned()
}
