//! Foreign pages in, domain facts out.
//!
//! A platform is a folder under [`platforms`] and one line in its registry. It supplies [`Job`]s: conversations with
//! its API, written without IO. A job is asked for its next move and answers with a request to send, facts to commit
//! or the end; it is told the response or the receipt and asked again. The poller owns the socket, the clock, the
//! budget and the retries, so a job can be tested with files, driven in virtual time, and fuzzed.
//!
//! A job commits what a page told before it asks for the next one, and moves on only when that is durable: a crash
//! at any point repeats a page, which the engine recognises.

pub mod access;
pub mod backlog;
pub mod budget;
mod call;
pub mod endpoints;
mod inquiry;
mod job;
pub mod lanes;
pub mod limiter;
pub mod platforms;
pub mod poller;
pub mod schedule;
pub mod transport;

pub use call::{CUT, Failure, MAX_BODY, Request, Response, TIMED_OUT};
pub use inquiry::{Heard, Inquiry, Next, Statement, Used};
pub use job::{Finish, Input, Job, Output};
