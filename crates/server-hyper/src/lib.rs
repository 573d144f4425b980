//! Headwater on hyper.
//!
//! [`Streams`] is a hyper `Service` and a tower `Service` over `http::Request`, so that it mounts in a hyper, axum or
//! tonic program beside other routes (`examples/axum.rs`). [`serve`] puts it on a listening socket by itself.

mod convert;
mod limits;
mod serve;

use std::{convert::Infallible, fmt, future::Future, io, pin::Pin, task};

use bytes::Bytes;
use futures_util::TryStreamExt;
use headwater_service::Service;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyDataStream;

pub use convert::ResponseBody;
pub use serve::serve;

/// Durable Streams as a service over `http::Request`. Clones share everything.
#[derive(Clone, Debug)]
pub struct Streams(Service);

/// A response on its way.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>> + Send>>;

impl Streams {
    /// Mounts a service.
    #[must_use]
    pub const fn new(service: Service) -> Self {
        Self(service)
    }

    /// Answers one request. Its path must be the whole one: the base path is the service's to check.
    pub fn answer<B>(&self, request: Request<B>) -> ResponseFuture
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: fmt::Display,
    {
        let (head, body) = request.into_parts();
        let call = self.0.parse(&head);
        let service = self.0.clone();
        Box::pin(async move {
            let body = BodyDataStream::new(body).map_err(|error| io::Error::other(error.to_string()));
            Ok(convert::response(service.execute(call, body).await))
        })
    }
}

impl<B> hyper::service::Service<Request<B>> for Streams
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: fmt::Display,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn call(&self, request: Request<B>) -> Self::Future {
        self.answer(request)
    }
}

impl<B> tower_service::Service<Request<B>> for Streams
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: fmt::Display,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.answer(request)
    }
}
