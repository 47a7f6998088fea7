//! A simulated agent platform: the other side of the wire, for trying the exporter and for judging it.
//!
//! It serves the read part of H Company's agent API over HTTP, or that of Everruns ([`everruns`]), with sessions that
//! are born, queue, run, pause, wait, fail, end and start again, and it keeps its own account of them (`GET /_truth`),
//! added up from the scripts and never from what the API said. An exporter that lost nothing and doubled nothing arrives at the same numbers. For that
//! judgement to be worth something, nothing here uses any other module of this crate.
//!
//! # How it is built
//!
//! A session's whole life is written in advance from the seed (`script`): no clock ticks anywhere. What the platform
//! shows at some time is the part of the scripts up to then (`world`, `session`); the answer to a request is a function
//! of world, time and request (`hcompany`), spoilt now and then by faults that depend on the seed and the request's
//! number only (`faults`). Around it lies a thin HTTP server (`server`), the same for every platform (`site`); what
//! follows is about H Company's, the other one has its own folder with the same parts. A test that brings its own clock sees the same
//! sessions as a user who waits for them.
//!
//! ```
//! use agent_session_exporter::simulator::{FaultPlan, Request, SimulateOptions, World, respond, truth};
//!
//! let options = SimulateOptions { sessions: 10, ..Default::default() };
//! let mut faults = FaultPlan::new(&options);
//! let epoch_us = 1_795_185_000_000_000;
//! let world = World::new(options, epoch_us)?;
//! let in_a_minute = epoch_us + 60_000_000;
//! let answer = respond(&world, &mut faults, in_a_minute, &Request::get("/api/v2/sessions", "hk-simulated"));
//! assert_eq!(answer.status, 200);
//! assert!(truth(&world, in_a_minute, None).account.sessions > 20);
//! # Ok::<(), agent_session_exporter::simulator::OptionsError>(())
//! ```
//!
//! # What it is faithful to
//!
//! Paths, parameters, limits, error bodies and documents follow the vendor's published server models and routes
//! (`hai-agent-api` 0.1.175) and its official client (`hai-agents` 1.3.0); `tests/simulator/run.sh` has both judge a
//! running simulator. Among what a client can trip over and therefore finds here: pages shift while they are read;
//! `status[]` is ignored silently where `status` filters; an unencoded `+` in a time is refused; 204 answers follow the
//! end of a session as well as a pause in it; `/changes` says the status of now with the events of then; failures leave
//! no event; ids of tool calls repeat; cost is null where a model has no price; a finished session may run again.
//!
//! # What is assumed
//!
//! Only the live service could answer these questions; the simulator takes one side and says which:
//!
//! * A restart goes through `pending`, keeps `started_at`, clears `finished_at`, error, answer and outcome (but not
//!   `latest_answer`). Usage goes on from where it was, or from zero with `--usage-resets-on-restart`.
//! * Usage of a parent does not contain that of its subagents. Cost does not discount cached tokens, and reasoning
//!   tokens are part of the output tokens.
//! * `steps` and usage change with each `MetricsUpdateEvent`, in all documents at once.
//! * Events hidden from customers' keys take no index. Events never arrive late. `/events` stays complete when
//!   `/changes` has forgotten old events.
//! * `limit=0` is answered like `include_events=false`. There is no limit on the size of an answer but the asked one.
//! * A session cancelled before its agent ran shows no event for it, and has no `started_at`.
//! * A deleted session answers 404 and stays in its parent's list of subagents.
//! * Every session belongs to the caller, whatever `owner` asks for. Without a valid key the gateway answers 401
//!   everywhere; publicly shared sessions do not exist.
//! * Queueing follows the script, not the quota: `active` may exceed `limit` for a while.
//! * An earlier deployment (`--dialect old`) is a mixture of what older packages and notes show, not one known version.
//!
//! One thing is stranger than the real platform on purpose: an agent's name with quotes, a backslash and a line break,
//! which today's platform would refuse at creation.

pub mod everruns;
mod faults;
mod hcompany;
mod ledger;
mod limit;
mod options;
mod pairs;
mod random;
mod script;
mod server;
mod session;
mod site;
mod streams;
#[cfg(test)]
mod tests;
mod timestamp;
mod traces;
mod truth;
mod wire;
mod world;

pub use faults::FaultPlan;
pub use hcompany::{PRIVATE, respond, respond_again};
pub use options::{Dialect, OptionsError, Platform, SimulateOptions};
pub use server::{Clock, Simulator, serve};
pub use site::Site;
pub use traces::{Deeds, SessionDeeds, Traces};
pub use truth::{Account, AgentAccount, Tokens, Truth, truth};
pub use wire::{Request, Response, SERVER_NAME, Wait};
pub use world::World;
