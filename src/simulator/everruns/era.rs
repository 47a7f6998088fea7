//! The generations of the platform, oldest first.

use crate::simulator::options::Dialect;

/// Which generation speaks. The order is that of time; the single binary knows all that the newest server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Era {
    D0,
    D1,
    D2,
    D3,
    D4,
    Serve,
}

impl Era {
    /// The generation that was asked for; the newest server unless another was.
    pub(super) fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::D0 => Self::D0,
            Dialect::D1 => Self::D1,
            Dialect::D2 => Self::D2,
            Dialect::D3 => Self::D3,
            Dialect::Serve => Self::Serve,
            Dialect::D4 | Dialect::Current | Dialect::Old => Self::D4,
        }
    }

    /// Whether sessions can wait for approvals or budgets, be forked, and belong to no agent.
    pub(super) fn is_rich(self) -> bool {
        self >= Self::D3
    }
}
