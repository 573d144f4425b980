//! How webhooks leave the server: a trait, so that a program that embeds the service needs no TLS unless it wants it.

use std::{error::Error, future::Future, pin::Pin};

use bytes::Bytes;
use headwater_protocol::subscription::target::WebhookUrl;
use http::HeaderMap;

/// A client that sends webhooks. `headwater-webhook` has one.
pub trait Webhooks: Send + Sync + 'static {
    /// Sends one POST request and reads its response.
    ///
    /// An implementation takes `timeout_ms` at most, follows no redirect, and asks [`WebhookUrl::may_connect`] for every
    /// address that it connects to.
    fn post(&self, request: WebhookRequest) -> WebhookFuture<'_>;
}

/// The future of a webhook's response.
pub type WebhookFuture<'a> = Pin<Box<dyn Future<Output = Result<WebhookResponse, WebhookError>> + Send + 'a>>;

/// A webhook: one POST request.
#[derive(Clone, Debug)]
pub struct WebhookRequest {
    /// The URL that it is sent to.
    pub url: WebhookUrl,
    /// Headers, besides those that every HTTP request has.
    pub headers: HeaderMap,
    /// The JSON document that tells of the wake.
    pub body: Bytes,
    /// The longest time that all of it may take, name resolution included, in milliseconds.
    pub timeout_ms: u64,
}

/// The response to a webhook.
#[derive(Clone, Debug)]
pub struct WebhookResponse {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The first [`RESPONSE_BYTES_MAX`] bytes of the body.
    pub body: Bytes,
}

/// The number of bytes of a response's body that are read; the rest is ignored.
pub const RESPONSE_BYTES_MAX: usize = 64 << 10;

/// The reason why a webhook has no response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The host's name could not be resolved.
    #[error("the host's name could not be resolved")]
    Resolve(#[source] ErrorSource),
    /// [`WebhookUrl::may_connect`] allows none of the host's addresses.
    #[error("the host has no public address")]
    AddressRefused,
    /// No connection to any of the host's addresses could be established.
    #[error("no connection could be established")]
    Connect(#[source] ErrorSource),
    /// TLS could not be set up, or the host could not prove its name.
    #[error("TLS failed")]
    Tls(#[source] ErrorSource),
    /// The request could not be sent, or no valid HTTP response came back.
    #[error("the HTTP exchange failed")]
    Exchange(#[source] ErrorSource),
    /// There was no complete response within the request's `timeout_ms`.
    #[error("there was no response within {timeout_ms} ms")]
    Timeout {
        /// The time that was allowed, in milliseconds.
        timeout_ms: u64,
    },
}

/// The error that caused another one.
pub type ErrorSource = Box<dyn Error + Send + Sync>;
