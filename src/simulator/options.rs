//! What can be asked of the simulated platform, with defaults and the checks that make a bad wish an error.

use clap::{Args, ValueEnum};
use serde::Serialize;
use thiserror::Error;

use super::everruns::EverrunsOptions;

/// Upper bound on the text of one observation. Streams are addressed with 32-bit offsets, so a session must stay far below 4 GiB.
const MAX_OBSERVATION_BYTES: usize = 256 * 1024;
/// Upper bound on the mean number of steps, for the same reason.
const MAX_STEPS: u32 = 5_000;
/// Upper bound on `sessions` and `history`, so that times stay inside the calendar.
const MAX_SESSIONS: u64 = 100_000_000;
/// Sessions older than the start are kept in memory from the first request on.
const MAX_HISTORY: u64 = 1_000_000;

/// A platform that can be simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// H Company's Computer-Use Agents platform
    #[value(name = "hcompany")]
    HCompany,
    /// Everruns
    Everruns,
}

impl Platform {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::HCompany => "hcompany",
            Self::Everruns => "everruns",
        }
    }

    /// The key that callers must send unless another is asked for.
    pub fn default_key(self) -> &'static str {
        match self {
            Self::HCompany => "hk-simulated",
            Self::Everruns => "evr_pat_simulated",
        }
    }

    fn dialects(self) -> &'static [Dialect] {
        match self {
            Self::HCompany => &[Dialect::Current, Dialect::Old],
            Self::Everruns => {
                &[Dialect::Current, Dialect::D0, Dialect::D1, Dialect::D2, Dialect::D3, Dialect::D4, Dialect::Serve]
            }
        }
    }
}

/// Which generation of the platform to imitate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The platform as of today; for everruns the same as d4
    #[default]
    Current,
    /// hcompany: an earlier deployment with fewer fields and statuses, nested agent events, older error bodies
    Old,
    /// everruns 0.3.0: sessions below their agent, no paging, other event names, no usage
    D0,
    /// everruns of January 2026: organization and agent in the path, prefixed ids
    D1,
    /// everruns of February 2026: GET /v1/sessions, three statuses
    D2,
    /// everruns of March to July 2026: event limits, problem+json errors, forks
    D3,
    /// everruns since August 2026: list filters, activity, archived sessions
    D4,
    /// everruns-serve, the single binary: limit keeps the last events, bad cursors are errors
    Serve,
}

impl Dialect {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Old => "old",
            Self::D0 => "d0",
            Self::D1 => "d1",
            Self::D2 => "d2",
            Self::D3 => "d3",
            Self::D4 => "d4",
            Self::Serve => "serve",
        }
    }
}

/// The parameters of a simulated platform. The same seed and parameters always give the same sessions.
#[derive(Args, Clone, Debug, PartialEq, Serialize)]
pub struct SimulateOptions {
    /// Decides everything random, so the same number plays the same sessions
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// How many sessions to start while running, children not counted; 0 never stops
    /// (set --delete-after as well then, or memory grows with every session)
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub sessions: u64,
    /// Sessions that had already finished before the start, children not counted; some of them restart after it
    /// (everruns: that had been created)
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub history: u64,
    /// New sessions per second
    #[arg(long, value_name = "NUMBER", default_value_t = 0.5)]
    pub rate: f64,
    /// Time compression inside sessions: 1 gives sessions of about 20 s to 3 min, 10 makes them ten times shorter
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub speed: f64,
    /// Mean number of steps (model decisions) of a session
    #[arg(long, value_name = "COUNT", default_value_t = 12)]
    pub steps: u32,
    /// Share of sessions that start subagents (0 to 1)
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub children_share: f64,
    /// Share of sessions that answer, stay idle and get further messages (0 to 1)
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    pub interactive_share: f64,
    /// Share of finished sessions that later get another message and run again (0 to 1)
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub restart_share: f64,
    /// Restart also sessions whose end left no trace in their stream: only who looks in between can count it
    #[arg(long)]
    pub restart_silent_ends: bool,
    /// Start usage, steps and cost at zero again when a session restarts (the platform does not say which it does)
    #[arg(long)]
    pub usage_resets_on_restart: bool,
    /// Seconds after its end at which a session is deleted and answers 404; 0 keeps it for ever
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub delete_after: f64,
    /// The key that callers must send; on the command line its default depends on the platform.
    #[arg(skip = Platform::HCompany.default_key())]
    #[serde(skip)]
    pub api_key: String,
    /// Bytes of page text in each observation event
    #[arg(long, value_name = "BYTES", default_value_t = 160)]
    pub bulk_observation_bytes: usize,
    /// Share of requests refused with 429 (0 to 1)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub fault_rate_429: f64,
    /// Send every 429 without a Retry-After header
    #[arg(long)]
    pub fault_429_without_retry_after: bool,
    /// Requests per second that are taken, others are refused with 429; 0 takes any number
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0)]
    pub rate_limit: f64,
    /// Requests that are taken at once before that limit holds
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub rate_limit_burst: u32,
    /// Count that limit anew in every window of so many seconds, whenever requests come in it; 0 takes bursts instead
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub rate_limit_window: f64,
    /// The Retry-After of refusals by that limit; 0 tells when the next request would be taken
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub rate_limit_pause: u32,
    /// Share of requests answered with 500, 502, 503 or 504, partly with HTML or plain text bodies (0 to 1)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub fault_rate_5xx: f64,
    /// Share of answers whose body is cut: a dropped connection or a JSON document that ends early (0 to 1)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub fault_rate_cut: f64,
    /// Share of answers delayed by --slow-ms (0 to 1)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub fault_rate_slow: f64,
    /// How long a slow answer takes, in milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2_000)]
    pub slow_ms: u64,
    /// /changes remembers only this many of a session's newest events; 0 remembers all
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub evict_after: usize,
    /// Delete some sessions minutes after their end, so that list pages shift under a reader
    #[arg(long)]
    pub page_drift: bool,
    /// Which generation of the platform to imitate
    #[arg(long, value_name = "DIALECT", value_enum, default_value_t = Dialect::Current)]
    pub dialect: Dialect,
    /// What only Everruns has.
    #[command(flatten)]
    pub everruns: EverrunsOptions,
}

impl Default for SimulateOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            sessions: 0,
            history: 20,
            rate: 0.5,
            speed: 1.0,
            steps: 12,
            children_share: 0.1,
            interactive_share: 0.15,
            restart_share: 0.1,
            restart_silent_ends: false,
            usage_resets_on_restart: false,
            delete_after: 0.0,
            api_key: Platform::HCompany.default_key().to_owned(),
            bulk_observation_bytes: 160,
            fault_rate_429: 0.0,
            fault_429_without_retry_after: false,
            rate_limit: 0.0,
            rate_limit_burst: 10,
            rate_limit_window: 0.0,
            rate_limit_pause: 0,
            fault_rate_5xx: 0.0,
            fault_rate_cut: 0.0,
            fault_rate_slow: 0.0,
            slow_ms: 2_000,
            evict_after: 0,
            page_drift: false,
            dialect: Dialect::Current,
            everruns: EverrunsOptions::default(),
        }
    }
}

/// Why a set of options cannot be simulated.
#[derive(Debug, Error, PartialEq)]
pub enum OptionsError {
    /// A share or probability lies outside 0 to 1.
    #[error("--{option} is {value}, give a share between 0 and 1")]
    NotAShare {
        /// The option's name without dashes.
        option: &'static str,
        /// What was given.
        value: f64,
    },
    /// A number that must be positive and finite is not.
    #[error("--{option} is {value}, give a number above 0")]
    NotPositive {
        /// The option's name without dashes.
        option: &'static str,
        /// What was given.
        value: f64,
    },
    /// A number is larger than what can be simulated.
    #[error("--{option} is {value}, give at most {limit}")]
    TooLarge {
        /// The option's name without dashes.
        option: &'static str,
        /// What was given.
        value: u64,
        /// The largest accepted value.
        limit: u64,
    },
    /// The fault shares leave no request unharmed by design.
    #[error("the fault rates add up to {sum}, keep their sum at or below 1")]
    FaultsAboveOne {
        /// The sum of the given shares.
        sum: f64,
    },
    /// The dialect belongs to another platform.
    #[error("--dialect {dialect} is not one of {platform}, which has {known}")]
    ForeignDialect {
        /// What was given.
        dialect: &'static str,
        /// The platform to simulate.
        platform: &'static str,
        /// What that platform has.
        known: String,
    },
    /// No key would ever be accepted.
    #[error("--api-key is empty, give the key that callers will send")]
    EmptyKey,
}

impl SimulateOptions {
    /// The defaults for a platform.
    pub fn of(platform: Platform) -> Self {
        Self { api_key: platform.default_key().to_owned(), ..Self::default() }
    }

    /// The same as [`Self::validate`], and the dialect must be one of the platform's.
    pub fn validate_for(&self, platform: Platform) -> Result<(), OptionsError> {
        self.validate()?;
        if platform.dialects().contains(&self.dialect) {
            return Ok(());
        }
        let known: Vec<&str> = platform.dialects().iter().map(|dialect| dialect.name()).collect();
        let (dialect, platform, known) = (self.dialect.name(), platform.name(), known.join(", "));
        Err(OptionsError::ForeignDialect { dialect, platform, known })
    }

    /// Refuses values that cannot be simulated, naming the option and what would be accepted.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let shares = [
            ("children-share", self.children_share),
            ("interactive-share", self.interactive_share),
            ("restart-share", self.restart_share),
            ("fault-rate-429", self.fault_rate_429),
            ("fault-rate-5xx", self.fault_rate_5xx),
            ("fault-rate-cut", self.fault_rate_cut),
            ("fault-rate-slow", self.fault_rate_slow),
        ];
        self.everruns.validate()?;
        for (option, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return Err(OptionsError::NotAShare { option, value });
            }
        }
        let sum: f64 = shares[3..].iter().map(|(_, value)| value).sum();
        if sum > 1.0 {
            return Err(OptionsError::FaultsAboveOne { sum });
        }
        // A rate below one session in four months or a speed beyond 10^6 has no use and would leave the calendar or the clock's resolution.
        for (option, value) in [("rate", self.rate), ("speed", self.speed)] {
            if !(1e-7..=1e6).contains(&value) {
                return Err(OptionsError::NotPositive { option, value });
            }
        }
        let not_negative = [
            ("delete-after", self.delete_after, 1e9),
            ("rate-limit", self.rate_limit, 1e6),
            ("rate-limit-window", self.rate_limit_window, 86_400.0),
        ];
        for (option, value, limit) in not_negative {
            // Less than a thousandth is nothing that a request could be counted by.
            let is_tiny = value > 0.0 && value < 1e-3 && option != "delete-after";
            if is_tiny || !(0.0..=limit).contains(&value) {
                return Err(OptionsError::NotPositive { option, value });
            }
        }
        if self.rate_limit_burst == 0 {
            return Err(OptionsError::NotPositive { option: "rate-limit-burst", value: 0.0 });
        }
        if self.steps == 0 {
            return Err(OptionsError::NotPositive { option: "steps", value: 0.0 });
        }
        let bounded = [
            ("steps", u64::from(self.steps), u64::from(MAX_STEPS)),
            ("sessions", self.sessions, MAX_SESSIONS),
            ("history", self.history, MAX_HISTORY),
            ("bulk-observation-bytes", self.bulk_observation_bytes as u64, MAX_OBSERVATION_BYTES as u64),
        ];
        for (option, value, limit) in bounded {
            if value > limit {
                return Err(OptionsError::TooLarge { option, value, limit });
            }
        }
        if self.api_key.is_empty() {
            return Err(OptionsError::EmptyKey);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: SimulateOptions,
    }

    #[test]
    fn command_line_defaults_equal_default() {
        let parsed = Command::parse_from(["simulate"]);
        assert_eq!(parsed.options, SimulateOptions::default());
        assert_eq!(parsed.options.validate(), Ok(()));
    }

    #[test]
    fn bad_values_are_named() {
        let bad = SimulateOptions { restart_share: 1.5, ..Default::default() };
        let text = bad.validate().unwrap_err().to_string();
        assert_eq!(text, "--restart-share is 1.5, give a share between 0 and 1");
        for bad in [
            SimulateOptions { rate: 0.0, ..Default::default() },
            SimulateOptions { speed: f64::NAN, ..Default::default() },
            SimulateOptions { steps: 0, ..Default::default() },
            SimulateOptions { steps: 6_000, ..Default::default() },
            SimulateOptions { delete_after: -1.0, ..Default::default() },
            SimulateOptions { rate_limit: -1.0, ..Default::default() },
            SimulateOptions { rate_limit: 1e-9, ..Default::default() },
            SimulateOptions { rate_limit_window: f64::NAN, ..Default::default() },
            SimulateOptions { rate_limit_burst: 0, ..Default::default() },
            SimulateOptions { api_key: String::new(), ..Default::default() },
            SimulateOptions { fault_rate_cut: 0.7, fault_rate_429: 0.7, ..Default::default() },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }
}
