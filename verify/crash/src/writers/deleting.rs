//! Names that are created, written, deleted, and created again.

use std::sync::Arc;

use anyhow::{Result, bail};
use headwater_testkit::Request;
use headwater_testkit::random::Rng;

use super::Writer;

use crate::offset::Offset;
use crate::payload::{Form, Key};
use crate::requests::{Manner, Scene, Went, append, create, delete, head};
use crate::stream::{Life, Tracked};

/// Few, so that names come back often.
const NAMES: u64 = 3;

#[derive(Debug)]
pub(crate) struct Deleting {
    id: u16,
    rng: Rng,
    seed: u64,
    number: u32,
    lives: Vec<Lives>,
}

/// The lives of one name.
#[derive(Debug, Default)]
struct Lives {
    current: Option<Arc<Tracked>>,
    appends_left: u64,
    /// Of the life before.
    last_offset: Option<Offset>,
    incarnation_last: u64,
}

impl Deleting {
    pub(crate) fn new((id, rng): (u16, Rng), seed: u64) -> Self {
        Self { id, rng, seed, number: 0, lives: (0..NAMES).map(|_| Lives::default()).collect() }
    }
}

impl Writer for Deleting {
    fn step(&mut self, scene: &Scene<'_>) -> Result<Went> {
        let at = usize::try_from(self.rng.u64(..NAMES)).unwrap_or_default();
        let Some(lives) = self.lives.get_mut(at) else { return Ok(Went::Well) };
        let Some(stream) = lives.current.clone() else {
            // One form per name, so that readers who meet a later life can read it.
            let form = [Form::Bytes, Form::Text, Form::Json].get(at).copied().unwrap_or(Form::Bytes);
            let stream = Tracked::new(format!("deleting/{at}"), form, self.seed);
            scene.registry.add(stream.clone());
            lives.current = Some(stream);
            lives.appends_left = self.rng.u64(..6);
            return Ok(Went::Well);
        };
        match stream.life() {
            Life::Unborn | Life::MaybeAlive => lives.begin(scene, &stream),
            Life::Alive if lives.appends_left > 0 => {
                lives.appends_left -= 1;
                self.number += 1;
                append(scene, &stream, Key { writer: self.id, number: self.number }, &Manner::default())
            }
            Life::Alive | Life::MaybeGone | Life::Gone => lives.end(scene, &stream),
        }
    }
}

impl Lives {
    fn begin(&mut self, scene: &Scene<'_>, stream: &Tracked) -> Result<Went> {
        let (went, next) = create(scene, stream, &[])?;
        let Some(next) = next.filter(|_| went == Went::Well) else { return Ok(went) };
        if next.incarnation <= self.incarnation_last {
            let what = format!("{next} comes after {}", self.incarnation_last);
            bail!(stream.broken("a later life has a larger incarnation", what));
        }
        self.incarnation_last = next.incarnation;
        let Some(old) = &self.last_offset else { return Ok(Went::Well) };
        let request = Request::new("GET", format!("{}?offset={old}", stream.name));
        let Some(response) = scene.exchange(stream, &request)? else { return Ok(Went::Lost) };
        if response.status != 410 && !scene.expects_refusal(&response) {
            let what = format!("{request} was answered with {response}");
            bail!(stream.broken("offsets of an earlier life are gone", what));
        }
        Ok(Went::Well)
    }

    fn end(&mut self, scene: &Scene<'_>, stream: &Tracked) -> Result<Went> {
        self.last_offset = stream.state().offsets.last().cloned().or(self.last_offset.take());
        let went = if stream.life() == Life::Gone { Went::Well } else { delete(scene, stream)? };
        if went != Went::Well {
            return Ok(went);
        }
        self.current = None;
        match head(scene, stream)? {
            None => Ok(Went::Lost),
            Some(response) if response.status == 404 => Ok(Went::Well),
            Some(response) => {
                bail!(stream.broken("deleted stays deleted", format!("HEAD was answered with {response}")))
            }
        }
    }
}
