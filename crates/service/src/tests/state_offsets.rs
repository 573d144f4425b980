//! Offsets on events of the State Protocol, which are made while ranges are read.

use headwater_protocol::op::read::ReadPolicies;

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");

/// A server whose events get offsets if `state_offsets` says so.
fn world(state_offsets: bool, chunk_bytes: u64) -> World {
    let mut policies = ReadPolicies::default();
    policies.state_offsets = state_offsets;
    World::with(Config { policies, chunk_bytes, ..Config::default() })
}

async fn append(world: &World, name: &str, body: &'static str) -> String {
    let response = world.send("POST", name, &[JSON], body).await;
    assert_eq!(response.head.status, StatusCode::NO_CONTENT);
    next(&response)
}

fn next(response: &Response) -> String {
    response.head.headers[names::STREAM_NEXT_OFFSET].to_str().unwrap().to_owned()
}

async fn read(world: &World, name: &str, query: &str) -> (String, String) {
    let response = world.send("GET", &format!("{name}?{query}"), &[], "").await;
    assert_eq!(response.head.status, StatusCode::OK);
    let tag = response.head.headers["etag"].to_str().unwrap().to_owned();
    let Body::Full(bytes) = response.body else { panic!("{:?}", response.body) };
    (String::from_utf8(bytes.to_vec()).unwrap(), tag)
}

const BATCH: &str = r#"[{"headers":{"operation":"insert"},"key":"a"},{"other":1},{"headers":{"operation":"insert"},"key":"b"}]"#;
const ONE: &str = r#"{"headers":{"control":"reset"}}"#;

fn told(batch: &str, one: &str) -> String {
    format!(
        r#"[{{"headers":{{"offset":"{batch}","operation":"insert"}},"key":"a"}},{{"other":1}},{{"headers":{{"offset":"{batch}","operation":"insert"}},"key":"b"}},{{"headers":{{"offset":"{one}","control":"reset"}}}}]"#
    )
}

#[tokio::test]
async fn events_have_the_offset_after_their_append() {
    let world = world(true, 1 << 20);
    world.send("PUT", "a", &[JSON], "").await;
    let batch = append(&world, "a", BATCH).await;
    let one = append(&world, "a", ONE).await;
    let (whole, tag) = read(&world, "a", "offset=-1").await;
    assert_eq!(whole, told(&batch, &one));
    assert!(tag.ends_with(":offsets:tail\""), "{tag}");
    let (rest, _) = read(&world, "a", &format!("offset={batch}")).await;
    assert_eq!(rest, format!(r#"[{{"headers":{{"offset":"{one}","control":"reset"}}}}]"#));
    let mut events = world.send("GET", "a?offset=-1&live=sse", &[], "").await.body;
    assert!(next_event(&mut events).await.unwrap().contains(&format!("\ndata:{}\n", told(&batch, &one))));
    // The tag names the stream's state for a write, too.
    let write = world.send("POST", "a", &[JSON, ("if-match", &tag)], "1").await;
    assert_eq!(write.head.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn chunks_end_as_they_do_without() {
    let (with, without) = (world(true, 60), world(false, 60));
    let mut ends = Vec::new();
    for world in [&with, &without] {
        world.send("PUT", "a", &[JSON], "").await;
        for body in [BATCH, ONE, "7", ONE, BATCH] {
            append(world, "a", body).await;
        }
        let mut offset = "-1".to_owned();
        let mut positions = Vec::new();
        loop {
            let response = world.send("GET", &format!("a?offset={offset}"), &[], "").await;
            offset = next(&response);
            positions.push(offset[17..].to_owned());
            if response.head.headers.contains_key(names::STREAM_UP_TO_DATE) {
                break;
            }
        }
        ends.push(positions);
    }
    assert!(ends[0].len() > 2);
    assert_eq!(ends[0], ends[1]);
}

#[tokio::test]
async fn what_is_stored_has_none() {
    let world = world(false, 1 << 20);
    world.send("PUT", "a", &[JSON], "").await;
    append(&world, "a", BATCH).await;
    let (whole, tag) = read(&world, "a", "offset=-1").await;
    assert_eq!(whole, BATCH);
    assert!(!tag.contains("offsets"), "{tag}");
}

#[tokio::test]
async fn other_types_are_as_they_were_sent() {
    let world = world(true, 1 << 20);
    world.create("a", &[]).await;
    world.append("a", ONE).await;
    assert_eq!(world.text("a").await, ONE);
}

#[tokio::test]
async fn a_fork_tells_the_offsets_of_its_source() {
    let world = world(true, 1 << 20);
    world.send("PUT", "a", &[JSON], "").await;
    let batch = append(&world, "a", BATCH).await;
    append(&world, "a", "7").await;
    let fork = [JSON, ("stream-forked-from", "/v1/stream/a"), ("stream-fork-offset", &batch)];
    assert_eq!(world.send("PUT", "b", &fork, "").await.head.status, StatusCode::CREATED);
    let one = append(&world, "b", ONE).await;
    assert_eq!(read(&world, "b", "offset=-1").await.0, told(&batch, &one));
}

/// A range is one piece, however large, and must be readable whatever is cached and whoever reads slowly.
#[tokio::test]
async fn large_ranges_are_read_and_keep_nobody_from_reading() {
    let mut policies = ReadPolicies::default();
    policies.state_offsets = true;
    let config =
        Config { policies, responses_bytes_max: 4 << 20, chunk_cache_bytes: 64 << 10, ..Config::default() };
    let world = World::on(MemStore::new(64 << 20), config);
    let event: &'static str = r#"{"headers":{"operation":"insert"}}"#;
    let large: &'static str = format!("[{}]", vec![event; 60_000].join(",")).leak();
    for (name, body) in [("small", "[7]"), ("large", "[7]")] {
        world.send("PUT", name, &[JSON], body).await;
        read(&world, name, "offset=-1").await;
    }
    let mut events = world.send("GET", "large?offset=now&live=sse", &[], "").await.body;
    assert!(next_event(&mut events).await.unwrap().contains("upToDate"));
    append(&world, "large", large).await;
    let part = next_event(&mut events).await.unwrap();
    assert!(part.len() < 2 << 20, "{} bytes at a time", part.len());
    // It takes no more for now, and others read.
    for _ in 0..3 {
        assert!(read(&world, "small", "offset=-1").await.0.len() < 10);
        let (whole, _) = read(&world, "large", "offset=-1").await;
        assert_eq!(whole.matches("\"offset\"").count(), 60_000);
    }
    let mut told = part;
    while !told.ends_with("\"upToDate\":true}\n\n") {
        told.push_str(&next_event(&mut events).await.unwrap());
    }
    assert_eq!(told.matches("\"offset\"").count(), 60_000);
    assert!(told.lines().all(|line| line.len() < 40 << 10));
}
