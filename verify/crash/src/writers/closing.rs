//! Streams that are closed, mostly with a last append: both or none.

use std::sync::Arc;

use anyhow::{Result, bail};
use headwater_testkit::Request;
use headwater_testkit::random::Rng;

use super::{Writer, any_form, fresh};

use crate::payload::{self, Key};
use crate::requests::{Claim, Manner, Scene, Went, append, close, create, head};
use crate::stream::{Existence, Tracked};

#[derive(Debug)]
pub(crate) struct Closing {
    id: u16,
    rng: Rng,
    seed: u64,
    number: u32,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    stream: Arc<Tracked>,
    appends_left: u64,
    how: How,
    /// The last append; not answered yet.
    last: Option<Key>,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Producer,
    Append,
    Alone,
}

impl Closing {
    pub(crate) fn new((id, rng): (u16, Rng), seed: u64) -> Self {
        Self { id, rng, seed, number: 0, current: None }
    }

    fn next(&mut self) -> Key {
        self.number += 1;
        Key { writer: self.id, number: self.number }
    }
}

impl Writer for Closing {
    fn step(&mut self, scene: &Scene<'_>) -> Result<Went> {
        let Some(current) = &self.current else {
            let how = match self.rng.u64(..5) {
                0 | 1 => How::Producer,
                2 | 3 => How::Append,
                _ => How::Alone,
            };
            let form = any_form(&mut self.rng);
            let stream = fresh(scene, "closing", form, self.seed);
            self.current = Some(Current { stream, appends_left: self.rng.u64(..4), how, last: None });
            return Ok(Went::Well);
        };
        let stream = current.stream.clone();
        if stream.existence() != Existence::There {
            return Ok(create(scene, &stream, &[])?.0);
        }
        if current.appends_left > 0 {
            let key = self.next();
            if let Some(current) = &mut self.current {
                current.appends_left -= 1;
            }
            return append(scene, &stream, key, &Manner::default());
        }
        let went = match (current.how, current.last) {
            (How::Alone, _) => close(scene, &stream)?,
            (How::Producer, last) => {
                let key = last.unwrap_or_else(|| self.next());
                self.note_last(key);
                let producer = Some(Claim { id: "closer".to_owned(), epoch: 0, seq: 0 });
                append(scene, &stream, key, &Manner { producer, closes: true, stream_seq: None })?
            }
            (How::Append, Some(_)) if is_closed(scene, &stream)? => Went::Well,
            (How::Append, _) => {
                let key = self.next();
                self.note_last(key);
                append(scene, &stream, key, &Manner { closes: true, ..Manner::default() })?
            }
        };
        if went != Went::Well {
            return Ok(went);
        }
        self.current = None;
        assert_closed(scene, &stream)
    }
}

impl Closing {
    fn note_last(&mut self, key: Key) {
        if let Some(current) = &mut self.current {
            current.last = Some(key);
        }
    }
}

fn is_closed(scene: &Scene<'_>, stream: &Tracked) -> Result<bool> {
    Ok(head(scene, stream)?.is_some_and(|response| response.is_closed()))
}

/// Checks that a closed stream refuses appends.
fn assert_closed(scene: &Scene<'_>, stream: &Tracked) -> Result<Went> {
    let nobody = Key { writer: u16::MAX, number: 0 };
    let request = Request::new("POST", &stream.name)
        .header("Content-Type", stream.form.content_type())
        .body(payload::body(stream.form, stream.seed, nobody));
    let Some(response) = scene.exchange(stream, &request)? else { return Ok(Went::Lost) };
    if scene.expects_refusal(&response) {
        return Ok(Went::Refused);
    }
    if response.status != 409 || !response.is_closed() {
        bail!(stream.broken("closed stays closed", format!("{request} was answered with {response}")));
    }
    Ok(Went::Well)
}
