//! How webhooks leave the server: a trait, so that a program that embeds the service needs no TLS unless it wants it.

use std::{error::Error, fmt, future::Future, pin::Pin};

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
    /// The first [`RESPONSE_BYTES_MAX`] bytes of the body.
    pub body: Bytes,
}

/// The number of bytes of a response's body that are read; the rest is ignored.
pub const RESPONSE_BYTES_MAX: usize = 64 << 10;

/// The reason why a webhook has no response.
#[derive(Debug)]
#[non_exhaustive]
pub enum WebhookError {
    /// The host's name could not be resolved.
    Resolve(ErrorSource),
    /// [`WebhookUrl::may_connect`] allows none of the host's addresses.
    AddressRefused,
    /// No connection to any of the host's addresses could be established.
    Connect(ErrorSource),
    /// TLS could not be set up, or the host could not prove its name.
    Tls(ErrorSource),
    /// The request could not be sent, or no valid HTTP response came back.
    Exchange(ErrorSource),
    /// There was no complete response within the request's `timeout_ms`.
    Timeout {
        /// The time that was allowed, in milliseconds.
        timeout_ms: u64,
    },
}

/// The error that caused another one.
pub type ErrorSource = Box<dyn Error + Send + Sync>;

impl fmt::Display for WebhookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(_) => f.write_str("the host's name could not be resolved"),
            Self::AddressRefused => f.write_str("the host has no public address"),
            Self::Connect(_) => f.write_str("no connection could be established"),
            Self::Tls(_) => f.write_str("TLS failed"),
            Self::Exchange(_) => f.write_str("the HTTP exchange failed"),
            Self::Timeout { timeout_ms } => write!(f, "there was no response within {timeout_ms} ms"),
        }
    }
}

impl Error for WebhookError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Resolve(source) | Self::Connect(source) | Self::Tls(source) | Self::Exchange(source) => {
                Some(&**source)
            }
            Self::AddressRefused | Self::Timeout { .. } => None,
        }
    }
}
