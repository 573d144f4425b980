//! Damages one file at a time: a bit flipped, the file emptied, the file removed.
//!
//! What may happen: the server refuses to start and names what is damaged; a stream answers 5xx; or everything is as it
//! was. What must not: other bytes or fewer with 200, 404 for a stream that exists, a repetition appended again, a
//! panic, a hang. One thing nobody can tell from a torn write: damage to the very last frame of the commit log of a
//! server that was killed. What that frame held, and only that, may be gone; here it is the append to one stream.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use headwater_testkit::random::{self, Rng};
use headwater_testkit::{Client, Request, Response};

use super::Stage;

use crate::offset::Offset;
use crate::payload::{self, Form, Key};
use crate::registry::Registry;
use crate::report::{Tally, broken};
use crate::requests::{Claim, Condition, Manner, Phase, Scene, Went, append, close, create};
use crate::server::Start;
use crate::stream::Tracked;

mod folder;

use folder::Folder;

/// Appends and streams of each form: enough for tables, blob files and a few chunks.
const STREAMS: u16 = 6;
const APPENDS: u32 = 12;
/// Files of RocksDB, by how their names begin or end; `log` is its own log, which isn't used.
const KINDS: [&str; 9] = ["sst", "blob", "MANIFEST", "CURRENT", "OPTIONS", "IDENTITY", "LOG", "LOCK", "log"];
const COMMIT_LOG: &str = "commit log";

/// How the server left the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Checkpointed, by SIGTERM.
    InOrder,
    /// With frames in the commit log, by a kill.
    Killed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Flip { at: u64, bit: u8 },
    Empty,
    Remove,
}

/// The outcome of one damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Refused,
    /// The message names another file; RocksDB does that when the properties of a table make no sense.
    RefusedForAnother,
    Answered5xx,
    Intact,
    LastFrameGone,
}

/// The streams of a folder, and the responses that each of their reads had.
struct Population {
    streams: Vec<Arc<Tracked>>,
    /// Read before and after every damage.
    reads: Vec<(String, Vec<u8>)>,
    /// Requests of producers that were answered: a repetition is none the less one.
    repetitions: Vec<Request>,
}

/// The stream whose last append is the last frame.
const LAST: &str = "last";

/// Damages each file at `places` places.
pub(crate) fn run(stage: &Stage<'_>, places: u64) -> Result<String> {
    let mut outcomes: BTreeMap<(&str, &str, Outcome), usize> = BTreeMap::new();
    let mut trials = 0;
    for left in [Left::InOrder, Left::Killed] {
        let pristine = stage.data.with_extension(format!("{left:?}"));
        let population = populate(stage, &pristine, left).context("before anything was damaged")?;
        let folder = Folder::copy_of(&pristine, &stage.data)?;
        let mut rng = random::seeded(stage.seed, &[0x666c_6970, left as u64]);
        for path in folder.files()? {
            let Some(kind) = kind(&path) else { continue };
            for damage in damages(&folder, &path, places, &mut rng)? {
                folder.restore()?;
                let changed = damage.inflict(&stage.data.join(&path))?;
                if !changed {
                    continue;
                }
                let outcome = examine(stage, &population, left, &path)
                    .with_context(|| format!("{left:?}, {} and {damage:?}", path.display()))?;
                *outcomes.entry((kind, damage.name(), outcome)).or_default() += 1;
                trials += 1;
            }
        }
    }
    Ok(summary(&outcomes, trials))
}

fn summary(outcomes: &BTreeMap<(&str, &str, Outcome), usize>, trials: usize) -> String {
    let mut rows: BTreeMap<(&str, &str), [usize; 5]> = BTreeMap::new();
    for (&(kind, damage, outcome), count) in outcomes {
        let row = rows.entry((kind, damage)).or_default();
        if let Some(cell) = row.get_mut(outcome as usize) {
            *cell += count;
        }
    }
    let row = |cells: [&str; 7]| {
        let [kind, damage, refused, other, answered, intact, last] = cells;
        format!("  {kind:<10}  {damage:<8} {refused:>8} {other:>9} {answered:>6} {intact:>7} {last:>11}\n")
    };
    let mut out = row(["file", "damage", "refused", "misnamed", "5xx", "intact", "last frame"]);
    for ((kind, damage), counts) in rows {
        let [refused, other, answered, intact, last] = counts.map(|count| count.to_string());
        out += &row([kind, damage, &refused, &other, &answered, &intact, &last]);
    }
    out + &format!("  {trials} times a file was damaged\n")
}

/// Writes streams of all kinds, the first half of them in an earlier life of the server, and leaves the folder behind.
fn populate(stage: &Stage<'_>, data: &Path, left: Left) -> Result<Population> {
    let mut population = Population { streams: Vec::new(), reads: Vec::new(), repetitions: Vec::new() };
    let server = stage.program.start(data)?;
    population.write(&server.client, 0..STREAMS / 2, stage.seed)?;
    server.terminate()?;
    let server = stage.program.start(data)?;
    population.write(&server.client, STREAMS / 2..STREAMS, stage.seed)?;
    population.write_last(&server.client, stage.seed)?;
    for stream in &population.streams {
        population.reads.extend(read_pieces(&server.client, &stream.name)?);
    }
    match left {
        Left::InOrder => server.terminate()?,
        Left::Killed => server.kill()?,
    }
    Ok(population)
}

impl Population {
    fn write(&mut self, client: &Client, numbers: Range<u16>, seed: u64) -> Result<()> {
        let (registry, tally, phase) = (Registry::default(), Tally::default(), Phase::default());
        let scene =
            Scene { client, registry: &registry, tally: &tally, phase: &phase, disk: Condition::Good };
        for writer in numbers {
            for form in [Form::Bytes, Form::Text, Form::Json] {
                let stream = Tracked::new(format!("flip/{form:?}-{writer}"), form, seed);
                done(create(&scene, &stream, &[])?.0)?;
                let by_producer = writer.is_multiple_of(2);
                for number in 0..APPENDS {
                    let claim = Claim { id: "flip".to_owned(), epoch: 0, seq: number.into() };
                    let producer = by_producer.then_some(claim);
                    let manner = Manner { producer, ..Manner::default() };
                    done(append(&scene, &stream, Key { writer, number }, &manner)?)?;
                }
                if by_producer {
                    self.repetitions.push(repetition(&stream, Key { writer, number: APPENDS - 1 }));
                }
                if writer % 6 == 1 {
                    done(close(&scene, &stream)?)?;
                }
                if writer % 3 == 2 {
                    let fork = Tracked::new(format!("flip/{form:?}-{writer}-fork"), form, seed);
                    fork.state().source = Some(stream.clone());
                    let from = ("Stream-Forked-From", client.path(&stream.name));
                    done(create(&scene, &fork, &[from])?.0)?;
                    self.streams.push(fork);
                }
                self.streams.push(stream);
            }
        }
        Ok(())
    }

    /// The very last frame.
    fn write_last(&mut self, client: &Client, seed: u64) -> Result<()> {
        let (registry, tally, phase) = (Registry::default(), Tally::default(), Phase::default());
        let scene =
            Scene { client, registry: &registry, tally: &tally, phase: &phase, disk: Condition::Good };
        let last = Tracked::new(LAST, Form::Bytes, seed);
        done(create(&scene, &last, &[])?.0)?;
        for number in 0..2 {
            done(append(&scene, &last, Key { writer: u16::MAX - 2, number }, &Manner::default())?)?;
        }
        self.streams.push(last);
        Ok(())
    }
}

fn done(went: Went) -> Result<()> {
    if went == Went::Well { Ok(()) } else { Err(anyhow!("a healthy server refuses: {went:?}")) }
}

fn repetition(stream: &Tracked, key: Key) -> Request {
    Request::new("POST", &stream.name)
        .header("Content-Type", stream.form.content_type())
        .header("Producer-Id", "flip")
        .header("Producer-Epoch", 0)
        .header("Producer-Seq", key.number)
        .body(payload::body(stream.form, stream.seed, key))
}

/// All reads that lead from the beginning to the tail, with their bodies.
fn read_pieces(client: &Client, name: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let mut pieces = Vec::new();
    let mut target = format!("{name}?offset=-1");
    loop {
        let response = client.send(&Request::new("GET", &target))?;
        let (Some(next), 200) = (Offset::next(&response), response.status) else {
            bail!("a healthy stream can't be read: {target}: {response}");
        };
        let up_to_date = response.is_up_to_date();
        pieces.push((target, response.body));
        if up_to_date {
            return Ok(pieces);
        }
        target = format!("{name}?offset={next}");
    }
}

fn kind(path: &Path) -> Option<&'static str> {
    if path.starts_with("log") {
        return Some(COMMIT_LOG);
    }
    let name = path.file_name()?.to_str()?;
    KINDS.into_iter().find(|kind| name.starts_with(kind) || name.ends_with(&format!(".{kind}")))
}

fn damages(folder: &Folder, path: &Path, places: u64, rng: &mut Rng) -> Result<Vec<Damage>> {
    let used = folder.used_bytes(path)?;
    let mut damages = vec![Damage::Empty, Damage::Remove];
    for _ in 0..if used == 0 { 0 } else { places } {
        // A bit of what is used; what follows in a preallocated file is of no interest.
        damages.push(Damage::Flip { at: rng.u64(..used), bit: u8::try_from(rng.u64(..8))? });
    }
    Ok(damages)
}

impl Damage {
    const fn name(self) -> &'static str {
        match self {
            Self::Flip { .. } => "bit",
            Self::Empty => "emptied",
            Self::Remove => "removed",
        }
    }

    /// `false`: there was nothing to damage.
    fn inflict(self, path: &Path) -> Result<bool> {
        match self {
            Self::Flip { at, bit } => folder::flip(path, at, bit)?,
            Self::Empty => {
                if fs::metadata(path)?.len() == 0 {
                    return Ok(false);
                }
                fs::write(path, "")?;
            }
            Self::Remove => fs::remove_file(path)?,
        }
        Ok(true)
    }
}

/// Starts on the damaged folder and reads everything.
fn examine(stage: &Stage<'_>, population: &Population, left: Left, path: &Path) -> Result<Outcome> {
    let server = match stage.program.try_start(&stage.data, &[])? {
        Start::Running(server) => server,
        Start::Ended { status, said } => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let names_it = said.contains(&*name);
            if status.code() != Some(1)
                || said.contains("panicked at")
                || !(names_it || said.contains("damaged"))
            {
                let what = format!("{status}; it must be 1, and name {name}:\n{said}");
                bail!(broken("a server that can't start says what is damaged", "", what));
            }
            return Ok(if names_it { Outcome::Refused } else { Outcome::RefusedForAnother });
        }
    };
    let may_lose_last = left == Left::Killed && kind(path) == Some(COMMIT_LOG);
    let mut outcome = Outcome::Intact;
    for (target, expected) in &population.reads {
        let response = server.client.send(&Request::new("GET", target))?;
        let is_last = may_lose_last && target.starts_with(LAST);
        let found = compare(target, &response, expected, is_last)?;
        outcome = worse(outcome, found);
    }
    for request in &population.repetitions {
        let response = server.client.send(request)?;
        match response.status {
            204 => {}
            500..600 => outcome = worse(outcome, Outcome::Answered5xx),
            _ => bail!(broken("a repetition is not appended again", "", format!("{request}: {response}"))),
        }
    }
    let mut unknown = 0;
    for stream in &population.streams {
        let response = server.client.send(&Request::new("HEAD", &stream.name))?;
        unknown += usize::from(response.status == 404);
    }
    if unknown > 0 {
        bail!(broken("a stream that exists is never 404", "", format!("{unknown} of them, by HEAD")));
    }
    server.kill()?;
    Ok(outcome)
}

fn compare(target: &str, response: &Response, expected: &[u8], is_last: bool) -> Result<Outcome> {
    match response.status {
        200 if response.body == expected => Ok(Outcome::Intact),
        // The last frame held the end of this stream; without it the rest is there.
        200 if is_last && expected.starts_with(&response.body) => Ok(Outcome::LastFrameGone),
        500..600 => Ok(Outcome::Answered5xx),
        200 => {
            let same =
                response.body.iter().zip(expected).take_while(|(found, wanted)| found == wanted).count();
            let what = format!(
                "{} bytes instead of {}, the same up to byte {same}",
                response.body.len(),
                expected.len()
            );
            bail!(broken("damage is an error, never other or fewer bytes", target, what))
        }
        _ => bail!(broken("a stream that exists is never 404", target, response.to_string())),
    }
}

/// A start with some streams damaged counts as that.
fn worse(one: Outcome, other: Outcome) -> Outcome {
    match (one, other) {
        (Outcome::Answered5xx, _) | (_, Outcome::Answered5xx) => Outcome::Answered5xx,
        (Outcome::LastFrameGone, _) | (_, Outcome::LastFrameGone) => Outcome::LastFrameGone,
        _ => Outcome::Intact,
    }
}
