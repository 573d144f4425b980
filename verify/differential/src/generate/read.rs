//! GET: from anywhere, in every mode, with conditions, and with parameters that are none.

use proptest::prelude::*;

use super::create::{ZERO, small_body};
use super::{Headers, Manner, header, mostly, texts, usual_type};
use crate::script::{Seen, Slot, Step, Text};

type Query = Vec<(&'static str, Text)>;

/// Any read.
pub(super) fn read(slot: Slot, manner: Manner) -> BoxedStrategy<Step> {
    let offset = offset(slot, manner).prop_map(|value| vec![("offset", value)]);
    let live =
        mostly(manner, live(), texts(&["", "LONG-POLL", "longpoll", "true", "sse,long-poll", "%73se"]));
    let cursor = mostly(
        manner,
        prop_oneof![
            4 => (0..4u8).prop_map(move |back| Text::seen(Seen::Cursor { slot, back })),
            1 => texts(&["0", "1", "abc"]),
        ],
        texts(STRANGE_CURSORS),
    );
    let query = (
        prop_oneof![15 => offset.clone(), 1 => Just(Query::new()), manner.weight() => twice(offset)],
        prop_oneof![6 => Just(Query::new()), 3 => live.prop_map(|value| vec![("live", value)])],
        prop_oneof![6 => Just(Query::new()), 2 => cursor.prop_map(|value| vec![("cursor", value)])],
        prop_oneof![
            20 => Just(Query::new()),
            1 => (0..4u8).prop_map(move |back| vec![("lastEventId", Text::seen(Seen::Offset { slot, back, by: 0 }))]),
            2 * manner.weight() => strange_parameters(),
        ],
    );
    (query, conditions(slot, manner), last_event_id(slot, manner), any::<bool>())
        .prop_map(move |((offset, live, cursor, strange), conditions, last_event_id, backwards)| {
            let mut query = [offset, live, cursor, strange].concat();
            if backwards {
                query.reverse();
            }
            Step { query, headers: [conditions, last_event_id].concat(), ..Step::new("GET", slot) }
        })
        .boxed()
}

/// A long-poll, and an append that may find it waiting. Its response doesn't depend on which comes first: it begins at the
/// last offset that was given out, mostly the tail, and one request can't be seen in part.
pub(super) fn wait_and_append(slot: Slot) -> BoxedStrategy<Step> {
    small_body(slot)
        .prop_map(move |body| {
            let offset = Text::seen(Seen::Offset { slot, back: 0, by: 0 });
            let append = Step {
                headers: vec![("Content-Type", Text::is(usual_type(slot)))],
                body: Some(body),
                ..Step::new("POST", slot)
            };
            Step {
                query: vec![("offset", offset), ("live", Text::is("long-poll"))],
                meanwhile: Some(Box::new(append)),
                ..Step::new("GET", slot)
            }
        })
        .boxed()
}

/// Mostly event streams: they needn't wait for anything.
fn live() -> BoxedStrategy<Text> {
    prop_oneof![3 => texts(&["sse"]), 1 => texts(&["long-poll"])].boxed()
}

fn offset(slot: Slot, manner: Manner) -> BoxedStrategy<Text> {
    let seen = (0..8u8).prop_map(move |back| Text::seen(Seen::Offset { slot, back, by: 0 }));
    let good = prop_oneof![8 => seen, 5 => texts(&["-1"]), 2 => texts(&["now"]), 1 => texts(&[ZERO])];
    let of_others = (0..Slot::COUNT as u8, 0..4u8)
        .prop_map(|(slot, back)| Text::seen(Seen::Offset { slot: Slot(slot), back, by: 0 }));
    let moved = (0..4u8, prop_oneof![Just(-1), Just(1), Just(100)])
        .prop_map(move |(back, by)| Text::seen(Seen::Offset { slot, back, by }));
    let cut = (0..4u8, prop_oneof![Just(""), Just("0"), Just("%20"), Just("_")])
        .prop_map(move |(back, after)| Text::around("0", Seen::Offset { slot, back, by: 0 }, after));
    mostly(manner, good, prop_oneof![2 => of_others, 2 => moved, 1 => cut, 4 => texts(STRANGE_OFFSETS)])
}

/// `If-None-Match`, in some requests.
pub(super) fn conditions(slot: Slot, manner: Manner) -> BoxedStrategy<Headers> {
    let seen = (0..4u8).prop_map(move |back| Text::seen(Seen::Tag { slot, back }));
    header(manner, 2, "If-None-Match", mostly(manner, seen, strange_tags(slot)))
}

fn strange_tags(slot: Slot) -> BoxedStrategy<Text> {
    let seen = || (0..4u8).prop_map(move |back| Seen::Tag { slot, back });
    prop_oneof![
        seen().prop_map(|tag| Text::around("W/", tag, "")),
        seen().prop_map(|tag| Text::around("w/", tag, "")),
        seen().prop_map(|tag| Text::around("\"a\", ", tag, "")),
        seen().prop_map(|tag| Text::around(",, ", tag, " , \"b\"")),
        seen().prop_map(|tag| Text::around("junk ", tag, "")),
        texts(&["*", "", "\"", "\"\"", "W/", "*, \"a\"", "é", "\"é\""]),
    ]
    .boxed()
}

/// `If-Match` and `If-None-Match` of a write, in some requests.
pub(super) fn write_conditions(slot: Slot, manner: Manner) -> BoxedStrategy<Headers> {
    let seen = || (0..3u8).prop_map(move |back| Text::seen(Seen::Tag { slot, back }));
    let value = || mostly(manner, prop_oneof![3 => seen(), 1 => texts(&["*"])], strange_tags(slot));
    let none = || Just(Headers::new());
    let some = (header(manner, 8, "If-Match", value()), header(manner, 4, "If-None-Match", value()));
    prop_oneof![12 => none(), 1 => some.prop_map(|(a, b)| [a, b].concat())].boxed()
}

fn last_event_id(slot: Slot, manner: Manner) -> BoxedStrategy<Headers> {
    let value = prop_oneof![
        (0..4u8).prop_map(move |back| Text::seen(Seen::Offset { slot, back, by: 0 })),
        texts(&["", "x", "-1", "now"]),
    ];
    prop_oneof![30 => Just(Headers::new()), manner.weight() => header(manner, 5, "Last-Event-ID", value)]
        .boxed()
}

fn twice(one: impl Strategy<Value = Query> + Clone) -> impl Strategy<Value = Query> {
    (one.clone(), one).prop_map(|(one, other)| [one, other].concat())
}

fn strange_parameters() -> BoxedStrategy<Query> {
    let one = |name: &'static str, values| texts(values).prop_map(move |value| vec![(name, value)]);
    prop_oneof![
        one("foo", &["bar", "", "%", "%zz", "%ff", "a=b"]),
        one("", &["", "x"]),
        one("live", &["sse", "long-poll", "", "x"]),
        one("cursor", &["1", ""]),
        one("lastEventId", &["", "x", "-1", "now"]),
        one("Offset", &["-1", "x"]),
        one("%6fffset", &["-1", "x"]),
        one("offset%20", &["x"]),
        one("offset[]", &["x"]),
        one("timeout", &["0"]),
        one(";offset", &["x"]),
        one("é", &["é"]),
    ]
    .boxed()
}

const STRANGE_OFFSETS: &[&str] = &[
    "",
    "-2",
    "0",
    "1",
    "%2d1",
    "%2D1",
    "-1%20",
    "%20-1",
    "+-1",
    "-1%00",
    "NOW",
    "no%77",
    "now,now",
    "0_0",
    "_",
    "0000000000000000_0000000000000001",
    "0000000000000001_0000000000000000",
    "9999999999999999_9999999999999999",
    "00000000000000000_0000000000000000",
    "000000000000000%30_0000000000000000",
    "../../etc/passwd",
    "é",
    "%C3%A9",
    "%ff",
    "%",
    "%zz",
    "*",
];

const STRANGE_CURSORS: &[&str] = &[
    "",
    "-5",
    "+5",
    "1e9",
    "0001",
    "9007199254740990",
    "9007199254740991",
    "9007199254740992",
    "18446744073709551615",
    "99999999999999999999999",
    "%31",
    "١",
];
