//! Streams in an actix application, beside its own routes and behind its own authorization middleware.
//!
//! `cargo run -p headwater-actix --example mounted`, then
//! `curl -X PUT -H 'Authorization: Bearer secret' http://127.0.0.1:4437/v1/stream/hello`.

use std::{io, sync::Arc};

use actix_web::{
    App, Error, HttpServer,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::ErrorUnauthorized,
    http::header::AUTHORIZATION,
    middleware::{Next, from_fn},
    rt, web,
};
use headwater_actix::Streams;
use headwater_service::Service;
use headwater_store_mem::MemStore;
use tokio::signal;

fn main() -> io::Result<()> {
    rt::System::new().block_on(run())
}

async fn run() -> io::Result<()> {
    let builder = Service::builder(Arc::new(MemStore::new(64 << 20)));
    let (service, background) = builder.start().await.map_err(io::Error::other)?;
    rt::spawn(background.run());

    let streams = Streams::new(service.clone());
    let server = HttpServer::new(move || App::new().configure(|app| routes(app, &streams)))
        // Ends the long-poll or event stream of a reader that goes away.
        .h1_allow_half_closed(false)
        .disable_signals()
        .bind_auto_h2c("127.0.0.1:4437")?
        .run();

    let handle = server.handle();
    rt::spawn(async move {
        let _ = signal::ctrl_c().await;
        // Otherwise long-polls and event streams would keep their connections open for up to a minute.
        service.drain();
        handle.stop(true).await;
    });
    server.await
}

fn routes(app: &mut web::ServiceConfig, streams: &Streams) {
    // The service matches its base path, here that of the scope, against the whole path.
    let scope = web::scope("/v1/stream").configure(|scope| streams.configure(scope));
    app.route("/", web::get().to(|| async { "an actix application with streams in it" }))
        .service(scope.wrap(from_fn(only_with_the_secret)));
}

async fn only_with_the_secret(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let known = request.headers().get(AUTHORIZATION).is_some_and(|value| value == "Bearer secret");
    if known { next.call(request).await } else { Err(ErrorUnauthorized("no secret")) }
}

#[cfg(test)]
mod tests {
    use actix_web::{
        dev::Service as _,
        test::{TestRequest, call_service, init_service, read_body},
    };

    use super::*;

    #[tokio::test]
    async fn streams_are_behind_the_secret_and_the_other_route_is_not() {
        let (service, _) = Service::builder(Arc::new(MemStore::new(1 << 20))).start().await.unwrap();
        let streams = Streams::new(service);
        let app = init_service(App::new().configure(|app| routes(app, &streams))).await;

        let put = || TestRequest::put().uri("/v1/stream/a%20b").insert_header(("host", "localhost"));
        let strangers = app.call(put().to_request()).await;
        assert_eq!(strangers.unwrap_err().as_response_error().status_code(), 401);
        let known = put().insert_header((AUTHORIZATION, "Bearer secret")).set_payload("hello");
        let created =
            call_service(&app, known.insert_header(("content-type", "text/plain")).to_request()).await;
        assert_eq!(created.status(), 201);

        let read = TestRequest::get().uri("/v1/stream/a%20b?offset=-1").insert_header(("host", "localhost"));
        let read = read.insert_header((AUTHORIZATION, "Bearer secret")).to_request();
        assert_eq!(read_body(call_service(&app, read).await).await, "hello");

        let other = call_service(&app, TestRequest::get().uri("/").to_request()).await;
        assert_eq!(read_body(other).await, "an actix application with streams in it");
    }
}
