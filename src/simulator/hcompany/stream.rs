//! A session's events as JSON, rendered once: any run of neighbouring events is one slice of one buffer.

use super::render::Renderer;
use crate::simulator::options::SimulateOptions;
use crate::simulator::script::{Script, What};
use crate::simulator::streams::Rendered;

/// Rendered events, joined by commas.
pub(in crate::simulator) struct Stream {
    text: Vec<u8>,
    /// Where each event starts; one more entry marks where the next one would.
    starts: Vec<u32>,
}

impl Stream {
    /// Renders all events of a script.
    pub(in crate::simulator) fn render(script: &Script, options: &SimulateOptions) -> Self {
        let mut text = Vec::with_capacity(script.events.len() * (350 + options.bulk_observation_bytes / 4));
        let mut starts = Vec::with_capacity(script.events.len() + 1);
        let mut renderer = Renderer::new(script, options);
        for event in &script.events {
            starts.push(text.len() as u32);
            renderer.render(event, &mut text);
            text.push(b',');
        }
        starts.push(text.len() as u32);
        text.shrink_to_fit();
        Self { text, starts }
    }

    /// Events `from` to `to` (excluded), ascending, separated by commas.
    pub(super) fn slice(&self, from: usize, to: usize) -> &[u8] {
        if from >= to {
            return &[];
        }
        &self.text[self.starts[from] as usize..self.starts[to] as usize - 1]
    }
}

impl Rendered for Stream {
    fn len_bytes(&self) -> usize {
        self.text.len() + self.starts.len() * 4
    }
}

/// The `type` of an event's envelope.
pub(super) fn type_name(what: &What) -> &'static str {
    match what {
        What::RequestStart => "RequestStartEvent",
        What::Dispatched => "RequestStartDispatchedEvent",
        What::RunnerSession => "RunnerSessionEvent",
        What::AgentStarted => "AgentStartedEvent",
        What::LiveView => "LiveViewUrlEvent",
        What::Metrics => "MetricsUpdateEvent",
        What::Running | What::Idle | What::Awaiting { .. } | What::UnknownState => "ActiveStateChangeEvent",
        What::Paused | What::Resumed => "AgentRunStatusChangeEvent",
        What::FileTransfer => "FileTransferEvent",
        What::Attachment => "AttachmentEvent",
        What::Completion { .. } => "AgentCompletionEvent",
        What::UnknownType { variant: 0 } => "ChatMessageEvent",
        What::UnknownType { variant: 1 } => "DelayAgentStartEvent",
        What::UnknownType { .. } => "SomeFutureEvent",
        _ => "AgentEvent",
    }
}
