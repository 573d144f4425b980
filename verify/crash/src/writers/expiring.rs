//! Streams with an end: none goes before its time, none is prolonged by a restart, and what has expired stays so.
//!
//! The deadline of a sliding stream is known up to the time that a request takes: it lies between the begin of the last
//! use that was answered and the end of the last one that was sent, and its time-to-live later. Reads move it in steps
//! of a second on disk, so a restart may take back that much of a use by reading.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use headwater_testkit::random::{Chance, Rng};
use headwater_testkit::{Request, Response};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Writer, any_form};

use crate::payload::{self, Form, Key};
use crate::reads::target;
use crate::requests::{Condition, Scene, Went, create};
use crate::stream::{Existence, Tracked};

const SLOTS: usize = 6;
/// The part of a prolongation by reading that a restart may undo.
const TOUCH_STEP: Duration = Duration::from_secs(1);
/// Clocks are read at two places.
const CLOCK: Duration = Duration::from_millis(30);

pub(crate) struct Expiring {
    id: u16,
    rng: Rng,
    seed: u64,
    number: u32,
    slots: Vec<Option<Slot>>,
    lasting: Arc<Tracked>,
}

struct Slot {
    stream: Arc<Tracked>,
    header: (&'static str, String),
    /// `None`: an absolute end.
    ttl: Option<Duration>,
    /// It is there for sure before `earliest`, and not after `latest`.
    earliest: Instant,
    latest: Instant,
    read_last: bool,
    uses_left: u64,
    next: Instant,
    has_expired: bool,
}

impl Expiring {
    pub(crate) fn new((id, rng): (u16, Rng), seed: u64) -> Self {
        let lasting = Tracked::new("lasting", Form::Text, seed);
        Self { id, rng, seed, number: 0, slots: (0..SLOTS).map(|_| None).collect(), lasting }
    }
}

impl Writer for Expiring {
    fn step(&mut self, scene: &Scene<'_>) -> Result<Went> {
        // Deadlines are seconds away: there is no hurry.
        thread::sleep(Duration::from_millis(2));
        if self.rng.chance(1, 10) {
            return check_lasting(scene, &self.lasting);
        }
        let at = self.rng.usize(..SLOTS);
        let Some(slot) = self.slots.get_mut(at) else { return Ok(Went::Well) };
        if let Some(slot) = slot {
            self.number += 1;
            let key = Key { writer: self.id, number: self.number };
            let went = slot.step(scene, key, &mut self.rng)?;
            if !slot.has_expired || went != Went::Well || self.rng.chance(3, 4) {
                return Ok(went);
            }
        }
        *slot = Some(Slot::new(&format!("expiring/{at}"), &mut self.rng, self.seed)?);
        Ok(Went::Well)
    }
}

impl Slot {
    fn new(name: &str, rng: &mut Rng, seed: u64) -> Result<Self> {
        let stream = Tracked::new(name, any_form(rng), seed);
        let now = Instant::now();
        let seconds = rng.u64(1..5);
        let (header, ttl, deadline) = if rng.chance(1, 3) {
            let after = Duration::from_millis(seconds * 1_000 + rng.u64(..1_000));
            let at = OffsetDateTime::from(SystemTime::now() + after);
            let text = at.format(&Rfc3339).context("a time in a few seconds can be written down")?;
            (("Stream-Expires-At", text), None, now + after)
        } else {
            let ttl = Duration::from_secs(seconds);
            (("Stream-TTL", seconds.to_string()), Some(ttl), now + ttl)
        };
        // Half of them are left alone.
        let uses_left = if rng.chance(1, 2) { 0 } else { rng.u64(1..5) };
        Ok(Self {
            stream,
            header,
            ttl,
            earliest: deadline,
            latest: deadline,
            read_last: false,
            uses_left,
            next: now,
            has_expired: false,
        })
    }

    fn step(&mut self, scene: &Scene<'_>, key: Key, rng: &mut Rng) -> Result<Went> {
        if Instant::now() < self.next {
            return Ok(Went::Well);
        }
        self.next = Instant::now() + Duration::from_millis(rng.u64(50..600));
        if matches!(self.stream.existence(), Existence::NotYet | Existence::MaybeThere) {
            return self.create(scene);
        }
        let is_safe = Instant::now() + Duration::from_millis(300) < self.certain();
        if self.uses_left > 0 && !self.has_expired && is_safe {
            self.uses_left -= 1;
            return self.make_use(scene, key, rng);
        }
        // HEAD is no use.
        self.look(scene, &Request::new("HEAD", &self.stream.name)).map(|(went, _)| went)
    }

    fn create(&mut self, scene: &Scene<'_>) -> Result<Went> {
        let first = self.stream.existence() == Existence::NotYet;
        let begun = Instant::now();
        if self.ttl.is_none() && begun + 4 * CLOCK > self.latest {
            // An end in the past can't be asked for.
            self.has_expired = begun > self.latest + CLOCK;
            return Ok(Went::Well);
        }
        let (went, _) = create(scene, &self.stream, std::slice::from_ref(&self.header))?;
        if let Some(ttl) = self.ttl {
            // If an earlier try did it, its time counts; that may even be over, and this one did it again.
            self.earliest = if first { begun + ttl } else { self.earliest };
            self.latest = Instant::now() + ttl;
        }
        Ok(went)
    }

    fn make_use(&mut self, scene: &Scene<'_>, key: Key, rng: &mut Rng) -> Result<Went> {
        let begun = Instant::now();
        let by_reading = rng.chance(1, 2);
        let request = if by_reading {
            Request::new("GET", target(&self.stream, None, ""))
        } else {
            let (form, seed) = (self.stream.form, self.stream.seed);
            Request::new("POST", &self.stream.name)
                .header("Content-Type", form.content_type())
                .body(payload::body(form, seed, key))
        };
        let (went, _) = self.look(scene, &request)?;
        if self.has_expired {
            return Ok(went);
        }
        if let Some(ttl) = self.ttl {
            self.latest = Instant::now() + ttl;
            // On a bad disk a use by reading isn't written down, and a restart takes all of it back.
            if went == Went::Well && (!by_reading || scene.disk == Condition::Good) {
                self.read_last = by_reading;
                self.earliest = begun + ttl;
            }
        }
        Ok(went)
    }

    /// Until when it is there for sure.
    fn certain(&self) -> Instant {
        let step = if self.read_last { TOUCH_STEP } else { Duration::ZERO };
        self.earliest.checked_sub(step + CLOCK).unwrap_or(self.earliest)
    }

    fn look(&mut self, scene: &Scene<'_>, request: &Request) -> Result<(Went, Option<Response>)> {
        let begun = Instant::now();
        let Some(response) = scene.exchange(&self.stream, request)? else { return Ok((Went::Lost, None)) };
        if scene.expects_refusal(&response) {
            return Ok((Went::Refused, None));
        }
        let late =
            |since: Instant| format!("{:?} late, {}", begun.saturating_duration_since(since), self.about());
        match response.status {
            200 | 204 if self.has_expired => {
                bail!(self.stream.broken("what has expired stays so", format!("{request}: {}", self.about())))
            }
            200 | 204 if begun > self.latest + CLOCK => {
                bail!(self.stream.broken(
                    "nothing is prolonged beyond its end",
                    format!("{request}: {}", late(self.latest))
                ))
            }
            404 if !self.has_expired && Instant::now() < self.certain() => {
                let early = self.earliest.saturating_duration_since(Instant::now());
                bail!(
                    self.stream
                        .broken("nothing ends before its time", format!("{early:?} early, {}", self.about()))
                )
            }
            404 => self.has_expired = true,
            200 | 204 => {}
            _ => bail!(self.stream.broken("a stream is there or not", format!("{request}: {response}"))),
        }
        Ok((Went::Well, Some(response)))
    }

    fn about(&self) -> String {
        format!(
            "{}: {}, last used by {}",
            self.header.0,
            self.header.1,
            if self.read_last { "reading" } else { "writing" }
        )
    }
}

/// A stream that lasts an hour keeps its time-to-live.
fn check_lasting(scene: &Scene<'_>, stream: &Tracked) -> Result<Went> {
    if stream.existence() != Existence::There {
        return Ok(create(scene, stream, &[("Stream-TTL", "3600".to_owned())])?.0);
    }
    let request = Request::new("HEAD", &stream.name);
    let Some(response) = scene.exchange(stream, &request)? else { return Ok(Went::Lost) };
    if scene.expects_refusal(&response) {
        return Ok(Went::Refused);
    }
    if (response.status, response.header("Stream-TTL")) != (200, Some("3600")) {
        bail!(stream.broken(
            "a time-to-live is kept",
            format!("{request}: {response}, {:?}", response.header("Stream-TTL"))
        ));
    }
    Ok(Went::Well)
}
