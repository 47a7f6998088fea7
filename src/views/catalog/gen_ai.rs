//! The instruments of OpenTelemetry's GenAI conventions: the same calls of models once more, pushed and never scraped.

use crate::projection::Metric;
use crate::views::otlp::semconv;

/// One instrument. Its points come from several folded metrics, which differ in an attribute.
#[derive(Clone, Copy, Debug)]
pub struct Pushed {
    /// The instrument's name.
    pub name: &'static str,
    /// Its unit, as UCUM writes it.
    pub unit: &'static str,
    /// What is counted; without a full stop.
    pub help: &'static str,
    /// Where the points come from.
    pub parts: &'static [Part],
}

/// What one folded metric adds to an instrument.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The metric.
    pub metric: Metric,
    /// What it is called where the exporter tells how full its metrics are.
    pub name: &'static str,
    /// What its points say besides the attributes that all have.
    pub attribute: Option<(&'static str, &'static str)>,
}

/// The attributes of every point.
pub const ATTRIBUTES: &[&str] = &[
    "source",
    "platform",
    "agent",
    semconv::OPERATION_NAME,
    semconv::PROVIDER_NAME,
    semconv::REQUEST_MODEL,
    semconv::AGENT_NAME,
];

/// All of them.
pub static GEN_AI: &[Pushed] = &[
    Pushed {
        name: semconv::TOKEN_USAGE,
        unit: "{token}",
        help: "Tokens of single calls of models, on platforms that tell of each call",
        parts: &[
            Part {
                metric: Metric::CallInputTokens,
                name: "gen_ai.client.token.usage.input",
                attribute: Some((semconv::TOKEN_TYPE, semconv::INPUT)),
            },
            Part {
                metric: Metric::CallOutputTokens,
                name: "gen_ai.client.token.usage.output",
                attribute: Some((semconv::TOKEN_TYPE, semconv::OUTPUT)),
            },
        ],
    },
    Pushed {
        name: semconv::OPERATION_DURATION,
        unit: "s",
        help: "How long single calls of models took, on platforms that tell of each call; error.type is _OTHER on those \
               that failed, since no platform has a closed set of codes for a call",
        parts: &[
            Part { metric: Metric::CallDuration, name: "gen_ai.client.operation.duration", attribute: None },
            Part {
                metric: Metric::FailedCallDuration,
                name: "gen_ai.client.operation.duration.failed",
                attribute: Some((semconv::ERROR_TYPE, semconv::OTHER_ERROR)),
            },
        ],
    },
];
