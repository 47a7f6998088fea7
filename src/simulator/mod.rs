//! A simulated agent platform: the other side of the wire, for trying the exporter and for judging it.

mod faults;
mod hcompany;
mod options;
mod random;
mod script;
mod server;
#[cfg(test)]
mod tests;
mod timestamp;
mod truth;
mod world;

pub use faults::FaultPlan;
pub use hcompany::{PRIVATE, Request, Response, SERVER_NAME, Wait, respond, respond_again};
pub use options::{Dialect, OptionsError, SimulateOptions};
pub use server::{Clock, Simulator, serve, system_time_us};
pub use truth::{Account, AgentAccount, Tokens, Truth, truth};
pub use world::World;
