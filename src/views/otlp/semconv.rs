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

// Spans.

/// One turn of an agent, as an operation.
pub const INVOKE_AGENT: &str = "invoke_agent";
/// One tool call, as an operation.
pub const EXECUTE_TOOL: &str = "execute_tool";
/// The session.
pub const CONVERSATION_ID: &str = "gen_ai.conversation.id";
/// The model that answered.
pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
/// The vendor's id of the answer.
pub const RESPONSE_ID: &str = "gen_ai.response.id";
/// Why the model stopped; a list, as it may have answered several times.
pub const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
/// Seconds until the first part of the answer.
pub const TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
/// Prompt tokens, cached ones included.
pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Generated tokens, reasoning included.
pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// Prompt tokens read from a cache.
pub const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
/// Prompt tokens written to a cache.
pub const CACHE_WRITE_TOKENS: &str = "gen_ai.usage.cache_write.input_tokens";
/// Generated tokens spent on reasoning.
pub const REASONING_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";
/// The tool's name.
pub const TOOL_NAME: &str = "gen_ai.tool.name";
/// The tool call's id.
pub const TOOL_CALL_ID: &str = "gen_ai.tool.call.id";
/// The host that is asked.
pub const SERVER_ADDRESS: &str = "server.address";
