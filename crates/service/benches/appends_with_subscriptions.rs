//! The cost of 10,000 subscriptions, by name and by pattern, for an append that they don't match.

#![expect(clippy::expect_used, reason = "a bench")]

use std::{io, sync::Arc};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::stream;
use headwater_service::{Service, config::Config};
use headwater_store_mem::MemStore;
use http::{Request, Version};
use tokio::runtime::Runtime;

const SUBSCRIPTIONS: usize = 10_000;

/// The body that creates each subscription; `None` if there are none.
type Subscribed = Option<fn(usize) -> String>;

async fn send(service: &Service, method: &'static str, path: &str, body: &str) -> u16 {
    let url = format!("/v1/stream/{path}");
    let request = Request::builder().method(method).uri(url).version(Version::HTTP_10);
    let request = request.header("content-type", "text/plain").body(()).expect("a request");
    let call = service.parse(&request.into_parts().0);
    let body = stream::iter([Ok::<_, io::Error>(Bytes::copy_from_slice(body.as_bytes()))]);
    service.execute(call, body).await.head.status.as_u16()
}

/// Starts a service with a stream, and with subscriptions made by `body`.
async fn service(body: Subscribed) -> Service {
    let mut config = Config::default();
    config.subscriptions.subscriptions_max = SUBSCRIPTIONS;
    let builder = Service::builder(Arc::new(MemStore::new(8 << 30))).config(config);
    let (service, _) = builder.start().await.expect("an empty store");
    for number in 0..body.map_or(0, |_| SUBSCRIPTIONS) {
        let body = body.map(|body| body(number)).unwrap_or_default();
        assert_eq!(send(&service, "PUT", &format!("__ds/subscriptions/{number}"), &body).await, 201);
    }
    assert_eq!(send(&service, "PUT", "events/a", "").await, 201);
    service
}

fn appends(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("append");
    let cases: [(&str, Subscribed); 4] = [
        ("none", None),
        (
            "10,000 by name",
            Some(|n| format!(r#"{{"type":"pull-wake","streams":["others/{n}"],"wake_stream":"w"}}"#)),
        ),
        (
            "10,000 patterns",
            Some(|n| format!(r#"{{"type":"pull-wake","pattern":"tenant-{n}/*","wake_stream":"w"}}"#)),
        ),
        (
            "10,000 deep patterns",
            Some(|n| format!(r#"{{"type":"pull-wake","pattern":"**/tenant-{n}/**","wake_stream":"w"}}"#)),
        ),
    ];
    for (name, body) in cases {
        let service = runtime.block_on(service(body));
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(send(&service, "POST", "events/a", "x")));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("create with data");
    for (name, body) in cases {
        let service = runtime.block_on(service(body));
        let mut number = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                number += 1;
                runtime.block_on(send(&service, "PUT", &format!("events/new/{number}"), "x"))
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(2)).warm_up_time(std::time::Duration::from_millis(500));
    targets = appends
}
criterion_main!(benches);
