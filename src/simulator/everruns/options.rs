//! What can be asked of a simulated Everruns beyond what every platform has.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::simulator::options::OptionsError;

/// One generation event stays below this, so that a session's stream fits into memory.
const MAX_GENERATION_BYTES: usize = 16 * 1024 * 1024;

/// Where the API is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Prefix {
    /// /api/v1
    Api,
    /// /v1
    Bare,
    /// Both
    #[default]
    Both,
}

/// Parameters that only Everruns has.
#[derive(Args, Clone, Debug, PartialEq, Serialize)]
#[command(next_help_heading = "Only with --platform everruns")]
pub struct EverrunsOptions {
    /// Where the API is mounted
    #[arg(long, value_name = "WHERE", value_enum, default_value_t = Prefix::Both)]
    pub prefix: Prefix,
    /// Share of sequence numbers that never appear (0 to 0.5)
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub gap_rate: f64,
    /// Share of events that become visible up to a second after a later one of their session (0 to 1)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub late_rate: f64,
    /// Share of turns whose model calls leave no llm.generation, some or all of them (0 to 1)
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    pub missing_generations: f64,
    /// Most events that an answer without limit has
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    pub event_cap: usize,
    /// Seconds after which events vanish; 0 keeps them
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub retention: f64,
    /// Least bytes of prompt in each llm.generation; it grows with the session
    #[arg(long, value_name = "BYTES", default_value_t = 2_000)]
    pub generation_bytes: usize,
    /// Let some model calls report token numbers close to 2^32
    #[arg(long)]
    pub huge_tokens: bool,
}

impl Default for EverrunsOptions {
    fn default() -> Self {
        Self {
            prefix: Prefix::Both,
            gap_rate: 0.01,
            late_rate: 0.0,
            missing_generations: 0.02,
            event_cap: 10_000,
            retention: 0.0,
            generation_bytes: 2_000,
            huge_tokens: false,
        }
    }
}

impl EverrunsOptions {
    /// Refuses values that cannot be simulated.
    pub(in crate::simulator) fn validate(&self) -> Result<(), OptionsError> {
        // Above one half, a stream would be more gap than stream and numbers might run out.
        let shares = [
            ("gap-rate", self.gap_rate, 0.5),
            ("late-rate", self.late_rate, 1.0),
            ("missing-generations", self.missing_generations, 1.0),
        ];
        for (option, value, limit) in shares {
            if !(0.0..=limit).contains(&value) {
                return Err(OptionsError::NotAShare { option, value });
            }
        }
        if !(0.0..=1e9).contains(&self.retention) {
            return Err(OptionsError::NotPositive { option: "retention", value: self.retention });
        }
        if self.event_cap == 0 {
            return Err(OptionsError::NotPositive { option: "event-cap", value: 0.0 });
        }
        if self.generation_bytes > MAX_GENERATION_BYTES {
            let (value, limit) = (self.generation_bytes as u64, MAX_GENERATION_BYTES as u64);
            return Err(OptionsError::TooLarge { option: "generation-bytes", value, limit });
        }
        Ok(())
    }
}
