//! The record of a stream as seen from outside: requests, acknowledgements, and bytes read.
//!
//! Nothing here talks to the server. [`crate::requests`] and [`crate::readers`] fill it in, [`crate::oracle`] compares.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};

use crate::offset::Offset;
use crate::payload::{self, Form, Key};
use crate::report::{Broken, broken};
use crate::witness::Witness;

/// Offsets that are kept to resume at, and validators to ask with.
const KEPT: usize = 24;

/// One incarnation of a stream.
#[derive(Debug)]
pub(crate) struct Tracked {
    pub(crate) name: String,
    pub(crate) form: Form,
    pub(crate) seed: u64,
    state: Mutex<State>,
}

/// Whether the stream exists, as far as a client can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existence {
    NotYet,
    /// A creation was not answered.
    MaybeThere,
    There,
    /// A deletion was not answered.
    MaybeGone,
    Gone,
}

/// The fate of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nobody can tell yet: there once, or not.
    Open,
    Acknowledged,
    /// Refused, or looked for in vain after a crash.
    Never,
}

#[derive(Debug)]
struct Append {
    fate: Fate,
    closes: bool,
    /// A response was lost.
    is_lost: bool,
    /// The acknowledged end when it was sent: the append begins no earlier.
    floor: usize,
    /// Its end according to the acknowledgement.
    end: Option<usize>,
    /// Its end as found by reading.
    found: Option<usize>,
}

/// What an append that is about to be sent will be to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Try {
    New,
    Repetition,
    /// The first response was lost.
    Either,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) existence: Existence,
    /// Of the stream's own offsets; 0 until it is known.
    pub(crate) incarnation: u64,
    /// The position at which a fork's own bytes begin, once it is known.
    pub(crate) own_from: Option<usize>,
    pub(crate) source: Option<Arc<Tracked>>,
    pub(crate) is_closed: bool,
    /// A close without an append was sent.
    pub(crate) close_asked: bool,
    /// The largest acknowledged end.
    pub(crate) acknowledged_end: usize,
    pub(crate) witness: Witness,
    /// The appends in order, each with the position after it.
    pub(crate) records: Vec<(Key, usize)>,
    pub(crate) offsets: Vec<Offset>,
    /// Reads of ranges that don't change any more, each with its ETag.
    pub(crate) tags: Vec<(String, String)>,
    appends: HashMap<Key, Append>,
    /// Appends that were not found yet.
    missing: Vec<Key>,
    last_of_writer: HashMap<u16, u32>,
}

impl Tracked {
    pub(crate) fn new(name: impl Into<String>, form: Form, seed: u64) -> Arc<Self> {
        let state = State {
            existence: Existence::NotYet,
            incarnation: 0,
            own_from: Some(0),
            source: None,
            is_closed: false,
            close_asked: false,
            acknowledged_end: 0,
            witness: Witness::default(),
            records: Vec::new(),
            offsets: Vec::new(),
            tags: Vec::new(),
            appends: HashMap::new(),
            missing: Vec::new(),
            last_of_writer: HashMap::new(),
        };
        Arc::new(Self { name: name.into(), form, seed, state: Mutex::new(state) })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn existence(&self) -> Existence {
        self.state().existence
    }

    /// For `bail!`.
    pub(crate) fn broken(&self, rule: &'static str, what: impl Into<String>) -> Broken {
        broken(rule, &self.name, what)
    }

    /// An append is about to be sent.
    pub(crate) fn begin(&self, key: Key, closes: bool) -> Try {
        let state = &mut *self.state();
        let floor = state.acknowledged_end;
        let Some(append) = state.appends.get_mut(&key) else {
            state.appends.insert(key, Append::new(closes, floor));
            state.missing.push(key);
            return Try::New;
        };
        match (append.fate, append.found) {
            (Fate::Acknowledged, _) | (_, Some(_)) => Try::Repetition,
            (Fate::Open, None) => Try::Either,
            (Fate::Never, None) => {
                append.fate = Fate::Open;
                append.floor = floor;
                state.missing.push(key);
                Try::New
            }
        }
    }

    /// An append was not answered.
    pub(crate) fn lost(&self, key: Key) {
        if let Some(append) = self.state().appends.get_mut(&key) {
            append.is_lost = true;
        }
    }

    /// An append was acknowledged; `end` is where it ends, if it was new. Says whether an earlier answer was lost.
    pub(crate) fn acknowledged(&self, key: Key, end: Option<&Offset>) -> Result<bool> {
        let length = payload::stored(self.form, self.seed, key).len();
        let state = &mut *self.state();
        let Some(append) = state.appends.get_mut(&key) else { return Ok(false) };
        append.fate = Fate::Acknowledged;
        let was_lost = std::mem::take(&mut append.is_lost);
        let closes = append.closes;
        if let Some(end) = end {
            append.end = Some(end.position);
            if end.position < append.floor + length {
                let what = format!(
                    "{key} has {length} bytes and ends at {}, but {} was acknowledged before it was sent",
                    end.position, append.floor
                );
                bail!(self.broken("appends are ordered as they were acknowledged", what));
            }
            state.acknowledged_end = state.acknowledged_end.max(end.position);
            state.keep_offset(end.clone());
        }
        state.is_closed |= closes;
        Ok(was_lost)
    }

    /// An append was refused: it will never be there, unless it is sent again.
    pub(crate) fn refused(&self, key: Key) {
        let state = &mut *self.state();
        if let Some(append) = state.appends.get_mut(&key).filter(|append| append.fate == Fate::Open) {
            append.fate = Fate::Never;
            state.missing.retain(|missing| *missing != key);
        }
    }

    /// Somebody has read `stored` from `from` to `next`.
    pub(crate) fn observe(&self, from: usize, stored: &[u8], next: &Offset) -> Result<()> {
        if from + stored.len() != next.position {
            let what = format!("{} bytes from {from} on, and the next offset is {next}", stored.len());
            bail!(self.broken("a response's bytes and its offset agree", what));
        }
        let state = &mut *self.state();
        if let Err(what) = state.witness.observe(from, stored) {
            bail!(self.broken("what a reader saw never changes", what));
        }
        state.keep_offset(next.clone());
        Ok(())
    }

    /// Reads appends in what was observed since the last time.
    pub(crate) fn learn(&self) -> Result<()> {
        let state = &mut *self.state();
        let Some(own_from) = state.own_from else { return Ok(()) };
        loop {
            let at = state.records.last().map_or(own_from, |(_, end)| *end);
            let rest = state.witness.bytes().get(at..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(());
            }
            let (key, length) = match payload::parse(self.form, self.seed, rest) {
                Ok(record) => record,
                Err(what) => bail!(self.broken("appends are whole", format!("at position {at}: {what}"))),
            };
            state.record(self, key, at + length)?;
        }
    }

    /// Everything was read up to the tail and learned: what wasn't found isn't there. Says how many appends of
    /// unknown fate were found, and how many weren't.
    pub(crate) fn settle(&self, is_closed: bool) -> Result<(usize, usize)> {
        let state = &mut *self.state();
        let (mut found, mut absent) = (0, 0);
        let mut closed_by = None;
        for key in std::mem::take(&mut state.missing) {
            let Some(append) = state.appends.get_mut(&key) else { continue };
            if append.closes && append.found.is_some() {
                closed_by = Some(key);
            }
            match (append.fate, append.found) {
                (Fate::Acknowledged, None) => {
                    let what = format!("{key} is not among the {} that are there", state.records.len());
                    bail!(self.broken("what was acknowledged is there", what));
                }
                (Fate::Open, None) => {
                    absent += 1;
                    append.fate = Fate::Never;
                }
                (Fate::Open, Some(_)) => found += 1,
                (Fate::Acknowledged | Fate::Never, _) => {}
            }
        }
        match (is_closed, closed_by) {
            (false, _) if state.is_closed => {
                bail!(self.broken("closed stays closed", "it was acknowledged as closed and is open"))
            }
            (false, Some(key)) => {
                bail!(self.broken(
                    "a final append and its close come together",
                    format!("{key} is there, and the stream is open")
                ))
            }
            (true, None) if !state.is_closed && !state.close_asked => {
                bail!(
                    self.broken(
                        "a final append and its close come together",
                        "the stream is closed without one"
                    )
                )
            }
            _ => state.is_closed = is_closed,
        }
        Ok((found, absent))
    }
}

impl Append {
    const fn new(closes: bool, floor: usize) -> Self {
        Self { fate: Fate::Open, closes, is_lost: false, floor, end: None, found: None }
    }
}

impl State {
    fn record(&mut self, stream: &Tracked, key: Key, end: usize) -> Result<()> {
        let Some(append) = self.appends.get_mut(&key) else {
            bail!(stream.broken("nothing is there that nobody wrote", format!("{key} before {end}")));
        };
        if let Some(first) = append.found {
            let what = format!("{key} ends at {first} and again at {end}");
            bail!(stream.broken("an append is there once", what));
        }
        if append.fate == Fate::Never {
            let what = format!("{key} is there, up to {end}");
            bail!(stream.broken("what was refused or missing after a crash never appears", what));
        }
        if append.end.is_some_and(|acknowledged| acknowledged != end) {
            let what = format!("{key} ends at {end}, and {:?} was acknowledged", append.end);
            bail!(stream.broken("an append is where its acknowledgement says", what));
        }
        append.found = Some(end);
        let last = self.last_of_writer.insert(key.writer, key.number);
        if let Some(last) = last.filter(|&last| last >= key.number) {
            bail!(
                stream.broken("appends of a writer are in order", format!("{key} comes after number {last}"))
            );
        }
        self.records.push((key, end));
        Ok(())
    }

    pub(crate) fn keep_offset(&mut self, offset: Offset) {
        keep(&mut self.offsets, offset);
    }

    pub(crate) fn keep_tag(&mut self, target: String, tag: String) {
        keep(&mut self.tags, (target, tag));
    }
}

/// Adds to a list that stays short; what goes is of all ages.
fn keep<T>(list: &mut Vec<T>, item: T) {
    if list.len() == KEPT {
        let aged: Vec<T> = list.drain(..).step_by(2).collect();
        *list = aged;
    }
    list.push(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(position: usize) -> Offset {
        Offset::parse(&format!("0000000000000001_{position:016}")).unwrap()
    }

    fn key(number: u32) -> Key {
        Key { writer: 1, number }
    }

    /// A stream with these appends read and learned.
    fn read(stream: &Tracked, numbers: &[u32]) -> Result<()> {
        let bytes: Vec<u8> = numbers
            .iter()
            .flat_map(|&number| payload::stored(stream.form, stream.seed, key(number)))
            .collect();
        stream.observe(0, &bytes, &offset(bytes.len()))?;
        stream.learn()
    }

    fn rule(result: Result<()>) -> String {
        result.map_err(|error| error.to_string()).expect_err("a rule is broken")
    }

    #[test]
    fn what_was_acknowledged_must_be_there() {
        let stream = Tracked::new("a", Form::Bytes, 3);
        assert_eq!(stream.begin(key(1), false), Try::New);
        stream.acknowledged(key(1), None).unwrap();
        read(&stream, &[]).unwrap();
        assert!(rule(stream.settle(false).map(drop)).contains("what was acknowledged is there"));
    }

    #[test]
    fn what_was_lost_is_there_once_or_never() {
        let stream = Tracked::new("a", Form::Bytes, 3);
        for number in [1, 2, 3] {
            stream.begin(key(number), false);
        }
        read(&stream, &[2]).unwrap();
        assert_eq!(stream.settle(false).unwrap(), (1, 2));
        assert_eq!((stream.begin(key(2), false), stream.begin(key(3), false)), (Try::Repetition, Try::New));
        assert!(rule(read(&stream, &[2, 1])).contains("never appears"));
    }

    #[test]
    fn doubles_strangers_and_other_orders_are_noticed() {
        let stream = || {
            let stream = Tracked::new("a", Form::Bytes, 3);
            stream.begin(key(1), false);
            stream.begin(key(2), false);
            stream
        };
        assert!(rule(read(&stream(), &[1, 2, 1])).contains("once"));
        assert!(rule(read(&stream(), &[2, 1])).contains("in order"));
        assert!(rule(read(&stream(), &[1, 9])).contains("nobody wrote"));
    }

    #[test]
    fn an_acknowledgement_names_the_place() {
        let stream = Tracked::new("a", Form::Bytes, 3);
        let length = payload::stored(Form::Bytes, 3, key(1)).len();
        stream.begin(key(1), false);
        stream.acknowledged(key(1), Some(&offset(length))).unwrap();
        stream.begin(key(2), false);
        assert!(rule(stream.acknowledged(key(2), Some(&offset(length + 1))).map(drop)).contains("ordered"));
        let other = Tracked::new("b", Form::Bytes, 3);
        other.begin(key(1), false);
        other.acknowledged(key(1), Some(&offset(length + 1))).unwrap();
        assert!(rule(read(&other, &[1])).contains("where its acknowledgement says"));
    }

    #[test]
    fn a_final_append_and_its_close_come_together() {
        let stream = || {
            let stream = Tracked::new("a", Form::Bytes, 3);
            stream.begin(key(1), true);
            stream
        };
        let with = stream();
        read(&with, &[1]).unwrap();
        assert!(rule(with.settle(false).map(drop)).contains("come together"));
        let without = stream();
        assert!(rule(without.settle(true).map(drop)).contains("come together"));
        let whole = stream();
        read(&whole, &[1]).unwrap();
        whole.settle(true).unwrap();
        assert!(rule(whole.settle(false).map(drop)).contains("closed stays closed"));
    }
}
