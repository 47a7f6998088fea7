//! A session's events as JSON, rendered once: any run of neighbouring events is one slice of one buffer.

use std::collections::HashMap;

use super::era::Era;
use super::ids::Id;
use super::render::{Renderer, type_name};
use super::script::Script;
use crate::simulator::options::SimulateOptions;
use crate::simulator::streams::Rendered;

/// Rendered events, joined by commas.
pub(super) struct Stream {
    text: Vec<u8>,
    /// Where each event starts; one more entry marks where the next one would.
    starts: Vec<usize>,
    types: Vec<&'static str>,
    positions: HashMap<Id, usize>,
}

impl Stream {
    /// Renders all events of a script.
    pub(super) fn render(script: &Script, options: &SimulateOptions, era: Era) -> Self {
        let mut stream = Self {
            text: Vec::with_capacity(script.events.len() * 700),
            starts: Vec::with_capacity(script.events.len() + 1),
            types: Vec::with_capacity(script.events.len()),
            positions: HashMap::with_capacity(script.events.len()),
        };
        let mut renderer = Renderer::new(script, options, era);
        for (index, event) in script.events.iter().enumerate() {
            stream.starts.push(stream.text.len());
            stream.types.push(type_name(era, &event.what));
            stream.positions.insert(renderer.event_id(event), index);
            let document = renderer.render(index, event);
            serde_json::to_writer(&mut stream.text, &document).expect("writing JSON to memory cannot fail");
            stream.text.push(b',');
        }
        stream.starts.push(stream.text.len());
        stream.text.shrink_to_fit();
        stream
    }

    /// The type of an event.
    pub(super) fn type_of(&self, index: usize) -> &'static str {
        self.types[index]
    }

    /// Where the event with this id stands.
    pub(super) fn position(&self, id: Id) -> Option<usize> {
        self.positions.get(&id).copied()
    }

    /// The chosen events (ascending) as the body of an answer.
    pub(super) fn body(&self, chosen: &[usize]) -> Vec<u8> {
        const HEAD: &[u8] = b"{\"data\":[";
        let length = chosen.iter().map(|index| self.starts[index + 1] - self.starts[*index]).sum::<usize>();
        let mut body = Vec::with_capacity(length + HEAD.len() + 2);
        body.extend_from_slice(HEAD);
        for run in chosen.chunk_by(|one, next| one + 1 == *next) {
            body.extend_from_slice(&self.text[self.starts[run[0]]..self.starts[run[run.len() - 1] + 1]]);
        }
        if !chosen.is_empty() {
            body.pop();
        }
        body.extend_from_slice(b"]}");
        body
    }
}

impl Rendered for Stream {
    fn len_bytes(&self) -> usize {
        self.text.len() + self.types.len() * 64
    }
}
