//! A pull-wake subscription with one worker: what it was told of wakes, leases and cursors stays true.
//!
//! - **A cursor is where an acknowledgement put it.** One that was answered is never taken back; one whose answer was
//!   lost counted or didn't; nothing else moves a cursor.
//! - **No append is forgotten.** A stream with an acknowledged append is linked, and while its cursor lies before that
//!   append there is work to claim, and an event that tells of it.
//! - **A generation is given once.** No claim gets one that another claim had, whatever crashed in between.
//! - **A lease is as long as it was said to be**: nobody is fenced before, and nobody waits for it after.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use headwater_testkit::random::{Chance, Rng};
use headwater_testkit::{Request, Response};
use serde_json::{Value, json};

use super::Writer;

use crate::offset::Offset;
use crate::report::broken;
use crate::requests::{Scene, Went};

const STREAMS: usize = 4;
const LEASE: Duration = Duration::from_secs(1);
/// The tolerance between two clocks on a busy machine.
const SLACK: Duration = Duration::from_millis(300);
/// The longest time until a wake when nothing else happens.
const WAKE_MAX: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Subscribing {
    rng: Rng,
    name: String,
    made: Made,
    streams: Vec<Progress>,
    claim: Option<Claim>,
    /// The largest generation that a claim was given.
    granted: u64,
    /// The last generation that an event told, and where the next event will be.
    told: u64,
    told_until: String,
    /// Until then somebody may have a lease.
    leased_until: Instant,
}

/// Whether the subscription exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    No,
    Maybe,
    Yes,
}

/// A stream of the subscription. Offsets sort as texts.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// The number of the stream among those that had this place one after another.
    number: u32,
    is_made: bool,
    /// The end of the last append that was acknowledged.
    tail: Option<String>,
    /// The last acknowledgement that was answered.
    acked: Option<String>,
    /// The later ones whose responses were lost.
    maybe_acked: Vec<String>,
}

#[derive(Clone, Debug)]
struct Claim {
    wake: Value,
    /// The lease lasts until then, at least.
    lasts_until: Instant,
}

/// The outcome of a request.
enum Reply {
    Response(Response),
    /// Refused without a fault of the server.
    Refused,
    /// Nobody knows.
    Lost,
}

impl Progress {
    /// Whether there is work, wherever the cursor is.
    fn is_surely_pending(&self) -> bool {
        let furthest = self.maybe_acked.iter().chain(&self.acked).max();
        self.tail.is_some() && self.tail.as_ref() > furthest
    }
}

impl Subscribing {
    pub(crate) fn new((_, mut rng): (u16, Rng)) -> Self {
        Self {
            name: format!("subscribed-{:x}", rng.u64(..)),
            rng,
            made: Made::No,
            streams: vec![Progress::default(); STREAMS],
            claim: None,
            granted: 0,
            told: 0,
            told_until: "-1".to_owned(),
            leased_until: Instant::now(),
        }
    }

    fn broken(&self, rule: &'static str, what: impl std::fmt::Display) -> anyhow::Error {
        broken(rule, &self.name, format!("{what}; known: {self:?}")).into()
    }

    fn stream(&self, at: usize) -> String {
        let number = self.streams.get(at).map_or(0, |stream| stream.number);
        format!("{}/{at}-{number}", self.name)
    }

    fn wake_stream(&self) -> String {
        format!("{}-wakes", self.name)
    }

    fn control(&self, action: &str) -> String {
        format!("__ds/subscriptions/{}{action}", self.name)
    }

    fn ask(&self, scene: &Scene<'_>, request: &Request) -> Result<Reply> {
        match scene.send(request) {
            Ok(Some(response)) if scene.expects_refusal(&response) => Ok(Reply::Refused),
            Ok(Some(response)) => Ok(Reply::Response(response)),
            Ok(None) => Ok(Reply::Lost),
            Err(what) => Err(self.broken("a server that runs answers", what)),
        }
    }

    /// Makes the wake stream and the subscription, or makes sure that they are there.
    fn make(&mut self, scene: &Scene<'_>) -> Result<Went> {
        match self.ask(scene, &with_json(Request::new("PUT", self.wake_stream()), None))? {
            Reply::Response(response) if matches!(response.status, 200 | 201) => {}
            Reply::Response(response) => bail!(self.broken("a creation is taken", response)),
            Reply::Refused => return Ok(Went::Refused),
            Reply::Lost => return Ok(Went::Lost),
        }
        let config = json!({
            "type": "pull-wake", "pattern": format!("{}/*", self.name), "wake_stream": self.wake_stream(),
            "lease_ttl_ms": u64::try_from(LEASE.as_millis())?,
        });
        let before = self.made;
        match self.ask(scene, &with_json(Request::new("PUT", self.control("")), Some(&config)))? {
            Reply::Response(response) => match (response.status, before) {
                (201, Made::No | Made::Maybe) | (200, Made::Maybe | Made::Yes) => self.made = Made::Yes,
                _ => bail!(self.broken("a subscription is created once", response)),
            },
            Reply::Refused => return Ok(Went::Refused),
            Reply::Lost => {
                self.made = if before == Made::No { Made::Maybe } else { before };
                return Ok(Went::Lost);
            }
        }
        Ok(Went::Well)
    }

    /// Appends to a stream, or creates it with something in it, or lets another one take its place.
    fn append(&mut self, scene: &Scene<'_>) -> Result<Went> {
        let at = self.rng.usize(..STREAMS);
        let is_made = self.streams.get(at).is_some_and(|stream| stream.is_made);
        if is_made && self.rng.chance(1, 8) {
            return self.replace(scene, at);
        }
        let method = if is_made { "POST" } else { "PUT" };
        match self.ask(scene, &with_json(Request::new(method, self.stream(at)), Some(&json!(at))))? {
            Reply::Response(response)
                if matches!((method, response.status), ("POST", 204) | ("PUT", 200 | 201)) =>
            {
                let Some(end) = Offset::next(&response) else {
                    bail!(self.broken("an append says where it ends", response))
                };
                if let Some(stream) = self.streams.get_mut(at) {
                    stream.is_made = true;
                    stream.tail = Some(end.text);
                }
                Ok(Went::Well)
            }
            Reply::Response(response) => Err(self.broken("an append is taken", response)),
            Reply::Refused => Ok(Went::Refused),
            Reply::Lost => Ok(Went::Lost),
        }
    }

    fn replace(&mut self, scene: &Scene<'_>, at: usize) -> Result<Went> {
        let reply = self.ask(scene, &Request::new("DELETE", self.stream(at)))?;
        if let Reply::Response(response) = &reply
            && response.status != 204
        {
            bail!(self.broken("a deletion is taken", response));
        }
        if matches!(reply, Reply::Refused) {
            return Ok(Went::Refused);
        }
        // Whether it was deleted or not: nobody looks at it any more.
        if let Some(stream) = self.streams.get_mut(at) {
            *stream = Progress { number: stream.number + 1, ..Progress::default() };
        }
        Ok(if matches!(reply, Reply::Lost) { Went::Lost } else { Went::Well })
    }

    fn claim(&mut self, scene: &Scene<'_>) -> Result<Went> {
        let is_free = Instant::now() > self.leased_until + SLACK;
        let lasts_until = Instant::now() + LEASE;
        let request =
            with_json(Request::new("POST", self.control("/claim")), Some(&json!({ "worker": "w" })));
        let reply = self.ask(scene, &request)?;
        self.leased_until = self.leased_until.max(Instant::now() + LEASE);
        let response = match reply {
            Reply::Response(response) => response,
            Reply::Refused => return Ok(Went::Refused),
            Reply::Lost => return Ok(Went::Lost),
        };
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        match (response.status, text(&body, "/error/code")) {
            (200, _) => {
                let generation = number(&body, "/generation").unwrap_or_default();
                if generation <= self.granted {
                    bail!(self.broken("a generation is given once", body));
                }
                self.granted = generation;
                for (at, stream) in
                    self.streams.iter().enumerate().filter(|(_, stream)| stream.is_surely_pending())
                {
                    let named = link_of(&body, &self.stream(at));
                    let tail = named.and_then(|named| text(named, "/tail_offset"));
                    let is_named =
                        named.is_some_and(|named| named.pointer("/has_pending") == Some(&json!(true)));
                    if !is_named || tail < stream.tail.as_deref() {
                        bail!(self.broken("a wake names what is pending", body));
                    }
                }
                self.claim = Some(Claim { wake: body, lasts_until });
            }
            (409, Some("NO_PENDING_WORK")) => {
                if self.streams.iter().any(Progress::is_surely_pending) {
                    bail!(self.broken("no append is forgotten", response));
                }
            }
            (409, Some("ALREADY_CLAIMED")) if is_free => bail!(self.broken("a lease ends in time", response)),
            (409, Some("ALREADY_CLAIMED")) => {}
            _ => bail!(self.broken("a claim is answered", response)),
        }
        Ok(Went::Well)
    }

    fn ack(&mut self, scene: &Scene<'_>, claim: &Claim) -> Result<Went> {
        let at = self.rng.usize(..STREAMS);
        let known = self.streams.get(at).cloned().unwrap_or_default();
        // What was lost may have counted, and a cursor doesn't go back.
        let furthest = known.maybe_acked.iter().chain(&known.acked).max();
        let offset = known.tail.clone().filter(|tail| Some(tail) >= furthest);
        let acks: Vec<Value> =
            offset.iter().map(|offset| json!({ "stream": self.stream(at), "offset": offset })).collect();
        let done = self.rng.chance(1, 3);
        let (wake_id, generation) = (text(&claim.wake, "/wake_id"), number(&claim.wake, "/generation"));
        let body = json!({ "wake_id": wake_id, "generation": generation, "acks": acks, "done": done });
        let token = text(&claim.wake, "/token").unwrap_or_default();
        let request = with_json(Request::new("POST", self.control("/ack")), Some(&body))
            .header("Authorization", format_args!("Bearer {token}"));
        let lasts_until = Instant::now() + LEASE;
        let reply = self.ask(scene, &request)?;
        let answered = Instant::now();
        let Some(stream) = self.streams.get_mut(at) else { return Ok(Went::Well) };
        match reply {
            Reply::Response(response) if response.status == 200 => {
                if let Some(offset) = offset {
                    stream.acked = Some(offset);
                    stream.maybe_acked.clear();
                }
                let again = Claim { lasts_until, ..claim.clone() };
                self.claim = Some(again).filter(|_| !done);
                self.leased_until = if done { answered } else { answered + LEASE };
                Ok(Went::Well)
            }
            Reply::Response(response) if response.status == 409 && answered + SLACK > claim.lasts_until => {
                drop(response);
                self.claim = None;
                Ok(Went::Well)
            }
            Reply::Response(response) => {
                Err(self.broken("a lease lasts as long as it was said to", response))
            }
            Reply::Refused => Ok(Went::Refused),
            Reply::Lost => {
                stream.maybe_acked.extend(offset);
                // It may have ended the lease or prolonged it.
                self.claim = Some(claim.clone()).filter(|_| !done);
                self.leased_until = answered + LEASE;
                Ok(Went::Lost)
            }
        }
    }

    /// Cursors are where acknowledgements put them.
    fn compare(&mut self, scene: &Scene<'_>) -> Result<()> {
        let Reply::Response(response) = self.ask(scene, &Request::new("GET", self.control("")))? else {
            return Ok(());
        };
        if response.status == 404 && self.made == Made::Maybe {
            self.made = Made::No;
            return Ok(());
        }
        if response.status != 200 {
            bail!(self.broken("a subscription stays", response));
        }
        self.made = Made::Yes;
        let body: Value = serde_json::from_slice(&response.body)?;
        for at in 0..STREAMS {
            let cursor = link_of(&body, &self.stream(at)).and_then(|link| text(link, "/acked_offset"));
            let Some(stream) = self.streams.get(at) else { continue };
            let is_right = match cursor {
                None => stream.tail.is_none(),
                Some(cursor) => match &stream.acked {
                    Some(acked) if cursor == acked => true,
                    None if cursor.ends_with("_0000000000000000") => true,
                    _ => stream.maybe_acked.iter().any(|acked| acked == cursor),
                },
            };
            if !is_right {
                bail!(self.broken("a cursor is where an acknowledgement put it", format!("{at} in {body}")));
            }
            if let (Some(stream), Some(cursor)) = (self.streams.get_mut(at), cursor) {
                // What was lost has counted by now, or never will.
                stream.maybe_acked.clear();
                stream.acked =
                    Some(cursor.to_owned()).filter(|cursor| !cursor.ends_with("_0000000000000000"));
            }
        }
        Ok(())
    }

    /// While something is pending and nobody has it, an event tells of it.
    fn wait_for_wake(&mut self, scene: &Scene<'_>) -> Result<()> {
        if !self.streams.iter().any(Progress::is_surely_pending) {
            return Ok(());
        }
        let deadline = self.leased_until.max(Instant::now()) + WAKE_MAX;
        loop {
            let request = Request::new("GET", format!("{}?offset={}", self.wake_stream(), self.told_until));
            let Reply::Response(response) = self.ask(scene, &request)? else { return Ok(()) };
            let events: Vec<Value> = serde_json::from_slice(&response.body).unwrap_or_default();
            for generation in events.iter().filter_map(|event| number(event, "/generation")) {
                if generation <= self.told {
                    bail!(self.broken("a wake is told once, in order", generation));
                }
                self.told = generation;
            }
            if let Some(next) = Offset::next(&response) {
                self.told_until = next.text;
            }
            if self.told > self.granted {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(self.broken("an append wakes", "no event came"));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Writer for Subscribing {
    fn step(&mut self, scene: &Scene<'_>) -> Result<Went> {
        if self.made != Made::Yes {
            return self.make(scene);
        }
        match (self.rng.u64(..10), self.claim.clone()) {
            (0..5, _) => self.append(scene),
            (5..9, Some(claim)) => self.ack(scene, &claim),
            (5..9, None) => self.claim(scene),
            _ => self.make(scene),
        }
    }

    fn look(&mut self, scene: &Scene<'_>) -> Result<()> {
        if self.made == Made::No {
            return Ok(());
        }
        self.compare(scene)?;
        // A lease may have to end first, which takes a while: not each time.
        if self.made == Made::Yes && self.rng.chance(1, 3) { self.wait_for_wake(scene) } else { Ok(()) }
    }
}

/// The server's description of one stream.
fn link_of<'a>(body: &'a Value, name: &str) -> Option<&'a Value> {
    body.pointer("/streams")?.as_array()?.iter().find(|link| text(link, "/path") == Some(name))
}

fn text<'a>(body: &'a Value, pointer: &str) -> Option<&'a str> {
    body.pointer(pointer)?.as_str()
}

fn number(body: &Value, pointer: &str) -> Option<u64> {
    body.pointer(pointer)?.as_u64()
}

fn with_json(request: Request, body: Option<&Value>) -> Request {
    let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    request.header("Content-Type", "application/json").body(body)
}
