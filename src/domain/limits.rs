//! What a platform allows an account, and how much of it is in use.

use smol_str::SmolStr;

/// How many sessions may be active at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConcurrencyLimit {
    /// Whose limit it is, as the platform names it (`user`, `org`).
    pub scope: SmolStr,
    /// The most that may be active.
    pub limit: u64,
    /// Active now.
    pub active: u64,
}

/// How many tokens may be used in the current window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLimit {
    /// `None` is unlimited.
    pub limit: Option<u64>,
    /// `None` is momentarily unknown.
    pub used: Option<u64>,
}

/// The latest answer about limits; shown as it is, never stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Sessions.
    pub concurrency: Option<ConcurrencyLimit>,
    /// Tokens.
    pub tokens: Option<TokenLimit>,
}
