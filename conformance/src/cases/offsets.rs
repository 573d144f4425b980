//! Offsets: their form, their order, what each of them reads, and everything that is not one (section 8).

use crate::case::cases;
use crate::client::{Target, percent_encoded};
use crate::offset::{self, BEGINNING, incarnation, position};
use crate::sse::Events;

cases! {
    offsets_are_sixteen_digits_underscore_sixteen_digits: "docs/adr/0002-offsets-with-incarnations.md",
    the_tail_of_an_empty_stream_is_its_incarnation_and_zero: "docs/adr/0002-offsets-with-incarnations.md",
    positions_count_the_bytes_of_a_stream: "docs/adr/0002-offsets-with-incarnations.md",
    offsets_grow_with_every_append: "section 8, strictly increasing",
    every_offset_reads_exactly_what_follows_it: "section 8, persistent and unique",
    an_offset_inside_of_an_append_means_that_append: "section 8: opaque; docs/adr/0002-offsets-with-incarnations.md",
    an_offset_after_half_a_character_continues_there: "docs/adr/0007-utf8-held-back.md",
    the_beginning_has_four_spellings: "section 8, sentinel values; docs/adr/0002-offsets-with-incarnations.md",
    offset_now_reads_nothing_and_tells_the_tail: "section 8, now",
    offset_now_of_a_closed_stream_tells_that_it_is_closed: "section 8, now on closed streams",
    malformed_offsets_are_400_in_every_mode: "section 5.6: malformed offset",
    a_repeated_offset_is_400: "docs/ARCHITECTURE.md, extensions: repeated headers and parameters",
    an_empty_offset_is_400: "section 5.6: malformed offset",
    percent_encoded_offsets_are_decoded: "section 8: clients must encode",
    one_past_the_tail_is_the_tail: "docs/adr/0002-offsets-with-incarnations.md",
    an_offset_further_past_the_tail_is_400: "docs/adr/0002-offsets-with-incarnations.md: never gave out",
    the_largest_position_is_400_and_overflows_nothing: "docs/adr/0002-offsets-with-incarnations.md: never gave out",
    unknown_parameters_are_ignored: "section 11.1",
    parameter_names_are_case_sensitive: "section 11.1: unknown parameters are ignored",
    the_order_of_parameters_changes_nothing: "section 10.1, query parameter ordering",
    a_read_at_the_tail_repeats_the_offset_asked_for: "section 5.6",
    up_to_date_is_true_or_absent: "section 5.6, Stream-Up-To-Date",
    closed_is_true_or_absent: "section 5.5, Stream-Closed",
}

/// Texts that are no offsets, though some look like one.
#[rustfmt::skip]
const MALFORMED: &[&str] = &[
    "0", "00", "1", "-2", "-0", "-01", "+1", "-1.0", "--1", "- 1", "-1 ", " -1", "NOW", "Now", "now ",
    " now", "now0", "nowhere", "latest", "earliest", "end", "null", "undefined", "NaN", "true", "*", "0x10",
    "_", "0_0", "-1_0", "1763715600000000", "1763715600000000_", "_0000000000000000",
    "000000000000000_0000000000000000", "0000000000000000_000000000000000",
    "00000000000000000_0000000000000000", "0000000000000000_00000000000000000",
    "0000000000000000-0000000000000000", "0000000000000000__000000000000000",
    "0000000000000000_0000000000000000_0000000000000000", "0000000000000000_000000000000000a",
    "000000000000000A_0000000000000000", "+000000000000000_0000000000000000",
    "0000000000000000_+000000000000000", "0000000000000000_-000000000000001",
    "0000000000000000 0000000000000000", "0000000000000000_0000000000000000 ",
    "0000000000000000_0000000000000000\n", "0000000000000000_0000000000000000\0",
    "\"0000000000000000_0000000000000000\"", "0000000000000000_000000000000000\u{660}",
    "0000000000000000_0000000000000000,", "0,1", "-1,now", "a b", "\0", "\u{ff10}", "../../etc/passwd",
];

fn offsets_are_sixteen_digits_underscore_sixteen_digits(t: &Target) {
    let stream = t.missing("text/plain");
    let created = stream.put().send().status(201).next_offset();
    let appended = stream.append("hello");
    for offset in [&created, &appended, &stream.tail(), &stream.read("-1").next_offset()] {
        assert_eq!(incarnation(offset), incarnation(&created), "one stream has one incarnation");
    }
    assert_ne!(incarnation(&created), "0000000000000000", "no stream has the incarnation of the beginning");
}

fn the_tail_of_an_empty_stream_is_its_incarnation_and_zero(t: &Target) {
    for stream in [t.text(&[]), t.json(&[]), t.bytes()] {
        assert_eq!(position(&stream.tail()), 0, "{}", stream.path);
        stream.read("-1").status(200).has("Stream-Next-Offset", &stream.tail());
    }
}

fn positions_count_the_bytes_of_a_stream(t: &Target) {
    let stream = t.text(&[]);
    assert_eq!(position(&stream.append("hello")), 5);
    assert_eq!(position(&stream.append("\u{20ac}")), 8);
    assert_eq!(position(&stream.append("x")), 9);
    assert_eq!(position(&stream.close()), 9);
}

fn offsets_grow_with_every_append(t: &Target) {
    let stream = t.text(&[]);
    let mut last = stream.tail();
    for _ in 0..50 {
        let next = stream.append("x");
        assert!(next > last, "{next} sorts after {last}");
        last = next;
    }
}

fn every_offset_reads_exactly_what_follows_it(t: &Target) {
    let stream = t.text(&[]);
    let parts = ["a", "bc", "def", "ghij", "klmno"];
    let mut offsets = vec![stream.tail()];
    offsets.extend(parts.iter().map(|part| stream.append(part)));
    for (index, from) in offsets.iter().enumerate() {
        let response = stream.read(from);
        response.status(200).body_is(parts[index..].concat());
        response.has("Stream-Next-Offset", &offsets[parts.len()]).has("Stream-Up-To-Date", "true");
    }
}

fn an_offset_inside_of_an_append_means_that_append(t: &Target) {
    let text = t.text(&["hello", ",", "world"]);
    for (from, rest) in [
        (0, "hello,world"),
        (1, "hello,world"),
        (4, "hello,world"),
        (5, ",world"),
        (6, "world"),
        (7, "world"),
        (11, ""),
    ] {
        let offset = text.offset_at(from);
        text.read(&offset).status(200).body_is(rest).has("Stream-Next-Offset", &text.tail());
        if !rest.is_empty() {
            text.poll(&offset).status(200).body_is(rest);
            assert_eq!(Events::open(&text, &offset).data().data, rest, "the event from {from}");
            let tag = text.read(&offset).etag();
            text.get_with(&format!("offset={offset}"), &[("If-None-Match", &tag)]).status(304);
        }
    }
    let json = t.json(&["[1,22]", "333"]);
    for (from, rest) in [(0, "[1,22,333]"), (1, "[1,22,333]"), (3, "[1,22,333]"), (6, "[333]"), (8, "[333]")]
    {
        json.read(&json.offset_at(from)).status(200).body_is(rest);
    }
    let bytes = t.bytes();
    bytes.append("AAAA");
    bytes.append("BBBB");
    // What the published Yjs server asks for.
    let next = offset::advanced(&bytes.offset_at(4), 1);
    bytes.read(&next).status(200).body_is("BBBB");
}

/// An event stream ends before a character that isn't whole yet: that offset was issued, and means its place.
fn an_offset_after_half_a_character_continues_there(t: &Target) {
    let stream = t.text(&[]);
    stream.append(&b"caf\xc3"[..]);
    stream.read(&stream.offset_at(3)).status(200).body_is(&b"\xc3"[..]);
    stream.append(&b"\xa9!"[..]);
    stream.read(&stream.offset_at(3)).status(200).body_is(&b"\xc3\xa9!"[..]);
    stream.read(&stream.offset_at(2)).status(200).body_is("caf\u{e9}!");
    stream.read(&stream.offset_at(5)).status(200).body_is(&b"\xa9!"[..]);
}

fn the_beginning_has_four_spellings(t: &Target) {
    let stream = t.text(&["hello"]);
    let own_beginning = stream.offset_at(0);
    let spellings = [stream.get(""), stream.read("-1"), stream.read(BEGINNING), stream.read(&own_beginning)];
    for response in spellings {
        response.status(200).body_is("hello").has("Stream-Next-Offset", &stream.tail());
    }
}

fn offset_now_reads_nothing_and_tells_the_tail(t: &Target) {
    for (stream, nothing) in [(t.text(&["hello"]), ""), (t.json(&["[1,2]"]), "[]"), (t.json(&[]), "[]")] {
        let response = stream.read("now");
        response.status(200).body_is(nothing).has("Stream-Next-Offset", &stream.tail());
        response.has("Stream-Up-To-Date", "true").lacks("Stream-Closed").lacks("ETag");
        response.has("Content-Type", stream.content_type);
    }
}

fn offset_now_of_a_closed_stream_tells_that_it_is_closed(t: &Target) {
    for (stream, nothing) in [(t.text(&["hello"]), ""), (t.json(&["[1,2]"]), "[]")] {
        let tail = stream.close();
        let response = stream.read("now");
        response.status(200).body_is(nothing).has("Stream-Next-Offset", &tail);
        response.has("Stream-Up-To-Date", "true").has("Stream-Closed", "true").lacks("ETag");
    }
}

fn malformed_offsets_are_400_in_every_mode(t: &Target) {
    let stream = t.text(&["hello"]);
    for offset in MALFORMED {
        let encoded = percent_encoded(offset);
        for live in ["", "&live=long-poll", "&live=sse"] {
            let response = stream.get(&format!("offset={encoded}{live}"));
            if response.status != 400 {
                response.fail(format_args!("{offset:?} was taken for an offset"));
            }
            response.malformed();
        }
    }
}

fn a_repeated_offset_is_400(t: &Target) {
    let stream = t.text(&["hello"]);
    for query in ["offset=-1&offset=-1", "offset=-1&offset=now", "offset=-1&live=long-poll&offset=-1"] {
        stream.get(query).malformed();
    }
}

fn an_empty_offset_is_400(t: &Target) {
    let stream = t.text(&["hello"]);
    for query in ["offset=", "offset", "offset=&live=long-poll", "offset=&live=sse", "offset=&offset=-1"] {
        stream.get(query).malformed();
    }
}

fn percent_encoded_offsets_are_decoded(t: &Target) {
    let stream = t.text(&["hello", "world"]);
    let encoded = stream.offset_at(5).replace('_', "%5f").replace('1', "%31");
    stream.get(&format!("offset={encoded}")).status(200).body_is("world");
    stream.get("offset=%2D1").status(200).body_is("helloworld");
    stream.get("offset=%6eow").status(200).body_is("");
}

fn one_past_the_tail_is_the_tail(t: &Target) {
    for stream in [t.text(&["hello"]), t.text(&[])] {
        let past = offset::advanced(&stream.tail(), 1);
        let response = stream.read(&past);
        response
            .status(200)
            .body_is("")
            .has("Stream-Next-Offset", &stream.tail())
            .has("Stream-Up-To-Date", "true");
        let mut events = Events::open(&stream, &past);
        events.control();
        stream.append("new");
        assert_eq!(events.data().data, "new");
    }
    let closed = t.text(&["hello"]);
    let past = offset::advanced(&closed.close(), 1);
    closed.read(&past).status(200).body_is("").has("Stream-Closed", "true");
    closed.poll(&past).status(204).has("Stream-Closed", "true");
}

fn an_offset_further_past_the_tail_is_400(t: &Target) {
    let closed = t.text(&["hello"]);
    closed.close();
    for stream in [t.text(&["hello"]), t.json(&["[1]"]), t.bytes(), closed] {
        for past in [2, 3, 1_000_000] {
            let offset = offset::advanced(&stream.tail(), past);
            for live in ["", "&live=long-poll", "&live=sse"] {
                stream.get(&format!("offset={offset}{live}")).malformed();
            }
        }
    }
}

fn the_largest_position_is_400_and_overflows_nothing(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.read(&offset::with_position(&stream.tail(), 9_999_999_999_999_999)).malformed();
    stream.read("9999999999999999_9999999999999999").status_in(&[400, 410]);
    stream.read("-1").status(200).body_is("hello");
}

fn unknown_parameters_are_ignored(t: &Target) {
    let stream = t.text(&["hello"]);
    let queries = [
        "offset=-1&page=2",
        "x&offset=-1&=&&",
        "offset=-1&off=now",
        "offset=-1&offset[]=now",
        "%ff=%fe&offset=-1",
        "offset=-1&limit=1",
    ];
    for query in queries {
        stream.get(query).status(200).body_is("hello").has("ETag", &stream.read("-1").etag());
    }
}

fn parameter_names_are_case_sensitive(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.get("Offset=nonsense").status(200).body_is("hello");
    stream.get("offset=-1&LIVE=nonsense").status(200).body_is("hello");
}

fn the_order_of_parameters_changes_nothing(t: &Target) {
    let stream = t.text(&["hello"]);
    let orders = [
        "cursor=1&live=long-poll&offset=-1",
        "offset=-1&live=long-poll&cursor=1",
        "live=long-poll&offset=-1&cursor=1",
    ];
    let first = stream.get(orders[0]);
    for query in orders {
        let response = stream.get(query);
        response.status(200).body_is("hello").has("ETag", &first.etag());
        response.has("Cache-Control", first.expect_header("Cache-Control"));
    }
}

fn a_read_at_the_tail_repeats_the_offset_asked_for(t: &Target) {
    for (stream, nothing) in [(t.text(&["hello"]), ""), (t.json(&["[1,2]"]), "[]"), (t.bytes(), "")] {
        let tail = stream.tail();
        let response = stream.read(&tail);
        response.status(200).body_is(nothing).has("Stream-Next-Offset", &tail);
        response.has("Stream-Up-To-Date", "true").lacks("Stream-Closed");
    }
}

fn up_to_date_is_true_or_absent(t: &Target) {
    let stream = t.bytes();
    stream.append(vec![0; t.facts.chunk_size]);
    stream.append("more");
    stream.read("-1").status(200).lacks("Stream-Up-To-Date");
    stream.close();
    stream.read("-1").status(200).lacks("Stream-Up-To-Date").lacks("Stream-Closed");
    stream.head().status(200).has("Stream-Closed", "true");
}

fn closed_is_true_or_absent(t: &Target) {
    let stream = t.text(&["hello"]);
    for response in
        [stream.head(), stream.read("-1"), stream.poll("-1"), stream.post("x").send(), stream.put().send()]
    {
        response.lacks("Stream-Closed");
    }
    Events::open(&stream, "-1").head.lacks("Stream-Closed");
    stream.close();
    stream.head().has("Stream-Closed", "true");
}
