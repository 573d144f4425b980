//! Names that are created, written, deleted, and created again.

use std::sync::Arc;

use anyhow::{Result, bail};
use headwater_testkit::Request;
use headwater_testkit::random::Rng;

use super::Writer;

use crate::offset::Offset;
use crate::payload::{Form, Key};
use crate::requests::{Manner, Scene, Went, append, create, delete, head};
use crate::stream::{Existence, Tracked};

/// Few, so that names come back often.
const NAMES: usize = 3;

#[derive(Debug)]
pub(crate) struct Deleting {
    id: u16,
    rng: Rng,
    seed: u64,
    number: u32,
    names: Vec<Name>,
}

/// One name and its incarnations.
#[derive(Debug, Default)]
struct Name {
    current: Option<Arc<Tracked>>,
    appends_left: u64,
    /// The incarnation before.
    last_offset: Option<Offset>,
    incarnation_last: u64,
}

impl Deleting {
    pub(crate) fn new((id, rng): (u16, Rng), seed: u64) -> Self {
        Self { id, rng, seed, number: 0, names: (0..NAMES).map(|_| Name::default()).collect() }
    }
}

impl Writer for Deleting {
    fn step(&mut self, scene: &Scene<'_>) -> Result<Went> {
        let at = self.rng.usize(..NAMES);
        let Some(name) = self.names.get_mut(at) else { return Ok(Went::Well) };
        let Some(stream) = name.current.clone() else {
            // One form per name, so that readers who meet a later incarnation can read it.
            let form = [Form::Bytes, Form::Text, Form::Json].get(at).copied().unwrap_or(Form::Bytes);
            let stream = Tracked::new(format!("deleting/{at}"), form, self.seed);
            scene.registry.add(stream.clone());
            name.current = Some(stream);
            name.appends_left = self.rng.u64(..6);
            return Ok(Went::Well);
        };
        match stream.existence() {
            Existence::NotYet | Existence::MaybeThere => name.begin(scene, &stream),
            Existence::There if name.appends_left > 0 => {
                name.appends_left -= 1;
                self.number += 1;
                append(scene, &stream, Key { writer: self.id, number: self.number }, &Manner::default())
            }
            Existence::There | Existence::MaybeGone | Existence::Gone => name.end(scene, &stream),
        }
    }
}

impl Name {
    fn begin(&mut self, scene: &Scene<'_>, stream: &Tracked) -> Result<Went> {
        let (went, next) = create(scene, stream, &[])?;
        let Some(next) = next.filter(|_| went == Went::Well) else { return Ok(went) };
        if next.incarnation <= self.incarnation_last {
            let what = format!("{next} comes after {}", self.incarnation_last);
            bail!(stream.broken("a later incarnation is larger", what));
        }
        self.incarnation_last = next.incarnation;
        let Some(old) = &self.last_offset else { return Ok(Went::Well) };
        let request = Request::new("GET", format!("{}?offset={old}", stream.name));
        let Some(response) = scene.exchange(stream, &request)? else { return Ok(Went::Lost) };
        if response.status != 410 && !scene.expects_refusal(&response) {
            let what = format!("{request} was answered with {response}");
            bail!(stream.broken("offsets of an earlier incarnation are gone", what));
        }
        Ok(Went::Well)
    }

    fn end(&mut self, scene: &Scene<'_>, stream: &Tracked) -> Result<Went> {
        self.last_offset = stream.state().offsets.last().cloned().or(self.last_offset.take());
        let went = if stream.existence() == Existence::Gone { Went::Well } else { delete(scene, stream)? };
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
