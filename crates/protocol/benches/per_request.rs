//! The functions that run for every request: `cargo bench -p headwater-protocol`.

#![expect(clippy::expect_used, reason = "it measures known good input")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headwater_protocol::{
    ParseContext, Request,
    cache::Class,
    content_type::SseEncoding,
    cursor::EPOCH_MS,
    json,
    offset::{Incarnation, Offset, ReadFrom},
    op::{
        append::Append,
        create::Decision,
        read::{Read, ReadContext, ReadPolicies},
    },
    path::BasePath,
    sse,
    stream::StreamHead,
};
use http::{HeaderValue, Method, Request as HttpRequest, Version, header, request::Parts};

fn parse(head: &Parts) -> Request {
    let base_path = BasePath::parse("/v1/stream").expect("a plain path");
    let context = ParseContext { base_path: &base_path, body_bytes_max: 1 << 24, now_ms: 0 };
    Request::parse(head, &context).expect("a good request")
}

fn head(method: Method, query: &str) -> Parts {
    let target = format!("/v1/stream/rooms/42/messages?{query}");
    let request = HttpRequest::builder().method(method).uri(target).version(Version::HTTP_10);
    request.body(()).expect("a good request").into_parts().0
}

fn post() -> Parts {
    let mut head = head(Method::POST, "");
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("256"));
    head
}

fn get() -> Parts {
    head(Method::GET, "offset=1763715600000000_0000000000000100&live=long-poll&cursor=5678")
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
    let Request::Create(create) = parse(&head(Method::PUT, "")) else { unreachable!("it is a PUT") };
    let incarnation = Incarnation::new(1_763_715_600_000_000).expect("not zero");
    let payload = create.prepare(Bytes::from(vec![7; 1_000]), None);
    match create.decide(&payload, None, incarnation, EPOCH_MS).expect("a plain stream") {
        Decision::Create(creation) => creation.change.head,
        Decision::Prepare(_) => unreachable!("nothing is inherited"),
    }
}

fn requests(c: &mut Criterion) {
    let (post, get) = (post(), get());
    c.bench_function("parse POST", |b| b.iter_with_large_drop(|| parse(black_box(&post))));
    c.bench_function("parse GET", |b| b.iter_with_large_drop(|| parse(black_box(&get))));
    c.bench_function("parse offset", |b| {
        b.iter(|| ReadFrom::parse(black_box("1763715600000000_0000000000005678")));
    });
    let offset = Offset { incarnation: stream().incarnation, position: 5_678 };
    c.bench_function("encode offset", |b| b.iter(|| black_box(offset).encode()));
}

fn decisions(c: &mut Criterion) {
    let (stream, append, body) = (stream(), append(), Bytes::from(vec![7; 256]));
    c.bench_function("decide an append", |b| {
        b.iter(|| {
            let payload = append.prepare(body.clone()).expect("bytes");
            append.decide(black_box(Some(&stream)), None, payload, EPOCH_MS)
        });
    });
    let (read, policies) = (read(), ReadPolicies::default());
    c.bench_function("respond to a read", |b| {
        let context = ReadContext { stream: &stream, policies: &policies, now_ms: EPOCH_MS };
        b.iter(|| read.respond(black_box(&context), 100, 1_000));
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
