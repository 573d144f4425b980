//! PUT: streams, forks, lifetimes, and all that can be said wrongly about them.

use proptest::prelude::*;
use proptest::sample::select;

use super::read::write_conditions;
use super::{Headers, Manner, good_body, header, mostly, strange_body, texts, usual_type};
use crate::script::{Seen, Slot, Step, Text};

/// The beginning of any stream, as Headwater and the reference server write it.
pub(super) const ZERO: &str = "0000000000000000_0000000000000000";

/// A creation of what the slot usually is, so that the requests after it find something.
pub(super) fn plain(slot: Slot) -> impl Strategy<Value = Step> {
    prop_oneof![2 => Just(None), 1 => good_body(slot).prop_map(Some)].prop_map(move |body| Step {
        headers: vec![("Content-Type", Text::is(usual_type(slot)))],
        body: Some(body.unwrap_or_default()),
        ..Step::new("PUT", slot)
    })
}

/// Any creation.
pub(super) fn create(slot: Slot, manner: Manner) -> BoxedStrategy<Step> {
    let usual = Just(Text::is(usual_type(slot)));
    let content_type = mostly(manner, prop_oneof![9 => usual, 2 => texts(TYPES)], texts(STRANGE_TYPES));
    let ttl = mostly(manner, texts(&["0", "20", "3600"]), texts(STRANGE_TTLS));
    let expires_at = mostly(manner, texts(&["2099-01-01T00:00:00Z"]), texts(STRANGE_TIMES));
    let visibility = texts(&["public", "private", "Private", "", "x"]);
    let fork_of_ten = if slot.0 == 3 { 7 } else { 1 };
    let none = Just(Headers::new());
    let headers = (
        header(manner, 8, "Content-Type", content_type),
        header(manner, 1, "Stream-TTL", ttl),
        header(manner, 1, "Stream-Expires-At", expires_at),
        header(manner, 1, "Stream-Closed", closed(manner)),
        prop_oneof![10 => none.clone(), manner.weight() => header(manner, 5, "Stream-Visibility", visibility)],
        prop_oneof![10 - fork_of_ten => none, fork_of_ten => fork(manner)],
        write_conditions(slot, manner),
    );
    let body = prop_oneof![
        5 => Just(None),
        5 => Just(Some(Vec::new())),
        5 => good_body(slot).prop_map(Some),
        manner.weight() => strange_body().prop_map(Some),
    ];
    (headers, body)
        .prop_map(move |((a, b, c, d, e, f, g), body)| Step {
            headers: [a, b, c, d, e, f, g].concat(),
            body,
            ..Step::new("PUT", slot)
        })
        .boxed()
}

/// Values of `Stream-Closed`.
pub(super) fn closed(manner: Manner) -> BoxedStrategy<Text> {
    let strange = texts(&["TRUE", "True", "false", "", "yes", "1", "true ", "true, true", "true;x"]);
    mostly(manner, texts(&["true"]), strange)
}

fn fork(manner: Manner) -> BoxedStrategy<Headers> {
    let source = || (0..Slot::COUNT as u8).prop_map(Slot);
    (source(), 0..5u8, -1..2i8)
        .prop_flat_map(move |(slot, back, by)| {
            let from = mostly(
                manner,
                Just(Text::seen(Seen::Path(slot))),
                prop_oneof![
                    texts(STRANGE_SOURCES),
                    Just(Text::around("http://streams.example", Seen::Path(slot), "")),
                    Just(Text::around("", Seen::Path(slot), "?offset=-1")),
                    Just(Text::around("", Seen::Path(slot), "/")),
                ],
            );
            let offset = mostly(
                manner,
                Just(Text::seen(Seen::Offset { slot, back, by: 0 })),
                prop_oneof![
                    Just(Text::seen(Seen::Offset { slot, back, by })),
                    texts(&["-1", "now", ZERO, "", "x", "0_0", "9999999999999999_0000000000000000"]),
                ],
            );
            let sub_offset = mostly(
                manner,
                texts(&["0", "1", "2", "5"]),
                texts(&["-1", "01", "+1", "x", "", "1.0", "18446744073709551616", "1000000"]),
            );
            (
                header(manner, 9, "Stream-Forked-From", from),
                header(manner, 6, "Stream-Fork-Offset", offset),
                header(manner, 3, "Stream-Fork-Sub-Offset", sub_offset),
            )
        })
        .prop_map(|(a, b, c)| [a, b, c].concat())
        .boxed()
}

/// Content types that are well formed.
pub(super) const TYPES: &[&str] = &[
    "text/plain",
    "application/json",
    "application/octet-stream",
    "text/plain;charset=utf-8",
    "text/plain; charset=UTF-8",
    "text/plain; charset=iso-8859-1",
    "Text/Plain",
    "application/json; charset=utf-8",
    "APPLICATION/JSON",
    "application/ndjson",
    "image/png",
];

/// Content types that may not be, or that a lazy reader takes for another.
pub(super) const STRANGE_TYPES: &[&str] = &[
    "",
    "text",
    "/",
    "text/",
    "/plain",
    "text/plain/x",
    "text/plain;",
    "text/plain; charset",
    "text plain",
    "text/plain, application/json",
    "application/vnd.api+json",
    "application/json-seq",
    "text/application/json",
    "téxt/plain",
    "*/*",
    "multipart/form-data; boundary=\"a;b\"",
];

const STRANGE_TTLS: &[&str] = &[
    "",
    "01",
    "+1",
    "-1",
    "1.5",
    "1e3",
    "0x10",
    "60 60",
    "60,60",
    "9007199254740991",
    "9007199254740992",
    "99999999999999999999999",
    "٦٠",
];

const STRANGE_TIMES: &[&str] = &[
    "",
    "tomorrow",
    "2000-01-01T00:00:00Z",
    "2099-01-01T00:00:00.123Z",
    "2099-01-01T00:00:00.123456789Z",
    "2099-01-01T00:00:00+02:00",
    "2099-01-01t00:00:00z",
    "2099-01-01 00:00:00Z",
    "2099-01-01",
    "2099-01-01T00:00:00",
    "2099-13-01T00:00:00Z",
    "2099-02-30T00:00:00Z",
    "2099-01-01T24:00:00Z",
    "2098-12-31T23:59:60Z",
    "99999-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "1969-01-01T00:00:00Z",
    "Thu, 01 Jan 2099 00:00:00 GMT",
    "4070908800",
];

const STRANGE_SOURCES: &[&str] = &[
    "",
    "/",
    "/v1/stream",
    "/v1/stream/",
    "/v1/stream/nobody-made-this",
    "nobody",
    "/v1/stream/__ds/x",
    "é",
];

/// A few bodies for an append that comes while somebody waits.
pub(super) fn small_body(slot: Slot) -> BoxedStrategy<Vec<u8>> {
    match slot.0 {
        1 => select(&["1", "[2,3]", "{\"a\":4}"][..]).prop_map(Vec::from).boxed(),
        _ => select(&["late", "later\n", "x"][..]).prop_map(Vec::from).boxed(),
    }
}
