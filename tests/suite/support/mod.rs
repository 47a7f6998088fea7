//! What the tests share: virtual time, a way into the simulator without sockets, and the comparison with its account.

mod account;
mod authority;
mod bench_of_one;
mod collector;
pub mod conversation;
pub mod disk;
pub mod documents;
pub mod everruns_lives;
pub mod fixtures;
pub mod folding;
mod gate;
pub mod lives;
mod process;
pub mod promql;
pub mod received;
pub mod running;
mod stopwatch;

pub use account::{compare, differences, scraped, scraped_of};
pub use authority::Authority;
pub use bench_of_one::{Bench, with_faults};
pub use collector::{Behave, Collector};
pub use gate::Gate;
pub use process::{Exporter, Folder, Program, get, run, simulate, simulate_platform, truth};
pub use stopwatch::Asked;
