#![doc = include_str!("../README.md")]
//!
//! [`Streams`] is a hyper `Service` and a tower `Service` over `http::Request`, so that it mounts in a hyper, axum or
//! tonic program beside other routes. [`serve`] serves it alone on a listening socket.
//!
//! `examples/axum.rs` is a complete program with authorization and a graceful shutdown. The server program is the
//! package `server-hyper`.

mod limits;
mod serve;

use std::{convert::Infallible, fmt, future::Future, io, pin::Pin, task};

use bytes::Bytes;
use futures_util::TryStreamExt;
use headwater_service::{Body, Service};
use http::{Request, Response};
use http_body_util::BodyDataStream;

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
    pub fn handle<B>(&self, request: Request<B>) -> ResponseFuture
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: fmt::Display,
    {
        let (head, body) = request.into_parts();
        let call = self.0.parse(&head);
        let service = self.0.clone();
        Box::pin(async move {
            let body = BodyDataStream::new(body).map_err(|error| io::Error::other(error.to_string()));
            let executed = service.execute(call, body).await;
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
