//! Random scripts: valid requests, odd ones and hostile ones, in an order that gives them something to say.
//!
//! A subject a file: `generate/create.rs` for PUT, `append.rs` for POST, `read.rs` for GET, `odd.rs` for what may be
//! strange about any request.

mod append;
mod create;
mod odd;
mod read;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::script::{Script, Slot, Step, Text};

/// The headers of a request.
type Headers = Vec<(&'static str, Text)>;

/// The longest script, without the creations that it begins with.
const STEPS_MAX: usize = 24;

/// The style of a script.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// As ordinary clients are, mistakes included.
    Tame,
    /// With anything anywhere.
    Odd,
}

impl Manner {
    /// The weight of what is strange, beside ten for what isn't.
    const fn weight(self) -> u32 {
        match self {
            Self::Tame => 0,
            Self::Odd => 2,
        }
    }
}

/// Any script.
pub(crate) fn script() -> BoxedStrategy<Script> {
    prop_oneof![script_of(Manner::Tame), script_of(Manner::Odd)].boxed()
}

fn script_of(manner: Manner) -> impl Strategy<Value = Script> {
    let begin = (0..3u8)
        .prop_flat_map(|count| (0..=count).map(|slot| create::plain(Slot(slot)).boxed()).collect::<Vec<_>>());
    (begin, vec(step(manner), 1..STEPS_MAX)).prop_map(|(mut steps, rest)| {
        steps.extend(rest);
        Script { steps }
    })
}

fn step(manner: Manner) -> BoxedStrategy<Step> {
    let weighted = slot().prop_flat_map(move |slot| {
        prop_oneof![
            30 => append::append(slot, manner),
            30 => read::read(slot, manner),
            8 => create::create(slot, manner),
            8 => Just(Step::new("HEAD", slot)),
            4 => read::write_conditions(slot, manner)
                .prop_map(move |headers| Step { headers, ..Step::new("DELETE", slot) }),
            2 => read::wait_and_append(slot),
            manner.weight() => odd::verb(slot),
        ]
    });
    match manner {
        Manner::Tame => weighted.boxed(),
        Manner::Odd => (weighted, odd::twists()).prop_map(|(step, twists)| twists.of(step)).boxed(),
    }
}

fn slot() -> impl Strategy<Value = Slot> {
    prop_oneof![5 => Just(0), 4 => Just(1), 2 => Just(2), 3 => Just(3)].prop_map(Slot)
}

/// The usual content types of a stream.
const fn usual_type(slot: Slot) -> &'static str {
    match slot.0 {
        1 => "application/json",
        2 => "application/octet-stream",
        _ => "text/plain",
    }
}

/// Generates one of these texts.
fn texts(texts: &'static [&'static str]) -> BoxedStrategy<Text> {
    select(texts).prop_map(Text::is).boxed()
}

/// Ten of `good` for each `manner.weight()` of `strange`.
fn mostly<T: std::fmt::Debug + Clone + 'static>(
    manner: Manner,
    good: impl Strategy<Value = T> + 'static,
    strange: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    prop_oneof![10 => good, manner.weight() => strange].boxed()
}

/// A header, in so many of ten requests; now and then twice, if the manner is odd.
fn header(
    manner: Manner,
    of_ten: u32,
    name: &'static str,
    value: impl Strategy<Value = Text> + Clone + 'static,
) -> BoxedStrategy<Headers> {
    let once = value.clone().prop_map(move |value| vec![(name, value)]);
    let twice = (value.clone(), value).prop_map(move |(one, other)| vec![(name, one), (name, other)]);
    let there = prop_oneof![30 => once, manner.weight() => twice];
    prop_oneof![10 - of_ten => Just(Vec::new()), of_ten => there].boxed()
}

/// Bytes that a stream of this slot takes.
fn good_body(slot: Slot) -> BoxedStrategy<Vec<u8>> {
    let long = (1_usize..3_000).prop_map(|length| (b'a'..=b'z').cycle().take(length).collect());
    match slot.0 {
        1 => prop_oneof![
            8 => select(JSON).prop_map(Vec::from),
            2 => vec(0..1_000u32, 1..9).prop_map(|numbers| format!("{numbers:?}").into_bytes()),
            1 => (1_usize..900).prop_map(|count| format!("[{}0]", "12,".repeat(count)).into_bytes()),
        ]
        .boxed(),
        2 => prop_oneof![4 => vec(any::<u8>(), 1..40), 1 => long].boxed(),
        _ => prop_oneof![
            8 => select(LINES).prop_map(Vec::from),
            4 => "[ -~]{1,12}".prop_map(String::into_bytes),
            1 => long,
        ]
        .boxed(),
    }
}

/// Bytes that a stream may take or not.
fn strange_body() -> BoxedStrategy<Vec<u8>> {
    let deep = prop_oneof![Just(127), Just(128), Just(129), Just(200)]
        .prop_map(|depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat().into_bytes());
    prop_oneof![
        6 => select(NO_JSON).prop_map(<[u8]>::to_vec),
        2 => select(HALF_CHARACTERS).prop_map(<[u8]>::to_vec),
        1 => deep,
        1 => Just(Vec::new()),
        1 => (4_000_usize..4_200).prop_map(|length| vec![b'x'; length]),
    ]
    .boxed()
}

const LINES: &[&str] = &[
    "hello",
    " leading and trailing ",
    "two\nlines\n",
    "\r",
    "\n",
    "\r\n\r\n",
    "event: control\ndata: {}\n\n",
    "data: x",
    "é€😀",
    "\u{feff}mark",
    "a\0b",
];

const JSON: &[&str] = &[
    "{\"a\":1}",
    "[1,2,3]",
    "[[1,2],[3]]",
    "[[]]",
    "{}",
    "\"text\"",
    "null",
    "true",
    "0",
    "[{\"a\":\"]\"},{\"b\":\",\"}]",
    "\"\\u20ac\\n\"",
    " [ 1 , 2 ] ",
    "{\"é\":\"😀\"}",
];

const NO_JSON: &[&[u8]] = &[
    b"[]",
    b" [ ] ",
    b"{",
    b"[1,]",
    b"[1 2]",
    b"1 2",
    b"1,2",
    b"nul",
    b"01",
    b"-0",
    b"1.0",
    b"1e400",
    b"1e-7",
    b"100000000000000000000000000001",
    b"{\"a\":1,\"a\":2}",
    b"\"\\ud800\"",
    b"\"\\u0000\"",
    b"\"tab\tin it\"",
    b"\xef\xbb\xbf1",
    b"'x'",
    b"NaN",
    b"\"\xff\"",
    b"{\"__proto__\":1}",
    b" ",
    b"\x0b1",
];

const HALF_CHARACTERS: &[&[u8]] =
    &[b"\xe2\x82", b"\xac", b"\xf0\x9f\x98", b"\x80", b"\xff", b"\xc3", b"\xa9", b"ok\xe2"];
