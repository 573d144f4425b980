//! Tests that need time and failures: durability, clients that go away, expiry, draining. The conformance suite tests
//! everything else from outside.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use headwater_protocol::{names, offset::Incarnation};
use headwater_store::{Health, StoreError, faulty::Faulty};
use headwater_store_mem::MemStore;
use http::{HeaderValue, Request, StatusCode, Version, request::Parts};

use crate::{Background, Body, Response, Service, clock::ManualClock, config::Config};

mod bounds;
mod state_offsets;

const NOW_MS: u64 = 1_800_000_000_000;

/// The head of a request of HTTP/1.0, which needs no host.
fn head(method: &str, target: &str, headers: &[(&'static str, &str)]) -> Parts {
    let url = format!("/v1/stream/{target}");
    let request = Request::builder().method(method).uri(url).version(Version::HTTP_10);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(()).unwrap().into_parts().0
}

struct World {
    service: Service,
    background: Background,
    store: Arc<Faulty<MemStore>>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        Self::on(MemStore::new(1 << 20), config)
    }

    fn on(store: MemStore, config: Config) -> Self {
        let store = Arc::new(Faulty::new(store));
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let builder = Service::builder(store.clone()).clock(clock.clone()).config(config);
        let started = builder.without_subscriptions().start().now_or_never().expect("nothing to read");
        let (service, background) = started.unwrap();
        Self { service, background, store, clock }
    }

    fn send(
        &self,
        method: &'static str,
        target: &str,
        headers: &[(&'static str, &str)],
        body: &'static str,
    ) -> impl Future<Output = Response> + Send + 'static {
        let call = self.service.parse(&head(method, target, headers));
        let service = self.service.clone();
        let chunks = (!body.is_empty()).then(|| Ok(Bytes::from_static(body.as_bytes())));
        async move { service.execute(call, stream::iter(chunks)).await }
    }

    async fn create(&self, name: &str, headers: &[(&'static str, &str)]) {
        let headers = [&[("content-type", "text/plain")], headers].concat();
        assert_eq!(self.send("PUT", name, &headers, "").await.head.status, StatusCode::CREATED);
    }

    fn append(&self, name: &str, body: &'static str) -> impl Future<Output = Response> + Send + 'static {
        self.send("POST", name, &[("content-type", "text/plain")], body)
    }

    async fn text(&self, name: &str) -> String {
        let response = self.send("GET", &format!("{name}?offset=-1"), &[], "").await;
        assert_eq!(response.head.status, StatusCode::OK);
        match response.body {
            Body::Full(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    async fn status(&self, method: &'static str, target: &str) -> StatusCode {
        self.send(method, target, &[], "").await.head.status
    }
}

/// Lets all spawned tasks run until they wait.
async fn run_tasks() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn next_event(body: &mut Body) -> Option<String> {
    let Body::Events(events) = body else { panic!("{body:?}") };
    events.next().await.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn readers_never_see_what_is_not_durable() {
    let world = World::new();
    world.create("a", &[]).await;
    world.store.hold();
    let append = tokio::spawn(world.append("a", "hello"));
    run_tasks().await;
    assert!(!append.is_finished());
    assert_eq!(world.text("a").await, "");
    world.store.release().await;
    assert_eq!(append.await.unwrap().head.status, StatusCode::NO_CONTENT);
    assert_eq!(world.text("a").await, "hello");
}

#[tokio::test]
async fn what_the_power_took_was_never_acknowledged_nor_seen() {
    let world = World::new();
    world.create("a", &[]).await;
    world.append("a", "one").await;
    world.store.hold();
    let first = tokio::spawn(world.append("a", "two"));
    let second = tokio::spawn(world.append("a", "three"));
    run_tasks().await;
    world.store.lose();
    for lost in [first, second] {
        assert_eq!(lost.await.unwrap().head.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(world.text("a").await, "one");
    assert_eq!(world.append("a", "four").await.head.status, StatusCode::NO_CONTENT);
    assert_eq!(world.text("a").await, "onefour");
}

#[tokio::test]
async fn an_append_whose_client_went_away_is_published_all_the_same() {
    let world = World::new();
    world.create("a", &[]).await;
    world.store.hold();
    let append = tokio::spawn(world.append("a", "hello"));
    run_tasks().await;
    append.abort();
    run_tasks().await;
    world.store.release().await;
    run_tasks().await;
    assert_eq!(world.text("a").await, "hello");
}

#[tokio::test]
async fn a_request_may_be_dropped_outside_of_a_runtime() {
    let world = World::new();
    world.create("a", &[]).await;
    world.store.hold();
    let mut append = Box::pin(world.append("a", "hello"));
    assert!((&mut append).now_or_never().is_none());
    std::thread::spawn(move || drop(append)).join().unwrap();
    world.store.release().await;
    run_tasks().await;
    assert_eq!(world.text("a").await, "hello");
}

#[tokio::test]
async fn a_repetition_is_answered_only_when_the_original_is_durable() {
    let world = World::new();
    world.create("a", &[]).await;
    let producer = [
        ("content-type", "text/plain"),
        ("producer-id", "p"),
        ("producer-epoch", "0"),
        ("producer-seq", "0"),
    ];
    world.store.hold();
    let original = tokio::spawn(world.send("POST", "a", &producer, "x"));
    run_tasks().await;
    let repetition = tokio::spawn(world.send("POST", "a", &producer, "x"));
    run_tasks().await;
    assert!(!repetition.is_finished());
    world.store.release().await;
    assert_eq!(original.await.unwrap().head.status, StatusCode::OK);
    assert_eq!(repetition.await.unwrap().head.status, StatusCode::NO_CONTENT);
    assert_eq!(world.text("a").await, "x");
}

#[tokio::test]
async fn who_waits_for_a_commit_that_readers_do_not_notice_is_answered() {
    let world = World::new();
    world.create("a", &[]).await;
    let producer = [
        ("content-type", "text/plain"),
        ("producer-id", "p"),
        ("producer-epoch", "0"),
        ("producer-seq", "0"),
    ];
    assert_eq!(world.send("POST", "a", &producer, "x").await.head.status, StatusCode::OK);
    world.store.hold();
    let fork = tokio::spawn(world.send("PUT", "b", &[("stream-forked-from", "/v1/stream/a")], ""));
    run_tasks().await;
    let repetition = tokio::spawn(world.send("POST", "a", &producer, "x"));
    run_tasks().await;
    assert!(!repetition.is_finished());
    world.store.release().await;
    run_tasks().await;
    assert!(repetition.is_finished(), "the source counts its fork, which no reader sees");
    assert_eq!(repetition.await.unwrap().head.status, StatusCode::NO_CONTENT);
    assert_eq!(fork.await.unwrap().head.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_full_store_is_507_and_heals() {
    let world = World::new();
    world.create("a", &[]).await;
    world.store.fail_next_commit(StoreError::Full);
    assert_eq!(world.append("a", "x").await.head.status, StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(world.append("a", "y").await.head.status, StatusCode::NO_CONTENT);
    assert_eq!(world.text("a").await, "y");
}

#[tokio::test]
async fn what_was_decided_on_a_commit_that_failed_is_decided_again() {
    let world = World::new();
    let close = [("content-type", "text/plain"), ("stream-closed", "true")];
    world.create("a", &[]).await;
    world.store.hold();
    let first = tokio::spawn(world.append("a", "one"));
    run_tasks().await;
    let second = tokio::spawn(world.append("a", "two"));
    run_tasks().await;
    let last = tokio::spawn(world.send("POST", "a", &close, "three"));
    run_tasks().await;
    let too_late = tokio::spawn(world.append("a", "four"));
    run_tasks().await;
    assert!(!too_late.is_finished(), "it waits until the stream is closed for good");
    world.store.release_but_first(StoreError::Full).await;
    assert_eq!(first.await.unwrap().head.status, StatusCode::INSUFFICIENT_STORAGE);
    for tried_again in [second, last] {
        let status = tried_again.await.unwrap().head.status;
        assert!(status == StatusCode::NO_CONTENT || status == StatusCode::CONFLICT, "{status}");
    }
    let status = too_late.await.unwrap().head.status;
    let text = world.text("a").await;
    assert!(!text.contains("one") && text.contains("three"), "{text}");
    assert_eq!(status == StatusCode::NO_CONTENT, text.contains("four"), "{status} {text}");
}

#[tokio::test]
async fn nobody_is_refused_for_a_creation_that_failed() {
    let world = World::new();
    world.store.hold();
    let first = tokio::spawn(world.send("PUT", "a", &[("content-type", "text/plain")], ""));
    run_tasks().await;
    let other = tokio::spawn(world.send("PUT", "a", &[("content-type", "image/png")], ""));
    run_tasks().await;
    world.store.release_but_first(StoreError::Full).await;
    assert_eq!(first.await.unwrap().head.status, StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(other.await.unwrap().head.status, StatusCode::CREATED);
}

#[tokio::test]
async fn damage_is_an_error_and_never_fewer_bytes() {
    let world = World::new();
    world.create("a", &[]).await;
    world.append("a", "x").await;
    world.store.fail_next_read(StoreError::damaged("a flipped bit"));
    assert_eq!(world.status("GET", "a?offset=-1").await, StatusCode::INTERNAL_SERVER_ERROR);
    world.store.fail_next_read(StoreError::Missing(Incarnation::new(1).unwrap()));
    assert_eq!(world.status("GET", "a?offset=-1").await, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(world.text("a").await, "x");
}

#[tokio::test]
async fn a_waiting_long_poll_gets_the_bytes_or_a_204_at_its_deadline() {
    let world = World::new();
    world.create("a", &[]).await;
    let poll = tokio::spawn(world.send("GET", "a?offset=-1&live=long-poll", &[], ""));
    run_tasks().await;
    world.append("a", "x").await;
    assert_eq!(poll.await.unwrap().head.status, StatusCode::OK);
    let idle = tokio::spawn(world.send("GET", "a?offset=now&live=long-poll", &[], ""));
    run_tasks().await;
    world.clock.advance(Duration::from_millis(19_999));
    run_tasks().await;
    assert!(!idle.is_finished());
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(idle.await.unwrap().head.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_long_poll_on_a_deleted_stream_ends() {
    let world = World::new();
    world.create("a", &[]).await;
    let poll = tokio::spawn(world.send("GET", "a?offset=-1&live=long-poll", &[], ""));
    run_tasks().await;
    assert_eq!(world.status("DELETE", "a").await, StatusCode::NO_CONTENT);
    assert_eq!(poll.await.unwrap().head.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn event_streams_beat_survive_a_failed_commit_and_end_in_time() {
    let world = World::new();
    world.create("a", &[]).await;
    let mut response = world.send("GET", "a?offset=-1&live=sse", &[], "").await;
    assert!(next_event(&mut response.body).await.unwrap().contains("\"upToDate\":true"));
    let advance = |by_ms| world.clock.advance(Duration::from_millis(by_ms));
    advance(15_000);
    assert_eq!(next_event(&mut response.body).await.unwrap(), ":\n\n");
    world.store.fail_next_commit(StoreError::failed("EIO"));
    assert_eq!(world.append("a", "lost").await.head.status, StatusCode::INTERNAL_SERVER_ERROR);
    world.append("a", "kept").await;
    assert!(next_event(&mut response.body).await.unwrap().contains("\ndata:kept\n"));
    advance(60_000);
    assert_eq!(next_event(&mut response.body).await, None);
}

#[tokio::test]
async fn readers_of_one_event_share_its_bytes() {
    let world = World::new();
    world.create("a", &[]).await;
    world.append("a", "x").await;
    let mut pointers = Vec::new();
    for _ in 0..3 {
        let Body::Events(mut events) = world.send("GET", "a?offset=-1&live=sse", &[], "").await.body else {
            panic!()
        };
        pointers.push(events.next().await.unwrap().as_ptr());
    }
    assert!(pointers.iter().all(|pointer| *pointer == pointers[0]));
}

#[tokio::test]
async fn draining_ends_live_readers_and_refuses_the_rest() {
    let world = World::new();
    world.create("a", &[]).await;
    let mut events = world.send("GET", "a?offset=-1&live=sse", &[], "").await;
    next_event(&mut events.body).await;
    let poll = tokio::spawn(world.send("GET", "a?offset=-1&live=long-poll", &[], ""));
    run_tasks().await;
    world.service.drain();
    let last = next_event(&mut events.body).await.unwrap();
    assert!(last.starts_with("id: ") && last.contains("\nevent: control\n"), "{last}");
    assert_eq!(next_event(&mut events.body).await, None);
    assert_eq!(poll.await.unwrap().head.status, StatusCode::NO_CONTENT);
    assert_eq!(world.append("a", "x").await.head.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn expired_streams_are_swept_and_used_ones_stay() {
    let mut world = World::new();
    world.create("used", &[("stream-ttl", "10")]).await;
    world.create("unused", &[("stream-ttl", "10")]).await;
    world.clock.advance(Duration::from_secs(6));
    world.text("used").await;
    world.clock.advance(Duration::from_secs(6));
    world.background.sweeper.sweep().await;
    run_tasks().await;
    assert_eq!(world.status("HEAD", "unused").await, StatusCode::NOT_FOUND);
    assert_eq!(world.status("HEAD", "used").await, StatusCode::OK);
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(world.status("HEAD", "used").await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_use_that_a_full_store_cannot_take_counts_all_the_same() {
    let world = World::new();
    world.create("a", &[("stream-ttl", "10")]).await;
    world.clock.advance(Duration::from_secs(6));
    world.store.fail_next_commit(StoreError::Full);
    assert_eq!(world.text("a").await, "");
    run_tasks().await;
    world.clock.advance(Duration::from_secs(6));
    assert_eq!(world.status("HEAD", "a").await, StatusCode::OK);
    world.clock.advance(Duration::from_secs(6));
    assert_eq!(world.status("HEAD", "a").await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_use_while_a_stream_is_deleted_does_not_prolong_the_next_one() {
    let world = World::new();
    world.create("a", &[("stream-ttl", "3600")]).await;
    world.store.hold();
    let deletion = tokio::spawn(world.send("DELETE", "a", &[], ""));
    run_tasks().await;
    assert_eq!(world.text("a").await, "", "it is not durably gone");
    world.store.release().await;
    assert_eq!(deletion.await.unwrap().head.status, StatusCode::NO_CONTENT);
    world.create("a", &[("stream-ttl", "2")]).await;
    world.clock.advance(Duration::from_secs(3));
    assert_eq!(world.status("HEAD", "a").await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn unused_heads_leave_memory_and_come_back() {
    let mut world = World::new();
    world.create("a", &[("stream-ttl", "1000")]).await;
    world.append("a", "x").await;
    world.clock.advance(Duration::from_millis(500));
    world.text("a").await;
    world.clock.advance(Duration::from_secs(61));
    // The first sweep commits where reads have moved the deadline; then the stream may go.
    world.background.sweeper.sweep().await;
    run_tasks().await;
    world.clock.advance(Duration::from_secs(61));
    world.background.sweeper.sweep().await;
    assert_eq!(world.service.0.streams.count(), 0);
    world.clock.advance(Duration::from_secs(800));
    assert_eq!(world.text("a").await, "x");
}

#[tokio::test]
async fn names_without_streams_leave_nothing_in_memory() {
    let world = World::new();
    for index in 0..20 {
        assert_eq!(world.status("GET", &format!("none-{index}?offset=-1")).await, StatusCode::NOT_FOUND);
        assert_eq!(world.status("DELETE", &format!("none-{index}")).await, StatusCode::NOT_FOUND);
    }
    assert_eq!(world.service.0.streams.count(), 0);
}

#[tokio::test]
async fn forks_that_wait_for_each_other_do_not_deadlock() {
    let world = World::new();
    world.create("a", &[]).await;
    world.create("b", &[]).await;
    let forks = (0..40).map(|index| {
        let (source, target) = if index % 2 == 0 { ("a", "b") } else { ("b", "a") };
        let headers = [("stream-forked-from", format!("/v1/stream/{source}"))];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        tokio::spawn(world.send("PUT", &format!("{target}-{index}"), &headers, ""))
    });
    for fork in forks.collect::<Vec<_>>() {
        assert_eq!(fork.await.unwrap().head.status, StatusCode::CREATED);
    }
}

#[tokio::test]
async fn a_chain_of_deleted_forks_goes_when_its_last_one_does() {
    let world = World::new();
    world.create("f0", &[]).await;
    for index in 1..10 {
        let source = format!("/v1/stream/f{}", index - 1);
        let response = world.send("PUT", &format!("f{index}"), &[("stream-forked-from", &source)], "").await;
        assert_eq!(response.head.status, StatusCode::CREATED);
    }
    for index in 0..9 {
        assert_eq!(world.status("DELETE", &format!("f{index}")).await, StatusCode::NO_CONTENT);
        assert_eq!(world.status("GET", &format!("f{index}")).await, StatusCode::GONE);
    }
    assert_eq!(world.status("DELETE", "f9").await, StatusCode::NO_CONTENT);
    for index in 0..10 {
        assert_eq!(world.status("HEAD", &format!("f{index}")).await, StatusCode::NOT_FOUND, "f{index}");
    }
}

#[tokio::test]
async fn concurrent_producers_are_exactly_once_however_many_there_are() {
    let world = World::new();
    world.create("a", &[]).await;
    let sends = (0..3_000).map(|index| {
        // Every producer sends its request twice, and there are more of them than a stream keeps in memory.
        let id = format!("p{}", index / 2);
        let headers = [
            ("content-type", "text/plain"),
            ("producer-id", &id),
            ("producer-epoch", "0"),
            ("producer-seq", "0"),
        ];
        tokio::spawn(world.send("POST", "a", &headers, "x"))
    });
    for sent in sends.collect::<Vec<_>>() {
        assert!(sent.await.unwrap().head.status.is_success());
    }
    assert_eq!(world.text("a").await.len(), 1_500);
}

#[tokio::test]
async fn live_readers_are_bounded() {
    let world = World::with(Config { live_readers_max: 1, ..Config::default() });
    world.create("a", &[]).await;
    let first = world.send("GET", "a?offset=-1&live=sse", &[], "").await;
    let second = world.send("GET", "a?offset=-1&live=sse", &[], "").await;
    assert_eq!(second.head.status, StatusCode::SERVICE_UNAVAILABLE);
    drop(first);
    assert_eq!(world.status("GET", "a?offset=-1&live=sse").await, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408_and_one_without_end_is_413() {
    let world = World::new();
    world.create("a", &[]).await;
    let head = head("POST", "a", &[("content-type", "text/plain")]);
    let service = world.service.clone();
    let call = service.parse(&head);
    let silent = tokio::spawn(async move { service.execute(call, stream::pending().boxed()).await });
    run_tasks().await;
    world.clock.advance(Duration::from_secs(300));
    assert_eq!(silent.await.unwrap().head.status, StatusCode::REQUEST_TIMEOUT);
    let endless = stream::repeat_with(|| Ok(Bytes::from(vec![0; 1 << 20])));
    let response = world.service.execute(world.service.parse(&head), endless).await;
    assert_eq!(response.head.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(world.text("a").await, "");
}

#[tokio::test]
async fn a_clock_set_back_repeats_no_incarnation() {
    let world = World::new();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let response = world.send("PUT", "a", &[("content-type", "text/plain")], "").await;
        seen.push(response.head.headers.get(names::STREAM_NEXT_OFFSET).cloned());
        assert_eq!(world.status("DELETE", "a").await, StatusCode::NO_CONTENT);
        world.clock.set_wall_ms(NOW_MS - 3_600_000);
    }
    assert!(seen.is_sorted_by(|a: &Option<HeaderValue>, b| a < b), "{seen:?}");
}

#[tokio::test]
async fn event_streams_that_caches_share_end_together_whenever_they_began() {
    let mut config = Config::default();
    config.policies.cache.event_stream_max_age_s = Some(10);
    let world = World::with(config);
    world.create("a", &[]).await;
    let mut streams = Vec::new();
    // A minute of the common clock begins at NOW_MS.
    for _ in 0..3 {
        let response = world.send("GET", "a?offset=-1&live=sse", &[], "").await;
        assert_eq!(response.head.headers["cache-control"], "public, max-age=10");
        assert_eq!(response.head.headers["vary"], "last-event-id");
        let mut body = response.body;
        assert!(next_event(&mut body).await.unwrap().contains("upToDate"));
        streams.push(tokio::spawn(async move {
            while let Some(event) = next_event(&mut body).await {
                assert!(event.starts_with(':'), "{event}");
            }
        }));
        world.clock.advance(Duration::from_secs(10));
    }
    for second in 30..60 {
        run_tasks().await;
        assert!(streams.iter().all(|stream| !stream.is_finished()), "{second}");
        world.clock.advance(Duration::from_secs(1));
    }
    run_tasks().await;
    assert!(streams.iter().all(tokio::task::JoinHandle::is_finished));
}

#[tokio::test]
async fn a_wall_clock_set_back_holds_nobody_who_waits() {
    let world = World::new();
    world.create("a", &[]).await;
    let mut events = world.send("GET", "a?offset=-1&live=sse", &[], "").await.body;
    assert!(next_event(&mut events).await.unwrap().contains("upToDate"));
    let poll = tokio::spawn(world.send("GET", "a?offset=now&live=long-poll", &[], ""));
    run_tasks().await;
    world.clock.set_wall_ms(NOW_MS - 3_600_000);
    world.clock.advance(Duration::from_secs(15));
    assert_eq!(next_event(&mut events).await.unwrap(), ":\n\n", "the heartbeat");
    run_tasks().await;
    assert!(!poll.is_finished());
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(poll.await.unwrap().head.status, StatusCode::NO_CONTENT);
    world.clock.advance(Duration::from_secs(40));
    assert_eq!(next_event(&mut events).await, None, "the lifetime of an event stream");
}

#[tokio::test]
async fn a_wall_clock_set_forward_ends_neither_streams_nor_waits() {
    let world = World::new();
    world.create("a", &[]).await;
    world.create("mortal", &[("stream-ttl", "1800")]).await;
    let poll = tokio::spawn(world.send("GET", "a?offset=now&live=long-poll", &[], ""));
    run_tasks().await;
    world.clock.set_wall_ms(NOW_MS + 3_600_000);
    run_tasks().await;
    assert_eq!(world.status("HEAD", "mortal").await, StatusCode::OK, "nobody would call it unused");
    assert!(!poll.is_finished());
    world.append("a", "x").await;
    assert_eq!(poll.await.unwrap().head.status, StatusCode::OK);
}

/// A stream is created and judged by one time.
#[tokio::test]
async fn a_stream_that_was_just_created_is_there_whatever_the_wall_clock_says() {
    let world = World::new();
    // It was 08:00.
    world.clock.set_wall_ms(NOW_MS - 7_200_000);
    let put = async |name, at| world.send("PUT", name, &[("stream-expires-at", at)], "").await.head.status;
    assert_eq!(put("past", "2027-01-15T07:00:00Z").await, StatusCode::BAD_REQUEST);
    assert_eq!(put("ahead", "2027-01-15T09:00:00Z").await, StatusCode::CREATED);
    assert_eq!(put("ahead", "2027-01-15T09:00:00Z").await, StatusCode::OK);
    assert_eq!(world.status("HEAD", "ahead").await, StatusCode::OK);
}

#[tokio::test]
async fn shared_event_streams_end_on_the_wall_clock_of_their_beginning() {
    let mut config = Config::default();
    config.policies.cache.event_stream_max_age_s = Some(10);
    let world = World::with(config);
    world.create("a", &[]).await;
    world.clock.set_wall_ms(NOW_MS + 45_000);
    let mut events = world.send("GET", "a?offset=-1&live=sse", &[], "").await.body;
    assert!(next_event(&mut events).await.unwrap().contains("upToDate"));
    world.clock.advance(Duration::from_secs(15));
    assert_eq!(next_event(&mut events).await, None);
}
