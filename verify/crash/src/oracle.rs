//! What must be true of every stream when nobody writes, above all after a crash.
//!
//! The server may have died at any moment, and any request that was not answered may have been done or not. All else
//! is certain:
//!
//! - **Acknowledged is there.** Every append that was acknowledged is there once, whole, where its acknowledgement said
//!   that it ends. Appends of one writer are in order, and an append that was sent after another one was acknowledged
//!   comes after it.
//! - **Unacknowledged is there once or never.** What wasn't found after a crash never appears later, unless it is sent
//!   again. Sent again with the same producer, epoch and number, or the same `Stream-Seq`, it is there exactly once.
//!   What was refused is not there.
//! - **A final append and its close come together**, or not at all. Closed stays closed, and takes nothing.
//! - **What a reader saw stays.** Whatever a catch-up read, a long-poll or an event stream delivered is there for ever,
//!   at the same offset. A read that begins after an acknowledgement has what was acknowledged.
//! - **Offsets name places for ever.** The tail never goes back; a read from an old offset begins there exactly.
//! - **A validator of a range that doesn't change answers 304**, also after a restart.
//! - **Deleted stays deleted.** The name answers 404, 410, or as a later, larger incarnation, to whose
//!   readers the offsets of the earlier one are gone.
//! - **A fork is the beginning of its source and what was appended to it**, whatever happens to the source.
//! - **Ends are kept.** No stream expires before its time, and no restart prolongs it; what has expired stays so.
//!   (`writers/expiring.rs` watches this while the server runs.)
//!
//! No payload can be mistaken for another one: each names its writer and number, and all its bytes follow from these
//! and the seed (`payload.rs`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Result, bail};
use headwater_testkit::Request;
use headwater_testkit::random::{self, Rng};

use crate::offset::Offset;
use crate::reads::{Read, Whole, read, read_all};
use crate::requests::{Scene, head};
use crate::stream::{Existence, Tracked};

const THREADS: usize = 3;
/// Old offsets and validators that are tried per stream and check.
const TRIED: usize = 3;

/// Checks some streams, which nobody writes meanwhile.
pub(crate) fn check(scene: &Scene<'_>, streams: &[Arc<Tracked>], rng: &Rng) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let mut rng = random::seeded(rng.clone().u64(..), &[number as u64]);
            let (next, failure) = (&next, &failure);
            scope.spawn(move || {
                while let Some(stream) = streams.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = check_one(scene, stream, &mut rng) {
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        return;
                    }
                }
            });
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Checks one stream.
pub(crate) fn check_one(scene: &Scene<'_>, stream: &Tracked, rng: &mut Rng) -> Result<()> {
    let before = stream.existence();
    if before == Existence::NotYet {
        return Ok(());
    }
    let whole = match read_all(scene, stream)? {
        Ok(whole) => whole,
        Err(None) => bail!(stream.broken("a server that runs answers", "nobody has asked it to end")),
        Err(Some(_)) => {
            let mut state = stream.state();
            state.existence = match before {
                Existence::MaybeThere => Existence::NotYet,
                _ => Existence::Gone,
            };
            return Ok(());
        }
    };
    let tail = compare(scene, stream, &whole)?;
    let known = head(scene, stream)?;
    let agrees = known.as_ref().is_some_and(|response| {
        response.status == 200
            && Offset::next(response).as_ref() == Some(&tail)
            && response.is_closed() == whole.closed
    });
    if !agrees {
        let what = format!("HEAD: {known:?}, the reads: {tail}, closed: {}", whole.closed);
        bail!(stream.broken("HEAD and the reads agree", what));
    }
    resume(scene, stream, &whole, rng)?;
    revalidate(scene, stream, whole, rng)
}

/// Compares everything that is there with everything that is known. Gives the tail.
fn compare(scene: &Scene<'_>, stream: &Tracked, whole: &Whole) -> Result<Offset> {
    let Some(tail) = whole.tail.clone() else {
        bail!(stream.broken("a read says where it ends", "there is no offset"));
    };
    {
        let mut state = stream.state();
        let known = state.witness.end().max(state.acknowledged_end);
        if tail.position < known {
            let what = format!("it ends at {tail}, and {known} bytes were seen or acknowledged");
            bail!(stream.broken("the tail never goes back", what));
        }
        if state.existence == Existence::MaybeThere && state.source.is_none() {
            state.incarnation = tail.incarnation;
        }
        // Nobody has written to a fork whose creation wasn't answered.
        state.own_from.get_or_insert(tail.position);
        state.existence = Existence::There;
    }
    scene.tally.checked_bytes.add(whole.stored.len());
    stream.observe(0, &whole.stored, &tail)?;
    let (source, own_from) = {
        let state = stream.state();
        (state.source.clone(), state.own_from.unwrap_or_default())
    };
    if let Some(source) = source {
        let inherited = whole.stored.get(..own_from);
        let agrees = inherited.map(|inherited| source.state().witness.observe(0, inherited));
        if let None | Some(Err(_)) = &agrees {
            let what = format!("{own_from} bytes of {}: {agrees:?}", source.name);
            bail!(stream.broken("a fork begins with what its source holds", what));
        }
    }
    stream.learn()?;
    let (found, absent) = stream.settle(whole.closed)?;
    scene.tally.lost_found.add(found);
    scene.tally.lost_absent.add(absent);
    Ok(tail)
}

/// Reads from some old offsets.
fn resume(scene: &Scene<'_>, stream: &Tracked, whole: &Whole, rng: &mut Rng) -> Result<()> {
    for _ in 0..TRIED {
        let Some(offset) = rng.choice(&stream.state().offsets).cloned() else { return Ok(()) };
        let Read::Piece(piece) = read(scene, stream, Some(&offset), "")? else {
            bail!(stream.broken("a read from an old offset begins there", format!("{offset} is gone")));
        };
        let expected = whole.stored.get(offset.position..).unwrap_or_default();
        if !expected.starts_with(&piece.stored) || (piece.stored.is_empty() && !expected.is_empty()) {
            let what = format!("{} bytes from {offset} on are others", piece.stored.len());
            bail!(stream.broken("a read from an old offset begins there", what));
        }
    }
    Ok(())
}

/// Asks again with the validators of earlier reads, and keeps some of this one.
fn revalidate(scene: &Scene<'_>, stream: &Tracked, whole: Whole, rng: &mut Rng) -> Result<()> {
    for _ in 0..TRIED {
        let Some((target, tag)) = rng.choice(&stream.state().tags).cloned() else { break };
        let request = Request::new("GET", target).header("If-None-Match", &tag);
        let response = scene.exchange(stream, &request)?;
        let status = response.map(|response| response.status);
        if status != Some(304) {
            let what = format!("{request} was answered with {status:?}");
            bail!(stream.broken("a validator of a range that doesn't change answers 304", what));
        }
        scene.tally.not_modified.add(1);
    }
    let mut state = stream.state();
    let known: Vec<(String, String)> = state.tags.clone();
    for (target, tag) in whole.tags {
        match known.iter().find(|(other, _)| *other == target) {
            None => state.keep_tag(target, tag),
            Some((_, first)) if *first == tag => {}
            // The beginning of a small stream that was closed is another range than it was.
            Some(_) if whole.closed => {}
            Some((_, first)) => {
                let what = format!("{target}: first {first}, then {tag}");
                bail!(stream.broken("a range that doesn't change has one validator", what));
            }
        }
    }
    Ok(())
}
