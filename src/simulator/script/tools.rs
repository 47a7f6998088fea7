//! The tools that agents call.

use super::agents::Environment;
use crate::simulator::random::Dice;

/// A tool, by its name on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulator) enum Tool {
    Click,
    Scroll,
    Write,
    Goto,
    ClickDesktop,
    PressKeys,
    LookUp,
    OrderStatus,
    RunSubagent,
}

impl Tool {
    /// The name on the wire.
    pub(in crate::simulator) fn name(self) -> &'static str {
        match self {
            Self::Click => "click_web",
            Self::Scroll => "scroll_web",
            Self::Write => "write_web",
            Self::Goto => "goto_url",
            Self::ClickDesktop => "click_desktop",
            Self::PressKeys => "press_keys",
            Self::LookUp => "mcp__crm/look-up.v2",
            Self::OrderStatus => "get_order_status",
            Self::RunSubagent => "run_subagent",
        }
    }

    /// A tool that an agent in this environment would use.
    pub(super) fn any(dice: &mut Dice, environment: Environment) -> Self {
        match environment {
            Environment::Web => dice.weighted(&[
                (5, Self::Click),
                (3, Self::Scroll),
                (2, Self::Write),
                (2, Self::Goto),
                (1, Self::LookUp),
            ]),
            Environment::Desktop => dice.weighted(&[(5, Self::ClickDesktop), (3, Self::PressKeys), (1, Self::LookUp)]),
        }
    }
}

/// The id of a tool call. Only the first kind is unique within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulator) enum CallId {
    /// `call_0001`, counted through the session.
    Numbered(u32),
    /// `xml_0`, starting again in every step.
    Xml(u32),
    /// JSON null.
    Null,
}

/// One requested call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulator) struct ToolCall {
    pub(in crate::simulator) tool: Tool,
    pub(in crate::simulator) id: CallId,
    /// Chooses the made-up arguments, so that request and result show the same ones.
    pub(in crate::simulator) salt: u32,
}
