//! What the tests share: virtual time, a way into the simulator without sockets, and the comparison with its account.

mod account;
mod bench_of_one;
pub mod disk;
pub mod fixtures;
pub mod folding;
pub mod lives;
pub mod running;

pub use account::differences;
pub use bench_of_one::Bench;
