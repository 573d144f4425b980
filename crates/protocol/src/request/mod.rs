//! Requests: what the rules read of a head, and the verbs that it comes to.

pub(crate) mod forwarded;
pub(crate) mod head;
mod parse;

pub use forwarded::{FromTrustedProxy, TrustedProxies, network};
pub use head::{ParseContext, RequestHead, declared_length};
#[cfg(test)]
pub(crate) use parse::tests;
pub use parse::{METHODS, Request, check_probe, known_method};
