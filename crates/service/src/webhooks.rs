//! How webhooks leave the server: a trait, so that a program that embeds the service needs no TLS unless it wants it.

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use headwater_protocol::subscription::target::WebhookUrl;
use http::HeaderMap;

/// Sends webhooks. `headwater-webhook` is one that keeps the rules of [`WebhookUrl::may_connect`].
pub trait Webhooks: Send + Sync + 'static {
    /// Sends one POST and reads its answer. It may take `timeout_ms` at most, follows no redirect, and asks
    /// [`WebhookUrl::may_connect`] for every address that it connects to.
    fn post(&self, request: WebhookRequest) -> Answering<'_>;
}

/// An answer on its way; the text says why there is none.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<WebhookAnswer, String>> + Send + 'a>>;

/// A webhook.
#[derive(Clone, Debug)]
pub struct WebhookRequest {
    /// Where it goes.
    pub url: WebhookUrl,
    /// What is sent besides what every request has.
    pub headers: HeaderMap,
    /// What it says.
    pub body: Bytes,
    /// How long all of it may take, in milliseconds.
    pub timeout_ms: u64,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct WebhookAnswer {
    /// The status.
    pub status: u16,
    /// The first [`ANSWER_BYTES_MAX`] bytes of the body.
    pub body: Bytes,
}

/// How much of an answer is read.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
