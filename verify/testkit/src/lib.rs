//! What the tests of running servers share.
//!
//! - [`process`] starts a server and stops it.
//! - [`connection`] speaks HTTP/1.1 byte by byte, [`client`] sends ordinary requests; both return a [`Response`].
//! - [`sse`] splits an event stream into events.
//! - [`random`] seeds generators, [`table`] renders tables, [`panics`] turns a panic into an error.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and the panic shows what the server sent"
)]

pub mod client;
pub mod connection;
pub mod http2;
pub mod panics;
pub mod process;
pub mod random;
pub mod response;
pub mod sse;
pub mod table;

pub use client::{Client, Request};
pub use connection::Connection;
pub use process::Server;
pub use response::Response;
