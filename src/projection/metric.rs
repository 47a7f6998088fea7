//! Every measure that is folded from facts: what kind of number it is and which labels tell its series apart.

/// A label of a series, besides `source`, which every series has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// The session's agent (with it comes `platform`).
    Agent,
    /// A session status.
    Status,
    /// A turn's outcome or an answer's verdict.
    Outcome,
    /// A closed set of error codes.
    ErrorType,
    /// A model.
    Model,
    /// A tool.
    Tool,
    /// Where a price comes from.
    Basis,
    /// Active or settled.
    Phase,
    /// Why an event could not be decoded, from a closed set.
    Reason,
    /// A model's vendor.
    Provider,
}

impl Dimension {
    /// The label's name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Status => "status",
            Self::Outcome => "outcome",
            Self::ErrorType => "error_type",
            Self::Model => "model",
            Self::Tool => "tool",
            Self::Basis => "basis",
            Self::Phase => "phase",
            Self::Reason => "reason",
            Self::Provider => "provider",
        }
    }

    /// Whether its values are chosen by the platform's users, so that their number has to be bounded.
    pub const fn is_free(self) -> bool {
        matches!(self, Self::Agent | Self::Model | Self::Tool | Self::Provider)
    }
}

/// What kind of number a measure is, and in which unit it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Only grows; kept in billionths of a dollar.
    CounterNanoUsd,
    /// A present number.
    Gauge,
    /// A point in time, kept in microseconds; 0 is none yet.
    Time,
    /// A distribution over these buckets.
    Histogram(Buckets),
}

/// In which whole numbers a distribution is kept, and in which unit it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Microseconds, shown as seconds.
    Duration,
    /// A count of something, shown as it is.
    Count,
}

impl Measure {
    /// How many decimal digits of what is shown the whole number has.
    pub const fn digits(self) -> u32 {
        match self {
            Self::Duration => 6,
            Self::Count => 0,
        }
    }

    /// A whole number as it is shown.
    pub fn shown(self, value: u64) -> f64 {
        match self {
            Self::Duration => value as f64 / 1e6,
            Self::Count => value as f64,
        }
    }
}

/// The classic buckets of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// What the bounds and the observations are.
    pub measure: Measure,
    /// Upper bounds, ascending; above the last is one bucket more.
    pub bounds: &'static [u64],
}

impl Buckets {
    const fn durations(bounds: &'static [u64]) -> Self {
        Self { measure: Measure::Duration, bounds }
    }

    const fn counts(bounds: &'static [u64]) -> Self {
        Self { measure: Measure::Count, bounds }
    }

    /// The upper bounds as they are shown, without the infinite one.
    pub fn shown(self) -> impl Iterator<Item = f64> {
        self.bounds.iter().map(move |bound| self.measure.shown(*bound))
    }
}

impl Kind {
    /// Numbers a series holds: one, or a histogram's buckets (the infinite one included) and then their sum.
    pub const fn width(self) -> usize {
        match self {
            Self::Histogram(buckets) => buckets.bounds.len() + 2,
            _ => 1,
        }
    }
}

/// `first`, and each bound `factor` times the one before.
const fn growing<const N: usize>(first: u64, factor: u64) -> [u64; N] {
    let mut bounds = [first; N];
    let mut i = 1;
    while i < N {
        bounds[i] = bounds[i - 1] * factor;
        i += 1;
    }
    bounds
}

const fn millis<const N: usize>(mut bounds: [u64; N]) -> [u64; N] {
    let mut i = 0;
    while i < N {
        bounds[i] *= 1000;
        i += 1;
    }
    bounds
}

const fn seconds<const N: usize>(bounds: [u64; N]) -> [u64; N] {
    millis(millis(bounds))
}

/// Agent work reaches into hours; OpenTelemetry's own buckets stop at 82 seconds.
const WORK: Buckets =
    Buckets::durations(&seconds([1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800]));
const MODEL_CALL: Buckets =
    Buckets::durations(&millis([100, 250, 500, 1000, 2500, 5000, 10_000, 20_000, 30_000, 60_000, 120_000]));
const TOOL_CALL: Buckets =
    Buckets::durations(&millis([50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000]));
/// What the GenAI conventions want of calls: 0.01 s to 81.92 s.
const OPERATION: Buckets = Buckets::durations(&growing::<14>(10_000, 2));
/// What they want of tokens: 1 to 67,108,864.
const TOKENS: Buckets = Buckets::counts(&growing::<14>(1, 4));

macro_rules! metrics {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $kind:expr, [$($dim:ident),*], $stored:literal;)*) => {
        /// A folded measure. The numbers are written into the store: never reuse one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Metric { $($(#[doc = $doc])* $name = $code,)* }

        impl Metric {
            /// Every measure, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What kind of number it is.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => $kind,)* }
            }

            /// The labels of its series, besides `source` (and `platform`, which comes with `agent`).
            pub const fn dimensions(self) -> &'static [Dimension] {
                match self { $(Self::$name => &[$(Dimension::$dim,)*],)* }
            }

            /// Whether it is kept in the store; the others follow from the sessions themselves.
            pub const fn is_stored(self) -> bool {
                match self { $(Self::$name => $stored,)* }
            }

            /// The measure with this number in the store.
            pub fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

metrics! {
    /// Sessions now in each status that is not an end.
    Sessions = 1, Kind::Gauge, [Agent, Status], false;
    /// Sessions created.
    SessionsCreated = 2, Kind::Counter, [Agent], true;
    /// Entries into each status.
    StatusChanges = 3, Kind::Counter, [Agent, Status], true;
    /// Sessions that ended.
    SessionsFinished = 4, Kind::Counter, [Agent, Status], true;
    /// The agents' own verdicts.
    SessionOutcomes = 5, Kind::Counter, [Agent, Outcome], true;
    /// Started to finished.
    SessionDuration = 6, Kind::Histogram(WORK), [Agent, Status], true;
    /// Created to started.
    SessionQueue = 7, Kind::Histogram(WORK), [Agent], true;
    /// When the session that is longest in a status entered it.
    OldestInStatus = 8, Kind::Time, [Agent, Status], false;
    /// When a session last ended so.
    LastFinished = 9, Kind::Time, [Agent, Status], true;
    /// Turns begun.
    TurnsStarted = 10, Kind::Counter, [Agent], true;
    /// Turns over.
    TurnsFinished = 11, Kind::Counter, [Agent, Outcome], true;
    /// Turns that failed or ran out of time.
    TurnFailures = 12, Kind::Counter, [Agent, ErrorType], true;
    /// How long turns took.
    TurnDuration = 13, Kind::Histogram(WORK), [Agent, Outcome], true;
    /// Steps taken.
    Steps = 14, Kind::Counter, [Agent], true;
    /// Child sessions started.
    Subagents = 15, Kind::Counter, [Agent], true;
    /// Prompt tokens, cached ones included.
    InputTokens = 16, Kind::Counter, [Agent, Model], true;
    /// Generated tokens, reasoning included.
    OutputTokens = 17, Kind::Counter, [Agent, Model], true;
    /// Prompt tokens read from a cache.
    CacheReadTokens = 18, Kind::Counter, [Agent, Model], true;
    /// Prompt tokens written to a cache.
    CacheWriteTokens = 19, Kind::Counter, [Agent, Model], true;
    /// Tokens spent on reasoning.
    ReasoningTokens = 20, Kind::Counter, [Agent, Model], true;
    /// Cost.
    Cost = 21, Kind::CounterNanoUsd, [Agent, Model, Basis], true;
    /// How long the model took to answer.
    ModelCallDuration = 22, Kind::Histogram(MODEL_CALL), [Agent, Model], true;
    /// Tool calls.
    ToolCalls = 23, Kind::Counter, [Agent, Tool], true;
    /// Tool calls that failed.
    ToolCallFailures = 24, Kind::Counter, [Agent, Tool, ErrorType], true;
    /// How long tools took.
    ToolCallDuration = 25, Kind::Histogram(TOOL_CALL), [Agent, Tool], true;
    /// Calls of a model.
    ModelCalls = 26, Kind::Counter, [Agent, Model], true;
    /// Calls of a model that failed.
    ModelCallFailures = 27, Kind::Counter, [Agent, Model, ErrorType], true;
    /// How long until a model's first token.
    TimeToFirstToken = 28, Kind::Histogram(MODEL_CALL), [Agent, Model], true;
    /// Prompt tokens of single calls of a model; so are the three below it, for OpenTelemetry only.
    CallInputTokens = 29, Kind::Histogram(TOKENS), [Agent, Model, Provider], true;
    /// Generated tokens of single calls.
    CallOutputTokens = 30, Kind::Histogram(TOKENS), [Agent, Model, Provider], true;
    /// How long calls took that succeeded.
    CallDuration = 31, Kind::Histogram(OPERATION), [Agent, Model, Provider], true;
    /// How long calls took that failed.
    FailedCallDuration = 32, Kind::Histogram(OPERATION), [Agent, Model, Provider], true;
    /// Stream events folded.
    EventsIngested = 40, Kind::Counter, [], true;
    /// Stream events that were gone before they could be read.
    EventsLost = 41, Kind::Counter, [], true;
    /// Stream events of unknown type.
    EventsUnknown = 42, Kind::Counter, [], true;
    /// Running totals that fell.
    UsageDecreases = 43, Kind::Counter, [], true;
    /// Ended sessions that were taken up again.
    SessionsReopened = 44, Kind::Counter, [], true;
    /// Sessions the platform no longer knows.
    SessionsGone = 45, Kind::Counter, [], true;
    /// Durations that came out negative and were counted as zero.
    NegativeDurations = 46, Kind::Counter, [], true;
    /// Sessions known, by whether they are still being read.
    SessionsTracked = 47, Kind::Gauge, [Phase], false;
    /// Time of the newest event folded.
    EventWatermark = 48, Kind::Time, [], true;
    /// Stream events of a known type whose content does not fit.
    EventsUndecoded = 49, Kind::Counter, [Reason], true;
    /// By how many tokens our sums differ from the platform's, over all sessions that were compared.
    UsageMismatch = 50, Kind::Gauge, [], true;
}

impl Metric {
    /// Whether it is counted per agent, rather than per source.
    pub fn has_agent(self) -> bool {
        self.dimensions().first() == Some(&Dimension::Agent)
    }

    /// Its classic buckets, if it has any.
    pub const fn buckets(self) -> Option<Buckets> {
        match self.kind() {
            Kind::Histogram(buckets) => Some(buckets),
            _ => None,
        }
    }

    /// Which of the two values behind the agent in a series' key are chosen by users.
    pub fn free_positions(self) -> [bool; 2] {
        let rest = self.dimensions().get(1..).unwrap_or_default();
        [rest.first(), rest.get(1)].map(|dimension| dimension.is_some_and(|dimension| dimension.is_free()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_come_back() {
        for &metric in Metric::ALL {
            assert_eq!(Metric::from_code(metric as u8), Some(metric));
        }
        assert_eq!(Metric::from_code(0), None);
    }

    #[test]
    fn bounds_ascend() {
        for buckets in Metric::ALL.iter().filter_map(|metric| metric.buckets()) {
            assert!(buckets.bounds.is_sorted_by(|a, b| a < b), "{buckets:?}");
            assert!(buckets.bounds.len() < usize::from(u8::MAX), "exemplars know their bucket by one byte");
        }
    }

    #[test]
    fn bounds_are_what_they_are_called() {
        let ends = |buckets: Buckets| {
            let shown: Vec<f64> = buckets.shown().collect();
            (shown[0], shown[1], shown[shown.len() - 1])
        };
        assert_eq!(ends(WORK), (1.0, 2.0, 28_800.0));
        assert_eq!(ends(MODEL_CALL), (0.1, 0.25, 120.0));
        assert_eq!(ends(TOOL_CALL), (0.05, 0.1, 300.0));
        assert_eq!(ends(OPERATION), (0.01, 0.02, 81.92));
        assert_eq!(ends(TOKENS), (1.0, 4.0, 67_108_864.0));
    }
}
