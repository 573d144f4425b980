#![doc = include_str!("../README.md")]
//!
//! [`Streams`] is a hyper `Service` and a tower `Service` over `http::Request`, so that it mounts in a hyper, axum or
//! tonic program beside other routes. [`serve`] serves it alone on a listening socket.
//!
//! `examples/axum.rs` is a complete program with authorization and a graceful shutdown. The server program is the
//! package `server-hyper`.

mod limits;
mod serve;
mod upload;

use std::{convert::Infallible, fmt, future::Future, pin::Pin, task};

use bytes::Bytes;
use headwater_service::{Body, Service};
use http::{Request, Response};

use upload::Upload;

pub use serve::serve;

/// A [`Service`] that takes `http::Request` and returns `http::Response`. Clones share everything.
#[derive(Clone, Debug)]
pub struct Streams(Service);

/// The future of a response. It never fails: errors are responses.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Streams {
    /// Wraps a service.
    #[must_use]
    pub const fn new(service: Service) -> Self {
        Self(service)
    }

    /// Handles one request.
    ///
    /// The request's path must be complete: the service matches its base path itself, so don't mount it below a router
    /// that strips a prefix.
    ///
    /// A layer that knows that the request comes from a trusted proxy says so by a
    /// [`FromTrustedProxy`](headwater_protocol::request::FromTrustedProxy) among the request's extensions.
    ///
    /// The end of an HTTP/2 request's body counts only if `body` then says `is_end_stream`, as hyper's does unless the stream
    /// was reset. A body that is refused is read to its end, within bounds, so that the client sees the response.
    pub fn handle<B>(&self, request: Request<B>) -> ResponseFuture
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: fmt::Display,
    {
        let (head, body) = request.into_parts();
        let call = self.0.parse(&head);
        let mut upload = Upload::new(&head, body);
        let service = self.0.clone();
        Box::pin(async move {
            let executed = service.execute(call, &mut upload).await;
            if upload.needs_draining() {
                tokio::spawn(upload.drain());
            }
            let mut response = Response::new(executed.body);
            *response.status_mut() = executed.head.status;
            *response.headers_mut() = executed.head.headers;
            Ok(response)
        })
    }
}

impl<B> hyper::service::Service<Request<B>> for Streams
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: fmt::Display,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn call(&self, request: Request<B>) -> Self::Future {
        self.handle(request)
    }
}

impl<B> tower_service::Service<Request<B>> for Streams
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: fmt::Display,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.handle(request)
    }
}
