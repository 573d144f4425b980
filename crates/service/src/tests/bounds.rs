//! Bounds and failures that no client can see from outside: memory that is given back, sweeps that go on, what probes say.

use futures_util::stream::BoxStream;
use headwater_protocol::pace::Pace;
use headwater_store::Store;

use super::*;

/// Collects a body, however it comes.
async fn collect(mut body: Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = std::future::poll_fn(|context| body.poll_next(context)).await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    bytes
}

/// Returns the value of a metric.
async fn metric(world: &World, name: &str) -> u64 {
    let head = Request::get("/metrics").version(Version::HTTP_10).body(()).unwrap().into_parts().0;
    let response = world.service.execute(world.service.parse(&head), stream::empty()).await;
    let text = String::from_utf8(collect(response.body).await).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("headwater_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

fn body_of(pieces: Vec<Bytes>) -> BoxStream<'static, std::io::Result<Bytes>> {
    stream::iter(pieces.into_iter().map(Ok)).boxed()
}

async fn post(world: &World, headers: &[(&'static str, &str)], pieces: Vec<Bytes>) -> Response {
    let call = world.service.parse(&head("POST", "a", headers));
    world.service.execute(call, body_of(pieces)).await
}

fn large_world(responses_bytes_max: u64) -> World {
    let config =
        Config { responses_bytes_max, chunk_cache_bytes: 0, event_cache_bytes: 0, ..Config::default() };
    World::on(MemStore::new(64 << 20), config)
}

/// Some bytes that are no text and repeat nowhere near.
fn noise(count: usize) -> Bytes {
    (0..count).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[tokio::test]
async fn a_large_append_is_read_in_pieces_that_wait_for_the_client() {
    let world = large_world(4 << 20);
    world.send("PUT", "a", &[("content-type", "application/octet-stream")], "").await;
    let bytes = noise(5 << 20);
    // Each reader has an offset of its own.
    for at in 0..30 {
        post(&world, &[("content-type", "application/octet-stream")], vec![bytes.slice(at..=at)]).await;
    }
    post(&world, &[("content-type", "application/octet-stream")], vec![bytes.slice(30..)]).await;
    let mut readers = Vec::new();
    for from in 0..30 {
        let response = world.send("GET", &format!("a?offset={}", offset(&world, from).await), &[], "").await;
        if response.head.status == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        assert_eq!(response.body.bytes_left(), Some(bytes.len() as u64 - from));
        readers.push((from, response.body));
    }
    assert!((4..20).contains(&readers.len()), "{} share 3 MiB", readers.len());
    let held = metric(&world, "response_body_bytes").await;
    assert!((2 << 20..=3 << 20).contains(&held), "{held}");
    for (from, body) in readers {
        assert!(collect(body).await == bytes[from as usize..], "{from}");
    }
    assert_eq!(metric(&world, "response_body_bytes").await, 0);
}

/// Readers that wait for memory hold none that others wait for.
#[tokio::test]
async fn event_streams_do_not_wait_for_each_other() {
    for responses_bytes_max in [1 << 20, 2 << 20] {
        let world = large_world(responses_bytes_max);
        let headers = [("content-type", "application/octet-stream")];
        let names = ["a", "b", "c", "d"];
        for name in names {
            world.send("PUT", name, &headers, "").await;
            let call = world.service.parse(&head("POST", name, &headers));
            world.service.execute(call, body_of(vec![noise(2 << 20)])).await;
        }
        let read = async |name| {
            let mut events = world.send("GET", &format!("{name}?offset=-1&live=sse"), &[], "").await.body;
            let mut received = String::new();
            while !received.contains("event: control") {
                // Others run between a reader's piece and its text.
                tokio::task::yield_now().await;
                received.push_str(&next_event(&mut events).await.unwrap());
            }
            received.len()
        };
        let all = futures_util::future::join_all(names.map(read));
        let received = tokio::time::timeout(Duration::from_secs(60), all).await.expect("nobody hangs");
        assert!(received.iter().all(|bytes| *bytes > 2 << 20), "{received:?}");
    }
}

/// A reader's own cursor makes its events nobody else's.
#[tokio::test]
async fn an_event_counts_before_it_is_there() {
    let world = large_world(4 << 20);
    world.send("PUT", "a", &[("content-type", "text/plain")], "").await;
    post(&world, &[("content-type", "text/plain")], vec![Bytes::from(vec![b'\n'; 600 << 10])]).await;
    let mut readers = Vec::new();
    for cursor in 0..20 {
        let target = format!("a?offset=-1&live=sse&cursor={}", 900_000_000_000_000_u64 + cursor);
        let response = world.send("GET", &target, &[], "").await;
        if response.head.status == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        let Body::Events(mut events) = response.body else { panic!("{response:?}") };
        let first = events.next().now_or_never();
        readers.push((events, first));
    }
    let sent = readers.iter().filter(|(_, first)| first.is_some()).count();
    assert_eq!(sent, 1, "an event of 3.6 MiB takes all that there is for events");
}

/// Returns the offset of a position of the stream "a".
async fn offset(world: &World, position: u64) -> String {
    let response = world.send("HEAD", "a", &[], "").await;
    let tail = response.head.headers[names::STREAM_NEXT_OFFSET].to_str().unwrap().to_owned();
    let (incarnation, _) = tail.split_once('_').unwrap();
    format!("{incarnation}_{position:016}")
}

/// Offsets that were never issued, but that a client counts out.
#[tokio::test]
async fn an_offset_inside_of_an_append_means_that_append() {
    let world = large_world(64 << 20);
    world.send("PUT", "a", &[("content-type", "application/octet-stream")], "").await;
    let bytes = noise(3 << 20);
    let mut starts = vec![0];
    for length in [1, 2, 3, 700, 1 << 20, 1, (1 << 20) + 7, 5] {
        let start = starts[starts.len() - 1];
        let append = bytes.slice(start..start + length);
        post(&world, &[("content-type", "application/octet-stream")], vec![append]).await;
        starts.push(start + length);
    }
    let tail = starts[starts.len() - 1];
    let inside =
        starts.iter().flat_map(|start| [start + 1, start + 2, start + 600_000, start.saturating_sub(1)]);
    for position in inside.chain(starts.iter().copied()).filter(|position| *position <= tail + 1) {
        let target = format!("a?offset={}", offset(&world, position as u64).await);
        let response = world.send("GET", &target, &[], "").await;
        assert_eq!(response.head.status, StatusCode::OK, "{position}");
        let body = collect(response.body).await;
        let start = starts.iter().copied().filter(|start| *start <= position).max().unwrap();
        assert!(body == bytes[start..start + body.len()] && (start == tail) == body.is_empty(), "{position}");
    }
    let beyond =
        world.send("GET", &format!("a?offset={}", offset(&world, tail as u64 + 2).await), &[], "").await;
    assert_eq!(beyond.head.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn large_json_is_an_array_however_it_is_cut() {
    let world = large_world(64 << 20);
    world.send("PUT", "a", &[("content-type", "application/json")], "").await;
    let message = |at: usize| format!("\"{}\"", "m".repeat(at % 700));
    for batch in 0..3 {
        let messages: Vec<String> = (0..2_000).map(|at| message(at + batch)).collect();
        let body = format!("[{}]", messages.join(","));
        post(&world, &[("content-type", "application/json")], vec![body.into()]).await;
    }
    let mut from = "-1".to_owned();
    let mut count = 0;
    loop {
        let response = world.send("GET", &format!("a?offset={from}"), &[], "").await;
        let next = response.head.headers[names::STREAM_NEXT_OFFSET].to_str().unwrap().to_owned();
        let left = response.body.bytes_left().unwrap();
        let body = collect(response.body).await;
        assert_eq!(body.len() as u64, left);
        let messages: Vec<String> = serde_json::from_slice(&body).unwrap();
        if messages.is_empty() {
            break;
        }
        count += messages.len();
        from = next;
    }
    assert_eq!(count, 6_000);
}

#[tokio::test]
async fn a_large_event_comes_in_parts_and_is_one_event() {
    let world = large_world(64 << 20);
    world.send("PUT", "a", &[("content-type", "text/plain")], "").await;
    // The last character is torn: it is held back.
    let text = "wörter und\r\nzeilen ".repeat(90_000);
    let torn = [text.as_bytes(), &[0xc3]].concat();
    post(&world, &[("content-type", "text/plain")], vec![torn.into()]).await;
    let mut events = world.send("GET", "a?offset=-1&live=sse", &[], "").await.body;
    let mut received = String::new();
    while !received.contains("event: control") {
        let part = next_event(&mut events).await.unwrap();
        assert!(part.len() < 900_000, "{} bytes at once", part.len());
        received.push_str(&part);
    }
    let data = received.split("\n\n").next().unwrap();
    let lines = data.lines().filter_map(|line| line.strip_prefix("data:"));
    let lines: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    assert!(lines.join("\n") == text.replace("\r\n", "\n"));
    let next = offset(&world, text.len() as u64).await;
    assert!(data.contains(&format!("id: {next}\n")), "{}", &data[..100]);
}

#[tokio::test]
async fn a_range_whose_stream_is_deleted_meanwhile_is_cut_off() {
    let world = large_world(64 << 20);
    world.send("PUT", "a", &[("content-type", "application/octet-stream")], "").await;
    post(&world, &[("content-type", "application/octet-stream")], vec![noise(3 << 20)]).await;
    let mut body = world.send("GET", "a?offset=-1", &[], "").await.body;
    let mut next = async || std::future::poll_fn(|context| body.poll_next(context)).await;
    assert!(next().await.unwrap().is_ok());
    assert_eq!(world.status("DELETE", "a").await, StatusCode::NO_CONTENT);
    assert!(next().await.unwrap().is_err(), "an end would pass for a whole response");
}

#[tokio::test]
async fn a_body_counts_until_it_is_durable_and_twice_while_it_is_split() {
    for (content_type, body, at_rest) in [
        ("text/plain", Bytes::from(vec![b'x'; 100 << 10]), 100 << 10),
        ("application/json", Bytes::from(format!("\"{}\"", "x".repeat((100 << 10) - 3))), 100 << 10),
    ] {
        let world = World::with(Config { bodies_bytes_max: 250 << 10, ..Config::default() });
        world.send("PUT", "a", &[("content-type", content_type)], "").await;
        world.store.hold();
        let service = world.service.clone();
        let call = service.parse(&head("POST", "a", &[("content-type", content_type)]));
        let pieces = body_of(vec![body.clone()]);
        let append = tokio::spawn(async move { service.execute(call, pieces).await });
        run_tasks().await;
        assert_eq!(metric(&world, "request_body_bytes").await, at_rest, "{content_type}");
        let second = post(&world, &[("content-type", content_type)], vec![body.clone(), body.clone()]).await;
        assert_eq!(second.head.status, StatusCode::SERVICE_UNAVAILABLE);
        world.store.release().await;
        assert_eq!(append.await.unwrap().head.status, StatusCode::NO_CONTENT);
        assert_eq!(metric(&world, "request_body_bytes").await, 0, "{content_type}");
    }
}

#[tokio::test]
async fn a_body_of_another_length_than_declared_is_no_message() {
    let world = World::new();
    world.create("a", &[]).await;
    for declared in ["3", "5"] {
        let headers = [("content-type", "text/plain"), ("content-length", declared)];
        let response = post(&world, &headers, vec![Bytes::from_static(b"half")]).await;
        assert_eq!(response.head.status, StatusCode::BAD_REQUEST, "{declared}");
    }
    assert_eq!(world.text("a").await, "");
    let headers = [("content-type", "text/plain"), ("content-length", "4")];
    assert_eq!(
        post(&world, &headers, vec![Bytes::from_static(b"half")]).await.head.status,
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn a_body_that_drips_ends_and_one_that_pauses_does_not() {
    let pace = Pace { pause_ms: 300_000, time_ms: 1_800_000, bytes_per_s: 16 << 10 };
    let world = World::with(Config { pace, ..Config::default() });
    world.create("a", &[]).await;
    for (drops, pause_s, status) in [
        (3, 120, StatusCode::NO_CONTENT),
        (100, 290, StatusCode::REQUEST_TIMEOUT),
        (1, 301, StatusCode::REQUEST_TIMEOUT),
    ] {
        let clock = world.clock.clone();
        let pieces = stream::unfold(0, move |sent| {
            let clock = clock.clone();
            async move {
                use crate::clock::Clock as _;
                clock.sleep_until(clock.now_ms() + pause_s * 1_000).await;
                (sent < drops).then(|| (Ok(Bytes::from_static(b"x")), sent + 1))
            }
        });
        let (service, call) = (
            world.service.clone(),
            world.service.parse(&head("POST", "a", &[("content-type", "text/plain")])),
        );
        let append = tokio::spawn(async move { service.execute(call, pieces.boxed()).await });
        while !append.is_finished() {
            run_tasks().await;
            world.clock.advance(Duration::from_secs(1));
        }
        assert_eq!(append.await.unwrap().head.status, status, "{drops} drops, {pause_s} s apart");
    }
    assert_eq!(world.text("a").await, "xxx");
}

#[tokio::test]
async fn one_sweep_removes_all_that_is_over_and_damage_does_not_stop_it() {
    let mut world = World::on(MemStore::new(64 << 20), Config::default());
    for number in 0..2_500 {
        world.create(&format!("s{number}"), &[("stream-ttl", "60")]).await;
    }
    world.clock.advance(Duration::from_secs(61));
    for _ in 0..1_200 {
        world.store.fail_next_commit(StoreError::failed("EIO"));
    }
    world.background.sweeper.sweep().await;
    let left = world.store.expired(u64::MAX, None, 9_999).await.unwrap().len();
    assert_eq!(left, 1_200, "those that failed are left");
    world.background.sweeper.sweep().await;
    assert_eq!(world.store.expired(u64::MAX, None, 9_999).await.unwrap().len(), 1_200, "for a while");
    world.clock.advance(Duration::from_secs(2));
    world.background.sweeper.sweep().await;
    assert!(world.store.expired(u64::MAX, None, 1).await.unwrap().is_empty());
    world.create("again", &[("stream-ttl", "60")]).await;
    world.clock.advance(Duration::from_secs(61));
    world.store.fail_next_commit(StoreError::failed("EIO"));
    world.background.sweeper.sweep().await;
    assert_eq!(world.background.sweeper.set_aside.len(), 1);
    world.create("again", &[("stream-ttl", "60")]).await;
    world.clock.advance(Duration::from_secs(2));
    world.background.sweeper.sweep().await;
    assert!(world.background.sweeper.set_aside.is_empty(), "it isn't over any more");
}

#[tokio::test]
async fn a_refused_commit_and_one_in_doubt_are_different_to_the_client() {
    let world = World::new();
    world.create("a", &[]).await;
    for (error, problem) in [
        (StoreError::failed("EIO"), "urn:headwater:problem:storage-failed"),
        (StoreError::in_doubt("EIO"), "urn:headwater:problem:storage-in-doubt"),
    ] {
        world.store.fail_next_commit(error);
        let response = world.append("a", "x").await;
        assert_eq!(response.head.status, StatusCode::INTERNAL_SERVER_ERROR);
        let document: serde_json::Value = serde_json::from_slice(&collect(response.body).await).unwrap();
        assert_eq!(document["type"], problem);
    }
}

#[tokio::test]
async fn probes_say_what_the_store_and_the_service_say() {
    let world = World::new();
    let status = async |path: &str| {
        let head = Request::get(path).version(Version::HTTP_10).body(()).unwrap().into_parts().0;
        world.service.execute(world.service.parse(&head), stream::empty()).await.head.status.as_u16()
    };
    let mut seen = Vec::new();
    let healths = [Health::Healthy, failing(), Health::Stopped(cause()), Health::Healthy];
    for (step, health) in healths.into_iter().enumerate() {
        world.store.set_health(health);
        if step == 3 {
            world.service.drain();
        }
        seen.push((status("/livez").await, status("/readyz").await, status("/health").await));
    }
    assert_eq!(seen, [(200, 200, 200), (200, 503, 503), (503, 503, 503), (200, 503, 503)]);
}

fn cause() -> Arc<dyn std::error::Error + Send + Sync> {
    Arc::new(StoreError::Full)
}

fn failing() -> Health {
    Health::Failing(cause())
}

#[tokio::test]
async fn creations_are_refused_when_there_are_no_more_incarnations() {
    use headwater_store::{Commit, contract};
    let store = MemStore::new(1 << 20);
    let last = contract::put("last", contract::head(Incarnation::MAX, 1, 0), "");
    store.commit(Commit::new(vec![last])).await.unwrap();
    let world = World::on(store, Config::default());
    let response = world.send("PUT", "a", &[("content-type", "text/plain")], "").await;
    assert_eq!(response.head.status, StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(world.status("HEAD", "a").await, StatusCode::NOT_FOUND);
}
