//! Where the Node reference server (npm `@durable-streams/server` 0.3.7) differs from us, as it may or should not.

use crate::rules::Rule;

/// All of them. Each names the text that decides.
pub(crate) const NODE: &[Rule] = &[];
