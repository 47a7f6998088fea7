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
    /// Requests name it by its id instead of spelling it out.
    pub(in crate::simulator) by_id: bool,
    pub(in crate::simulator) revision: Option<u32>,
    pub(in crate::simulator) environment: Environment,
    /// Indices into the list of models, the main one first.
    pub(in crate::simulator) models: &'static [usize],
}

const fn catalog(name: &'static str, revision: Option<u32>, models: &'static [usize]) -> Agent {
    Agent {
        name: Some(name),
        inline: false,
        by_id: revision.is_none(),
        revision,
        environment: Environment::Web,
        models,
    }
}

static WEB_SURFER: Agent = catalog("h/web-surfer-pro", None, &[0]);
static PRICE_FINDER: Agent = catalog("web-price-finder", Some(3), &[0, 1]);
static NIGHT_AUDIT: Agent = catalog("night-audit", Some(1), &[2, 0]);
static FAST_SEARCHER: Agent = catalog("fast-searcher", None, &[0]);
static VISUAL_VERIFIER: Agent = catalog("visual-verifier", Some(2), &[1]);
static INVOICE_CLERK: Agent = Agent { environment: Environment::Desktop, ..catalog("invoice-clerk", Some(12), &[1]) };
static SPOT_CHECK: Agent = Agent { inline: true, by_id: false, ..catalog("spot-check", None, &[0]) };
/// Today's platform allows only letters, digits and hyphens in the names of agents, older sessions and other platforms
/// do not have to: quotes, a backslash, a line break and letters outside ASCII must not break a label.
static NIGHT_SHIFT: Agent = Agent {
    inline: true,
    environment: Environment::Desktop,
    ..catalog("Ops \"night\" \\ shift\nCafé № 7 🚀", None, &[0])
};
static NAMELESS: Agent = Agent { name: None, ..catalog("", None, &[0]) };

/// Agents of sessions that users start, with their shares.
pub(super) const ROOTS: &[(u32, &Agent)] = &[
    (33, &WEB_SURFER),
    (25, &PRICE_FINDER),
    (18, &INVOICE_CLERK),
    (12, &NIGHT_AUDIT),
    (6, &NIGHT_SHIFT),
    (4, &SPOT_CHECK),
    (2, &NAMELESS),
];

/// Agents of subagent sessions.
pub(super) const CHILDREN: &[(u32, &Agent)] = &[(2, &FAST_SEARCHER), (1, &VISUAL_VERIFIER)];
