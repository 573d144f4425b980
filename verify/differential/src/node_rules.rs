//! Where the Node reference server (npm `@durable-streams/server` 0.3.7) differs from us, as it may or should not.
//!
//! Each rule names the text that decides. Where streams are others afterwards, Node is set aside for the rest of the
//! script.

use headwater_testkit::Response;

use crate::client::Outcome;
use crate::rules::{Exchange, Rule};
use crate::script::{Form, Seen, Slot, Step, Text};

/// The longest id and sequence that we take.
const BYTES_MAX: usize = 256;

/// The largest number that JavaScript holds exactly: 2^53-1.
const NUMBER_MAX: u128 = 9_007_199_254_740_991;

/// All of them.
pub(crate) const NODE: &[Rule] = &[
    Rule {
        name: "an offset that a client made",
        theirs: "answers with the message that it lies in, with nothing, or as if it were another",
        ours: "begin with the append that it lies in, or 400, or 410",
        because: "8: offsets are opaque; what comes of one that no response gave is undefined",
        applies: |exchange, _| exchange.step.method == "GET" && makes_an_offset(exchange.step),
        goes_on: true,
    },
    Rule {
        name: "a fork at an offset that a client made",
        theirs: "forks at the end of a message, or refuses",
        ours: "fork at that byte, or refuse; -1 is the beginning",
        because: "8: a fork offset is one that was returned; servers may validate others, and needn't",
        applies: |exchange, _| exchange.step.method == "PUT" && makes_an_offset(exchange.step),
        goes_on: false,
    },
    Rule {
        name: "two reasons to refuse",
        theirs: "looks for one reason first",
        ours: "look for another first",
        because: "5.2 orders closed, content type and sequence only; a refused request changes nothing either way",
        applies: |exchange, what| {
            let is_refusal = |status| (400..500).contains(&status);
            let (ours, theirs) = exchange.statuses();
            what == "status" && is_refusal(ours) && is_refusal(theirs) && (ours == 400 || theirs == 400)
        },
        goes_on: true,
    },
    Rule {
        name: "names are not decoded, and dots are",
        theirs: "takes the path as a browser's URL parser leaves it for the name, and any path at all",
        ours: "decode it, refuse what could mean two things, and know a base path",
        because: "RFC 3986, 6.2.2.2: an unreserved character and its escape are equivalent; 12.2 asks for care",
        applies: |_, what| what == "name",
        goes_on: false,
    },
    Rule {
        name: "a target that is no URI",
        theirs: "takes bytes beyond ASCII for Latin-1",
        ours: "take them as they are",
        because: "RFC 3986, 2: a URI is ASCII; nothing says what else it would be",
        applies: |exchange, _| !exchange.step.has_plain_target(),
        goes_on: false,
    },
    Rule {
        name: "no bounds",
        theirs: "takes any body, depth, id, sequence and number; a head up to 16 KiB",
        ours: "413, 431 and 400 beyond a bound",
        because: "5.2: 413; 12.5: servers bound what clients send",
        applies: |exchange, what| {
            let step = exchange.step;
            let is_long = |name| step.says(name, |value| value.len() > BYTES_MAX);
            let is_large =
                step.says("Stream-TTL", |value| value.parse::<u128>().is_ok_and(|ttl| ttl > NUMBER_MAX));
            let is_deep = exchange.step.body.as_ref().is_some_and(|body| body.starts_with(&[b'['; 128]));
            let bounded = matches!(exchange.statuses(), (413 | 431, _) | (_, 431)) || is_deep;
            what == "status" && (bounded || is_large || is_long("Producer-Id") || is_long("Stream-Seq"))
        },
        goes_on: false,
    },
    Rule {
        name: "numbers with zeros before them",
        theirs: "takes 00 and 01 for a producer's numbers",
        ours: "400: one number, one spelling, as 5.1 has it for Stream-TTL",
        because: "5.2.1: a non-negative integer, and no more is said",
        applies: |exchange, what| {
            let has_zeros = |value: &str| value.len() > 1 && value.starts_with('0');
            let step = exchange.step;
            what == "status"
                && exchange.statuses().0 == 400
                && (step.says("Producer-Epoch", has_zeros) || step.says("Producer-Seq", has_zeros))
        },
        goes_on: false,
    },
    Rule {
        name: "an empty Stream-Seq",
        theirs: "takes it for none",
        ours: "400",
        because: "5.2: it must be greater than the last one, and nothing is less than an empty one",
        applies: |exchange, what| what == "status" && exchange.step.says("Stream-Seq", str::is_empty),
        goes_on: false,
    },
    Rule {
        name: "JSON that is not UTF-8",
        theirs: "replaces what it can't decode, then parses",
        ours: "400",
        because: "9.1.4: 400 for what isn't valid JSON; RFC 8259, 8.1: it is UTF-8, without a mark",
        applies: |exchange, what| {
            what == "status"
                && exchange.statuses().0 == 400
                && problem(exchange, "json")
                && exchange
                    .step
                    .body
                    .as_ref()
                    .is_some_and(|body| std::str::from_utf8(body).is_err() || body.starts_with(b"\xef"))
        },
        goes_on: false,
    },
    Rule {
        name: "a repetition without its place",
        theirs: "leaves Stream-Next-Offset out when it has the append already",
        ours: "name the tail",
        because: "5.2: on success Stream-Next-Offset is the tail after the append",
        applies: |exchange, what| {
            what == "Stream-Next-Offset"
                && exchange.step.method == "POST"
                && exchange.statuses() == (204, 204)
                && lacks(exchange, "Stream-Next-Offset")
        },
        goes_on: true,
    },
    Rule {
        name: "lines that begin with a space lose it",
        theirs: "writes them after `data:` as they are, and a reader takes one space away",
        ours: "write another space before them",
        because: "HTML Living Standard, 9.2.6: a parser removes one space after the colon",
        applies: |exchange, what| {
            let begins_so = |response: &Response| {
                String::from_utf8_lossy(&response.body).lines().any(|line| line.starts_with("data: "))
            };
            what == "data events" && exchange.other.as_ref().is_ok_and(begins_so)
        },
        goes_on: true,
    },
    Rule {
        name: "what is there twice",
        theirs: "takes the first, or both joined by a comma",
        ours: "400",
        because: "RFC 9110, 5.3: a sender must not repeat a field that isn't a list; 5.6: 400 for invalid parameters",
        applies: |exchange, what| {
            what == "status" && exchange.statuses().0 == 400 && exchange.step.repeats_itself()
        },
        goes_on: false,
    },
    Rule {
        name: "only `true` in small letters closes",
        theirs: "ignores Stream-Closed: TRUE",
        ours: "close",
        because: "4.1: exactly `true`, case-insensitive",
        applies: |exchange, _| {
            exchange.step.says("Stream-Closed", |value| value != "true" && value.eq_ignore_ascii_case("true"))
        },
        goes_on: false,
    },
    Rule {
        name: "a host that is none",
        theirs: "answers 500 or doesn't look",
        ours: "400",
        because: "RFC 9112, 3.2: 400 to a request without one valid Host",
        applies: |exchange, _| exchange.step.form.hosts != Form::USUAL.hosts,
        goes_on: false,
    },
    Rule {
        name: "an expectation that nobody knows",
        theirs: "417, except on HTTP/1.0",
        ours: "417 on writes, and ignore it on reads",
        because: "RFC 9110, 10.1.1: a server may answer 417",
        applies: |exchange, what| what == "status" && matches!(exchange.statuses(), (417, _) | (_, 417)),
        goes_on: false,
    },
    Rule {
        name: "a content type that is none",
        theirs: "creates application/octet-stream instead, unless it looks like one at its beginning",
        ours: "400 for what is no type, and any type by its name",
        because: "5.1: 400 for invalid headers; RFC 9110, 8.3.1: what a type is",
        applies: |exchange, what| {
            let is_word = |text: &str| text.starts_with(|letter: char| letter.is_ascii_alphanumeric());
            let is_type = |value: &str| {
                let parts = value.split_once('/');
                parts
                    .is_some_and(|(one, other)| is_word(one) && is_word(other) && !other.contains(['/', ',']))
            };
            matches!(what, "status" | "Content-Type")
                && exchange.step.method == "PUT"
                && exchange.step.says("Content-Type", |value| !is_type(value) || !value.is_ascii())
        },
        goes_on: false,
    },
    Rule {
        name: "a long-poll at the beginning of nothing",
        theirs: "answers 200 with nothing at once to offset=-1 on an empty stream",
        ours: "wait, then 204",
        because: "5.7: if no data is available at the offset, the server waits; 204 when the timeout expires",
        applies: |exchange, what| {
            let is_empty =
                exchange.other.as_ref().is_ok_and(|response| matches!(&response.body[..], b"" | b"[]"));
            what == "status"
                && matches!(exchange.statuses(), (204, 200 | 304))
                && is_live(exchange.step, "long-poll")
                && is_empty
        },
        goes_on: true,
    },
    Rule {
        name: "a life of no seconds",
        theirs: "answers 500: it looks for the stream that it made and doesn't find it",
        ours: "201",
        because: "5.1: Stream-TTL is a non-negative integer, and 0 is one",
        applies: |exchange, _| exchange.step.says("Stream-TTL", |value| value == "0"),
        goes_on: false,
    },
    Rule {
        name: "visibility",
        theirs: "doesn't know Stream-Visibility",
        ours: "400 for a value that it doesn't have, 409 for another one than the stream's",
        because: "11.1: extensions",
        applies: |exchange, what| {
            let is_refused = what == "status" && matches!(exchange.statuses().0, 400 | 409);
            what == "Stream-Visibility" || (is_refused && exchange.step.has("Stream-Visibility"))
        },
        goes_on: false,
    },
    Rule {
        name: "a mode that is none",
        theirs: "takes it for a catch-up read",
        ours: "400",
        because: "5.6: 400 for invalid parameters",
        applies: |exchange, what| {
            what == "status"
                && matches!(exchange.statuses(), (400, 200 | 204 | 304))
                && exchange.step.parameters("live").count() > 0
        },
        goes_on: true,
    },
    Rule {
        name: "conditions are lists",
        theirs: "compares If-None-Match as one text",
        ours: "read the list, weak tags and `*`: 304",
        because: "RFC 9110, 13.1.2: weak comparison, with each of the list",
        applies: |exchange, what| what == "status" && exchange.statuses() == (304, 200),
        goes_on: true,
    },
    Rule {
        name: "an offset that was never given out",
        theirs: "reads from there, or answers nothing",
        ours: "400, or 410 for one of an earlier stream of that name",
        because: "8: offsets are opaque, clients must not make them; 5.6: 400 malformed, 410 not retained",
        applies: |exchange, what| {
            what == "status"
                && matches!(exchange.statuses(), (400 | 410, 200 | 204 | 304))
                && has_offset(exchange.step)
        },
        goes_on: true,
    },
    Rule {
        name: "a fork's place without a source",
        theirs: "ignores Stream-Fork-Offset without Stream-Forked-From",
        ours: "400",
        because: "5.1: Stream-Fork-Offset requires Stream-Forked-From",
        applies: |exchange, what| {
            let step = exchange.step;
            what == "status"
                && exchange.statuses().0 == 400
                && !step.has("Stream-Forked-From")
                && step.has("Stream-Fork-Offset")
        },
        goes_on: false,
    },
    Rule {
        name: "text that is decoded message by message",
        theirs: "drops a byte order mark at the beginning of each message, and replaces characters that two share",
        ours: "keep the mark, and hold half a character back until the rest has come",
        because: "5.8: data events carry UTF-8 text directly",
        applies: |exchange, what| {
            let holds = |text: &str| {
                [exchange.first, exchange.other]
                    .into_iter()
                    .flatten()
                    .any(|response| String::from_utf8_lossy(&response.body).contains(text))
            };
            matches!(what, "data events" | "upToDate" | "Stream-Next-Offset")
                && (holds("\u{feff}") || holds("\u{fffd}"))
        },
        goes_on: true,
    },
    Rule {
        name: "a cursor that JavaScript can't hold",
        theirs: "repeats control events for ever",
        ours: "answer with one that is larger",
        because: "10.1: a cursor is a decimal string; nothing bounds it",
        applies: |exchange, what| {
            let is_large = |value: &Text| {
                let text = String::from_utf8_lossy(&value.before).into_owned();
                text.len() > 15 && text.bytes().all(|byte| byte.is_ascii_digit())
            };
            matches!(what, "upToDate" | "streamCursor" | "Stream-Next-Offset" | "data events")
                && exchange.step.parameters("cursor").any(is_large)
        },
        goes_on: true,
    },
    Rule {
        name: "a conflict of sequences without its place",
        theirs: "doesn't say where the stream ends",
        ours: "name the tail",
        because: "5.2, a draft: such a conflict SHOULD carry Stream-Next-Offset",
        applies: |exchange, what| {
            what == "Stream-Next-Offset"
                && exchange.statuses() == (409, 409)
                && problem(exchange, "stream-seq-regression")
        },
        goes_on: true,
    },
    Rule {
        name: "a line end that may go on",
        theirs: "takes a CR at the end of what there is for a line end",
        ours: "hold it back until more comes: with an LF after it, it is one",
        because: "HTML Living Standard, 9.2.6: CRLF is one line end",
        applies: |exchange, what| {
            let says = |outcome: &Outcome, text: &str| {
                outcome.as_ref().is_ok_and(|response| String::from_utf8_lossy(&response.body).contains(text))
            };
            let is_behind = !says(exchange.first, "\"upToDate\":true") && says(exchange.other, "data:\n\n");
            matches!(what, "data events" | "upToDate" | "Stream-Next-Offset") && is_behind
        },
        goes_on: false,
    },
    Rule {
        name: "JSON that JavaScript can't hold",
        theirs: "parses JSON and writes it anew: 1e400 becomes null",
        ours: "keep what was sent",
        because: "9.1.1: messages are preserved; RFC 8259, 6: numbers have any range",
        applies: |exchange, what| {
            let holds = |text: &str| {
                exchange
                    .first
                    .as_ref()
                    .is_ok_and(|response| String::from_utf8_lossy(&response.body).contains(text))
            };
            matches!(what, "body" | "data events") && exchange.is_json && (holds("1e400") || holds("\\ud800"))
        },
        goes_on: true,
    },
    Rule {
        name: "lifetimes that are none",
        theirs: "takes an empty one for none, any time that JavaScript can read, and one in the past",
        ours: "400",
        because: "5.1: Stream-TTL is strict decimal, Stream-Expires-At an RFC 3339 timestamp",
        applies: |exchange, what| {
            what == "status"
                && exchange.statuses().0 == 400
                && (problem(exchange, "ttl") || problem(exchange, "expires-at"))
        },
        goes_on: false,
    },
    Rule {
        name: "a repetition closes nothing",
        theirs: "says Stream-Closed: true to a producer's repetition that asks to close, and leaves the stream open",
        ours: "leave it open and say nothing",
        because: "5.2.1: seq <= lastSeq is a duplicate; 5.2: the header is present when the stream is now closed",
        applies: |exchange, what| {
            let step = exchange.step;
            what == "Stream-Closed"
                && exchange.statuses() == (204, 204)
                && step.has("Producer-Id")
                && step.has("Stream-Closed")
        },
        goes_on: true,
    },
    Rule {
        name: "a repetition that is malformed",
        theirs: "answers 204: it has that number",
        ours: "400",
        because: "9.1.4 and 5.2: 400 for what isn't JSON or a type; a producer repeats what it sent",
        applies: |exchange, what| {
            what == "status"
                && exchange.statuses() == (400, 204)
                && (problem(exchange, "json") || problem(exchange, "content-type"))
                && exchange.step.has("Producer-Id")
        },
        goes_on: true,
    },
    Rule {
        name: "a fork that is made again",
        theirs: "409, unless the request repeats the content type that the fork inherited",
        ours: "200",
        because: "4.2: if a stream exists with matching configuration, the server MUST return 200",
        applies: |exchange, what| {
            let is_fork = exchange.step.has("Stream-Forked-From");
            what == "status" && exchange.statuses() == (200, 409) && is_fork
        },
        goes_on: true,
    },
    Rule {
        name: "a fork that is made again without its place",
        theirs: "takes it for any fork of that source",
        ours: "409, where it was made with one",
        because: "4.2: if a stream exists with a different configuration, 409",
        applies: |exchange, what| {
            let step = exchange.step;
            what == "status"
                && exchange.statuses() == (409, 200)
                && step.has("Stream-Forked-From")
                && !step.has("Stream-Fork-Offset")
        },
        goes_on: true,
    },
    Rule {
        name: "a source that is none",
        theirs: "has streams at any path to fork from",
        ours: "400 or 404",
        because: "4.2: 404 when the source doesn't exist; a path outside of the base path is no stream",
        applies: |exchange, what| {
            let is_slot = |value: &Text| {
                matches!(value.seen, Some(Seen::Path(_))) && value.before.is_empty() && value.after.is_empty()
            };
            what == "status" && exchange.step.values("Stream-Forked-From").any(|value| !is_slot(value))
        },
        goes_on: false,
    },
    Rule {
        name: "a deleted source is closed",
        theirs: "closes a stream that was deleted and is kept for its forks",
        ours: "410",
        because: "4.2: 410 Gone for all operations (GET, HEAD, POST, DELETE)",
        applies: |exchange, what| {
            what == "status" && exchange.statuses() == (410, 204) && exchange.step.has("Stream-Closed")
        },
        goes_on: true,
    },
    Rule {
        name: "a leap second",
        theirs: "400",
        ours: "take it",
        because: "RFC 3339, 5.7: the second is 60 at the end of months with a leap second",
        applies: |exchange, what| {
            what == "status"
                && exchange.statuses().1 == 400
                && exchange.step.says("Stream-Expires-At", |time| time.contains(":60"))
        },
        goes_on: false,
    },
    Rule {
        name: "tags that name no life",
        theirs: "has the same ETag for a stream and the next one of that name: 304",
        ours: "have another: 200",
        because: "RFC 9110, 8.8.1: a strong validator changes with the representation",
        applies: |exchange, what| what == "status" && exchange.statuses() == (200, 304),
        goes_on: true,
    },
    Rule {
        name: "Last-Event-ID",
        theirs: "doesn't know it",
        ours: "begin there, whatever the offset is",
        because: "11.1: extensions; HTML Living Standard, 9.2.4: a browser sends it",
        applies: |exchange, _| {
            exchange.step.has("Last-Event-ID") || exchange.step.parameters("lastEventId").next().is_some()
        },
        goes_on: true,
    },
    Rule {
        name: "conditions on writes",
        theirs: "doesn't look at them, and does the write",
        ours: "412, or 400 for what is no condition",
        because: "RFC 9110, 13.2.1: a server evaluates them before it changes anything",
        applies: |exchange, _| exchange.statuses().0 == 412 || problem(exchange, "condition-malformed"),
        goes_on: false,
    },
    Rule {
        name: "an expected offset",
        theirs: "doesn't know Stream-Expected-Offset",
        ours: "409 where the stream ends elsewhere, 400 for what is no offset",
        because: "5.2, a draft: a server without it ignores it",
        applies: |exchange, _| {
            exchange.step.has("Stream-Expected-Offset") && matches!(exchange.statuses().0, 400 | 409 | 410)
        },
        goes_on: false,
    },
    Rule {
        name: "bodies that are encoded, or parts",
        theirs: "takes them for plain and whole",
        ours: "415 and 400",
        because: "RFC 9110, 8.4 and 14.5: the server doesn't know what they mean",
        applies: |exchange, _| {
            problem(exchange, "content-coding-unsupported") || problem(exchange, "content-range-unsupported")
        },
        goes_on: false,
    },
    Rule {
        name: "text that isn't UTF-8 in events",
        theirs: "decodes it as if it were",
        ours: "base64, with every byte",
        because: "5.8: other types are base64; an event stream is UTF-8",
        applies: |exchange, _| {
            let of_first =
                |name| exchange.first.as_ref().is_ok_and(|response| !response.headers(name).is_empty());
            of_first("Stream-SSE-Data-Encoding") && lacks(exchange, "Stream-SSE-Data-Encoding")
        },
        goes_on: true,
    },
    Rule {
        name: "closing alone has a sequence too",
        theirs: "closes without a look at Stream-Seq when there is no body",
        ours: "409",
        because: "5.2: Stream-Seq, if provided and not greater than the last, MUST be 409",
        applies: |exchange, what| {
            what == "status"
                && exchange.statuses() == (409, 204)
                && problem(exchange, "stream-seq-regression")
                && exchange.step.body.as_ref().is_none_or(Vec::is_empty)
        },
        goes_on: false,
    },
    Rule {
        name: "the type of a fork",
        theirs: "takes the request's spelling, parameters and all",
        ours: "keep the source's",
        because: "4.2: it must match the source's, and the fork inherits it",
        applies: |exchange, what| what == "Content-Type" && exchange.step.has("Stream-Forked-From"),
        goes_on: false,
    },
    Rule {
        name: "JSON by another spelling",
        theirs: "knows application/json in small letters only, and in any text that contains it",
        ours: "know it in any letters, and nothing else",
        because: "RFC 9110, 8.3.1: types are case-insensitive; 9.1: application/json has special semantics",
        applies: |_, what| what == "JSON",
        goes_on: false,
    },
    Rule {
        name: "the spelling of a time",
        theirs: "repeats Stream-Expires-At as it was sent",
        ours: "write it in UTC",
        because: "5.5: the absolute expiry time; RFC 3339 has more than one spelling for one time",
        applies: |_, what| what == "Stream-Expires-At",
        goes_on: true,
    },
];

/// Whether our response is a problem whose type begins with `code`.
fn problem(exchange: &Exchange<'_>, code: &str) -> bool {
    let kind = format!("urn:headwater:problem:{code}");
    exchange.first.as_ref().is_ok_and(|response| String::from_utf8_lossy(&response.body).contains(&kind))
}

/// Whether Node's response has no such header.
fn lacks(exchange: &Exchange<'_>, name: &str) -> bool {
    exchange.other.as_ref().is_ok_and(|response| response.headers(name).is_empty())
}

/// Whether the request reads from or forks at an offset that no response about that stream gave.
fn makes_an_offset(step: &Step) -> bool {
    let is_made = |value: &Text, of: Slot| match value.seen {
        Some(Seen::Offset { slot, by, .. }) => {
            by != 0 || slot != of || !value.before.is_empty() || !value.after.is_empty()
        }
        _ => false,
    };
    let source = step.values("Stream-Forked-From").find_map(|value| match value.seen {
        Some(Seen::Path(slot)) => Some(slot),
        _ => None,
    });
    step.parameters("offset").any(|value| is_made(value, step.slot))
        || step
            .values("Stream-Fork-Offset")
            .any(|value| value.seen.is_none() || is_made(value, source.unwrap_or(step.slot)))
}

fn is_live(step: &Step, mode: &str) -> bool {
    step.parameters("live").any(|value| value.before == mode.as_bytes())
}

/// Whether the request reads from an offset that isn't a word.
fn has_offset(step: &Step) -> bool {
    let is_word = |value: &[u8]| matches!(value, b"-1" | b"now");
    step.method == "GET"
        && step
            .parameters("offset")
            .any(|value| matches!(value.seen, Some(Seen::Offset { .. })) || !is_word(&value.before))
}
