//! What runs for every request: `cargo bench -p headwater-protocol`.

#![expect(clippy::expect_used, reason = "it measures known good input")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headwater_protocol::{
    ParseContext, Request, RequestHead,
    cache::{CachePolicy, Class},
    content_type::SseEncoding,
    cursor::{CursorPolicy, EPOCH_MS},
    json,
    offset::{Incarnation, Offset, ReadFrom},
    op::{
        append::Append,
        read::{Read, ReadPolicies},
    },
    path::BasePath,
    sse,
    stream::StreamHead,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

struct Head {
    method: &'static str,
    query: Option<&'static str>,
    headers: HeaderMap,
}

impl RequestHead for Head {
    fn method(&self) -> &str {
        self.method
    }
    fn path(&self) -> &str {
        "/v1/stream/rooms/42/messages"
    }
    fn query(&self) -> Option<&str> {
        self.query
    }
    fn authority(&self) -> Option<&str> {
        None
    }
    fn version(&self) -> Version {
        Version::HTTP_10
    }
    fn header<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.headers.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}

fn parse(head: &Head) -> Request {
    let base_path = BasePath::parse("/v1/stream").expect("a plain path");
    let context = ParseContext { base_path: &base_path, body_bytes_max: 1 << 24, now_ms: 0 };
    Request::parse(head, &context).expect("a good request")
}

fn post() -> Head {
    let headers = [("content-type", "application/octet-stream"), ("content-length", "256")];
    let headers =
        headers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    Head { method: "POST", query: None, headers: headers.into_iter().collect() }
}

fn get() -> Head {
    let query = Some("offset=1763715600000000_0000000000000100&live=long-poll&cursor=5678");
    Head { method: "GET", query, headers: HeaderMap::new() }
}

fn append() -> Append {
    let Request::Append(append) = parse(&post()) else { unreachable!("it is a POST") };
    append
}

fn read() -> Read {
    let Request::Read(read) = parse(&get()) else { unreachable!("it is a GET") };
    read
}

fn stream() -> StreamHead {
    let put = Head { method: "PUT", query: None, headers: HeaderMap::new() };
    let Request::Create(create) = parse(&put) else { unreachable!("it is a PUT") };
    let incarnation = Incarnation::new(1_763_715_600_000_000).expect("not zero");
    create
        .decide(Bytes::from(vec![7; 1_000]), None, incarnation, EPOCH_MS)
        .expect("a plain stream")
        .change
        .head
}

fn requests(c: &mut Criterion) {
    c.bench_function("parse POST", |b| b.iter_with_large_drop(|| parse(black_box(&post()))));
    c.bench_function("parse GET", |b| b.iter_with_large_drop(|| parse(black_box(&get()))));
    c.bench_function("parse offset", |b| {
        b.iter(|| ReadFrom::parse(black_box("1763715600000000_0000000000005678")));
    });
    let offset = Offset { incarnation: stream().incarnation, position: 5_678 };
    c.bench_function("encode offset", |b| b.iter(|| black_box(offset).encode()));
}

fn decisions(c: &mut Criterion) {
    let (stream, append, body) = (stream(), append(), Bytes::from(vec![7; 256]));
    c.bench_function("decide and answer an append", |b| {
        b.iter(|| {
            let payload = append.prepare(body.clone()).expect("bytes");
            append.decide(black_box(Some(&stream)), None, payload, EPOCH_MS)
        });
    });
    let policies = ReadPolicies { cache: CachePolicy::default(), cursor: CursorPolicy::default() };
    let read = read();
    c.bench_function("answer a read", |b| {
        b.iter(|| read.respond(black_box(&stream), 100, 1_000, &policies, EPOCH_MS));
    });
    c.bench_function("Cache-Control", |b| {
        b.iter(|| policies.cache.cache_control(black_box(Class::Chunk), None, None));
    });
}

fn bodies(c: &mut Criterion) {
    let message = format!("{{\"id\":1234,\"text\":\"{}\"}}", "x".repeat(230));
    let batch = format!("[{}]", vec![message.as_str(); 100].join(","));
    let stored = json::split(batch.as_bytes()).expect("JSON");
    let mut group = c.benchmark_group("bodies");
    group.throughput(Throughput::Bytes(message.len() as u64));
    group.bench_function("split one JSON message", |b| b.iter(|| json::split(black_box(message.as_bytes()))));
    group.throughput(Throughput::Bytes(batch.len() as u64));
    group.bench_function("split 100 JSON messages", |b| b.iter(|| json::split(black_box(batch.as_bytes()))));
    group.bench_function("wrap 100 JSON messages", |b| b.iter(|| json::wrap(black_box(&stored))));
    let body = json::wrap(&stored);
    let offset = Offset { incarnation: stream().incarnation, position: 5_678 };
    for (name, encoding) in
        [("JSON", SseEncoding::Json), ("text", SseEncoding::Text), ("base64", SseEncoding::Base64)]
    {
        group.bench_function(format!("write a data event, {name}"), |b| {
            b.iter(|| {
                let mut out = String::new();
                sse::write_data(&mut out, encoding, black_box(&body), offset);
                out
            });
        });
    }
    group.finish();
}

criterion_group!(benches, requests, decisions, bodies);
criterion_main!(benches);
