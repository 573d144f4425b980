//! A writer that numbers its appends with `Stream-Seq`: what isn't answered is sent again with the same number, and a
//! refusal says that it was there.

use std::sync::Arc;

use anyhow::{Result, bail};
use headwater_testkit::Request;
use headwater_testkit::random::{Chance, Rng};

use super::{Track, Writer};

use crate::payload::{self, Key};
use crate::requests::{Manner, Scene, Went, append};
use crate::stream::Tracked;

#[derive(Debug)]
pub(crate) struct Sequenced {
    id: u16,
    rng: Rng,
    track: Arc<Track>,
    number: u32,
    pending: Option<(Arc<Tracked>, Key)>,
}

impl Sequenced {
    pub(crate) fn new((id, rng): (u16, Rng), track: Arc<Track>) -> Self {
        Self { id, rng, track, number: 0, pending: None }
    }

    /// The last number again, with other bytes.
    fn go_back(&self, scene: &Scene<'_>, stream: &Tracked) -> Result<Went> {
        let nobody = Key { writer: u16::MAX, number: self.number };
        let request = Request::new("POST", &stream.name)
            .header("Content-Type", stream.form.content_type())
            .header("Stream-Seq", format_args!("{:010}", self.number))
            .body(payload::body(stream.form, stream.seed, nobody));
        let Some(response) = scene.exchange(stream, &request)? else { return Ok(Went::Lost) };
        if scene.expects_refusal(&response) {
            return Ok(Went::Refused);
        }
        if response.status != 409 {
            let what = format!("{request} was answered with {response}, not 409");
            bail!(stream.broken("a stream remembers its last Stream-Seq", what));
        }
        Ok(Went::Well)
    }
}

impl Writer for Sequenced {
    fn step(&mut self, scene: &Scene<'_>) -> Result<Went> {
        let (stream, key) = match &self.pending {
            Some(pending) => pending.clone(),
            None => {
                let Some(stream) = self.track.stream(scene)? else { return Ok(Went::Lost) };
                if self.rng.chance(1, 30) && !stream.state().offsets.is_empty() {
                    return self.go_back(scene, &stream);
                }
                self.number += 1;
                (stream, Key { writer: self.id, number: self.number })
            }
        };
        self.pending = Some((stream.clone(), key));
        let went =
            append(scene, &stream, key, &Manner { stream_seq: Some(key.number), ..Manner::default() })?;
        if went == Went::Well {
            self.pending = None;
        }
        Ok(went)
    }
}
