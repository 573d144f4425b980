#![doc = include_str!("../README.md")]
//!
//! An adapter parses a request's head with [`Service::parse`], which only borrows it, and executes the request with
//! [`Service::execute`]:
//!
//! ```
//! use std::{io, sync::Arc};
//!
//! use bytes::Bytes;
//! use futures_util::stream;
//! use headwater_service::{Body, Service};
//! use headwater_store_mem::MemStore;
//! use http::{Request, StatusCode};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (service, background) = Service::builder(Arc::new(MemStore::new(64 << 20))).start().await?;
//! // Without it nothing expires and no worker is woken.
//! tokio::spawn(background.run());
//!
//! let url = "/v1/stream/greetings";
//! let put = Request::put(url).header("host", "localhost").header("content-type", "text/plain");
//! let (head, ()) = put.body(())?.into_parts();
//! let body = stream::iter([Ok::<_, io::Error>(Bytes::from("hello"))]);
//! let response = service.execute(service.parse(&head), body).await;
//! assert_eq!(response.head.status, StatusCode::CREATED);
//!
//! let (head, ()) = Request::get(url).header("host", "localhost").body(())?.into_parts();
//! let response = service.execute(service.parse(&head), stream::empty()).await;
//! let Body::Full(bytes) = response.body else { return Err("no body".into()) };
//! assert_eq!(bytes, "hello");
//! # Ok(())
//! # }
//! ```

mod append;
mod bodies;
mod body;
mod builder;
pub mod clock;
mod commit;
pub mod config;
mod create;
mod delete;
mod events;
mod follower;
mod live_readers;
mod memory;
mod metrics;
mod open_stream;
mod pieces;
mod read;
mod refusal;
mod service;
mod streams;
mod subscriptions;
mod sweep;
#[cfg(test)]
mod tests;
mod touch;
mod transact;
mod wake_events;
pub mod webhooks;
mod writes;

pub use body::{Body, BodyError, Streamed};
pub use builder::{Background, Builder};
pub use service::{Call, Response, Service};
