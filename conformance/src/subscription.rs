//! A subscription of the server under test, and the streams that belong to it alone.

use std::time::{Duration, Instant};

use headwater_testkit::Response;
use serde_json::{Value, json};

use crate::client::{Stream, Target};

/// The longest time for work in the background.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A subscription, and a folder of streams that only it knows.
pub(crate) struct Subscription<'t> {
    target: &'t Target,
    /// Its id.
    pub(crate) id: String,
    /// The first segment of its streams.
    pub(crate) folder: String,
}

/// An acknowledgement: a stream and an offset.
pub(crate) type Ack<'a> = (&'a str, &'a str);

impl<'t> Subscription<'t> {
    /// Returns a subscription that isn't created yet.
    pub(crate) fn new(target: &'t Target) -> Self {
        let name = target.unused_name();
        Self { target, id: format!("sub-{name}"), folder: name }
    }

    /// A new one that sends webhooks for everything in its folder.
    #[track_caller]
    pub(crate) fn webhook(target: &'t Target, url: &str) -> Self {
        let subscription = Self::new(target);
        subscription.put(&subscription.webhook_body(url)).status(201);
        subscription
    }

    /// The body that creates a webhook subscription of its folder.
    pub(crate) fn webhook_body(&self, url: &str) -> Value {
        json!({ "type": "webhook", "pattern": format!("{}/*", self.folder), "webhook": { "url": url }, "lease_ttl_ms": 600_000 })
    }

    /// A new pull-wake one of everything in its folder, with the stream for its events.
    #[track_caller]
    pub(crate) fn pull(target: &'t Target, lease_ttl_ms: u64) -> Self {
        let subscription = Self::new(target);
        subscription.wake_stream().put().body("[]").send().status(201);
        subscription.put(&subscription.pull_body(lease_ttl_ms)).status(201);
        subscription
    }

    /// The body that creates a pull-wake subscription of its folder.
    pub(crate) fn pull_body(&self, lease_ttl_ms: u64) -> Value {
        json!({ "type": "pull-wake", "pattern": format!("{}/*", self.folder), "wake_stream": self.wake_name(), "lease_ttl_ms": lease_ttl_ms })
    }

    fn wake_name(&self) -> String {
        format!("{}-wake", self.folder)
    }

    /// The stream of its wake events.
    pub(crate) fn wake_stream(&self) -> Stream<'t> {
        self.target.named(&self.wake_name(), "application/json")
    }

    /// A name in its folder.
    pub(crate) fn name(&self, last: &str) -> String {
        format!("{}/{last}", self.folder)
    }

    /// A stream in its folder, which may not exist.
    pub(crate) fn stream(&self, last: &str) -> Stream<'t> {
        self.target.named(&self.name(last), "application/json")
    }

    /// A new stream in its folder with one message.
    #[track_caller]
    pub(crate) fn created(&self, last: &str) -> Stream<'t> {
        let stream = self.stream(last);
        stream.put().body("[1]").send().status(201);
        stream
    }

    /// A resource below its URL.
    pub(crate) fn at(&self, action: &str) -> Stream<'t> {
        self.target.named(&format!("__ds/subscriptions/{}{action}", self.id), "application/json")
    }

    /// Creates it, or tries to.
    #[track_caller]
    pub(crate) fn put(&self, body: &Value) -> Response {
        self.at("").put().body(body.to_string()).send()
    }

    /// Its description.
    #[track_caller]
    pub(crate) fn get(&self) -> Value {
        self.at("").get("").status(200).json()
    }

    /// Deletes it.
    #[track_caller]
    pub(crate) fn delete(&self) {
        self.at("").delete().status(204);
    }

    /// One of its streams, from its description.
    #[track_caller]
    pub(crate) fn link(&self, name: &str) -> Option<Value> {
        let body = self.get();
        let streams = body["streams"].as_array().expect("streams is a list");
        let found: Vec<_> = streams.iter().filter(|stream| stream["path"] == name).collect();
        assert!(found.len() <= 1, "{name} is there twice: {body}");
        found.first().map(|stream| (*stream).clone())
    }

    /// The cursor of one of its streams.
    #[track_caller]
    pub(crate) fn acked(&self, last: &str) -> String {
        let link = self.link(&self.name(last)).unwrap_or_else(|| panic!("{last} is not linked"));
        link["acked_offset"].as_str().expect("an offset is a text").to_owned()
    }

    /// Waits until a cursor is there.
    #[track_caller]
    pub(crate) fn wait_for_ack(&self, last: &str, offset: &str) {
        let deadline = Instant::now() + TIMEOUT;
        while self.acked(last) != offset {
            assert!(Instant::now() < deadline, "the cursor of {last} never was {offset}: {}", self.get());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Claims the work.
    #[track_caller]
    pub(crate) fn claim(&self, worker: &str) -> Response {
        self.at("/claim").post(json!({ "worker": worker }).to_string()).send()
    }

    /// Tells how far the work is that `wake` (a webhook's body or the response to a claim) is about.
    #[track_caller]
    pub(crate) fn report(&self, action: &str, wake: &Value, acks: &[Ack<'_>], done: bool) -> Response {
        let token = wake["callback_token"].as_str().or(wake["token"].as_str()).expect("there is a token");
        self.report_as(action, token, &report(wake, acks, done))
    }

    /// Sends a report with any token and any body.
    #[track_caller]
    pub(crate) fn report_as(&self, action: &str, token: &str, body: &Value) -> Response {
        let request = self.at(&format!("/{action}")).post(body.to_string());
        request.header("Authorization", format!("Bearer {token}")).send()
    }

    /// The wake events so far, once there are so many.
    #[track_caller]
    pub(crate) fn events(&self, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let body = self.wake_stream().get("offset=-1").status(200).json();
            let events = body.as_array().expect("events are a list").clone();
            if events.len() >= count {
                return events;
            }
            assert!(Instant::now() < deadline, "there are not {count} wake events: {events:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The body of a callback, an ack or a release.
pub(crate) fn report(wake: &Value, acks: &[Ack<'_>], done: bool) -> Value {
    let acks: Vec<_> =
        acks.iter().map(|(stream, offset)| json!({ "stream": stream, "offset": offset })).collect();
    json!({ "wake_id": wake["wake_id"], "generation": wake["generation"], "acks": acks, "done": done })
}

/// The entry of one stream in a wake.
#[track_caller]
pub(crate) fn stream_of(wake: &Value, name: &str) -> Value {
    let streams = wake["streams"].as_array().expect("streams is a list");
    let found = streams.iter().find(|stream| stream["path"] == name);
    found.unwrap_or_else(|| panic!("the wake does not name {name}: {wake}")).clone()
}

/// The tail that a wake names.
#[track_caller]
pub(crate) fn tail_of(wake: &Value, name: &str) -> String {
    stream_of(wake, name)["tail_offset"].as_str().expect("an offset is a text").to_owned()
}
