//! Entity tags and what is asked with them: `If-None-Match` as RFC 9110 has it, and responses with status 304.

use headwater_testkit::Response;

use crate::case::cases;
use crate::client::{Stream, Target};
use crate::offset::{BEGINNING, incarnation};
use crate::sse::Events;

cases! {
    etags_are_incarnation_start_and_end_in_quotes: "section 5.6, ETag",
    etags_are_the_same_for_every_spelling_of_a_read: "section 10.1, ETag usage: the bytes, not the spelling",
    etags_differ_for_two_starts_with_one_end: "section 5.6, ETag",
    etags_differ_for_two_ends_with_one_start: "section 5.6, ETag",
    etags_say_closed_at_the_tail_of_a_closed_stream: "section 10.1: ETags must vary with closure",
    etags_do_not_say_closed_before_the_tail: "section 10.1: a chunk never becomes stale by closure",
    an_etag_of_json_is_of_the_stored_form: "docs/adr/0008-json-stored-as-sent.md: positions",
    long_poll_answers_have_the_etag_of_the_same_range: "section 5.7: the same headers as catch-up",
    nothing_but_reads_has_an_etag: "section 10.1: none for offset=now",
    a_matching_etag_is_304_without_a_body: "section 10.1",
    a_304_keeps_every_header_of_the_200: "RFC 9110, 15.4.5",
    a_304_of_a_closed_stream_still_says_so: "RFC 9110, 15.4.5; section 10.1",
    a_weak_etag_matches: "RFC 9110, 13.1.2: weak comparison",
    a_list_with_the_etag_matches: "RFC 9110, 13.1.2",
    a_list_over_several_header_lines_matches: "RFC 9110, 5.3",
    a_star_matches_whatever_is_there: "RFC 9110, 13.1.2",
    a_star_does_not_match_a_missing_stream: "RFC 9110, 13.2.1: preconditions come after the refusals",
    other_etags_are_answered_in_full: "section 10.1",
    an_etag_without_quotes_does_not_match: "RFC 9110, 8.8.3",
    the_etag_of_another_range_does_not_match: "section 5.6, ETag",
    an_append_ends_the_match_at_the_tail: "section 10.1",
    a_chunk_that_was_the_tail_does_not_match_once_more_follows: "RFC 9111, 3.2: a 304 takes no header back, Stream-Up-To-Date neither",
    a_close_without_data_ends_the_match: "section 10.1: ETags must vary with closure",
    offset_now_is_never_304: "section 10.1: none for offset=now",
    a_range_request_is_answered_in_full: "RFC 9110, 14.2: ranges may be ignored, never half",
    encodings_never_share_an_etag: "RFC 9110, 8.8.3.3: one strong tag is not for two codings",
    dates_decide_nothing: "RFC 9110, 13.1.3: If-None-Match alone",
}

fn if_none_match(stream: &Stream<'_>, from: &str, value: &str) -> Response {
    stream.get_with(&format!("offset={from}"), &[("If-None-Match", value)])
}

fn etags_are_incarnation_start_and_end_in_quotes(t: &Target) {
    let stream = t.text(&["hello", "world"]);
    let tail = stream.tail();
    let id = incarnation(&tail);
    stream.read("-1").status(200).has("ETag", &format!("\"{id}:0:10:tail\""));
    stream.read(&stream.offset_at(5)).status(200).has("ETag", &format!("\"{id}:5:10:tail\""));
    stream.read(&tail).status(200).has("ETag", &format!("\"{id}:10:10:tail\""));
}

fn etags_are_the_same_for_every_spelling_of_a_read(t: &Target) {
    let stream = t.text(&["hello"]);
    let etag = stream.read(&stream.offset_at(0)).etag();
    let queries =
        ["", "offset=-1", "offset=%2d1", "offset=0000000000000000_0000000000000000", "offset=-1&x=1"];
    for query in queries {
        stream.get(query).status(200).has("ETag", &etag);
    }
}

fn etags_differ_for_two_starts_with_one_end(t: &Target) {
    let stream = t.text(&["hello", "world"]);
    let first = stream.read("-1").etag();
    let second = stream.read(&stream.offset_at(5)).etag();
    assert_ne!(first, second);
    if_none_match(&stream, &stream.offset_at(5), &first).status(200).body_is("world");
}

fn etags_differ_for_two_ends_with_one_start(t: &Target) {
    let stream = t.text(&["hello"]);
    let before = stream.read("-1").etag();
    stream.append("world");
    assert_ne!(stream.read("-1").etag(), before);
}

fn etags_say_closed_at_the_tail_of_a_closed_stream(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.close();
    let id = incarnation(&tail);
    stream.read("-1").status(200).has("ETag", &format!("\"{id}:0:5:closed\""));
    stream.read(&tail).status(200).has("ETag", &format!("\"{id}:5:5:closed\""));
}

fn etags_do_not_say_closed_before_the_tail(t: &Target) {
    let chunk = t.facts.chunk_size;
    let stream = t.bytes();
    stream.append(vec![b'x'; chunk]);
    stream.append("more");
    let open = stream.read("-1").etag();
    stream.close();
    stream.read("-1").status(200).has("ETag", &open);
    assert_eq!(open, format!("\"{}:0:{chunk}\"", incarnation(&stream.tail())));
}

fn an_etag_of_json_is_of_the_stored_form(t: &Target) {
    let stream = t.json(&["[1,22]"]);
    let tail = stream.tail();
    stream.read("-1").status(200).has("ETag", &format!("\"{}:0:5:tail\"", incarnation(&tail)));
}

fn long_poll_answers_have_the_etag_of_the_same_range(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.poll("-1").status(200).has("ETag", &stream.read("-1").etag());
}

fn nothing_but_reads_has_an_etag(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.read("now").status(200).lacks("ETag");
    stream.post("more").send().status(204).lacks("ETag");
    stream.read("nonsense").malformed().lacks("ETag");
    Events::open(&stream, "-1").head.lacks("ETag");
    stream.poll("now").status(204).lacks("ETag");
    stream.delete().status(204).lacks("ETag");
}

fn a_matching_etag_is_304_without_a_body(t: &Target) {
    for stream in [t.text(&["hello"]), t.json(&["[1,2]"]), t.bytes()] {
        for from in ["-1".to_owned(), BEGINNING.to_owned(), stream.offset_at(0), stream.tail()] {
            let etag = stream.read(&from).etag();
            if_none_match(&stream, &from, &etag).status(304).body_is("");
        }
    }
}

fn a_304_keeps_every_header_of_the_200(t: &Target) {
    let long = t.bytes();
    long.append(vec![b'x'; t.facts.chunk_size]);
    long.append("more");
    let open = t.text(&["hello"]);
    let names = [
        "Cache-Control",
        "ETag",
        "Stream-Next-Offset",
        "Stream-Up-To-Date",
        "Stream-Closed",
        "No-Vary-Search",
        "Vary",
        "Access-Control-Allow-Origin",
        "Access-Control-Expose-Headers",
        "X-Content-Type-Options",
        "Cross-Origin-Resource-Policy",
        "Timing-Allow-Origin",
    ];
    for (stream, from) in
        [(&long, long.offset_at(0)), (&long, "-1".to_owned()), (&open, "-1".to_owned()), (&open, open.tail())]
    {
        let full = stream.read(&from);
        let not_modified = if_none_match(stream, &from, &full.etag());
        not_modified.status(304);
        for name in names {
            assert_eq!(
                not_modified.header(name),
                full.header(name),
                "{name} from {from}\n{full}\n{not_modified}"
            );
        }
        let cursors = [&full, &not_modified].map(|response| response.header("Stream-Cursor").is_some());
        assert_eq!(cursors[0], cursors[1], "Stream-Cursor from {from}\n{full}\n{not_modified}");
    }
}

fn a_304_of_a_closed_stream_still_says_so(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.close();
    for from in [stream.offset_at(0), tail.clone()] {
        let etag = stream.read(&from).etag();
        let response = if_none_match(&stream, &from, &etag);
        response.status(304).has("Stream-Closed", "true").has("Stream-Up-To-Date", "true");
        response.has("Stream-Next-Offset", &tail).has("ETag", &etag).lacks("Stream-Cursor");
    }
}

fn a_weak_etag_matches(t: &Target) {
    let stream = t.text(&["hello"]);
    let etag = stream.read("-1").etag();
    let response = if_none_match(&stream, "-1", &format!("W/{etag}"));
    response.status(304).has("ETag", &etag);
}

fn a_list_with_the_etag_matches(t: &Target) {
    let stream = t.text(&["hello"]);
    let etag = stream.read("-1").etag();
    let lists = [
        format!("\"other\", {etag}"),
        format!("{etag},\"other\""),
        format!("\"a\" , W/\"b\"\t,  W/{etag}  ,\"c\""),
        format!(",, {etag} ,"),
        format!("\"comma, inside\", {etag}"),
    ];
    for list in lists {
        if_none_match(&stream, "-1", &list).status(304);
    }
}

fn a_list_over_several_header_lines_matches(t: &Target) {
    let stream = t.text(&["hello"]);
    let etag = stream.read("-1").etag();
    let lines = [("If-None-Match", "\"other\""), ("If-None-Match", etag.as_str())];
    stream.get_with("offset=-1", &lines).status(304);
}

fn a_star_matches_whatever_is_there(t: &Target) {
    let stream = t.text(&["hello"]);
    let response = if_none_match(&stream, "-1", "*");
    response.status(304).body_is("").has("ETag", &stream.read("-1").etag());
}

fn a_star_does_not_match_a_missing_stream(t: &Target) {
    if_none_match(&t.missing("text/plain"), "-1", "*").refused(404, "not-found");
    if_none_match(&t.text(&["hello"]), "nonsense", "*").malformed();
}

fn other_etags_are_answered_in_full(t: &Target) {
    let stream = t.text(&["hello"]);
    let etag = stream.read("-1").etag();
    let inner = etag.trim_matches('"');
    let others = [
        "\"\"".to_owned(),
        "\"other\"".to_owned(),
        "W/\"other\"".to_owned(),
        "\"*\"".to_owned(),
        format!("\"{inner}:closed\""),
        format!("\"{inner} \""),
        format!("\"x{inner}\""),
        format!("\"{}\"", &inner[..inner.len() - 1]),
        format!("\"not {inner}, but close\""),
        "\"a\", \"b\", \"c\"".to_owned(),
    ];
    for other in others {
        let response = if_none_match(&stream, "-1", &other);
        response.status(200).body_is("hello").has("ETag", &etag);
    }
}

fn an_etag_without_quotes_does_not_match(t: &Target) {
    let stream = t.text(&["hello"]);
    let etag = stream.read("-1").etag();
    if_none_match(&stream, "-1", etag.trim_matches('"')).status_in(&[200, 400]);
}

fn the_etag_of_another_range_does_not_match(t: &Target) {
    let stream = t.text(&["hello", "world"]);
    let whole = stream.read("-1").etag();
    if_none_match(&stream, &stream.offset_at(5), &whole).status(200).body_is("world");
    if_none_match(&stream, &stream.tail(), &whole).status(200).body_is("");
}

fn an_append_ends_the_match_at_the_tail(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    let etag = stream.read(&tail).etag();
    if_none_match(&stream, &tail, &etag).status(304);
    stream.append("world");
    if_none_match(&stream, &tail, &etag).status(200).body_is("world");
}

fn a_chunk_that_was_the_tail_does_not_match_once_more_follows(t: &Target) {
    let chunk = t.facts.chunk_size;
    let stream = t.bytes();
    stream.append(vec![b'x'; chunk]);
    let from = stream.offset_at(0);
    let at_tail = stream.read(&from).status(200).has("Stream-Up-To-Date", "true").etag();
    stream.append("more");
    let inside = if_none_match(&stream, &from, &at_tail);
    inside.status(200).lacks("Stream-Up-To-Date");
    if_none_match(&stream, &from, &inside.etag()).status(304).lacks("Stream-Up-To-Date");
}

fn a_close_without_data_ends_the_match(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    let etags = ["-1", &tail].map(|from| (from, stream.read(from).etag()));
    for (from, etag) in &etags {
        if_none_match(&stream, from, etag).status(304);
    }
    stream.close();
    for (from, etag) in &etags {
        if_none_match(&stream, from, etag).status(200).has("Stream-Closed", "true");
    }
}

fn offset_now_is_never_304(t: &Target) {
    let stream = t.text(&["hello"]);
    let etag = stream.read(&stream.tail()).etag();
    if_none_match(&stream, "now", &etag).status(200).lacks("ETag").has("Cache-Control", "no-store");
}

fn a_range_request_is_answered_in_full(t: &Target) {
    let stream = t.text(&["hello"]);
    for range in ["bytes=0-1", "bytes=-2", "bytes=99-", "bytes=0-0,2-3", "nonsense"] {
        stream.get_with("offset=-1", &[("Range", range)]).status(200).body_is("hello");
    }
}

fn encodings_never_share_an_etag(t: &Target) {
    let stream = t.text(&[&"compress me ".repeat(500)]);
    let plain = stream.get_with("offset=-1", &[("Accept-Encoding", "identity")]);
    let other = stream.get_with("offset=-1", &[("Accept-Encoding", "gzip, br, zstd, deflate")]);
    plain.status(200).lacks("Content-Encoding");
    if other.status(200).header("Content-Encoding").is_none() {
        other.has("ETag", &plain.etag()).body_is(&plain.body);
        return;
    }
    assert_ne!(other.etag(), plain.etag(), "{other}");
    for response in [&plain, &other] {
        if !response.list("Vary").contains(&"accept-encoding".to_owned()) {
            response.fail("a response that depends on Accept-Encoding must say so, compressed or not");
        }
    }
}

fn dates_decide_nothing(t: &Target) {
    let stream = t.text(&["hello"]);
    let date = "Fri, 01 Jan 2100 00:00:00 GMT";
    stream.get_with("offset=-1", &[("If-Modified-Since", date)]).status(200).body_is("hello");
    stream.get_with("offset=-1", &[("If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT")]).status(200);
    let both = [("If-None-Match", "\"other\""), ("If-Modified-Since", date)];
    stream.get_with("offset=-1", &both).status(200).body_is("hello");
}
