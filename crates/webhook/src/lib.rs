//! Webhooks over HTTP/1.1, encrypted except for those to this machine.
//!
//! The host's name is resolved here, every address is judged by [`WebhookUrl::may_connect`], and the connection goes to
//! an address that was judged: nobody resolves the name again in between. Each webhook has a connection of its own, so
//! each is judged anew. No redirect is followed, no proxy is asked, and of an answer only so much is read as anybody
//! needs.

mod resolve;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use headwater_protocol::subscription::target::WebhookUrl;
use headwater_service::webhooks::{ANSWER_BYTES_MAX, Answering, WebhookAnswer, WebhookRequest, Webhooks};
use http::{HeaderValue, Method, Request, header};
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

/// The largest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// The most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Sends webhooks.
pub struct HttpWebhooks {
    /// Made for the first webhook that needs it: reading certificates takes a while.
    tls: OnceCell<TlsConnector>,
    resolve: Box<dyn Resolve>,
}

impl std::fmt::Debug for HttpWebhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpWebhooks")
    }
}

impl Default for HttpWebhooks {
    fn default() -> Self {
        Self { tls: OnceCell::new(), resolve: Box::new(resolve::System::default()) }
    }
}

impl HttpWebhooks {
    /// TLS with the certificates that this machine trusts.
    async fn tls(&self) -> Result<&TlsConnector, String> {
        let made = self.tls.get_or_try_init(|| async {
            let made = tokio::task::spawn_blocking(make_tls).await;
            made.unwrap_or_else(|error| Err(error.to_string()))
        });
        made.await.map_err(|error| format!("TLS can't be set up: {error}"))
    }

    async fn send(&self, request: WebhookRequest) -> Result<WebhookAnswer, String> {
        let WebhookRequest { url, headers, body, timeout_ms } = request;
        let socket = self.connect(&url, timeout_ms).await?;
        let mut post = Request::new(Full::new(body));
        *post.method_mut() = Method::POST;
        let path = url.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        *post.uri_mut() = path.parse().map_err(|_| "its path is no path".to_owned())?;
        *post.headers_mut() = headers;
        let host = url.uri().authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let host = HeaderValue::from_str(host).map_err(|_| "its host is no host".to_owned())?;
        post.headers_mut().insert(header::HOST, host);
        post.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        self.speak(&url, socket, post).await
    }

    /// One request and its answer over a connection, encrypted if the URL says so.
    async fn speak(
        &self,
        url: &WebhookUrl,
        socket: TcpStream,
        post: Request<Full<Bytes>>,
    ) -> Result<WebhookAnswer, String> {
        if !url.is_tls() {
            return converse(socket, post).await;
        }
        let name = ServerName::try_from(url.host()).map_err(|_| "its host is no name".to_owned())?;
        let encrypted =
            self.tls().await?.connect(name, socket).await.map_err(|error| format!("TLS: {error}"))?;
        converse(encrypted, post).await
    }

    /// A connection to one of the addresses that the URL may lead to. Each has its part of the time.
    async fn connect(&self, url: &WebhookUrl, timeout_ms: u64) -> Result<TcpStream, String> {
        let found = self.resolve.resolve(url.host(), url.port()).await;
        let found = found.map_err(|error| format!("the host has no address: {error}"))?;
        let allowed: Vec<SocketAddr> =
            found.into_iter().filter(|address| url.may_connect(address.ip())).take(ADDRESSES_MAX).collect();
        let mut failure = "the host has no public address".to_owned();
        let share_ms = timeout_ms / u64::try_from(allowed.len().max(1)).unwrap_or(u64::MAX);
        for address in allowed {
            match time::timeout(Duration::from_millis(share_ms), TcpStream::connect(address)).await {
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(error)) => failure = error.to_string(),
                Err(_) => failure = format!("no connection within {share_ms} ms"),
            }
        }
        Err(failure)
    }
}

impl Webhooks for HttpWebhooks {
    fn post(&self, request: WebhookRequest) -> Answering<'_> {
        let timeout_ms = request.timeout_ms;
        Box::pin(async move {
            let sent = time::timeout(Duration::from_millis(timeout_ms), self.send(request)).await;
            sent.unwrap_or_else(|_| Err(format!("it took longer than {timeout_ms} ms")))
        })
    }
}

/// A machine that trusts nobody is no error here: every webhook fails and says why.
fn make_tls() -> Result<TlsConnector, String> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "certificates of this machine could not be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    tls_with(roots)
}

fn tls_with(roots: RootCertStore) -> Result<TlsConnector, String> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// One request and its answer over a connection.
async fn converse(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    post: Request<Full<Bytes>>,
) -> Result<WebhookAnswer, String> {
    let handshake = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(socket)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let answered = async {
        let answer = sender.send_request(post).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        Ok(WebhookAnswer { status, body: read(answer.into_body()).await? })
    };
    tokio::select! {
        answer = answered => answer,
        never = alone(connection) => match never {},
    }
}

/// Drives the connection; how it ends is told to who waits for the answer.
async fn alone<T>(connection: impl Future<Output = T>) -> std::convert::Infallible {
    let _ = connection.await;
    std::future::pending().await
}

/// The beginning of a body.
async fn read(mut body: Incoming) -> Result<Bytes, String> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        if let Ok(data) = frame.into_data() {
            let room = ANSWER_BYTES_MAX - read.len();
            read.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
            if data.len() > room {
                break;
            }
        }
    }
    Ok(read.freeze())
}

#[cfg(test)]
mod tests;
