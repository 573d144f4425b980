#![doc = include_str!("../README.md")]
//!
//! A server brings the transport, the storage and the time. It parses a request's head into a [`Request`]; the verb's
//! type decides, given the [`StreamHead`] and the time; a store commits the decision; the verb's type makes the
//! [`Response`]. Live reads are state machines that say what to do next ([`live`]). Every error of a client or of the
//! server is a [`Refusal`], which makes its own response.
//!
//! ```
//! use headwater_protocol::{
//!     BasePath, ContentType, Incarnation, ParseContext, Refusal, Request, Response, StreamHead, stream::Verdict,
//! };
//!
//! /// Appends to the one stream of this server, which holds its state and its bytes in memory.
//! fn append(stream: &mut (StreamHead, Vec<u8>), head: &http::request::Parts, body: &'static [u8]) -> Response {
//!     let appended = |stream: &mut (StreamHead, Vec<u8>)| -> Result<Response, Refusal> {
//!         let base_path = BasePath::parse("/v1/stream").expect("a base path");
//!         let context = ParseContext { base_path: &base_path, body_bytes_max: 1 << 20, now_ms: 0 };
//!         let Request::Append(append) = Request::parse(head, &context)? else { unimplemented!("other verbs") };
//!         let payload = append.prepare(body.into())?;
//!         match append.decide(Some(&stream.0), None, payload, 0) {
//!             Verdict::Commit(change, ack) => {
//!                 stream.1.extend_from_slice(&change.bytes);
//!                 stream.0 = change.head;
//!                 Ok(append.respond(&ack))
//!             }
//!             Verdict::Repeat(ack) => Ok(append.respond(&ack)),
//!             Verdict::Refuse(refusal) => Err(refusal),
//!         }
//!     };
//!     appended(stream).unwrap_or_else(|refusal| refusal.respond())
//! }
//!
//! let incarnation = Incarnation::new(1).ok_or("not zero")?;
//! let mut stream = (StreamHead::new(incarnation, ContentType::parse("text/plain")?), Vec::new());
//! let request = http::Request::post("/v1/stream/a").header("host", "localhost").header("content-type", "text/plain");
//! let response = append(&mut stream, &request.body(())?.into_parts().0, b"hello");
//! assert_eq!(response.head.status, 204);
//! assert_eq!(response.head.headers["stream-next-offset"], "0000000000000001_0000000000000005");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/read_only_origin.rs` is a whole server that reads.
//!
//! # Features
//!
//! - `subscriptions` (off by default): subscriptions, webhooks' signatures and control requests (sections 6 and 7), with
//!   the cryptography that they need. Without it their paths are unknown.
//!
//! Section numbers are those of the Durable Streams Protocol, version 1.0.

mod bad_request;
pub mod cache;
pub mod content_type;
pub mod cross_origin;
pub mod cursor;
pub mod decimal;
mod etag;
pub mod expiry;
pub mod fork;
pub mod json;
pub mod live;
mod mix;
pub mod names;
pub mod offset;
pub mod op;
pub mod pace;
pub mod path;
pub mod precondition;
pub mod producer;
pub mod progress;
mod refusal;
pub mod request;
pub mod response;
pub mod sse;
pub mod state_event;
pub mod stream;
#[cfg(feature = "subscriptions")]
pub mod subscription;
pub mod welcome;

pub use bad_request::BadRequest;
pub use cache::{CachePolicy, Visibility};
pub use content_type::ContentType;
pub use cursor::CursorPolicy;
pub use expiry::Lifetime;
pub use offset::{Incarnation, Offset, ReadFrom};
pub use path::{BasePath, StreamName};
pub use refusal::{Conflict, Missing, Refusal, Unavailable};
pub use request::{ParseContext, Request, RequestHead};
pub use response::{Response, ResponseHead};
pub use stream::StreamHead;
