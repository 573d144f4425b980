//! Appends without a promise: what isn't answered is there or not, and isn't sent again.

use std::sync::Arc;

use anyhow::Result;

use super::{Track, Writer};
use crate::payload::Key;
use crate::requests::{Manner, Scene, Went, append};

#[derive(Debug)]
pub(crate) struct Plain {
    id: u16,
    track: Arc<Track>,
    number: u32,
}

impl Plain {
    pub(crate) fn new(id: u16, track: Arc<Track>) -> Self {
        Self { id, track, number: 0 }
    }
}

impl Writer for Plain {
    fn step(&mut self, scene: &Scene<'_>) -> Result<Went> {
        let Some(stream) = self.track.stream(scene)? else { return Ok(Went::Lost) };
        self.number += 1;
        append(scene, &stream, Key { writer: self.id, number: self.number }, &Manner::default())
    }
}
