//! One edit as the commit log holds it. Frames are runs of records; applying them needs nothing else.

use headwater_protocol::stream::Change;
use headwater_store::Edit;

use crate::{
    codec::{Input, Malformed, put_bytes, put_number},
    head::{self, Summary},
};

const PUT: u8 = 1;
const PUT_BY_PRODUCER: u8 = 2;
const REMOVE: u8 = 3;
const DOCUMENT: u8 = 4;
const DOCUMENT_GONE: u8 = 5;

/// An edit, borrowed from a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    Put { name: &'a str, summary: Summary, head: &'a [u8], bytes: &'a [u8], producer: Option<Producer<'a>> },
    Remove { name: &'a str, incarnation: u64 },
    Document { key: &'a str, value: Option<&'a [u8]> },
}

/// A producer's state afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Producer<'a> {
    pub(crate) id: &'a str,
    pub(crate) epoch: u64,
    pub(crate) seq_last: u64,
}

/// Adds an edit to a frame. `removed` is the incarnation of the stream that a removal ends.
pub(crate) fn encode(edit: &Edit, removed: u64, out: &mut Vec<u8>, scratch: &mut Vec<u8>) {
    match edit {
        Edit::Put { name, change, .. } => {
            let Change { head, bytes, producer } = change;
            out.push(if producer.is_some() { PUT_BY_PRODUCER } else { PUT });
            put_bytes(out, name.as_str().as_bytes());
            scratch.clear();
            head::encode(head, scratch);
            put_bytes(out, scratch);
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
            put_number(out, removed);
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

/// The records of a frame, in order.
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
        kind @ (PUT | PUT_BY_PRODUCER) => {
            let name = input.text()?;
            let head = input.bytes()?;
            let producer = if kind == PUT_BY_PRODUCER {
                Some(Producer { id: input.text()?, epoch: input.number()?, seq_last: input.number()? })
            } else {
                None
            };
            Record::Put { name, summary: Summary::decode(head)?, head, bytes: input.bytes()?, producer }
        }
        REMOVE => Record::Remove { name: input.text()?, incarnation: input.number()? },
        DOCUMENT => Record::Document { key: input.text()?, value: Some(input.bytes()?) },
        DOCUMENT_GONE => Record::Document { key: input.text()?, value: None },
        _ => return Err(Malformed),
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
            let name = StreamName::from_stored("a/b");
            let edits = [
                Edit::Put { name: name.clone(), expected: 3, change },
                Edit::Remove { name, expected: 4 },
                Edit::Document { key: "k".into(), value: Some(Bytes::from_static(b"v")) },
                Edit::Document { key: "k".into(), value: None },
            ];
            let mut frame = Vec::new();
            edits.iter().for_each(|edit| encode(edit, 77, &mut frame, &mut Vec::new()));
            let mut encoded = Vec::new();
            head::encode(&head, &mut encoded);
            let producer = by_producer.then_some(Producer { id: "p", epoch, seq_last });
            let summary = Summary::decode(&encoded).unwrap();
            let expected = [
                Record::Put { name: "a/b", summary, head: &encoded, bytes: &bytes, producer },
                Record::Remove { name: "a/b", incarnation: 77 },
                Record::Document { key: "k", value: Some(b"v") },
                Record::Document { key: "k", value: None },
            ];
            let read: Vec<_> = records(&frame).map(Result::unwrap).collect();
            prop_assert_eq!(&read[..], &expected[..]);
        }

        #[test]
        fn garbage_ends_with_an_error_at_worst(frame: Vec<u8>) {
            prop_assert!(records(&frame).filter(Result::is_err).count() <= 1);
        }
    }
}
