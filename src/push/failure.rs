//! What a failed connection means for the message that was to go over it.

use crate::connection::{CANNOT_CONNECT, NO_HOST, NO_TLS, NOT_TRUSTED};

/// Whether a message that failed for this reason can have been taken all the same: its answer may be what was lost.
pub(super) fn is_uncertain(reason: &str) -> bool {
    reason != "throttled" && ![CANNOT_CONNECT, NO_HOST, NOT_TRUSTED, NO_TLS].contains(&reason)
}
