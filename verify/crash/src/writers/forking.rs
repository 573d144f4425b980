//! Forks of streams that are being written, at offsets, inside of appends and at the tail, some of sources that are
//! deleted afterwards.

use std::sync::Arc;

use anyhow::{Result, bail};
use headwater_testkit::random::{Chance, Rng};

use super::{Writer, any_form, fresh};
use crate::offset::Offset;
use crate::payload::{self, Key};
use crate::reads::read_all;
use crate::requests::{Manner, Scene, Went, append, create, delete};
use crate::stream::{Existence, Tracked};

#[derive(Debug)]
pub(crate) struct Forking {
    id: u16,
    rng: Rng,
    seed: u64,
    number: u32,
    /// A source of its own, which it deletes once it has a fork.
    doomed: Option<Arc<Tracked>>,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    stream: Arc<Tracked>,
    headers: Vec<(&'static str, String)>,
    appends_left: u64,
}

/// The start of a fork: what the request says, and the position if it is known beforehand.
#[derive(Debug, Default)]
struct Point {
    offset: Option<Offset>,
    sub_offset: usize,
    position: Option<usize>,
}

impl Forking {
    pub(crate) fn new((id, rng): (u16, Rng), seed: u64) -> Self {
        Self { id, rng, seed, number: 0, doomed: None, current: None }
    }

    fn next(&mut self) -> Key {
        self.number += 1;
        Key { writer: self.id, number: self.number }
    }

    /// Chooses a source and a place, and makes the fork known.
    fn choose(&mut self, scene: &Scene<'_>) -> Result<Went> {
        if self.doomed.is_none() && self.rng.chance(1, 4) {
            let form = any_form(&mut self.rng);
            self.doomed = Some(fresh(scene, "doomed", form, self.seed));
        }
        let source = match self.doomed.clone() {
            Some(source) if source.existence() != Existence::There => {
                return Ok(create(scene, &source, &[])?.0);
            }
            Some(source) if source.state().acknowledged_end == 0 => {
                let key = self.next();
                return append(scene, &source, key, &Manner::default());
            }
            Some(source) => {
                // So that its bytes are known, also when only the fork shows them.
                let Ok(whole) = read_all(scene, &source)? else { return Ok(Went::Lost) };
                if let Some(tail) = &whole.tail {
                    source.observe(0, &whole.stored, tail)?;
                }
                source.learn()?;
                Some(source)
            }
            None => scene.registry.pick(&mut self.rng, |stream| !stream.name.starts_with("deleting")),
        };
        let Some(source) = source else { return Ok(Went::Well) };
        let point = choose_point(&source, &mut self.rng);
        let mut headers = vec![("Stream-Forked-From", scene.client.path(&source.name))];
        headers.extend(point.offset.map(|offset| ("Stream-Fork-Offset", offset.text)));
        if point.sub_offset > 0 {
            headers.push(("Stream-Fork-Sub-Offset", point.sub_offset.to_string()));
        }
        let stream = Tracked::new(format!("fork/{}", scene.registry.number()), source.form, self.seed);
        {
            let mut state = stream.state();
            state.source = Some(source);
            state.own_from = point.position;
        }
        scene.registry.add(stream.clone());
        self.current = Some(Current { stream, headers, appends_left: self.rng.u64(..6) });
        Ok(Went::Well)
    }
}

impl Writer for Forking {
    fn step(&mut self, scene: &Scene<'_>) -> Result<Went> {
        let Some(current) = &mut self.current else { return self.choose(scene) };
        let stream = current.stream.clone();
        if stream.existence() != Existence::There {
            let (went, next) = create(scene, &stream, &current.headers)?;
            let Some(next) = next else { return Ok(went) };
            let point = *stream.state().own_from.get_or_insert(next.position);
            if point != next.position {
                let what = format!("it begins at {next} instead of {point}: {:?}", current.headers);
                bail!(stream.broken("a fork begins where it was asked to", what));
            }
            return Ok(went);
        }
        if let Some(doomed) = &self.doomed {
            let went = delete(scene, doomed)?;
            if went == Went::Well {
                self.doomed = None;
            }
            return Ok(went);
        }
        if current.appends_left > 0 {
            current.appends_left -= 1;
            let key = self.next();
            return append(scene, &stream, key, &Manner::default());
        }
        self.current = None;
        Ok(Went::Well)
    }
}

fn choose_point(source: &Tracked, rng: &mut Rng) -> Point {
    let state = source.state();
    match rng.u64(..4) {
        0 => Point::default(),
        1 | 2 if state.source.is_none() && !state.records.is_empty() => {
            let at = rng.usize(..state.records.len());
            let Some((key, _)) = state.records.get(at) else { return Point::default() };
            let begin =
                at.checked_sub(1).and_then(|before| state.records.get(before)).map_or(0, |(_, end)| *end);
            let units = payload::units(source.form, source.seed, *key);
            let sub_offset = rng.usize(1..=units);
            let sub_offset = payload::whole_units(source.form, source.seed, *key, sub_offset);
            let position = begin + payload::prefix(source.form, source.seed, *key, sub_offset);
            let offset = Offset::parse(&format!("{:016}_{begin:016}", state.incarnation));
            Point { offset, sub_offset, position: Some(position) }
        }
        _ => match rng.choice(&state.offsets) {
            Some(offset) => {
                Point { offset: Some(offset.clone()), sub_offset: 0, position: Some(offset.position) }
            }
            None => Point::default(),
        },
    }
}
