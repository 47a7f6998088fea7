//! A text of a foreign document.

use std::borrow::Cow;

use serde::Deserialize;

/// A text that borrows where it can: serde borrows into a bare `Cow` only, never into one inside an `Option`.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);
