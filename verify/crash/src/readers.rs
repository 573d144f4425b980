//! Readers that follow streams while they are written, and note everything they see with its offsets.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use headwater_testkit::Request;
use headwater_testkit::random::{Chance, Rng};

use crate::events::{Event, Events};
use crate::offset::Offset;
use crate::reads::{Read, is_own, read, target};
use crate::requests::Scene;
use crate::stream::{Existence, Tracked};

/// How a reader reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    CatchUp,
    LongPoll,
    Events,
}

/// Whether the server is still there for another read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Here,
    Gone,
}

/// Reads one stream after another until the server is gone.
pub(crate) fn run(scene: &Scene<'_>, mode: Mode, rng: &mut Rng) -> Result<()> {
    while !scene.is_over() {
        let Some(stream) = scene.registry.pick(rng, |_| true) else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        let from = if rng.chance(1, 3) { None } else { rng.choice(&stream.state().offsets).cloned() };
        let after = match mode {
            Mode::CatchUp => follow(scene, &stream, from, "", rng)?,
            Mode::LongPoll => follow(scene, &stream, from, "long-poll", rng)?,
            Mode::Events => events(scene, &stream, from, rng)?,
        };
        if after == After::Gone {
            return Ok(());
        }
    }
    Ok(())
}

fn follow(
    scene: &Scene<'_>,
    stream: &Tracked,
    mut from: Option<Offset>,
    live: &str,
    rng: &mut Rng,
) -> Result<After> {
    for _ in 0..rng.u64(1..12) {
        let piece = match read(scene, stream, from.as_ref(), live)? {
            Read::Piece(piece) => piece,
            Read::Other(_) => return Ok(After::Here),
            Read::Lost => return Ok(After::Gone),
        };
        scene.tally.observations.add(1);
        stream.observe(piece.from, &piece.stored, &piece.next)?;
        if piece.closed || (live.is_empty() && piece.up_to_date) {
            return Ok(After::Here);
        }
        from = Some(piece.next);
    }
    Ok(After::Here)
}

fn events(scene: &Scene<'_>, stream: &Tracked, from: Option<Offset>, rng: &mut Rng) -> Result<After> {
    let floor = stream.state().acknowledged_end;
    let (query, mut position) = match from {
        None if rng.chance(1, 3) => (format!("{}?offset=now&live=sse", stream.name), None),
        from => (target(stream, from.as_ref(), "sse"), Some(from.map_or(0, |offset| offset.position))),
    };
    let request = Request::new("GET", query);
    let (response, body) = match scene.client.open(&request) {
        Ok(opened) => opened,
        Err(_) if scene.is_ending() => return Ok(After::Gone),
        Err(error) => bail!(stream.broken("a server that runs answers", format!("{error}, after {request}"))),
    };
    match response.status {
        200 => {}
        503 if scene.is_ending() => return Ok(After::Gone),
        404 | 410 if stream.existence() != Existence::There => return Ok(After::Here),
        _ => bail!(stream.broken("a stream that is there can be read", format!("{request}: {response}"))),
    }
    let mut events = Events::new(body, stream.form);
    let mut told = None;
    for _ in 0..rng.u64(2..400) {
        if scene.is_over() {
            return Ok(After::Gone);
        }
        let event = match events.next() {
            None => return Ok(After::Here),
            Some(Ok(event)) => event,
            Some(Err(_)) if scene.is_ending() => return Ok(After::Gone),
            Some(Err(what)) => bail!(stream.broken("an event stream ends in order", what)),
        };
        scene.tally.observations.add(1);
        match event {
            Event::Data { next: None, .. } => {
                bail!(stream.broken("a data event names the offset after it", request.to_string()));
            }
            Event::Data { next: Some(next), .. } | Event::Control { next, .. } if !is_own(stream, &next)? => {
                return Ok(After::Here);
            }
            Event::Data { stored, next: Some(next) } => {
                let from = position.unwrap_or(next.position.saturating_sub(stored.len()));
                stream.observe(from, &stored, &next)?;
                position = Some(next.position);
                told = Some(next);
            }
            Event::Control { next, up_to_date, closed } => {
                if told.take().is_some_and(|told| told != next)
                    || position.is_some_and(|at| at != next.position)
                {
                    let what =
                        format!("{request}: data ended at {position:?}, and the control event says {next}");
                    bail!(stream.broken("a control event says where the data ended", what));
                }
                if up_to_date && next.position < floor {
                    let what =
                        format!("{request} says that {next} is the tail, after {floor} was acknowledged");
                    bail!(stream.broken("a read after an acknowledgement has what was acknowledged", what));
                }
                position = Some(next.position);
                if closed {
                    return Ok(After::Here);
                }
            }
        }
    }
    Ok(After::Here)
}
