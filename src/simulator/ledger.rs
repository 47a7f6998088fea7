//! The account of what is no longer remembered, kept for every time since which somebody asked.

/// At most this many different `since` are remembered for forgotten sessions; the oldest is recomputed when asked again.
const MOST_SINCES: usize = 8;

/// The accounts of sessions that are no longer remembered, one for each `since` that was asked for.
pub(super) struct Ledger<A> {
    accounts: Vec<(i64, A)>,
}

impl<A: Default> Default for Ledger<A> {
    fn default() -> Self {
        Self { accounts: vec![(i64::MIN, A::default())] }
    }
}

impl<A: Default> Ledger<A> {
    /// Adds a session that is being forgotten, by `add`, to the account since each time; all it did lies in the past.
    pub(super) fn add(&mut self, add: impl Fn(&mut A, i64)) {
        for (since, account) in &mut self.accounts {
            add(account, *since);
        }
    }

    /// The account since `since`; when it is asked for the first time, `recount` adds everything forgotten once more.
    pub(super) fn account(&mut self, since: i64, recount: impl FnOnce(&mut A)) -> &A {
        let known = self.accounts.iter().position(|(other, _)| *other == since);
        let index = known.unwrap_or_else(|| {
            let mut account = A::default();
            recount(&mut account);
            if self.accounts.len() > MOST_SINCES {
                // The first one, which has everything, stays.
                self.accounts.remove(1);
            }
            self.accounts.push((since, account));
            self.accounts.len() - 1
        });
        &self.accounts[index].1
    }
}
