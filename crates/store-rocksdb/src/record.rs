//! Records: edits as the commit log holds them. Frames are runs of records; applying them needs nothing else.

use headwater_protocol::{
    offset::Incarnation,
    stream::{Change, StreamHead},
};
use headwater_store::{Edit, StreamState};

use crate::{
    codec::{Input, Malformed, put_bytes, put_number},
    head,
};

const PUT: u8 = 1;
const PUT_BY_PRODUCER: u8 = 2;
const REMOVE: u8 = 3;
const DOCUMENT: u8 = 4;
const DOCUMENT_GONE: u8 = 5;
const APPEND: u8 = 6;
const APPEND_BY_PRODUCER: u8 = 7;

/// A record, borrowed from a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// A stream's head, whatever it was before, and the appended bytes.
    Put {
        name: &'a str,
        head: &'a [u8],
        bytes: &'a [u8],
        producer: Option<Producer<'a>>,
    },
    /// An append to a stream whose head is in an earlier record of the same slot.
    Append {
        incarnation: u64,
        changed_ms: u64,
        bytes: &'a [u8],
        producer: Option<Producer<'a>>,
    },
    Remove {
        name: &'a str,
        incarnation: u64,
    },
    Document {
        key: &'a str,
        value: Option<&'a [u8]>,
    },
}

/// A producer's state afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Producer<'a> {
    pub(crate) id: &'a str,
    pub(crate) epoch: u64,
    pub(crate) seq_last: u64,
}

/// The state of a stream before an edit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Before<'a> {
    /// What the edit is checked against.
    pub(crate) state: StreamState,
    /// The head, if an earlier record of the same slot has it.
    pub(crate) head: Option<&'a StreamHead>,
}

/// Adds the record of an edit to a frame.
pub(crate) fn encode(edit: &Edit, before: Before<'_>, out: &mut Vec<u8>, scratch: &mut Vec<u8>) {
    match edit {
        Edit::Put { name, change, .. } => {
            let Change { head, bytes, producer } = change;
            if before.head.is_some_and(|before| before.is_append(head, bytes.len())) {
                out.push(if producer.is_some() { APPEND_BY_PRODUCER } else { APPEND });
                put_number(out, head.incarnation.get());
                put_number(out, head.changed_ms);
            } else {
                scratch.clear();
                head::encode(head, scratch);
                out.push(if producer.is_some() { PUT_BY_PRODUCER } else { PUT });
                put_bytes(out, name.as_str().as_bytes());
                put_bytes(out, scratch);
            }
            if let Some((id, state)) = producer {
                put_bytes(out, id.as_str().as_bytes());
                put_number(out, state.epoch);
                put_number(out, state.seq_last);
            }
            put_bytes(out, bytes);
        }
        Edit::Remove { name, .. } => {
            out.push(REMOVE);
            put_bytes(out, name.as_str().as_bytes());
            put_number(out, before.state.incarnation.map_or(0, Incarnation::get));
        }
        Edit::Document { key, value } => {
            out.push(if value.is_some() { DOCUMENT } else { DOCUMENT_GONE });
            put_bytes(out, key.as_bytes());
            if let Some(value) = value {
                put_bytes(out, value);
            }
        }
    }
}

/// Returns the records of a frame in order; the first malformed one is the last.
pub(crate) fn records(frame: &[u8]) -> impl Iterator<Item = Result<Record<'_>, Malformed>> {
    let mut input = Input(frame);
    std::iter::from_fn(move || {
        if input.0.is_empty() {
            return None;
        }
        let record = decode(&mut input);
        if record.is_err() {
            input.0 = &[];
        }
        Some(record)
    })
}

fn decode<'a>(input: &mut Input<'a>) -> Result<Record<'a>, Malformed> {
    Ok(match input.byte()? {
        kind @ (PUT | PUT_BY_PRODUCER) => Record::Put {
            name: input.text()?,
            head: input.bytes()?,
            producer: producer(input, kind == PUT_BY_PRODUCER)?,
            bytes: input.bytes()?,
        },
        kind @ (APPEND | APPEND_BY_PRODUCER) => Record::Append {
            incarnation: input.number()?,
            changed_ms: input.number()?,
            producer: producer(input, kind == APPEND_BY_PRODUCER)?,
            bytes: input.bytes()?,
        },
        REMOVE => Record::Remove { name: input.text()?, incarnation: input.number()? },
        DOCUMENT => Record::Document { key: input.text()?, value: Some(input.bytes()?) },
        DOCUMENT_GONE => Record::Document { key: input.text()?, value: None },
        _ => return Err(Malformed),
    })
}

fn producer<'a>(input: &mut Input<'a>, has_one: bool) -> Result<Option<Producer<'a>>, Malformed> {
    Ok(if has_one {
        Some(Producer { id: input.text()?, epoch: input.number()?, seq_last: input.number()? })
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use headwater_protocol::{
        path::StreamName,
        producer::{ProducerId, ProducerState},
    };
    use proptest::prelude::*;

    use super::*;
    use crate::head::tests::heads;

    proptest! {
        #[test]
        fn edits_come_back(head in heads(), bytes: Vec<u8>, by_producer: bool, epoch: u64, seq_last: u64) {
            let producer = by_producer.then(|| (ProducerId::parse("p").unwrap(), ProducerState { epoch, seq_last }));
            let change = Change { head: head.clone(), bytes: Bytes::from(bytes.clone()), producer };
            let name = StreamName::new("a/b").unwrap();
            let edits = [
                Edit::Put { name: name.clone(), expected: 3, change },
                Edit::Remove { name, expected: 4 },
                Edit::Document { key: "k".into(), value: Some(Bytes::from_static(b"v")) },
                Edit::Document { key: "k".into(), value: None },
            ];
            let mut encoded = Vec::new();
            head::encode(&head, &mut encoded);
            let mut frame = Vec::new();
            let state = StreamState { incarnation: Incarnation::new(77), ..StreamState::default() };
            let before = Before { state, head: None };
            edits.iter().for_each(|edit| super::encode(edit, before, &mut frame, &mut Vec::new()));
            let producer = by_producer.then_some(Producer { id: "p", epoch, seq_last });
            let expected = [
                Record::Put { name: "a/b", head: &encoded, bytes: &bytes, producer },
                Record::Remove { name: "a/b", incarnation: 77 },
                Record::Document { key: "k", value: Some(b"v") },
                Record::Document { key: "k", value: None },
            ];
            let read: Vec<_> = records(&frame).map(Result::unwrap).collect();
            prop_assert_eq!(&read[..], &expected[..]);
        }

        #[test]
        fn an_append_needs_no_head(head in heads(), bytes: Vec<u8>, by_producer: bool, epoch: u64, seq_last: u64, changed_ms: u64) {
            let mut after = head.clone();
            after.version = head.version.saturating_add(1);
            after.tail = head.tail.saturating_add(bytes.len() as u64);
            after.changed_ms = changed_ms;
            prop_assume!(after.version > head.version && after.tail - head.tail == bytes.len() as u64);
            let producer = by_producer.then(|| (ProducerId::parse("p").unwrap(), ProducerState { epoch, seq_last }));
            let change = Change { head: after, bytes: Bytes::from(bytes.clone()), producer };
            let edit = Edit::Put { name: StreamName::new("a/b").unwrap(), expected: head.version, change };
            let before = Before { state: StreamState::of(&head), head: Some(&head) };
            let mut frame = Vec::new();
            super::encode(&edit, before, &mut frame, &mut Vec::new());
            let producer = by_producer.then_some(Producer { id: "p", epoch, seq_last });
            let incarnation = head.incarnation.get();
            let expected = Record::Append { incarnation, changed_ms, bytes: &bytes, producer };
            prop_assert_eq!(records(&frame).collect::<Vec<_>>(), [Ok(expected)]);
        }

        #[test]
        fn garbage_ends_with_an_error_at_worst(frame: Vec<u8>) {
            prop_assert!(records(&frame).filter(Result::is_err).count() <= 1);
        }
    }
}
