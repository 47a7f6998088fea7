//! What the server needs of a platform, so that it can serve any of them.

use serde::Serialize;

use super::faults::FaultPlan;
use super::wire::{Request, Response};
use super::world::World;
use super::{everruns, hcompany, truth};

/// A simulated platform: answers are functions of the moment and the request.
pub trait Site: Send + Sync + 'static {
    /// The platform's account of itself.
    type Truth: Serialize;

    /// Answers a request at `now_us`, with the fault that the plan has for it.
    fn respond(&self, faults: &mut FaultPlan, now_us: i64, request: &Request) -> Response;

    /// Answers a request at `now_us` without faults.
    fn respond_again(&self, now_us: i64, request: &Request) -> Response;

    /// The account at `now_us`, of everything or of what happened at `since_us` or later.
    fn truth(&self, now_us: i64, since_us: Option<i64>) -> Self::Truth;
}

impl Site for World {
    type Truth = truth::Truth;

    fn respond(&self, faults: &mut FaultPlan, now_us: i64, request: &Request) -> Response {
        hcompany::respond(self, faults, now_us, request)
    }

    fn respond_again(&self, now_us: i64, request: &Request) -> Response {
        hcompany::respond_again(self, now_us, request)
    }

    fn truth(&self, now_us: i64, since_us: Option<i64>) -> Self::Truth {
        truth::truth(self, now_us, since_us)
    }
}

impl Site for everruns::World {
    type Truth = everruns::Truth;

    fn respond(&self, faults: &mut FaultPlan, now_us: i64, request: &Request) -> Response {
        everruns::respond(self, faults, now_us, request)
    }

    fn respond_again(&self, now_us: i64, request: &Request) -> Response {
        everruns::respond_again(self, now_us, request)
    }

    fn truth(&self, now_us: i64, since_us: Option<i64>) -> Self::Truth {
        everruns::truth(self, now_us, since_us)
    }
}
