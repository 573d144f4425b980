//! The front of the service: a request's head is parsed, then the request is executed.

use std::{error::Error, fmt, io, net::IpAddr, sync::Arc};

use bytes::Bytes;
use futures_util::Stream;
use headwater_protocol::{
    BadRequest, Missing, ParseContext, Refusal, Request, RequestHead, Unavailable,
    cross_origin::{self, ORIGIN},
    op::{
        read::Read,
        subscription::{Action, Control},
    },
    path::StreamName,
    request::{self, METHODS, check_probe, declared_length},
    response::{self, Probe, ResponseHead, ServerState},
    subscription::CONTROL_BODY_BYTES_MAX,
    welcome::{self, Welcome},
};
use headwater_store::{Health, Store};
use tokio::sync::watch;

use crate::{
    Builder,
    bodies::{Bodies, Incoming},
    body::Body,
    clock::Clock,
    config::Config,
    memory::Budget,
    metrics::{Levels, Metrics},
    read::{ReadResponse, Reads},
    streams::Streams,
    subscriptions::{self, Subscriptions},
    writes::Writes,
};

/// Durable Streams over any transport. Clones share everything.
#[derive(Clone, Debug)]
pub struct Service(pub(crate) Arc<Inner>);

/// The components of a service.
pub(crate) struct Inner {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) responses: Budget,
    pub(crate) writes: Arc<Writes>,
    pub(crate) reads: Arc<Reads>,
    pub(crate) subscriptions: Option<Arc<Subscriptions>>,
    pub(crate) draining: watch::Sender<bool>,
}

/// A request whose head was parsed.
#[derive(Debug)]
pub struct Call {
    route: Route,
    /// The request's `Origin`, if the response depends on it.
    origin: Option<Box<[u8]>>,
    method: &'static str,
    /// The length that the head declares of the body, in bytes.
    declared_bytes: Option<u64>,
    started_us: u64,
}

impl Call {
    /// Returns the stream that the request is about, decoded: what a program that embeds the service should judge, since
    /// one name has many spellings. `None` for requests about subscriptions, for probes and for what will be refused.
    #[must_use]
    pub fn stream(&self) -> Option<&StreamName> {
        match &self.route {
            Route::Stream(request) => request.stream(),
            Route::Probe(_) | Route::Metrics | Route::Welcome(_) | Route::Refused(_) => None,
        }
    }
}

#[derive(Debug)]
enum Route {
    Stream(Request),
    Probe(Probe),
    Metrics,
    Welcome(Welcome),
    Refused(Refusal),
}

/// A response on its way to the client.
#[derive(Debug)]
pub struct Response {
    /// The status and the headers.
    pub head: ResponseHead,
    /// The body, which may be endless.
    pub body: Body,
}

/// The paths of the probes.
const LIVE_PATH: &str = "/livez";
const READY_PATH: &str = "/readyz";
const HEALTH_PATH: &str = "/health";
/// The path of the metrics.
const METRICS_PATH: &str = "/metrics";

impl Service {
    /// Starts to build a service on a store. One store belongs to one service.
    pub fn builder(store: Arc<dyn Store>) -> Builder {
        Builder::new(store)
    }

    /// Returns why the store takes no more writes until it is opened again, if it doesn't.
    #[must_use]
    pub fn storage_stopped(&self) -> Option<Arc<dyn Error + Send + Sync>> {
        match self.0.reads.store.health() {
            Health::Stopped(cause) => Some(cause),
            _ => None,
        }
    }

    /// Makes live readers end and refuses new requests; requests that were begun are completed.
    pub fn drain(&self) {
        self.0.draining.send_replace(true);
        // Live readers watch their streams only: they are woken through them and see that the service drains.
        self.0.streams.wake_readers();
    }

    /// Resolves when the service drains, or was dropped.
    pub fn drained(&self) -> impl Future<Output = ()> + use<> {
        let mut draining = self.0.draining.subscribe();
        async move { drop(draining.wait_for(|draining| *draining).await) }
    }

    /// Returns whether a connection from this address is one of a trusted proxy. An adapter tells of it by
    /// [`RequestHead::is_from_trusted_proxy`], or among the request's extensions by
    /// [`FromTrustedProxy`](request::FromTrustedProxy).
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.0.config.trusted_proxies.contains(peer)
    }

    /// Parses a request's head.
    pub fn parse(&self, head: &impl RequestHead) -> Call {
        let Inner { config, clock, writes, draining, .. } = &*self.0;
        let started_us = clock.now_us();
        let route = |route| check_probe(head).map(|()| route).map_err(Refusal::from);
        let parsed = match (head.path(), *draining.borrow()) {
            (LIVE_PATH, _) => route(Route::Probe(Probe::Live)),
            (READY_PATH | HEALTH_PATH, _) => route(Route::Probe(Probe::Ready)),
            (_, true) => Err(Unavailable::ShuttingDown.into()),
            (METRICS_PATH, _) => route(Route::Metrics),
            (welcome::PATH, _) if head.method() != "OPTIONS" => {
                Welcome::parse(head, &config.base_path).map(Route::Welcome).map_err(Refusal::from)
            }
            _ => {
                let Config { base_path, body_bytes_max, .. } = &**config;
                let (body_bytes_max, now_ms) = (*body_bytes_max, writes.calendar.now_ms());
                Request::parse(head, &ParseContext { base_path, body_bytes_max, now_ms }).map(Route::Stream)
            }
        };
        let origin = match config.origins {
            cross_origin::Origins::Any => None,
            cross_origin::Origins::Only(_) => head.header(&ORIGIN).next().map(Into::into),
        };
        let method = request::known_method(head.method());
        let (route, declared_bytes) = (parsed.unwrap_or_else(Route::Refused), declared_length(head));
        Call { route, origin, method, declared_bytes, started_us }
    }

    /// Executes a request. The body is read only if the head was good.
    pub async fn execute<B>(&self, call: Call, body: B) -> Response
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let Call { route, origin, method, declared_bytes, started_us } = call;
        let is_probe = matches!(route, Route::Probe(_) | Route::Metrics | Route::Welcome(_));
        let result = self.0.dispatch(route, Incoming { body, declared_bytes }, started_us).await;
        let Response { mut head, body } = result.unwrap_or_else(|refusal| refusal.respond().into());
        if !is_probe {
            self.0.metrics.request(method, head.status.as_u16());
        }
        self.0.config.origins.decorate(&mut head.headers, origin.as_deref());
        Response { head, body: if method == "HEAD" { Body::Empty } else { body } }
    }
}

impl Call {
    /// Refuses the request for a reason that only the adapter can see: a limit of its connection.
    #[must_use]
    pub fn refused(self, refusal: Refusal) -> Self {
        Self { route: Route::Refused(refusal), ..self }
    }

    /// Returns whether the request is refused whatever its body is, so that the body needn't be asked for
    /// (`Expect: 100-continue`).
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        matches!(self.route, Route::Refused(_))
    }
}

impl From<headwater_protocol::Response> for Response {
    fn from(headwater_protocol::Response { head, body, .. }: headwater_protocol::Response) -> Self {
        Self { head, body: if body.is_empty() { Body::Empty } else { Body::Full(body) } }
    }
}

impl Inner {
    async fn dispatch<B>(&self, route: Route, body: Incoming<B>, started_us: u64) -> Result<Response, Refusal>
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let request = match route {
            Route::Refused(refusal) => return Err(refusal),
            Route::Probe(probe) => return Ok(response::probe(probe, self.state()).into()),
            Route::Welcome(welcome) => return Ok(welcome.respond().into()),
            Route::Metrics => return Ok(response::metrics(self.metrics.encode(self.levels())).into()),
            Route::Stream(request) => request,
        };
        // Rare requests are boxed, so that the future of the common ones stays small.
        let response = match request {
            Request::Read(read) => return self.read(read, started_us).await,
            Request::Append(append) => {
                let body = self.bodies.receive(body, self.config.body_bytes_max).await?;
                self.writes.append(&append, body).await?
            }
            Request::Create(create) => {
                let body = self.bodies.receive(body, self.config.body_bytes_max).await?;
                Box::pin(self.writes.create(&create, body)).await?
            }
            Request::Head(head) => self.reads.head(&head).await?,
            Request::Delete(delete) => Box::pin(self.writes.delete(&delete)).await?,
            Request::Control(control) => Box::pin(self.control(control, body)).await?,
            Request::Options(options) => options.respond(),
            // The rules may know verbs that this service doesn't.
            _ => return Err(BadRequest::MethodNotAllowed { allowed: &METHODS }.into()),
        };
        Ok(response.into())
    }

    async fn read(&self, read: Read, started_us: u64) -> Result<Response, Refusal> {
        let ReadResponse { mut head, body, source } = self.reads.read(read).await?;
        self.metrics.read(&head, source, body.bytes_left().unwrap_or_default());
        response::cache_status(&mut head, source);
        response::server_timing(&mut head, self.clock.now_us().saturating_sub(started_us));
        Ok(Response { head, body })
    }

    /// Receives the body of a control request and has it executed.
    async fn control<B>(
        &self,
        control: Control,
        body: Incoming<B>,
    ) -> Result<headwater_protocol::Response, Refusal>
    where
        B: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let subscriptions = self.subscriptions.as_ref().ok_or(Missing::NotFound)?;
        let body = if subscriptions::has_body(&control) {
            self.bodies.receive(body, CONTROL_BODY_BYTES_MAX).await?
        } else {
            Bytes::new()
        };
        let is_read = matches!(control, Control::Subscription(_, Action::Read { .. }, _));
        let mut response = subscriptions.execute(control, body).await?;
        if is_read {
            // A page of links may be long, and its reader slow.
            let share = self.responses.try_take(response.body.len() as u64)?;
            response.body = share.hold(response.body);
        }
        Ok(response)
    }

    fn state(&self) -> ServerState {
        match self.reads.store.health() {
            Health::Stopped(_) => ServerState::StorageStopped,
            _ if *self.draining.borrow() => ServerState::ShuttingDown,
            Health::Failing(_) => ServerState::StorageFailing,
            _ => ServerState::Ok,
        }
    }

    fn levels(&self) -> Levels {
        let counts = self.subscriptions.as_ref().map(|subscriptions| subscriptions.counts());
        let (subscriptions, subscription_links) = counts.unwrap_or_default();
        Levels {
            subscriptions,
            subscription_links,
            store_failing: matches!(self.reads.store.health(), Health::Failing(_)),
            store_stopped: matches!(self.reads.store.health(), Health::Stopped(_)),
            live_readers: self.reads.live_readers.count(),
            open_streams: self.streams.count(),
            request_body_bytes: self.bodies.budget.bytes(),
            response_body_bytes: self.responses.bytes() + self.reads.event_bytes.bytes(),
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("config", &self.config)
            .field("streams", &self.streams.count())
            .finish_non_exhaustive()
    }
}
