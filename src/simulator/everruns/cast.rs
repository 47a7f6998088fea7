//! Who plays: agents, their models with prices, and the tools they call.

use crate::simulator::random::Dice;

/// An agent as users see it.
#[derive(Debug, PartialEq)]
pub(super) struct Agent {
    pub(super) name: &'static str,
    /// Indices into [`MODELS`], the usual one first.
    pub(super) models: &'static [usize],
    pub(super) source: &'static str,
    weight: u32,
}

/// All agents. One name has what must not break a label: quotes, a backslash, a line break, letters outside ASCII.
pub(super) const AGENTS: [Agent; 6] = [
    Agent { name: "Support triage", models: &[0, 1], source: "chat", weight: 30 },
    Agent { name: "code-reviewer", models: &[1, 0], source: "api", weight: 25 },
    Agent { name: "Nightly report", models: &[2, 0], source: "schedule", weight: 15 },
    Agent { name: "Ops \"night\" \\ shift\nCafé № 7 🚀", models: &[0], source: "slack", weight: 8 },
    Agent { name: "probe", models: &[3], source: "playground", weight: 12 },
    Agent { name: "never used", models: &[0], source: "unknown", weight: 0 },
];

/// The agent of a session: an index into [`AGENTS`], or none where only a harness runs.
pub(super) fn any_agent(dice: &mut Dice, may_lack: bool) -> Option<usize> {
    if dice.chance(0.06) && may_lack {
        return None;
    }
    let mut weights = [(0, 0); AGENTS.len()];
    for (index, agent) in AGENTS.iter().enumerate() {
        weights[index] = (agent.weight, index);
    }
    Some(dice.weighted(&weights))
}

/// A model and what is known of its cost.
#[derive(Debug, PartialEq)]
pub(super) struct Model {
    pub(super) name: &'static str,
    pub(super) provider: &'static str,
    pub(super) prices: Option<Prices>,
    /// The provider says what a call cost, besides the platform's own estimate.
    reports_cost: bool,
    /// Whether a call says how many tokens were written to a cache.
    writes_cache: bool,
    /// Whether answers have ids, and name the model more precisely than it was asked for.
    pub(super) names_answers: bool,
}

/// Nano-dollars per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Prices {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_creation: u64,
}

/// All models.
pub(super) const MODELS: [Model; 4] = [
    Model {
        name: "gpt-5-mini",
        provider: "openai",
        prices: Some(Prices { input: 250, output: 2_000, cache_read: 25, cache_creation: 0 }),
        reports_cost: false,
        writes_cache: false,
        names_answers: true,
    },
    Model {
        name: "claude-sonnet-4-5",
        provider: "anthropic",
        prices: Some(Prices { input: 3_000, output: 15_000, cache_read: 300, cache_creation: 3_750 }),
        reports_cost: false,
        writes_cache: true,
        names_answers: true,
    },
    Model {
        name: "z-ai/glm-5",
        provider: "openrouter",
        prices: Some(Prices { input: 600, output: 2_200, cache_read: 110, cache_creation: 0 }),
        reports_cost: true,
        writes_cache: false,
        names_answers: true,
    },
    Model {
        name: "llmsim-model",
        provider: "llmsim",
        prices: None,
        reports_cost: false,
        writes_cache: false,
        names_answers: false,
    },
];

/// What one model call consumed. The three kinds of prompt tokens are disjoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    pub(super) input: u32,
    pub(super) output: u32,
    pub(super) cache_read: Option<u32>,
    pub(super) cache_creation: Option<u32>,
    /// Nano-dollars by the provider.
    pub(super) actual: Option<u64>,
    /// Nano-dollars by the platform's list of prices.
    pub(super) estimated: Option<u64>,
}

impl Usage {
    /// A call whose prompt has about `context` tokens.
    pub(super) fn any(dice: &mut Dice, model: usize, context: u32, huge: bool) -> Self {
        let model = &MODELS[model];
        let knows_cache = model.prices.is_some() && dice.chance(0.85);
        let hit = if dice.chance(0.7) { context / 100 * dice.between(10, 90) } else { 0 };
        let cached = if knows_cache { hit } else { 0 };
        let written = if knows_cache && model.writes_cache { (context - cached) / 3 } else { 0 };
        let monstrous = dice.chance(0.02) && huge;
        let input = if monstrous { u32::MAX - dice.between(0, 9) } else { context - cached - written };
        let output = dice.between(20, 700);
        let estimated = model.prices.map(|prices| {
            u64::from(input) * prices.input
                + u64::from(output) * prices.output
                + u64::from(cached) * prices.cache_read
                + u64::from(written) * prices.cache_creation
        });
        let share = u64::from(dice.between(900, 990));
        let actual = estimated.filter(|_| model.reports_cost).map(|nano| nano / 1_000 * share);
        Self {
            input,
            output,
            cache_read: knows_cache.then_some(cached),
            cache_creation: (knows_cache && model.writes_cache).then_some(written),
            actual,
            estimated,
        }
    }
}

/// A sum of usages.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sum {
    pub(super) calls: u32,
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cache_read: Option<u64>,
    pub(super) cache_creation: Option<u64>,
    pub(super) actual: Option<u64>,
    pub(super) estimated: Option<u64>,
    /// The better known of both for each call.
    pub(super) effective: Option<u64>,
}

impl Sum {
    /// Adds a call.
    pub(super) fn add(&mut self, usage: &Usage) {
        self.merge(&Self {
            calls: 1,
            input: usage.input.into(),
            output: usage.output.into(),
            cache_read: usage.cache_read.map(u64::from),
            cache_creation: usage.cache_creation.map(u64::from),
            actual: usage.actual,
            estimated: usage.estimated,
            effective: usage.actual.or(usage.estimated),
        });
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.input += other.input;
        self.output += other.output;
        for (total, part) in [
            (&mut self.cache_read, other.cache_read),
            (&mut self.cache_creation, other.cache_creation),
            (&mut self.actual, other.actual),
            (&mut self.estimated, other.estimated),
            (&mut self.effective, other.effective),
        ] {
            if let Some(part) = part {
                *total = Some(total.unwrap_or(0) + part);
            }
        }
    }
}

/// Tools that agents call: those that any agent may call at any time, then the special ones.
pub(super) const TOOLS: [&str; 7] =
    ["bash", "web_fetch", "read_file", "mcp__crm/look-up.v2", "run_query", "refund", "spawn_subagent"];

/// The tool that waits for an approval; the ones before it need none.
pub(super) const REFUND: usize = 5;

/// The tool that starts a session and waits for it.
pub(super) const SPAWN: usize = 6;

/// One requested call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ToolCall {
    /// Index into [`TOOLS`].
    pub(super) tool: usize,
    /// Unique within the session.
    pub(super) number: u32,
}
