#![doc = include_str!("../README.md")]
//!
//! [`Streams::configure`] mounts a service in an actix application or in a scope of it, beside other routes. [`serve`]
//! serves it alone on a listening socket.
//!
//! `examples/mounted.rs` is a complete program with authorization and a graceful shutdown. The server program is the
//! package `server-actix`.

mod convert;
mod limits;
mod serve;

use std::rc::Rc;

use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use headwater_protocol::request::FromTrustedProxy;
use headwater_service::Service;

pub use convert::ResponseBody;
pub use serve::serve;

/// A [`Service`] that mounts in an actix application. Clones share everything.
#[derive(Clone, Debug)]
pub struct Streams(Service);

impl Streams {
    /// Wraps a service.
    #[must_use]
    pub const fn new(service: Service) -> Self {
        Self(service)
    }

    /// Makes the service the default of an application or a scope: it gets the requests that no other route takes.
    ///
    /// The service matches its base path against the complete path of the request, whatever the scope.
    pub fn configure(&self, config: &mut web::ServiceConfig) {
        let streams = self.clone();
        config.default_service(web::to(move |request, body| streams.clone().handle(request, body)));
    }

    /// Handles one request. Middleware that knows that it comes from a trusted proxy says so by a [`FromTrustedProxy`] among
    /// the request's extensions.
    pub async fn handle(self, request: HttpRequest, body: web::Payload) -> HttpResponse<ResponseBody> {
        let head = request.head();
        // Only connections of `serve` carry limits; an application that mounts streams has its own.
        let connection = request.conn_data::<Rc<limits::Connection>>();
        let is_from_trusted_proxy = match connection {
            Some(connection) => connection.is_from_trusted_proxy,
            None => request.extensions().contains::<FromTrustedProxy>(),
        };
        let call = self.0.parse(&convert::Head { head, is_from_trusted_proxy });
        let (call, in_flight) = match connection.map(|connection| connection.begin(head)).transpose() {
            Ok(in_flight) => (call, in_flight),
            Err(refusal) => (call.refused(refusal), None),
        };
        let response = self.0.execute(call, convert::body(head, body)).await;
        convert::response(response, head, in_flight)
    }
}
