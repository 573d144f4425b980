//! Headwater on actix-web.
//!
//! [`Streams::configure`] mounts in an actix application or in a scope of it, beside other routes
//! (`examples/mounted.rs`). [`serve`] puts it on a listening socket by itself.

mod convert;
mod limits;
mod serve;

use std::rc::Rc;

use actix_web::{HttpRequest, HttpResponse, web};
use headwater_service::Service;

pub use convert::ResponseBody;
pub use serve::serve;

/// Durable Streams as a part of an actix application. Clones share everything.
#[derive(Clone, Debug)]
pub struct Streams(Service);

impl Streams {
    /// Mounts a service.
    #[must_use]
    pub const fn new(service: Service) -> Self {
        Self(service)
    }

    /// Takes all requests of this application or scope that no other route takes. Which paths are streams is the
    /// service's to say: it looks at the whole path, whatever the scope.
    pub fn configure(&self, config: &mut web::ServiceConfig) {
        let streams = self.clone();
        config.default_service(web::to(move |request, body| streams.clone().answer(request, body)));
    }

    /// Answers one request. Its path must be the whole one: the base path is the service's to check.
    pub async fn answer(self, request: HttpRequest, body: web::Payload) -> HttpResponse<ResponseBody> {
        let head = request.head();
        let call = self.0.parse(&convert::Head(head));
        // Only our own connections have bounds of ours; an application that streams are mounted in has its own.
        let connection = request.conn_data::<Rc<limits::Connection>>();
        let (call, turn) = match connection.map(|connection| connection.begin(head)).transpose() {
            Ok(turn) => (call, turn),
            Err(refusal) => (call.refused(refusal), None),
        };
        let response = self.0.execute(call, convert::body(head, body)).await;
        convert::response(response, head, turn)
    }
}
