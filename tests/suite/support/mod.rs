//! What the tests share: virtual time, a way into the simulator without sockets, and the comparison with its account.

mod account;
mod authority;
mod bench_of_one;
mod collector;
pub mod conversation;
pub mod counters;
pub mod deeds;
pub mod disk;
pub mod documents;
pub mod endless;
pub mod everruns_lives;
pub mod fixtures;
pub mod folding;
mod gate;
pub mod gatekeeper;
pub mod lives;
pub mod memory;
mod process;
pub mod promql;
pub mod received;
pub mod rig;
pub mod running;
mod stopwatch;

pub use account::{compare, differences, scraped, scraped_of, totals};
pub use authority::Authority;
pub use bench_of_one::{Bench, Noted, START, with_faults};
pub use collector::{Behave, Collector};
pub use gate::Gate;
pub use process::{Exporter, Folder, Program, get, run, simulate, simulate_platform, source, truth};
pub use stopwatch::Asked;

/// A number that whoever runs the tests gives by this variable.
#[expect(clippy::disallowed_methods, reason = "a test has no caller that could hand it a look-up")]
pub fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
