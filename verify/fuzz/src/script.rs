//! Scripts of requests against the service on the store in memory, in which requests are dropped at any moment and commits are
//! held, released and lost.

use std::{collections::BTreeMap, io, sync::Arc};

use bytes::Bytes;
use futures_util::stream;
use headwater_service::{Service, clock::ManualClock};
use headwater_store::faulty::Faulty;
use headwater_store_mem::MemStore;
use http::{Request, Version, request::Parts};
use tokio::task::JoinHandle;

const NAMES: [&str; 2] = ["a", "b"];
/// The appends of one script at most.
const APPENDS_MAX: usize = 64;

/// What is known of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Nobody waits for it any more, or it may have taken effect.
    Unknown,
    Acknowledged,
    Refused,
}

struct World {
    service: Service,
    store: Arc<Faulty<MemStore>>,
    /// The appends that are under way, with their numbers.
    pending: Vec<(usize, JoinHandle<u16>)>,
    /// The stream and the outcome of each append.
    appends: Vec<(usize, Outcome)>,
    /// Whether a stream was deleted: then its earlier appends may be gone.
    deleted: [bool; NAMES.len()],
}

/// Runs the script that the bytes say.
///
/// # Panics
/// If an acknowledged append isn't read exactly once, or one that was refused is read.
pub fn script(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    runtime.block_on(async {
        let store = Arc::new(Faulty::new(MemStore::new(1 << 20)));
        let service = start(&store).await;
        let (pending, appends, deleted) = (Vec::new(), Vec::new(), [false; NAMES.len()]);
        let mut world = World { service, store, pending, appends, deleted };
        for &byte in data.iter().take(400) {
            world.step(byte).await;
        }
        world.end().await;
    });
}

async fn start(store: &Arc<Faulty<MemStore>>) -> Service {
    let clock = Arc::new(ManualClock::new(1_800_000_000_000));
    let builder = Service::builder(store.clone()).clock(clock).without_subscriptions();
    let (service, _background) = builder.start().await.expect("nothing to read");
    service
}

fn head(method: &str, name: &str, query: &str) -> Parts {
    let request = Request::builder().method(method).uri(format!("/v1/stream/{name}{query}"));
    let request = request.version(Version::HTTP_10).header("content-type", "text/plain");
    request.body(()).expect("a request").into_parts().0
}

/// Sends a request; its status and its body.
async fn send(service: &Service, head: Parts, body: String) -> (u16, Vec<u8>) {
    let pieces = (!body.is_empty()).then(|| Ok::<_, io::Error>(Bytes::from(body)));
    let response = service.execute(service.parse(&head), stream::iter(pieces)).await;
    let mut body = response.body;
    let mut bytes = Vec::new();
    while let Some(Ok(piece)) = std::future::poll_fn(|context| body.poll_next(context)).await {
        bytes.extend_from_slice(&piece);
    }
    (response.head.status.as_u16(), bytes)
}

async fn run_tasks(rounds: usize) {
    for _ in 0..rounds {
        tokio::task::yield_now().await;
    }
}

impl World {
    async fn step(&mut self, byte: u8) {
        let stream = usize::from(byte >> 7);
        let name = NAMES[stream];
        match byte & 0x0f {
            0 => self.spawn(head("PUT", name, "")),
            1..=6 if self.appends.len() < APPENDS_MAX => self.append(stream),
            7 => self.store.hold(),
            8 => self.store.release().await,
            9 => self.store.lose(),
            10 => {
                self.deleted[stream] = true;
                self.spawn(head("DELETE", name, ""));
            }
            11 if !self.pending.is_empty() => {
                let at = usize::from(byte >> 4) % self.pending.len();
                let (_, task) = self.pending.swap_remove(at);
                task.abort();
            }
            12 => self.spawn(head("GET", name, "?offset=-1")),
            rounds => run_tasks(usize::from(rounds)).await,
        }
        self.note().await;
    }

    /// Sends a request whose response nobody waits for.
    fn spawn(&self, head: Parts) {
        let service = self.service.clone();
        drop(tokio::spawn(async move { send(&service, head, String::new()).await }));
    }

    fn append(&mut self, stream: usize) {
        let number = self.appends.len();
        self.appends.push((stream, Outcome::Unknown));
        let (service, head) = (self.service.clone(), head("POST", NAMES[stream], ""));
        let task = tokio::spawn(async move { send(&service, head, format!("<{number}>")).await.0 });
        self.pending.push((number, task));
    }

    /// Notes the outcomes of appends that have ended.
    async fn note(&mut self) {
        let mut pending = Vec::new();
        for (number, task) in self.pending.drain(..) {
            if !task.is_finished() {
                pending.push((number, task));
            } else if let Ok(status) = task.await {
                self.appends[number].1 = match status {
                    204 => Outcome::Acknowledged,
                    // The outcome of a commit that was lost is unknown.
                    500 => Outcome::Unknown,
                    _ => Outcome::Refused,
                };
            }
        }
        self.pending = pending;
    }

    async fn end(mut self) {
        self.store.release().await;
        while !self.pending.is_empty() {
            run_tasks(50).await;
            self.note().await;
        }
        run_tasks(200).await;
        let again = start(&self.store).await;
        for (stream, name) in NAMES.iter().enumerate() {
            let (status, body) = send(&self.service, head("GET", name, "?offset=-1"), String::new()).await;
            assert!(matches!(status, 200 | 404), "{status}");
            let afterwards = send(&again, head("GET", name, "?offset=-1"), String::new()).await;
            assert_eq!(afterwards, (status, body.clone()), "a new service reads something else");
            if status == 200 {
                self.check(stream, &String::from_utf8(body).expect("what was appended is text"));
            }
        }
    }

    fn check(&self, stream: usize, text: &str) {
        let mut counts = BTreeMap::new();
        for number in text.split(['<', '>']).filter(|part| !part.is_empty()) {
            *counts.entry(number.parse::<usize>().expect("an append is whole")).or_insert(0) += 1;
        }
        for (number, (of, outcome)) in self.appends.iter().enumerate() {
            let count = counts.get(&number).copied().unwrap_or(0);
            match outcome {
                _ if *of != stream => assert_eq!(count, 0, "{number} is in another stream"),
                Outcome::Acknowledged if !self.deleted[stream] => assert_eq!(count, 1, "{number} in {text}"),
                Outcome::Acknowledged | Outcome::Unknown => assert!(count <= 1, "{number} in {text}"),
                Outcome::Refused => assert_eq!(count, 0, "{number} in {text}"),
            }
        }
    }
}
