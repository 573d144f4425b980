//! What may be strange about any request: its verb, its target, its form, headers that nobody expects.

use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Headers, texts};
use crate::script::{Form, Slot, Spelling, Step, Text};

/// A request with a verb that isn't one of the five.
pub(super) fn verb(slot: Slot) -> BoxedStrategy<Step> {
    let verbs = ["OPTIONS", "PATCH", "TRACE", "get", "Get", "PROPFIND", "QUERY", "M-SEARCH", "G"];
    (select(verbs.to_vec()), option::of(Just(b"body".to_vec())))
        .prop_map(move |(method, body)| Step { body, ..Step::new(method, slot) })
        .boxed()
}

/// A change to a request.
#[derive(Clone, Debug)]
pub(super) struct Twists {
    spelling: Option<Spelling>,
    form: Option<Form>,
    headers: Headers,
    /// Content of a request that has none, mostly.
    body: Option<Vec<u8>>,
}

impl Twists {
    /// The request with them.
    pub(super) fn of(self, mut step: Step) -> Step {
        step.spelling = self.spelling.unwrap_or(step.spelling);
        step.form = self.form.unwrap_or(step.form);
        // A live read with a second request is delicate enough.
        if step.meanwhile.is_none() {
            step.headers.extend(self.headers);
            step.body = step.body.or(self.body);
        }
        step
    }
}

/// Mostly nothing.
pub(super) fn twists() -> BoxedStrategy<Twists> {
    let rarely = |of_a_hundred: u32| option::weighted(f64::from(of_a_hundred) / 100.0, Just(()));
    (
        (rarely(10), spelling()),
        (rarely(8), form()),
        (rarely(10), headers()),
        (rarely(3), select(vec![&b""[..], b"content", b"{}"])),
    )
        .prop_map(|(spelling, form, headers, body)| Twists {
            spelling: spelling.0.map(|()| spelling.1),
            form: form.0.map(|()| form.1),
            headers: headers.0.map(|()| headers.1).unwrap_or_default(),
            body: body.0.map(|()| body.1.to_vec()),
        })
        .boxed()
}

fn spelling() -> BoxedStrategy<Spelling> {
    prop_oneof![
        4 => Just(Spelling::Escaped),
        2 => select(ORIGINS).prop_map(Spelling::Absolute),
        6 => select(SUFFIXES).prop_map(Spelling::Suffixed),
        2 => select(PATHS).prop_map(Spelling::Whole),
    ]
    .boxed()
}

const ORIGINS: &[&str] = &[
    "http://streams.example",
    "HTTP://STREAMS.example",
    "https://other.example:99",
    "http://user@other.example",
];

const SUFFIXES: &[&str] = &[
    "/",
    "//",
    "/x",
    "//x",
    "/.",
    "/./x",
    "/..",
    "/../x",
    "/%2e%2e/x",
    "/%2E",
    "%2Fx",
    "%5Cx",
    "\\x",
    "%00",
    "%0a",
    "%7f",
    "%zz",
    "%",
    "%4",
    "%ff",
    "%C3",
    "%C3%A9",
    "é",
    "%20",
    "+",
    ";v=1",
    "~",
    "'",
    "|",
    "\"",
    "<x>",
    "{x}",
    "^",
    "`",
    "[x]",
    "@",
    ":",
    "...",
    "/__ds",
    LONG,
];

/// Paths that are no stream's.
const PATHS: &[&str] = &[
    "/",
    "*",
    "/v1",
    "/v1/stream",
    "/v1/stream/",
    "/v1/streams/x",
    "/V1/stream/x",
    "/v1//stream/x",
    "/v1/stream/__ds",
    "/v1/stream/__ds/x",
    "/v1/stream/%5f_ds/x",
    "/v1/stream/a%2Fb",
    "/v1/stream/a%2F..%2Fb",
    "/v1/stream%2Fa",
    "/v1/stream/..",
    "/v1/stream/../stream/x",
    "/v1/stream/%2e",
    "//streams.example/v1/stream/x",
    "/health",
    "/health/",
    "/%68ealth",
    "/v1/str%65am/x",
];

/// With a name in front of it longer than names may be.
const LONG: &str = {
    const BYTES: [u8; 1_100] = [b'n'; 1_100];
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => "",
    }
};

fn form() -> BoxedStrategy<Form> {
    let hosts: Vec<&'static [&'static str]> = vec![
        &[],
        &[""],
        &["a.example", "b.example"],
        &["streams.example:80"],
        &["[::1]:80"],
        &["bad host"],
        &["user@streams.example"],
        &["é.example"],
        &["a/b"],
    ];
    prop_oneof![
        4 => Just(Form { is_chunked: true, ..Form::USUAL }),
        2 => Just(Form { shouts: true, ..Form::USUAL }),
        2 => select(hosts).prop_map(|hosts| Form { hosts, ..Form::USUAL }),
        1 => Just(Form { is_http_1_0: true, ..Form::USUAL }),
        1 => Just(Form { is_http_1_0: true, hosts: &[], ..Form::USUAL }),
    ]
    .boxed()
}

fn headers() -> BoxedStrategy<Headers> {
    let one = |name: &'static str, values| texts(values).prop_map(move |value| vec![(name, value)]);
    prop_oneof![
        one("Origin", &["https://page.example", "null", ""]),
        one("Access-Control-Request-Method", &["PUT"]),
        one("X-Forwarded-Proto", &["https", "http", "HTTPS", "https, http", ""]),
        one("X-Forwarded-Host", &["a.example", ""]),
        one("Forwarded", &["proto=https;host=a.example", "x", ""]),
        one("Range", &["bytes=0-1", "bytes=5-", "x"]),
        one("If-Match", &["*", "\"x\"", "x"]),
        one("If-Modified-Since", &["Thu, 01 Jan 2099 00:00:00 GMT"]),
        one("Cache-Control", &["no-cache", "only-if-cached"]),
        one("Accept", &["text/html", "application/json", ""]),
        one("Authorization", &["Bearer x"]),
        one("Connection", &["close", "keep-alive", "close, x"]),
        one("Expect", &["100-continue", "200-ok"]),
        one("Content-Encoding", &["gzip", "identity", "Identity, gzip", ""]),
        one("Content-Range", &["bytes 0-1/2", "x", ""]),
        one("Stream-Closed", &["true", "false"]),
        one("Stream-Next-Offset", &["x"]),
        one("X-HTTP-Method-Override", &["DELETE"]),
        one("TE", &["trailers"]),
        Just(vec![
            ("X-Empty", Text::is("")),
            ("X-Empty", Text::is("é")),
            ("X-Latin", Text::is(&b"\xe9"[..]))
        ]),
        (90..110usize).prop_map(|count| vec![("X-Many", Text::is("1")); count]),
        // Neither at the limit of 32 KiB nor up to twice as much: hyper looks at it before it reads on.
        select(vec![7_000, 16_000, 31_000, 70_000])
            .prop_map(|length: usize| vec![("X-Long", Text::is(vec![b'x'; length]))]),
    ]
    .boxed()
}
