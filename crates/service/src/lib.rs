#![doc = include_str!("../README.md")]
//!
//! An adapter calls [`Service::parse`] with the request's head, which it only borrows, then [`Service::execute`]
//! with the body. Decisions are the rules' (`headwater-protocol`), bytes are the store's (`headwater-store`); this
//! crate orders them in time: locks, durability, waiting readers, bounds.

mod append;
mod body;
mod builder;
mod chunks;
pub mod clock;
mod commit;
pub mod config;
mod control;
mod create;
mod delete;
mod events;
mod metrics;
mod read;
mod streams;
mod subscriptions;
mod sweep;
#[cfg(test)]
mod tests;
mod touch;
mod transact;
pub mod webhooks;

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::Stream;
use headwater_protocol::{
    BadRequest, Missing, ParseContext, Refusal, Request, RequestHead, Unavailable,
    cross_origin::{self, ORIGIN},
    live,
    offset::Incarnation,
    path::StreamName,
    request::{self, METHODS, check_probe},
    response::{self, ResponseHead, Source},
};
use headwater_store::Store;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

pub use body::Body;
use body::BodyBudget;
pub use builder::{Background, Builder};
use chunks::Chunks;
use clock::Clock;
use config::Config;
use metrics::{Levels, Metrics};
use streams::{OpenStream, Streams, refuse};
use subscriptions::Subscriptions;

/// Durable Streams over any transport. Clones share everything.
#[derive(Clone, Debug)]
pub struct Service(Arc<Inner>);

pub(crate) struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    config: Config,
    streams: Streams,
    chunks: Chunks,
    event_cache: events::EventCache,
    bodies: BodyBudget,
    live_readers: Arc<Semaphore>,
    draining: watch::Sender<bool>,
    incarnation_last: AtomicU64,
    event_streams_begun: AtomicU64,
    metrics: Arc<Metrics>,
    subscriptions: OnceLock<Arc<Subscriptions>>,
    /// Where commits are published whose requests were dropped.
    runtime: Handle,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("config", &self.config).field("streams", &self.streams.len()).finish()
    }
}

/// A request whose head was read.
#[derive(Debug)]
pub struct Call {
    route: Route,
    origin: Option<Box<[u8]>>,
    method: &'static str,
    begun_us: u64,
}

#[derive(Debug)]
enum Route {
    Stream(Request),
    Health,
    Metrics,
    Refused(Refusal),
}

impl Call {
    /// The same call, refused for a reason that only the adapter can see: a bound of its connection.
    #[must_use]
    pub fn refused(self, refusal: Refusal) -> Self {
        Self { route: Route::Refused(refusal), ..self }
    }

    /// Whether the answer is certain without the body, so that nobody needs to ask for it (`Expect: 100-continue`).
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        matches!(self.route, Route::Refused(_))
    }
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Status and headers.
    pub head: ResponseHead,
    /// What follows.
    pub body: Body,
}

/// What a read has found.
struct Found {
    head: ResponseHead,
    body: Body,
    source: Source,
}

/// Where liveness is told.
const HEALTH_PATH: &str = "/health";
/// Where metrics are collected.
const METRICS_PATH: &str = "/metrics";

impl Service {
    /// Begins to build a service on a store. One store belongs to one service.
    pub fn builder(store: Arc<dyn Store>) -> Builder {
        Builder::new(store)
    }

    /// From now on live readers end and new requests are refused; what was begun is answered.
    pub fn drain(&self) {
        self.0.draining.send_replace(true);
        // Waiting readers look at their stream only: they are woken through it, and see that it drains.
        self.0.streams.wake_readers();
    }

    /// Resolves when the service drains.
    pub fn drained(&self) -> impl Future<Output = ()> + use<> {
        let mut draining = self.0.draining.subscribe();
        // Nobody is left to tell only when the service is gone already.
        async move { drop(draining.wait_for(|is| *is).await) }
    }

    /// Reads a request's head.
    pub fn parse(&self, head: &impl RequestHead) -> Call {
        let begun_us = self.0.clock.now_us();
        let route = match (head.path(), *self.0.draining.borrow()) {
            (_, true) => Route::Refused(Unavailable::ShuttingDown.into()),
            (HEALTH_PATH, _) => probe(head, Route::Health),
            (METRICS_PATH, _) => probe(head, Route::Metrics),
            _ => {
                let Config { base_path, body_bytes_max, .. } = &self.0.config;
                let now_ms = self.0.clock.wall_ms();
                let context = ParseContext { base_path, body_bytes_max: *body_bytes_max, now_ms };
                Request::parse(head, &context).map_or_else(Route::Refused, Route::Stream)
            }
        };
        // Only when the answer depends on it.
        let origin = match self.0.config.origins {
            cross_origin::Origins::Any => None,
            cross_origin::Origins::Only(_) => head.header(&ORIGIN).next().map(Into::into),
        };
        Call { route, origin, method: request::known_method(head.method()), begun_us }
    }

    /// Answers a request. The body is read only if the head was good.
    pub async fn execute<B>(&self, call: Call, body: B) -> Response
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let Call { route, origin, method, begun_us } = call;
        let is_probe = matches!(route, Route::Health | Route::Metrics);
        let (mut head, body) = match self.dispatch(route, body, begun_us).await {
            Ok(answer) => answer,
            Err(refusal) => whole(refusal.respond()),
        };
        if !is_probe {
            self.0.metrics.request(method, head.status.as_u16());
        }
        self.0.config.origins.decorate(&mut head.headers, origin.as_deref());
        Response { head, body: if method == "HEAD" { Body::Empty } else { body } }
    }

    async fn dispatch<B>(&self, route: Route, body: B, begun_us: u64) -> Result<(ResponseHead, Body), Refusal>
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let request = match route {
            Route::Refused(refusal) => return Err(refusal),
            Route::Health => return Ok(whole(response::health())),
            Route::Metrics => {
                return Ok(whole(response::metrics(self.0.metrics.encode(self.0.levels()))));
            }
            Route::Stream(request) => request,
        };
        // What isn't done all the time gets a box of its own, so that the others' futures stay small.
        match request {
            Request::Append(append) => self.0.append(&append, body).await.map(whole),
            Request::Create(create) => Box::pin(self.0.create(&create, body)).await.map(whole),
            Request::Read(read) => {
                let Found { mut head, body, source } = self.0.read(read).await?;
                self.0.metrics.read(&head, source, body.bytes_left().unwrap_or_default());
                response::cache_status(&mut head, source);
                response::server_timing(&mut head, self.0.clock.now_us().saturating_sub(begun_us));
                Ok((head, body))
            }
            Request::Head(head) => self.0.head(&head).await.map(whole),
            Request::Delete(delete) => Box::pin(self.0.delete(&delete)).await.map(whole),
            Request::Control(control) => Box::pin(self.0.control(control, body)).await.map(whole),
            Request::Options => Ok(whole(cross_origin::respond_to_options())),
            // The rules may know verbs that this service doesn't.
            _ => Err(BadRequest::MethodNotAllowed { allowed: &METHODS }.into()),
        }
    }
}

impl Inner {
    fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, config: Config, runtime: Handle) -> Self {
        Self {
            chunks: Chunks::new(config.chunk_cache_bytes),
            event_cache: events::cache(config.event_cache_bytes),
            bodies: BodyBudget::default(),
            live_readers: Arc::new(Semaphore::new(config.live_readers_max.min(Semaphore::MAX_PERMITS))),
            draining: watch::Sender::new(false),
            streams: Streams::default(),
            event_streams_begun: AtomicU64::new(0),
            metrics: Arc::new(Metrics::new()),
            subscriptions: OnceLock::new(),
            incarnation_last: AtomicU64::new(store.incarnation_last()),
            runtime,
            store,
            clock,
            config,
        }
    }

    async fn open(&self, name: &StreamName) -> Result<Arc<OpenStream>, Refusal> {
        if self.streams.len() >= self.config.open_streams_max {
            self.streams.evict(u64::MAX);
            if self.streams.len() >= self.config.open_streams_max {
                return Err(Unavailable::Overloaded { what: "open streams" }.into());
            }
        }
        self.streams.open(name, &*self.store, self.clock.now_ms()).await.map_err(refuse)
    }

    /// Drops what was opened for a name that has no stream.
    fn forget(&self, stream: Arc<OpenStream>, refusal: &Refusal) {
        if matches!(refusal, Refusal::Missing(Missing::NotFound)) {
            self.streams.forget_absent(stream);
        }
    }

    async fn receive<B>(&self, body: B) -> Result<Bytes, Refusal>
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        self.bodies.collect(body, &self.config, self.config.body_bytes_max, &*self.clock).await
    }

    fn next_incarnation(&self) -> Incarnation {
        let now_us = self.clock.wall_us();
        let mut last = self.incarnation_last.load(Ordering::Relaxed);
        loop {
            let next = Incarnation::next(last, now_us);
            let swapped = self.incarnation_last.compare_exchange_weak(
                last,
                next.get(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return next,
                Err(found) => last = found,
            }
        }
    }

    fn live_permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let permit = self.live_readers.clone().try_acquire_owned();
        permit.map_err(|_| Unavailable::Overloaded { what: "live readers" }.into())
    }

    fn levels(&self) -> Levels {
        let readers_max = self.config.live_readers_max.min(Semaphore::MAX_PERMITS);
        let counts = self.subscriptions.get().map(|subscriptions| subscriptions.counts());
        let (subscriptions, subscription_links) = counts.unwrap_or_default();
        Levels {
            subscriptions,
            subscription_links,
            live_readers: readers_max - self.live_readers.available_permits(),
            open_streams: self.streams.len(),
            request_body_bytes: self.bodies.bytes(),
        }
    }

    /// Returns how long an event stream lasts that begins at `wall_ms`. Those that caches share end all at once, at a
    /// common wall time, so that their readers ask for the next one together; others that begin together end apart.
    fn event_stream_lifetime_ms(&self, wall_ms: u64) -> u64 {
        let longest_ms = self.config.sse_lifetime_ms;
        if self.config.policies.cache.event_stream_max_age_s.is_some() {
            return live::shared_end_ms(longest_ms, wall_ms) - wall_ms;
        }
        let spread_ms = longest_ms / 6;
        let begun = self.event_streams_begun.fetch_add(1, Ordering::Relaxed);
        // Steps of the golden ratio cover the spread evenly, however many there are.
        let part = begun.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        longest_ms - (spread_ms.saturating_mul(part) >> 32)
    }
}

/// A response of which everything is known.
fn whole(response: headwater_protocol::Response) -> (ResponseHead, Body) {
    let body = if response.body.is_empty() { Body::Empty } else { Body::Full(response.body) };
    (response.head, body)
}

fn probe(head: &impl RequestHead, route: Route) -> Route {
    check_probe(head).map_or_else(|refusal| Route::Refused(refusal.into()), |()| route)
}
