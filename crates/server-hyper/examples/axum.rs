//! Streams in an axum program, beside its own routes and behind its own authorization layer.
//!
//! `cargo run -p headwater-hyper --example axum`, then
//! `curl -X PUT -H 'Authorization: Bearer secret' http://127.0.0.1:4437/v1/stream/hello`.

use std::{io, sync::Arc};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header::AUTHORIZATION},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use headwater_hyper::Streams;
use headwater_service::Service;
use headwater_store_mem::MemStore;
use tokio::{net::TcpListener, signal};

#[tokio::main]
async fn main() -> io::Result<()> {
    let builder = Service::builder(Arc::new(MemStore::new(64 << 20)));
    let (service, background) = builder.start().await.map_err(io::Error::other)?;
    tokio::spawn(background.run());

    let streams = Router::new()
        // The service matches its base path against the whole path, so the route is not nested.
        .route_service("/v1/stream/{*name}", Streams::new(service.clone()))
        .layer(middleware::from_fn(only_with_the_secret));
    let app = Router::new().route("/", get(|| async { "an axum program with streams in it" })).merge(streams);

    let listener = TcpListener::bind("127.0.0.1:4437").await?;
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            let _ = signal::ctrl_c().await;
            // Otherwise long-polls and event streams would keep their connections open for up to a minute.
            service.drain();
        })
        .await
}

async fn only_with_the_secret(request: Request, next: Next) -> Response {
    let known = request.headers().get(AUTHORIZATION).is_some_and(|value| value == "Bearer secret");
    if known { next.run(request).await } else { StatusCode::UNAUTHORIZED.into_response() }
}
