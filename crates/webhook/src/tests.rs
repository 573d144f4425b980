//! Tests against listeners on this machine, with names that resolve to whatever a test needs.

use std::sync::atomic::{AtomicUsize, Ordering};

use headwater_protocol::subscription::target::LocalTargets;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    sync::RwLock,
    task::JoinHandle,
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer},
};

use super::*;
use crate::resolve::{LOOKUPS_MAX, Resolving, System};

/// Resolves every name to these addresses.
struct Pointed(Vec<SocketAddr>);

impl Resolve for Pointed {
    fn resolve(&self, _: String, _: u16) -> Resolving<'_> {
        let addresses = self.0.clone();
        Box::pin(async move { Ok(addresses) })
    }
}

fn pointed_to(address: SocketAddr) -> HttpWebhooks {
    HttpWebhooks { resolve: Box::new(Pointed(vec![address])), ..HttpWebhooks::default() }
}

struct Listener {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _task: JoinHandle<()>,
}

/// Listens, and responds to every request with these bytes; to none if they are empty.
async fn listen(response: Vec<u8>) -> Listener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let task = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            let response = response.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 4_096];
                let _ = socket.read(&mut request).await;
                let _ = socket.write_all(&response).await;
                if response.is_empty() {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    Listener { address, connections, _task: task }
}

fn request(url: &str, timeout_ms: u64) -> WebhookRequest {
    let url = WebhookUrl::parse(url, LocalTargets::Allowed).unwrap();
    WebhookRequest { url, headers: http::HeaderMap::new(), body: Bytes::from_static(b"{}"), timeout_ms }
}

async fn post(listener: &Listener, url: &str, timeout_ms: u64) -> Result<WebhookResponse, WebhookError> {
    let webhooks = pointed_to(listener.address);
    webhooks.post(request(url, timeout_ms)).await
}

#[tokio::test]
async fn an_answer_is_its_status_and_its_body() {
    let listener =
        listen(b"HTTP/1.1 201 Created\r\ncontent-length: 13\r\n\r\n{\"done\":true}".to_vec()).await;
    let response = post(&listener, "http://localhost/hook", 5_000).await.unwrap();
    assert_eq!((response.status, &response.body[..]), (201, &b"{\"done\":true}"[..]));
}

#[tokio::test]
async fn a_public_name_that_leads_here_is_not_connected_to() {
    let listener = listen(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let error = post(&listener, "https://worker.example/hook", 5_000).await.unwrap_err();
    assert!(matches!(error, WebhookError::AddressRefused), "{error:?}");
    assert_eq!(listener.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_name_of_this_machine_that_leads_elsewhere_is_not_connected_to() {
    for address in ["10.0.0.1:80", "169.254.169.254:80", "8.8.8.8:80", "[::ffff:10.0.0.1]:80"] {
        let webhooks = pointed_to(address.parse().unwrap());
        let error = webhooks.post(request("http://localhost/", 5_000)).await.unwrap_err();
        assert!(matches!(error, WebhookError::AddressRefused), "{address} {error:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nothing_more() {
    let elsewhere = listen(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n",
        elsewhere.address
    );
    let listener = listen(redirect.into_bytes()).await;
    assert_eq!(post(&listener, "http://localhost/", 5_000).await.unwrap().status, 307);
    assert_eq!(elsewhere.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn who_says_nothing_is_left_when_the_time_is_over() {
    let listener = listen(Vec::new()).await;
    let error = post(&listener, "http://localhost/", 50).await.unwrap_err();
    assert!(matches!(error, WebhookError::Timeout { timeout_ms: 50 }), "{error:?}");
}

#[tokio::test]
async fn lookups_that_nobody_waits_for_any_more_are_bounded_too() {
    static BEGUN: AtomicUsize = AtomicUsize::new(0);
    static ENDS: RwLock<()> = RwLock::const_new(());
    let ends = ENDS.write().await;
    let system = System::with(|_, _| {
        BEGUN.fetch_add(1, Ordering::SeqCst);
        drop(ENDS.blocking_read());
        Ok(Vec::new())
    });
    let webhooks = Arc::new(HttpWebhooks { resolve: Box::new(system), ..HttpWebhooks::default() });
    let post = |timeout_ms| {
        let webhooks = webhooks.clone();
        async move { webhooks.post(request("https://worker.example/", timeout_ms)).await.unwrap_err() }
    };
    let given_up: Vec<_> = (0..2 * LOOKUPS_MAX).map(|_| tokio::spawn(post(50))).collect();
    for post in given_up {
        let error = post.await.unwrap();
        assert!(matches!(error, WebhookError::Timeout { timeout_ms: 50 }), "{error:?}");
    }
    assert_eq!(BEGUN.load(Ordering::SeqCst), LOOKUPS_MAX);
    // What is an address already needs none.
    assert_eq!(System::default().resolve("::1".into(), 9).await.unwrap(), ["[::1]:9".parse().unwrap()]);
    drop(ends);
    let error = post(5_000).await;
    assert!(matches!(error, WebhookError::AddressRefused), "{error:?}");
    assert_eq!(BEGUN.load(Ordering::SeqCst), LOOKUPS_MAX + 1);
}

#[tokio::test]
async fn an_address_that_says_nothing_leaves_time_for_the_others() {
    // Its queue is full, so that this machine doesn't answer any more.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let silent = socket.listen(1).unwrap();
    let silent_address = silent.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(connected) =
        time::timeout(Duration::from_millis(100), TcpStream::connect(silent_address)).await
    {
        queue.push(connected.unwrap());
    }
    let listener = listen(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let addresses = vec![silent_address, listener.address];
    let webhooks = HttpWebhooks { resolve: Box::new(Pointed(addresses)), ..HttpWebhooks::default() };
    assert_eq!(webhooks.post(request("http://localhost/", 2_000)).await.unwrap().status, 200);
}

#[tokio::test]
async fn of_a_long_answer_the_beginning_is_read() {
    let mut response = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n".to_vec();
    response.resize(response.len() + 200_000, b'x');
    let listener = listen(response).await;
    let response = post(&listener, "http://localhost/", 5_000).await.unwrap();
    assert_eq!(response.body.len(), RESPONSE_BYTES_MAX);
}

#[tokio::test]
async fn what_is_no_answer_is_a_failure() {
    for bytes in [&b"hello\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nxx"] {
        let listener = listen(bytes.to_vec()).await;
        let error = post(&listener, "http://localhost/", 5_000).await.unwrap_err();
        assert!(matches!(error, WebhookError::Exchange(_)), "{error:?}");
    }
    let mut endless = b"HTTP/1.1 200 OK\r\n".to_vec();
    endless.resize(100_000, b'x');
    let listener = listen(endless).await;
    assert!(post(&listener, "http://localhost/", 5_000).await.is_err());
}

#[tokio::test]
async fn a_target_that_speaks_no_tls_is_a_failure() {
    // A public URL is never sent in the clear, whatever answers.
    let url = WebhookUrl::parse("https://worker.example/", LocalTargets::Refused).unwrap();
    assert!(url.is_tls());
    let webhooks = HttpWebhooks::default();
    let tls = webhooks.tls().await.unwrap();
    let listener = listen(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let socket = TcpStream::connect(listener.address).await.unwrap();
    assert!(tls.connect(ServerName::try_from("worker.example").unwrap(), socket).await.is_err());
}

/// A listener with a certificate for `worker.example`, and a client that trusts no other.
async fn listen_encrypted() -> (SocketAddr, HttpWebhooks) {
    let issued = rcgen::generate_simple_self_signed(["worker.example".to_owned()]).unwrap();
    let certificate = issued.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(mut socket) = acceptor.accept(socket).await else { continue };
            let mut request = vec![0; 4_096];
            let read = socket.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"POST /hook HTTP/1.1\r\n"));
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let tls = OnceCell::new_with(Some(tls_with(roots).unwrap()));
    (address, HttpWebhooks { tls, ..HttpWebhooks::default() })
}

#[tokio::test]
async fn a_public_target_proves_who_it_is() {
    let (address, webhooks) = listen_encrypted().await;
    for (url, is_right) in [("https://worker.example/hook", true), ("https://other.example/hook", false)] {
        let WebhookRequest { url, body, .. } = request(url, 0);
        let socket = TcpStream::connect(address).await.unwrap();
        let post = Request::post("/hook").header(header::HOST, url.host()).body(Full::new(body)).unwrap();
        match webhooks.exchange(&url, socket, post).await {
            Ok(response) => assert_eq!((response.status, is_right), (200, true), "{url:?}"),
            Err(error) => assert!(matches!(error, WebhookError::Tls(_)) && !is_right, "{url:?} {error:?}"),
        }
    }
}
