//! Names of agents: sessions carry an id, which says nothing to an operator, and dashboards show names.

use std::sync::Arc;

use smol_str::SmolStr;

use super::decode::{AgentPage, Listed};
use super::{LIST_SIZE, Learnt, locked};

/// More pages of agents than this are not asked for in one round.
const MOST_PAGES: u64 = 100;

/// One walk over the list of agents.
#[derive(Debug)]
pub(super) struct Names {
    learnt: Arc<Learnt>,
    offset: u64,
    /// Every agent that was listed, in order.
    ids: Vec<SmolStr>,
    is_over: bool,
    /// The list cannot be had: names that are missing are not known, rather than not there.
    is_refused: bool,
}

impl Names {
    pub(super) fn new(learnt: Arc<Learnt>) -> Self {
        Self { learnt, offset: 0, ids: Vec::new(), is_over: false, is_refused: false }
    }

    /// Where the next page begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the list was read in this round.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes in a page; true if there may be another one.
    pub(super) fn take_in(&mut self, page: AgentPage) -> bool {
        let mut known = locked(&self.learnt.agents);
        let mut is_news = false;
        for (id, name) in page.agents {
            if !self.ids.contains(&id) {
                is_news = true;
                self.ids.push(id.clone());
            }
            // An agent without a name is better told by its id than not at all.
            let name = if name.trim().is_empty() { id.clone() } else { name };
            known.insert(id, name);
        }
        self.offset += page.len as u64;
        // Servers without pages say nothing of a total, and give everything at once; one that ignores the offset gives
        // the same again and again.
        let more =
            is_news && page.total.is_some_and(|total| self.offset < total) && self.offset < MOST_PAGES * LIST_SIZE;
        self.is_over = !more;
        more
    }

    /// There is no such list for this key.
    pub(super) fn give_up(&mut self) {
        self.is_over = true;
        self.is_refused = true;
    }

    /// The agents that were listed.
    pub(super) fn ids(&self) -> Vec<SmolStr> {
        self.ids.clone()
    }

    /// Names the agents of these rows. False if that needs the list of agents, which was not read in this round.
    pub(super) fn name(&self, rows: &mut [Listed]) -> bool {
        let mut known = locked(&self.learnt.agents);
        for listed in rows.iter_mut().filter(|listed| listed.row.agent.is_empty()) {
            let Some(id) = &listed.agent_id else { continue };
            match known.get(id) {
                Some(name) => listed.row.agent = name.clone(),
                None if self.is_over => {
                    if !self.is_refused {
                        // A deleted agent. It is not asked for again before the next sweep.
                        known.insert(id.clone(), id.clone());
                    }
                    listed.row.agent = id.clone();
                }
                None => return false,
            }
        }
        true
    }

    /// Agents that had no name may have one by now.
    pub(super) fn forget_nameless(&self) {
        locked(&self.learnt.agents).retain(|id, name| id != name);
    }
}
