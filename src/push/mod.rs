//! Sends metrics and traces to an OpenTelemetry collector, and says how that went.
//!
//! [`Client`] carries one message of either signal over HTTP or gRPC and tells what came of it; [`retrying`] is how a
//! message is repeated. What is sent when, and what is remembered of it, is the signal's own matter.

mod client;
mod delta;
mod ended;
mod failure;
mod grpc;
mod http;
mod instance;
mod metrics;
mod own;
mod retry;
mod totals;
mod traces;

pub use client::{Client, Destination, Outcome, Protocol, PushError, Signal};
pub use instance::instance_id;
pub use metrics::{Manner, Push};
pub use own::OwnTraces;
pub use retry::{Patience, retrying};
pub use traces::{Outbox, PushTraces};
