//! The words of the GenAI semantic conventions, v0.1.0 of their own repository; all of them at the status Development.
//!
//! Nothing else in this crate spells a name that begins with `gen_ai.`: should the conventions change, this file does.

/// Which operation: [`CHAT`] for a call of a model.
pub const OPERATION_NAME: &str = "gen_ai.operation.name";
/// A call of a model, as an operation.
pub const CHAT: &str = "chat";
/// Who answers calls of models; see [`provider`].
pub const PROVIDER_NAME: &str = "gen_ai.provider.name";
/// The model that was asked.
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
/// The agent's name.
pub const AGENT_NAME: &str = "gen_ai.agent.name";
/// Which tokens: [`INPUT`] or [`OUTPUT`].
pub const TOKEN_TYPE: &str = "gen_ai.token.type";
/// Tokens of the prompt.
pub const INPUT: &str = "input";
/// Tokens of the answer.
pub const OUTPUT: &str = "output";
/// What went wrong, of things that failed.
pub const ERROR_TYPE: &str = "error.type";
/// What went wrong has no name of its own.
pub const OTHER_ERROR: &str = "_OTHER";

/// The instrument of tokens of single calls.
pub const TOKEN_USAGE: &str = "gen_ai.client.token.usage";
/// The instrument of how long calls take.
pub const OPERATION_DURATION: &str = "gen_ai.client.operation.duration";

/// The conventions' name of a model's vendor that platforms call otherwise.
pub fn provider(name: &str) -> &str {
    match name {
        "gemini" => "gcp.gemini",
        "bedrock" => "aws.bedrock",
        "azure_openai" => "azure.ai.openai",
        other => other,
    }
}
