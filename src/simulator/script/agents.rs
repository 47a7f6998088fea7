//! The agents whose sessions are simulated.

/// Where an agent acts; decides its tools and observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulator) enum Environment {
    Web,
    Desktop,
}

impl Environment {
    /// The `kind` on the wire.
    pub(in crate::simulator) fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Desktop => "desktop",
        }
    }
}

/// An agent as the list of sessions shows it.
#[derive(Debug, PartialEq)]
pub(in crate::simulator) struct Agent {
    /// The catalog id or the name of an inline definition; some sessions have none.
    pub(in crate::simulator) name: Option<&'static str>,
    /// Defined in the request itself: the `agent` filter does not find its sessions.
    pub(in crate::simulator) inline: bool,
    pub(in crate::simulator) revision: Option<u32>,
    pub(in crate::simulator) environment: Environment,
    /// Indices into the list of models, the main one first.
    pub(in crate::simulator) models: &'static [usize],
}

/// Agents of sessions that users start, with their shares.
pub(super) const ROOTS: &[(u32, &Agent)] = &[
    (
        35,
        &Agent {
            name: Some("h/web-surfer-pro"),
            inline: false,
            revision: None,
            environment: Environment::Web,
            models: &[0],
        },
    ),
    (
        25,
        &Agent {
            name: Some("web-price-finder"),
            inline: false,
            revision: Some(3),
            environment: Environment::Web,
            models: &[0, 1],
        },
    ),
    (
        18,
        &Agent {
            name: Some("invoice-clerk"),
            inline: false,
            revision: Some(12),
            environment: Environment::Desktop,
            models: &[1],
        },
    ),
    (
        12,
        &Agent {
            name: Some("night-audit"),
            inline: false,
            revision: Some(1),
            environment: Environment::Web,
            models: &[2, 0],
        },
    ),
    // A name from a request may hold anything a string can: quotes, a backslash, a line break, non-ASCII letters.
    (
        8,
        &Agent {
            name: Some("Ops \"night\" \\ shift\nCafé № 7 🚀"),
            inline: true,
            revision: None,
            environment: Environment::Desktop,
            models: &[0],
        },
    ),
    (
        2,
        &Agent {
            name: None,
            inline: false,
            revision: None,
            environment: Environment::Web,
            models: &[0],
        },
    ),
];

/// Agents of subagent sessions.
pub(super) const CHILDREN: &[(u32, &Agent)] = &[
    (
        2,
        &Agent {
            name: Some("fast-searcher"),
            inline: false,
            revision: None,
            environment: Environment::Web,
            models: &[0],
        },
    ),
    (
        1,
        &Agent {
            name: Some("visual-verifier"),
            inline: false,
            revision: Some(2),
            environment: Environment::Web,
            models: &[1],
        },
    ),
];
