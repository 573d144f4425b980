//! Tests of subscriptions that need time, failures and restarts. The conformance suite tests everything else from
//! outside.

mod bounds;
mod damage;
mod failures;
mod links;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use headwater_store::{Store, StoreError, faulty::Faulty};
use headwater_store_mem::MemStore;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    Background, Body, Response, Service,
    clock::ManualClock,
    config::Config,
    subscriptions::{Subscriptions, stored},
    webhooks::{WebhookError, WebhookFuture, WebhookRequest, WebhookResponse, Webhooks},
};

const NOW_MS: u64 = 1_800_000_000_000;
const WEBHOOK: &str = r#"{"type":"webhook","pattern":"events/*","webhook":{"url":"https://worker.example/x"},"lease_ttl_ms":10000}"#;
const PULL: &str = r#"{"type":"pull-wake","pattern":"events/*","wake_stream":"wake","lease_ttl_ms":10000}"#;

type Posted = Result<WebhookResponse, WebhookError>;

/// A receiver of webhooks. It responds with what was queued, else with 200, or keeps them waiting.
#[derive(Default)]
struct Hooks {
    received: Mutex<Vec<Value>>,
    answers: Mutex<VecDeque<Posted>>,
    waiting: Mutex<Vec<oneshot::Sender<Posted>>>,
    keeps_waiting: Mutex<bool>,
}

fn no_route() -> WebhookError {
    WebhookError::Connect("no route".into())
}

fn answer(status: u16, body: &'static str) -> Posted {
    Ok(WebhookResponse { status, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) })
}

impl Webhooks for Hooks {
    fn post(&self, request: WebhookRequest) -> WebhookFuture<'_> {
        self.received.lock().unwrap().push(serde_json::from_slice(&request.body).unwrap());
        if *self.keeps_waiting.lock().unwrap() {
            let (sender, receiver) = oneshot::channel();
            self.waiting.lock().unwrap().push(sender);
            return Box::pin(async move { receiver.await.unwrap_or_else(|_| Err(no_route())) });
        }
        let next = self.answers.lock().unwrap().pop_front().unwrap_or_else(|| answer(200, ""));
        Box::pin(async move { next })
    }
}

type Shared = Arc<Faulty<MemStore>>;

struct World {
    service: Service,
    store: Shared,
    clock: Arc<ManualClock>,
    hooks: Arc<Hooks>,
    background: Option<Background>,
    running: Option<JoinHandle<()>>,
    config: Config,
}

impl World {
    async fn new() -> Self {
        Self::with(Config::default()).await
    }

    async fn with(config: Config) -> Self {
        let mut world = Self::quiet(config).await;
        world.run();
        world
    }

    /// Makes a service without its background work: no worker is woken.
    async fn quiet(config: Config) -> Self {
        let store = Arc::new(Faulty::new(MemStore::new(1 << 20)));
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let hooks = Arc::new(Hooks::default());
        let (service, background) = open(&store, &clock, &hooks, &config).await;
        Self { service, store, clock, hooks, background: Some(background), running: None, config }
    }

    fn run(&mut self) {
        self.running = self.background.take().map(|background| tokio::spawn(background.run()));
    }

    /// Kills the process and starts it again on what is in the store.
    async fn crash(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
        // Webhooks in flight belong to the killed process.
        self.hooks = Arc::default();
        let (service, background) = open(&self.store, &self.clock, &self.hooks, &self.config).await;
        (self.service, self.background) = (service, Some(background));
        self.run();
        run_tasks().await;
    }

    async fn send(&self, method: &'static str, path: &str, token: &str, body: &str) -> (StatusCode, Value) {
        let response = request(&self.service, method, path, token, body).await;
        let body = match response.body {
            Body::Full(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            _ => Value::Null,
        };
        (response.head.status, body)
    }

    async fn subscribe(&self, id: &str, body: &str) {
        let (status, answer) = self.send("PUT", &format!("__ds/subscriptions/{id}"), "", body).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
    }

    async fn subscription(&self, id: &str) -> Value {
        let (status, body) = self.send("GET", &format!("__ds/subscriptions/{id}"), "", "").await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    async fn create(&self, name: &str) {
        assert_eq!(self.send("PUT", name, "", "").await.0, StatusCode::CREATED);
    }

    /// Appends, and lets the driver run.
    async fn append(&self, name: &str) {
        assert_eq!(self.send("POST", name, "", "1").await.0, StatusCode::NO_CONTENT);
        run_tasks().await;
    }

    /// Sends the report of a wake's worker.
    async fn report(
        &self,
        action: &str,
        wake: &Value,
        offset: Option<&Value>,
        done: bool,
    ) -> (StatusCode, Value) {
        let acks: Vec<Value> =
            offset.into_iter().map(|offset| json!({ "stream": "events/a", "offset": offset })).collect();
        let body = json!({ "wake_id": wake["wake_id"], "generation": wake["generation"], "acks": acks, "done": done });
        let token = wake["callback_token"].as_str().or(wake["token"].as_str()).unwrap_or_default();
        let reported =
            self.send("POST", &format!("__ds/subscriptions/s/{action}"), token, &body.to_string()).await;
        run_tasks().await;
        reported
    }

    async fn claim(&self, worker: &str) -> (StatusCode, Value) {
        self.send("POST", "__ds/subscriptions/s/claim", "", &json!({ "worker": worker }).to_string()).await
    }

    async fn advance(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
        run_tasks().await;
    }

    fn subscriptions(&self) -> &Arc<Subscriptions> {
        self.service.0.subscriptions.as_ref().unwrap()
    }

    fn received(&self) -> Vec<Value> {
        self.hooks.received.lock().unwrap().clone()
    }

    fn answer_next(&self, next: Posted) {
        self.hooks.answers.lock().unwrap().push_back(next);
    }

    async fn links_in_store(&self) -> usize {
        self.store.documents(stored::LINK_PREFIX, None, 1_000).await.unwrap().len()
    }

    /// Reads the wake events.
    async fn wake_events(&self) -> Vec<Value> {
        let (status, events) = self.send("GET", "wake", "", "").await;
        assert_eq!(status, StatusCode::OK);
        events.as_array().unwrap().clone()
    }
}

async fn open(
    store: &Shared,
    clock: &Arc<ManualClock>,
    hooks: &Arc<Hooks>,
    config: &Config,
) -> (Service, Background) {
    let builder = Service::builder(store.clone()).clock(clock.clone()).config(config.clone());
    builder.webhooks(hooks.clone()).start().await.unwrap()
}

/// Sends a request for a path below the base path.
async fn request(service: &Service, method: &str, path: &str, token: &str, body: &str) -> Response {
    let head = http::Request::builder()
        .method(method)
        .uri(format!("http://streams.example/v1/stream/{path}"))
        .version(http::Version::HTTP_2)
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {token}"));
    let (head, ()) = head.body(()).unwrap().into_parts();
    let chunks = (!body.is_empty()).then(|| Ok(Bytes::from(body.to_owned())));
    service.execute(service.parse(&head), stream::iter(chunks)).await
}

/// Lets a request go as far as it can; returns whether it isn't done.
fn waits(request: &mut Pin<Box<impl Future>>) -> bool {
    request.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

/// Lets all spawned tasks go as far as they can.
async fn run_tasks() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

fn generations(received: &[Value]) -> Vec<u64> {
    received.iter().map(|wake| wake["generation"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn an_append_wakes_and_done_acknowledges_what_was_sent() {
    let world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    world.answer_next(answer(200, r#"{"done":true}"#));
    world.append("events/a").await;
    let received = world.received();
    assert_eq!(generations(&received), [1]);
    assert_eq!(received[0]["streams"][0]["path"], "events/a");
    let acked = world.subscription("s").await["streams"][0]["acked_offset"].clone();
    assert_eq!(acked, received[0]["streams"][0]["tail_offset"]);
    world.append("events/a").await;
    assert_eq!(generations(&world.received()), [1, 2]);
}

#[tokio::test]
async fn what_comes_while_a_worker_is_at_work_wakes_it_again_and_not_before() {
    let world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    *world.hooks.keeps_waiting.lock().unwrap() = true;
    world.append("events/a").await;
    world.append("events/a").await;
    assert_eq!(generations(&world.received()), [1]);
    *world.hooks.keeps_waiting.lock().unwrap() = false;
    let waiting = world.hooks.waiting.lock().unwrap().pop().unwrap();
    waiting.send(answer(200, r#"{"done":true}"#)).unwrap();
    run_tasks().await;
    let received = world.received();
    assert_eq!(generations(&received), [1, 2]);
    assert_eq!(received[1]["streams"][0]["acked_offset"], received[0]["streams"][0]["tail_offset"]);
    assert_ne!(received[0]["wake_id"], received[1]["wake_id"]);
}

#[tokio::test]
async fn a_worker_that_is_done_before_it_answers_is_woken_again_meanwhile() {
    let world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    *world.hooks.keeps_waiting.lock().unwrap() = true;
    world.append("events/a").await;
    let first = world.received()[0].clone();
    let (status, _) = world.report("callback", &first, Some(&first["streams"][0]["tail_offset"]), true).await;
    assert_eq!(status, StatusCode::OK);
    world.append("events/a").await;
    assert_eq!(generations(&world.received()), [1, 2]);
    // The answer of the first comes late and means nothing.
    world.hooks.waiting.lock().unwrap().remove(0).send(answer(200, r#"{"done":true}"#)).unwrap();
    run_tasks().await;
    let described = world.subscription("s").await;
    assert_eq!(described["streams"][0]["acked_offset"], first["streams"][0]["tail_offset"]);
}

#[tokio::test]
async fn an_append_that_was_not_delivered_before_the_crash_wakes_after_it() {
    let mut world = World::quiet(Config::default()).await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    world.append("events/a").await;
    assert!(world.received().is_empty());
    world.crash().await;
    assert_eq!(generations(&world.received()), [1]);
}

#[tokio::test]
async fn a_wake_that_was_on_its_way_is_sent_again_after_a_crash() {
    let mut world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    *world.hooks.keeps_waiting.lock().unwrap() = true;
    world.append("events/a").await;
    let before = world.received();
    world.crash().await;
    let after = world.received();
    assert_eq!((generations(&before), generations(&after)), (vec![1], vec![1]));
    assert_eq!(before[0]["callback_token"], after[0]["callback_token"]);
    let (status, body) =
        world.report("callback", &before[0], Some(&before[0]["streams"][0]["tail_offset"]), true).await;
    assert_eq!((status, body), (StatusCode::OK, json!({ "ok": true, "next_wake": false })));
}

#[tokio::test]
async fn a_failed_delivery_is_tried_again_on_its_schedule_even_after_a_crash() {
    let mut world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    world.answer_next(answer(500, ""));
    world.append("events/a").await;
    assert_eq!(world.received().len(), 1);
    assert_eq!(world.subscription("s").await["status"], "failed");
    world.advance(700).await;
    world.crash().await;
    assert!(world.received().is_empty(), "it isn't time yet");
    assert_eq!(world.subscription("s").await["status"], "failed");
    world.answer_next(Err(no_route()));
    world.advance(600).await;
    assert_eq!(generations(&world.received()), [1], "the same wake");
    world.advance(1_500).await;
    assert_eq!(world.received().len(), 1, "the second pause is twice as long");
    world.advance(1_000).await;
    assert_eq!(generations(&world.received()), [1, 1]);
    assert_eq!(world.subscription("s").await["status"], "active");
}

#[tokio::test]
async fn a_webhook_that_nobody_answered_within_its_lease_has_failed() {
    let world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    *world.hooks.keeps_waiting.lock().unwrap() = true;
    world.append("events/a").await;
    assert_eq!(world.subscription("s").await["status"], "active");
    world.advance(10_000).await;
    assert_eq!(world.subscription("s").await["status"], "failed");
}

#[tokio::test]
async fn a_lease_that_ends_fences_the_worker_and_wakes_another() {
    let world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    world.append("events/a").await;
    let first = world.received()[0].clone();
    world.advance(9_000).await;
    let (status, _) = world.report("callback", &first, None, false).await;
    assert_eq!(status, StatusCode::OK, "a callback is a sign of life");
    world.advance(9_000).await;
    assert_eq!(world.received().len(), 1);
    world.advance(1_000).await;
    assert_eq!(generations(&world.received()), [1, 2]);
    let (status, body) =
        world.report("callback", &first, Some(&first["streams"][0]["tail_offset"]), true).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::CONFLICT, &json!("FENCED")));
    assert_eq!(
        world.subscription("s").await["streams"][0]["acked_offset"],
        first["streams"][0]["acked_offset"]
    );
}

#[tokio::test]
async fn a_target_that_never_answers_is_tried_less_and_less_often() {
    let world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    *world.hooks.keeps_waiting.lock().unwrap() = true;
    world.append("events/a").await;
    for _ in 0..600 {
        world.advance(1_000).await;
        // The client gives up when the lease ends, as its timeout says.
        let waiting = std::mem::take(&mut *world.hooks.waiting.lock().unwrap());
        waiting.into_iter().for_each(|sender| _ = sender.send(Err(WebhookError::Timeout { timeout_ms: 0 })));
    }
    let tries = world.received().len();
    assert!((10..30).contains(&tries), "{tries} tries in ten minutes");
}

#[tokio::test]
async fn a_deleted_subscription_leaves_nothing_and_its_worker_is_refused() {
    let mut world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    world.append("events/a").await;
    let wake = world.received()[0].clone();
    assert_eq!(world.send("DELETE", "__ds/subscriptions/s", "", "").await.0, StatusCode::NO_CONTENT);
    run_tasks().await;
    assert_eq!(world.links_in_store().await, 0);
    let tail = &wake["streams"][0]["tail_offset"];
    assert_eq!(world.report("callback", &wake, Some(tail), true).await.0, StatusCode::NOT_FOUND);
    world.subscribe("s", WEBHOOK).await;
    assert_eq!(world.report("callback", &wake, Some(tail), true).await.0, StatusCode::UNAUTHORIZED);
    world.advance(60_000).await;
    assert_eq!(world.received().len(), 1, "what was there is not pending for the new one");
    world.crash().await;
    assert!(world.received().is_empty());
    assert_eq!(world.subscription("s").await["streams"][0]["acked_offset"], *tail);
}

#[tokio::test]
async fn a_wake_event_is_in_the_stream_exactly_once_and_the_claim_survives_a_crash() {
    let mut world = World::new().await;
    world.create("wake").await;
    world.subscribe("s", PULL).await;
    world.create("events/a").await;
    world.append("events/a").await;
    world.append("events/a").await;
    let events = world.wake_events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&events[0]["subscription_id"], &events[0]["stream"], &events[0]["generation"]),
        (&json!("s"), &json!("events/a"), &json!(1))
    );
    world.crash().await;
    assert_eq!(world.wake_events().await.len(), 1);
    let (status, claimed) = world.claim("w1").await;
    assert_eq!((status, &claimed["generation"]), (StatusCode::OK, &json!(1)));
    world.crash().await;
    let (status, refused) = world.claim("w2").await;
    assert_eq!((status, &refused["error"]["current_holder"]), (StatusCode::CONFLICT, &json!("w1")));
    let (status, acked) =
        world.report("ack", &claimed, Some(&claimed["streams"][0]["tail_offset"]), true).await;
    assert_eq!((status, acked), (StatusCode::OK, json!({ "ok": true, "next_wake": false })));
    world.append("events/a").await;
    assert_eq!(generations(&world.wake_events().await), [1, 2]);
}

#[tokio::test]
async fn a_release_and_the_end_of_a_lease_make_another_event() {
    let world = World::new().await;
    world.create("wake").await;
    world.subscribe("s", PULL).await;
    world.create("events/a").await;
    world.append("events/a").await;
    let (_, first) = world.claim("w1").await;
    assert_eq!(world.report("release", &first, None, false).await.0, StatusCode::NO_CONTENT);
    assert_eq!(generations(&world.wake_events().await), [1, 2]);
    let (_, second) = world.claim("w2").await;
    world.advance(9_999).await;
    assert_eq!(world.claim("w3").await.0, StatusCode::CONFLICT);
    world.advance(1).await;
    assert_eq!(generations(&world.wake_events().await), [1, 2, 3]);
    let (status, body) = world.report("ack", &second, None, true).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::CONFLICT, &json!("FENCED")));
    let (status, body) = world.report("release", &second, None, true).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::CONFLICT, &json!("FENCED")));
}

#[tokio::test]
async fn a_wake_stream_that_is_not_there_is_tried_again_until_it_is() {
    let world = World::new().await;
    world.subscribe("s", PULL).await;
    world.create("events/a").await;
    world.append("events/a").await;
    assert_eq!(world.subscription("s").await["status"], "failed");
    world.create("wake").await;
    world.advance(1_300).await;
    assert_eq!(generations(&world.wake_events().await), [1]);
    assert_eq!(world.subscription("s").await["status"], "active");
}

#[tokio::test]
async fn a_claim_of_nothing_lets_the_next_append_wake() {
    let world = World::new().await;
    world.create("wake").await;
    world.subscribe("s", PULL).await;
    world.create("events/a").await;
    world.append("events/a").await;
    assert_eq!(world.send("DELETE", "events/a", "", "").await.0, StatusCode::NO_CONTENT);
    run_tasks().await;
    assert_eq!(world.links_in_store().await, 0, "the pattern's link goes with the stream");
    let (status, body) = world.claim("w1").await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::CONFLICT, &json!("NO_PENDING_WORK")));
    world.create("events/a").await;
    world.append("events/a").await;
    assert_eq!(generations(&world.wake_events().await), [1, 2]);
}

#[tokio::test]
async fn an_explicit_link_outlives_its_stream_and_begins_anew() {
    let world = World::new().await;
    let body = r#"{"type":"webhook","streams":["a"],"webhook":{"url":"https://worker.example/x"}}"#;
    world.create("a").await;
    world.append("a").await;
    world.subscribe("s", body).await;
    assert_eq!(world.send("DELETE", "a", "", "").await.0, StatusCode::NO_CONTENT);
    world.create("a").await;
    run_tasks().await;
    assert!(world.received().is_empty());
    world.append("a").await;
    assert!(
        world.received()[0]["streams"][0]["acked_offset"].as_str().unwrap().ends_with("_0000000000000000")
    );
}

#[tokio::test]
async fn webhooks_to_one_target_wait_for_each_other() {
    let mut config = Config::default();
    config.subscriptions.deliveries_per_target_max = 2;
    let world = World::with(config).await;
    *world.hooks.keeps_waiting.lock().unwrap() = true;
    for id in ["s1", "s2", "s3"] {
        world.subscribe(id, WEBHOOK).await;
    }
    world.create("events/a").await;
    world.append("events/a").await;
    assert_eq!(world.received().len(), 2);
    let other = WEBHOOK.replace("worker.example", "other.example");
    world.subscribe("s4", &other).await;
    world.append("events/a").await;
    assert_eq!(world.received().len(), 3, "another target has room of its own");
    world.hooks.waiting.lock().unwrap().remove(0).send(answer(200, "")).unwrap();
    run_tasks().await;
    assert_eq!(world.received().len(), 4);
}

#[tokio::test]
async fn keys_change_after_they_were_published_and_stay_a_while() {
    let mut world = World::new().await;
    world.subscribe("s", WEBHOOK).await;
    let keys = async |world: &World| {
        let (_, keys) = world.send("GET", "__ds/jwks.json", "", "").await;
        keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect::<Vec<_>>()
    };
    let signing = async |world: &World| world.subscription("s").await["webhook"]["signing"]["kid"].clone();
    let first = keys(&world).await;
    assert_eq!(first.len(), 1);
    let day_ms = 86_400_000;
    world.advance(90 * day_ms - 600_000).await;
    let both = keys(&world).await;
    assert_eq!((both.len(), &both[0]), (2, &first[0]));
    assert_eq!(signing(&world).await, first[0]);
    world.crash().await;
    assert_eq!(keys(&world).await, both);
    world.advance(600_000).await;
    assert_eq!(signing(&world).await, both[1]);
    assert_eq!(keys(&world).await, both);
    world.advance(3_600_000).await;
    assert_eq!(keys(&world).await, both[1..]);
}

#[tokio::test]
async fn keys_change_on_a_server_that_is_never_idle_too() {
    let mut config = Config::default();
    config.subscriptions.webhook_key_lifetime_ms = Some(3_600_000);
    let world = World::with(config).await;
    world.subscribe("s", WEBHOOK).await;
    world.create("events/a").await;
    for _ in 0..70 {
        world.answer_next(answer(200, r#"{"done":true}"#));
        world.append("events/a").await;
        // Never as long as it waits when there is nothing to do.
        world.advance(50_000).await;
    }
    let (_, keys) = world.send("GET", "__ds/jwks.json", "", "").await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn bounds_are_refusals_and_appends_go_on() {
    let mut config = Config::default();
    config.subscriptions.subscriptions_max = 2;
    config.subscriptions.links_max = 2;
    let world = World::with(config).await;
    world.subscribe("s", WEBHOOK).await;
    let three = r#"{"type":"pull-wake","streams":["a","b","c"],"wake_stream":"w"}"#;
    let (status, body) = world.send("PUT", "__ds/subscriptions/t", "", three).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::CONFLICT, &json!("LIMIT_REACHED")));
    for name in ["events/a", "events/b", "events/c"] {
        world.create(name).await;
        world.append(name).await;
    }
    assert_eq!(world.subscription("s").await["streams"].as_array().unwrap().len(), 2);
    assert_eq!(world.links_in_store().await, 2);
    world.subscribe("t", &PULL.replace("events", "others")).await;
    let (status, _) = world.send("PUT", "__ds/subscriptions/u", "", PULL).await;
    assert_eq!(status, StatusCode::CONFLICT);
}
