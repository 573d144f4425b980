//! `Stream-Expected-Offset`: an append only if the stream ends where the writer believes (section 5.2, a draft).

use super::append::{assert_malformed, assert_refused};
use crate::case::{at_once, cases};
use crate::client::Target;
use crate::offset::{self, BEGINNING};

cases! {
    an_append_where_the_stream_ends_succeeds: "section 5.2, draft",
    an_append_elsewhere_is_409_and_tells_the_tail: "section 5.2, draft",
    an_empty_stream_ends_at_its_beginning: "section 5.2, draft",
    what_is_no_offset_is_400: "section 5.2, draft",
    a_closed_stream_is_told_first: "section 5.2, draft: distinguishable",
    a_repetition_of_a_producer_is_no_conflict: "section 5.2, draft: deduplication first",
    a_conflict_uses_up_no_producer_sequence: "section 5.2, draft",
    both_orders_must_hold: "section 5.2, draft: composes with Stream-Seq",
    a_fork_compares_its_own_tail: "section 5.2, draft",
    an_offset_of_an_earlier_stream_is_a_conflict: "docs/adr/0002-offsets-with-incarnations.md",
    a_final_append_expects_too: "section 5.3",
    one_of_many_writers_with_one_expectation_wins: "section 5.2, draft: atomic",
}

fn an_append_where_the_stream_ends_succeeds(t: &Target) {
    for (stream, message) in [(t.text(&["hello"]), "!"), (t.json(&["[1]"]), "2")] {
        let mut tail = stream.tail();
        for _ in 0..3 {
            let response = stream.post(message).header("Stream-Expected-Offset", &tail).send();
            tail = response.status(204).header("Stream-Next-Offset").expect("a tail").to_owned();
            assert_eq!(tail, stream.tail());
        }
    }
}

fn an_append_elsewhere_is_409_and_tells_the_tail(t: &Target) {
    let stream = t.text(&["hello", "world"]);
    let (before, tail) = (stream.offset_at(5), stream.tail());
    for elsewhere in
        [before, offset::advanced(&tail, 1), offset::advanced(&tail, 1_000), BEGINNING.into(), "-1".into()]
    {
        let request = stream.post("x").header("Stream-Expected-Offset", &elsewhere);
        assert_refused(&stream, request, 409, "expected-offset");
        let response = stream.post("x").header("Stream-Expected-Offset", &elsewhere).send();
        response.has("Stream-Next-Offset", &tail).lacks("Stream-Closed");
        assert!(response.text().contains("Expected offset conflict"), "{response}");
    }
    stream.read("-1").body_is("helloworld");
}

fn an_empty_stream_ends_at_its_beginning(t: &Target) {
    for beginning in ["-1", BEGINNING] {
        let stream = t.text(&[]);
        stream.post("a").header("Stream-Expected-Offset", beginning).send().status(204);
        let request = stream.post("b").header("Stream-Expected-Offset", beginning);
        assert_refused(&stream, request, 409, "expected-offset");
    }
}

fn what_is_no_offset_is_400(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    let long = tail.repeat(200);
    for malformed in [
        "",
        "now",
        "0",
        "5",
        "*",
        "\"x\"",
        "-2",
        &tail[1..],
        &format!("{tail}0"),
        &format!("{tail},{tail}"),
        &long,
    ] {
        assert_malformed(&stream, stream.post("x").header("Stream-Expected-Offset", malformed));
    }
    let twice =
        stream.post("x").header("Stream-Expected-Offset", &tail).header("Stream-Expected-Offset", &tail);
    assert_malformed(&stream, twice);
}

fn a_closed_stream_is_told_first(t: &Target) {
    let stream = t.text(&["hello"]);
    let before = stream.offset_at(0);
    let tail = stream.close();
    for expected in [&before, &tail] {
        let request = stream.post("x").header("Stream-Expected-Offset", expected);
        assert_refused(&stream, request, 409, "stream-closed");
    }
}

fn a_repetition_of_a_producer_is_no_conflict(t: &Target) {
    let stream = t.text(&[]);
    let append = || stream.post("a").producer("p", 0, 0).header("Stream-Expected-Offset", BEGINNING).send();
    append().status(200);
    append().status(204).has("Stream-Next-Offset", &stream.tail());
    stream.read("-1").body_is("a");
}

fn a_conflict_uses_up_no_producer_sequence(t: &Target) {
    let stream = t.text(&["hello"]);
    let refused = stream.post("x").producer("p", 0, 0).header("Stream-Expected-Offset", BEGINNING);
    assert_refused(&stream, refused, 409, "expected-offset");
    stream.post("y").producer("p", 0, 0).header("Stream-Expected-Offset", stream.tail()).send().status(200);
    stream.read("-1").body_is("helloy");
}

fn both_orders_must_hold(t: &Target) {
    let stream = t.text(&[]);
    stream.post("a").header("Stream-Seq", "5").send().status(204);
    let tail = stream.tail();
    let late = stream.post("x").header("Stream-Seq", "5").header("Stream-Expected-Offset", &tail);
    assert_refused(&stream, late, 409, "stream-seq-regression");
    let elsewhere = stream.post("x").header("Stream-Seq", "6").header("Stream-Expected-Offset", BEGINNING);
    assert_refused(&stream, elsewhere, 409, "expected-offset");
    stream.post("b").header("Stream-Seq", "6").header("Stream-Expected-Offset", &tail).send().status(204);
    stream.read("-1").body_is("ab");
}

fn a_fork_compares_its_own_tail(t: &Target) {
    let source = t.text(&["hello"]);
    let at = source.tail();
    let fork = t.missing("text/plain");
    fork.put().header("Stream-Forked-From", &source.path).send().status(201);
    source.append("!");
    fork.post("?").header("Stream-Expected-Offset", &at).send().status(204);
    assert_refused(&fork, fork.post("x").header("Stream-Expected-Offset", &at), 409, "expected-offset");
    assert_refused(
        &fork,
        fork.post("x").header("Stream-Expected-Offset", source.tail()),
        409,
        "expected-offset",
    );
    fork.read("-1").body_is("hello?");
}

fn an_offset_of_an_earlier_stream_is_a_conflict(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    stream.delete().status(204);
    stream.put().body("hello").send().status(201);
    assert_refused(&stream, stream.post("x").header("Stream-Expected-Offset", &tail), 409, "expected-offset");
}

fn a_final_append_expects_too(t: &Target) {
    let stream = t.text(&["hello"]);
    for request in [stream.post_close(), stream.post("x").closing()] {
        assert_refused(&stream, request.header("Stream-Expected-Offset", BEGINNING), 409, "expected-offset");
    }
    let tail = stream.tail();
    stream
        .post_close()
        .header("Stream-Expected-Offset", &tail)
        .send()
        .status(204)
        .has("Stream-Closed", "true");
    stream.read("-1").body_is("hello").has("Stream-Closed", "true");
}

fn one_of_many_writers_with_one_expectation_wins(t: &Target) {
    let stream = t.text(&["hello"]);
    let tail = stream.tail();
    let responses = at_once(16, |writer| {
        stream.post(format!("<{writer:02}>")).header("Stream-Expected-Offset", &tail).send()
    });
    let winners: Vec<usize> = (0..16).filter(|writer| responses[*writer].status == 204).collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    stream.read("-1").body_is(format!("hello<{:02}>", winners[0]));
    for (writer, response) in responses.iter().enumerate() {
        if writer != winners[0] {
            response.refused(409, "expected-offset").has("Stream-Next-Offset", &stream.tail());
        }
    }
}
