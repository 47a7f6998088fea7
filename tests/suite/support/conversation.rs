//! A job and a made-up platform, led through their conversation like the poller does, into a real state.

use agent_session_exporter::domain::{Item, Receipt, Report, SourceIx};
use agent_session_exporter::ingest::platforms::everruns;
use agent_session_exporter::ingest::{Failure, Finish, Input, Job, Output, Request, Response};
use agent_session_exporter::projection::{LabelPolicy, State};
use bytes::Bytes;

use super::lives::at;
use super::running::source_record;

/// What comes of a request.
#[derive(Clone, Debug)]
pub enum Answer {
    Body(u16, Bytes),
    Fails(Failure),
}

/// How often the poller asks the same again when an answer makes no sense.
pub const ATTEMPTS: u32 = 4;

/// Leads a conversation like the poller does, with a state that takes in what is committed. Gives how it ended and
/// after how many moves; `None` if it did not end.
pub fn lead(job: &mut dyn Job, state: &mut State, answer: impl FnMut(&Request) -> Answer) -> Option<(Finish, usize)> {
    lead_watched(job, state, answer, |_| {})
}

/// The same; `watch` is shown what is committed, before it is.
pub fn lead_watched(
    job: &mut dyn Job,
    state: &mut State,
    answer: impl FnMut(&Request) -> Answer,
    watch: impl FnMut(&[Item]),
) -> Option<(Finish, usize)> {
    converse(job, state, answer, watch, false)
}

/// The same, while more sessions wait to be read than is good: so before each request the job is told.
pub fn lead_crowded(
    job: &mut dyn Job,
    state: &mut State,
    answer: impl FnMut(&Request) -> Answer,
    watch: impl FnMut(&[Item]),
) -> Option<(Finish, usize)> {
    converse(job, state, answer, watch, true)
}

fn converse(
    job: &mut dyn Job,
    state: &mut State,
    mut answer: impl FnMut(&Request) -> Answer,
    mut watch: impl FnMut(&[Item]),
    is_crowded: bool,
) -> Option<(Finish, usize)> {
    let mut told_crowded = false;
    let mut input = Input::Begin;
    let mut asked: Option<(Request, u32)> = None;
    for moves in 1..400 {
        let request = match job.next(input) {
            Output::Done(finish) => return Some((finish, moves)),
            Output::Commit(items) => {
                watch(&items);
                input = Input::Committed(committed(state, items));
                continue;
            }
            Output::Fetch(_) if is_crowded && !std::mem::replace(&mut told_crowded, true) => {
                input = Input::Crowded;
                continue;
            }
            Output::Fetch(request) => {
                told_crowded = false;
                asked = Some((request.clone(), 1));
                request
            }
            Output::Again(reason) => {
                let (request, attempts) = asked.as_mut().expect("something was asked");
                *attempts += 1;
                if *attempts > ATTEMPTS {
                    return Some((Finish::Failed(Failure::Nonsense(reason)), moves));
                }
                request.clone()
            }
        };
        input = match answer(&request) {
            Answer::Body(status, body) => Input::Response(Response::new(status, body, at(1001))),
            Answer::Fails(failure) => Input::Failed(failure),
        };
    }
    None
}

fn committed(state: &mut State, items: Vec<Item>) -> Receipt {
    let report = Report { source: SourceIx(0), asked_at: at(1000), received_at: at(1001), items };
    // A job that contradicts itself would be started over for ever.
    state.take_in(&report, &|_| Err("none is settled".to_owned())).expect("it continues what was committed")
}

/// A state with one source of Everruns, of which nothing is known yet.
pub fn everruns_state() -> State {
    let mut state = State::new(LabelPolicy::default(), []);
    let ix = state.add_source(source_record("one", "everruns"));
    state.attach(ix, everruns::DESCRIPTOR.capabilities, None);
    state
}
