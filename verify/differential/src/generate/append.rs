//! POST: bytes, batches, sequences, producers, closing.

use proptest::prelude::*;

use super::create::{STRANGE_TYPES, TYPES, closed};
use super::read::write_conditions;
use super::{Headers, Manner, good_body, header, mostly, strange_body, texts, usual_type};
use crate::script::{Seen, Slot, Step, Text};

/// Any append.
pub(super) fn append(slot: Slot, manner: Manner) -> BoxedStrategy<Step> {
    let usual = Just(Text::is(usual_type(slot)));
    let content_type = mostly(manner, prop_oneof![12 => usual, 1 => texts(TYPES)], texts(STRANGE_TYPES));
    let seq = mostly(manner, texts(&["1", "2", "3", "10", "a"]), texts(STRANGE_SEQS));
    let none = Just(Headers::new());
    let headers = (
        prop_oneof![20 => content_type.prop_map(|value| vec![("Content-Type", value)]), 1 => none.clone()],
        header(manner, 2, "Stream-Seq", seq),
        header(manner, 1, "Stream-Closed", closed(manner)),
        prop_oneof![6 => none, 4 => producer(manner)],
        (expected(slot, manner), write_conditions(slot, manner)).prop_map(|(a, b)| [a, b].concat()),
    );
    let empty = prop_oneof![Just(None), Just(Some(Vec::new()))];
    let body = prop_oneof![
        16 => good_body(slot).prop_map(Some),
        2 => empty,
        1 => strange_body().prop_map(Some),
        manner.weight() => strange_body().prop_map(Some),
    ];
    (headers, body, 0..9u8)
        .prop_map(move |((a, b, c, d, e), body, closing)| {
            let mut headers = [a, b, c, d, e].concat();
            // Mostly it is an empty body that closes.
            if closing > 0 && body.as_ref().is_none_or(Vec::is_empty) {
                headers.push(("Stream-Closed", Text::is("true")));
            }
            Step { headers, body, ..Step::new("POST", slot) }
        })
        .boxed()
}

/// `Stream-Expected-Offset`, in some requests: mostly the tail.
fn expected(slot: Slot, manner: Manner) -> BoxedStrategy<Headers> {
    let seen = (0..3u8, -1..2i8).prop_map(move |(back, by)| Text::seen(Seen::Offset { slot, back, by }));
    let last = Just(Text::seen(Seen::Offset { slot, back: 0, by: 0 }));
    let value = mostly(manner, last, prop_oneof![3 => seen, 1 => texts(&["", "-1", "now", "x", "0_0"])]);
    prop_oneof![12 => Just(Headers::new()), 1 => header(manner, 10, "Stream-Expected-Offset", value)].boxed()
}

/// The headers of an idempotent producer, mostly all three.
fn producer(manner: Manner) -> BoxedStrategy<Headers> {
    let id = mostly(manner, texts(&["p", "q"]), texts(&["", "é", "p ", "P", "p,q", LONG]));
    let epoch = mostly(manner, texts(&["0", "0", "0", "1", "2"]), texts(STRANGE_NUMBERS));
    let seq = mostly(manner, texts(&["0", "0", "1", "1", "2", "3"]), texts(STRANGE_NUMBERS));
    let all = (id.clone(), epoch.clone(), seq.clone()).prop_map(|(id, epoch, seq)| {
        vec![("Producer-Id", id), ("Producer-Epoch", epoch), ("Producer-Seq", seq)]
    });
    let some = (
        header(manner, 5, "Producer-Id", id),
        header(manner, 5, "Producer-Epoch", epoch),
        header(manner, 5, "Producer-Seq", seq),
    );
    prop_oneof![15 => all, 1 => some.prop_map(|(a, b, c)| [a, b, c].concat())].boxed()
}

const STRANGE_NUMBERS: &[&str] = &[
    "",
    "-1",
    "+1",
    "00",
    "01",
    "1.0",
    "1e0",
    "0x1",
    "x",
    "1 1",
    "9007199254740991",
    "9007199254740992",
    "99999999999999999999999",
    "١",
];

const STRANGE_SEQS: &[&str] = &["", "1 ", "é", "~", "A", "1,2", "00", LONG, LONGEST];

/// 257 bytes: one more than ids and sequences may have.
const LONG: &str = concat!(
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef+",
);

/// 256 bytes.
const LONGEST: &str = LONG.split_at(256).0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_texts_are_at_the_limit_and_past_it() {
        assert_eq!((LONG.len(), LONGEST.len()), (257, 256));
    }
}
