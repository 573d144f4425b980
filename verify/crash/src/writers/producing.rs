//! An idempotent producer: what isn't answered is sent again with the same triple until it is, and is there once.
//!
//! Now and then it repeats what was answered, begins a new epoch, leaves a gap, or writes with an epoch that is over.

use std::sync::Arc;

use anyhow::{Result, bail};
use headwater_testkit::Request;
use headwater_testkit::random::Rng;

use super::{Track, Writer};

use crate::payload::{self, Key};
use crate::requests::{Claim, Manner, Scene, Went, append};
use crate::stream::Tracked;

#[derive(Debug)]
pub(crate) struct Producing {
    id: u16,
    rng: Rng,
    track: Arc<Track>,
    number: u32,
    session: Option<Session>,
}

/// A producer's own state on one stream.
#[derive(Debug)]
struct Session {
    stream: Arc<Tracked>,
    epoch: u64,
    seq_next: u64,
    last: Option<Key>,
    /// Not answered yet.
    pending: Option<Key>,
}

impl Producing {
    pub(crate) fn new((id, rng): (u16, Rng), track: Arc<Track>) -> Self {
        Self { id, rng, track, number: 0, session: None }
    }
}

impl Writer for Producing {
    fn step(&mut self, scene: &Scene<'_>) -> Result<Went> {
        let pending = self.session.as_ref().is_some_and(|session| session.pending.is_some());
        if !pending {
            let Some(stream) = self.track.stream(scene)? else { return Ok(Went::Lost) };
            if self.session.as_ref().is_none_or(|session| !Arc::ptr_eq(&session.stream, &stream)) {
                self.session = Some(Session { stream, epoch: 0, seq_next: 0, last: None, pending: None });
            }
        }
        let Some(session) = &mut self.session else { return Ok(Went::Well) };
        let id = format!("producer-{}", self.id);
        if !pending {
            match self.rng.u64(..40) {
                0 => return session.repeat(scene, &id),
                1 => return session.send_refused(scene, &id, session.epoch, session.seq_next + 2, 409),
                2 if session.epoch > 0 && session.last.is_some() => {
                    return session.send_refused(scene, &id, session.epoch - 1, session.seq_next, 403);
                }
                3 if session.seq_next > 0 => {
                    session.epoch += 1;
                    session.seq_next = 0;
                    session.last = None;
                }
                _ => {}
            }
        }
        let key = *session.pending.get_or_insert_with(|| {
            self.number += 1;
            Key { writer: self.id, number: self.number }
        });
        let went = append(scene, &session.stream, key, &session.manner(&id, session.seq_next))?;
        if went == Went::Well {
            session.pending = None;
            session.last = Some(key);
            session.seq_next += 1;
        }
        Ok(went)
    }
}

impl Session {
    fn manner(&self, id: &str, seq: u64) -> Manner {
        let producer = Some(Claim { id: id.to_owned(), epoch: self.epoch, seq });
        Manner { producer, ..Manner::default() }
    }

    /// Sends again what was answered.
    fn repeat(&self, scene: &Scene<'_>, id: &str) -> Result<Went> {
        let Some(last) = self.last else { return Ok(Went::Well) };
        append(scene, &self.stream, last, &self.manner(id, self.seq_next - 1))
    }

    /// Sends something that must be refused, and that nobody knows if it is there all the same.
    fn send_refused(&self, scene: &Scene<'_>, id: &str, epoch: u64, seq: u64, status: u16) -> Result<Went> {
        let stream = &self.stream;
        // A gap is one only to a producer that the stream knows.
        if self.last.is_none() && self.epoch == 0 {
            return Ok(Went::Well);
        }
        let nobody = Key { writer: u16::MAX, number: u32::try_from(seq).unwrap_or_default() };
        // A new epoch begins at 0, whatever else is wrong.
        if self.seq_next == 0 && status == 409 {
            return Ok(Went::Well);
        }
        let request = Request::new("POST", &stream.name)
            .header("Content-Type", stream.form.content_type())
            .header("Producer-Id", id)
            .header("Producer-Epoch", epoch)
            .header("Producer-Seq", seq)
            .body(payload::body(stream.form, stream.seed, nobody));
        let Some(response) = scene.exchange(stream, &request)? else { return Ok(Went::Lost) };
        if scene.expects_refusal(&response) {
            return Ok(Went::Refused);
        }
        if response.status != status {
            let what = format!("{request} was answered with {response}, not {status}; {self:?}");
            bail!(stream.broken("a stream remembers its producers", what));
        }
        Ok(Went::Well)
    }
}
