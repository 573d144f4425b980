#![doc = include_str!("../README.md")]
//!
//! A request's head is parsed into a [`Request`]; the verb's type decides, given the [`stream::StreamHead`] and
//! the time; what it decides is committed by a store; the verb's type makes the [`response::ResponseHead`]. Live
//! reads are state machines that say what to do next ([`live`]). Every reason to say no is a [`Refusal`].
//!
//! Section numbers are those of the Durable Streams Protocol, version 1.0.

pub mod cache;
pub mod content_type;
pub mod cross_origin;
pub mod cursor;
pub mod etag;
pub mod expiry;
pub mod fork;
pub mod json;
pub mod live;
mod mix;
pub mod names;
pub mod offset;
pub mod op;
pub mod path;
pub mod producer;
pub mod progress;
mod refusal;
pub mod request;
pub mod response;
pub mod sse;
pub mod stream;
pub mod subscription;

pub use refusal::Refusal;
pub use request::{ParseContext, Request, RequestHead};
