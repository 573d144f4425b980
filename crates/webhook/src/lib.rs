#![doc = include_str!("../README.md")]
//!
//! [`HttpWebhooks`] asks [`WebhookUrl::may_connect`] whether an address is allowed. It uses no proxy, and reads only the
//! beginning of a response.
//!
//! ```
//! use std::sync::Arc;
//!
//! use headwater_service::webhooks::Webhooks;
//! use headwater_webhook::HttpWebhooks;
//!
//! // What a service is given so that it can wake workers by webhooks.
//! let webhooks: Arc<dyn Webhooks> = Arc::new(HttpWebhooks::default());
//! # drop(webhooks);
//! ```

mod resolve;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use headwater_protocol::subscription::target::WebhookUrl;
use headwater_service::webhooks::{
    RESPONSE_BYTES_MAX, WebhookError, WebhookFuture, WebhookRequest, WebhookResponse, Webhooks,
};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OnceCell,
    time,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

use resolve::Resolve;

/// The largest head of a response, in bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// The number of one name's addresses that are tried.
const ADDRESSES_MAX: usize = 4;

/// A client for webhooks that connects to public addresses only.
pub struct HttpWebhooks {
    /// Made for the first webhook that needs it: reading the machine's certificates takes a while.
    tls: OnceCell<TlsConnector>,
    resolve: Box<dyn Resolve>,
}

impl std::fmt::Debug for HttpWebhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpWebhooks").finish_non_exhaustive()
    }
}

impl Default for HttpWebhooks {
    fn default() -> Self {
        Self { tls: OnceCell::new(), resolve: Box::new(resolve::System::default()) }
    }
}

impl HttpWebhooks {
    /// TLS with the certificates that this machine trusts.
    async fn tls(&self) -> Result<&TlsConnector, WebhookError> {
        let made = self.tls.get_or_try_init(|| async {
            let made = tokio::task::spawn_blocking(make_tls).await;
            made.unwrap_or_else(|error| Err(WebhookError::Tls(error.into())))
        });
        made.await
    }

    async fn send(&self, request: WebhookRequest) -> Result<WebhookResponse, WebhookError> {
        let WebhookRequest { url, headers, body, timeout_ms } = request;
        let socket = self.connect(&url, timeout_ms).await?;
        let path = url.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let host = url.uri().authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let post = Request::post(path).header(header::HOST, host).header(header::CONNECTION, "close");
        let mut post = post.body(Full::new(body)).map_err(|error| WebhookError::Exchange(error.into()))?;
        post.headers_mut().extend(headers);
        self.exchange(&url, socket, post).await
    }

    /// One request and its response over a connection, encrypted if the URL says so.
    async fn exchange(
        &self,
        url: &WebhookUrl,
        socket: TcpStream,
        post: Request<Full<Bytes>>,
    ) -> Result<WebhookResponse, WebhookError> {
        if !url.is_tls() {
            return exchange_over(socket, post).await;
        }
        let tls = self.tls().await?;
        let name = ServerName::try_from(url.host()).map_err(|error| WebhookError::Tls(error.into()))?;
        let encrypted = tls.connect(name, socket).await.map_err(|error| WebhookError::Tls(error.into()))?;
        exchange_over(encrypted, post).await
    }

    /// A connection to one of the addresses that the URL may lead to. Each address has its part of the time.
    async fn connect(&self, url: &WebhookUrl, timeout_ms: u64) -> Result<TcpStream, WebhookError> {
        let found = self.resolve.resolve(url.host(), url.port()).await;
        let found = found.map_err(|error| WebhookError::Resolve(error.into()))?;
        let allowed: Vec<SocketAddr> =
            found.into_iter().filter(|address| url.may_connect(address.ip())).take(ADDRESSES_MAX).collect();
        let mut failure = WebhookError::AddressRefused;
        let share_ms = timeout_ms / u64::try_from(allowed.len().max(1)).unwrap_or(u64::MAX);
        for address in allowed {
            match time::timeout(Duration::from_millis(share_ms), TcpStream::connect(address)).await {
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(error)) => failure = WebhookError::Connect(error.into()),
                Err(_) => {
                    failure = WebhookError::Connect(format!("it took longer than {share_ms} ms").into());
                }
            }
        }
        Err(failure)
    }
}

impl Webhooks for HttpWebhooks {
    fn post(&self, request: WebhookRequest) -> WebhookFuture<'_> {
        let timeout_ms = request.timeout_ms;
        Box::pin(async move {
            let sent = time::timeout(Duration::from_millis(timeout_ms), self.send(request)).await;
            sent.unwrap_or(Err(WebhookError::Timeout { timeout_ms }))
        })
    }
}

/// A machine without trusted certificates is no error here: every webhook over TLS fails and its error tells why.
fn make_tls() -> Result<TlsConnector, WebhookError> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "certificates of this machine could not be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    tls_with(roots)
}

fn tls_with(roots: RootCertStore) -> Result<TlsConnector, WebhookError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| WebhookError::Tls(error.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// One request and its response over a connection that is ready for it.
async fn exchange_over(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    post: Request<Full<Bytes>>,
) -> Result<WebhookResponse, WebhookError> {
    let handshake = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(socket)).await;
    let (mut sender, connection) = handshake.map_err(|error| WebhookError::Exchange(error.into()))?;
    let exchanged = async {
        let (head, body) = sender.send_request(post).await?.into_parts();
        Ok(WebhookResponse {
            status: head.status.as_u16(),
            headers: head.headers,
            body: read_beginning(body).await?,
        })
    };
    tokio::select! {
        response = exchanged => response.map_err(|error: hyper::Error| WebhookError::Exchange(error.into())),
        never = drive(connection) => match never {},
    }
}

/// Drives the connection. Its error surfaces through the response future.
async fn drive<T>(connection: impl Future<Output = T>) -> std::convert::Infallible {
    let _ = connection.await;
    std::future::pending().await
}

/// The first [`RESPONSE_BYTES_MAX`] bytes of a body.
async fn read_beginning(mut body: Incoming) -> Result<Bytes, hyper::Error> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(mut data) = frame?.into_data() {
            let room = RESPONSE_BYTES_MAX - read.len();
            let is_too_long = data.len() > room;
            data.truncate(room);
            read.extend_from_slice(&data);
            if is_too_long {
                break;
            }
        }
    }
    Ok(read.freeze())
}

#[cfg(test)]
mod tests;
