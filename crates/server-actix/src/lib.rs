//! Durable Streams in an actix-web application.
//!
//! [`Streams::configure`] mounts a service in an actix application or in a scope of it, beside other routes. [`serve`]
//! serves it alone on a listening socket.
//!
//! ```
//! use std::sync::Arc;
//!
//! use actix_web::{App, HttpServer};
//! use headwater_actix::Streams;
//! use headwater_service::Service;
//! use headwater_store_mem::MemStore;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(MemStore::new(64 << 20));
//! let (service, background) = Service::builder(store).start().await?;
//! tokio::spawn(background.run());
//!
//! let streams = Streams::new(service);
//! let server = HttpServer::new(move || App::new().configure(|app| streams.configure(app)))
//!     // Ends the long-poll or event stream of a reader that goes away.
//!     .h1_allow_half_closed(false)
//!     .bind_auto_h2c("127.0.0.1:0")?;
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! `examples/mounted.rs` is a complete program with authorization and a graceful shutdown. The server program is the
//! package `server-actix`.

mod convert;
mod limits;
mod serve;

use std::rc::Rc;

use actix_web::{HttpRequest, HttpResponse, web};
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

    /// Handles one request.
    pub async fn handle(self, request: HttpRequest, body: web::Payload) -> HttpResponse<ResponseBody> {
        let head = request.head();
        let call = self.0.parse(&convert::Head(head));
        // Only connections of `serve` carry limits; an application that mounts streams has its own.
        let connection = request.conn_data::<Rc<limits::Connection>>();
        let (call, in_flight) = match connection.map(|connection| connection.begin(head)).transpose() {
            Ok(in_flight) => (call, in_flight),
            Err(refusal) => (call.refused(refusal), None),
        };
        let response = self.0.execute(call, convert::body(head, body)).await;
        convert::response(response, head, in_flight)
    }
}
