//! `Stream-Seq`: strictly growing, byte by byte, per stream (section 5.2).

use super::append::{assert_malformed, assert_refused};
use crate::case::{at_once, cases};
use crate::client::Target;

cases! {
    sequences_must_grow: "section 5.2, Stream-Seq",
    sequences_compare_byte_by_byte: "section 5.2, Stream-Seq",
    sequences_are_of_the_stream_whoever_writes: "section 5.2, Stream-Seq: per stream",
    sequences_of_two_streams_are_independent: "section 5.2, Stream-Seq: per stream",
    sequences_are_optional_in_between: "section 5.2, Stream-Seq",
    sequences_of_refused_appends_do_not_count: "section 5.2: changes nothing",
    malformed_sequences_are_400: "docs/ARCHITECTURE.md, bounds",
    a_sequence_of_256_bytes_is_the_longest: "docs/ARCHITECTURE.md, bounds",
    a_sequence_works_with_a_final_append: "section 5.2",
    one_of_many_writers_with_one_sequence_wins: "section 12.6",
}

fn sequences_must_grow(t: &Target) {
    let stream = t.text(&[]);
    stream.post("1").header("Stream-Seq", "0005").send().status(204);
    for repeated_or_smaller in ["0005", "0004", "0000", "0"] {
        let request = stream.post("x").header("Stream-Seq", repeated_or_smaller);
        assert_refused(&stream, request, 409, "stream-seq-regression");
    }
    stream.post("2").header("Stream-Seq", "0006").send().status(204);
    stream.read("-1").body_is("12");
}

fn sequences_compare_byte_by_byte(t: &Target) {
    // Each is larger than the one before, by bytes and nothing else.
    let ascending = ["!", "10", "9", "90", "900", "A", "B", "a", "aa", "ab", "b", "~"];
    let stream = t.text(&[]);
    for (index, seq) in ascending.iter().enumerate() {
        stream.post("x").header("Stream-Seq", seq).send().status(204);
        for smaller in &ascending[..=index] {
            let response = stream.post("y").header("Stream-Seq", smaller).send();
            if response.status != 409 {
                response.fail(format_args!("{smaller:?} came after {seq:?}"));
            }
            response.refused(409, "stream-seq-regression");
        }
    }
    stream.read("-1").body_is("x".repeat(ascending.len()));
}

fn sequences_are_of_the_stream_whoever_writes(t: &Target) {
    let stream = t.text(&[]);
    stream.post("a").producer("one", 0, 0).header("Stream-Seq", "5").send().status(200);
    let request = stream.post("b").producer("two", 0, 0).header("Stream-Seq", "5");
    assert_refused(&stream, request, 409, "stream-seq-regression");
    assert_refused(&stream, stream.post("c").header("Stream-Seq", "4"), 409, "stream-seq-regression");
    stream.post("d").producer("two", 0, 0).header("Stream-Seq", "6").send().status(200);
    stream.read("-1").body_is("ad");
}

fn sequences_of_two_streams_are_independent(t: &Target) {
    let one = t.text(&[]);
    let two = t.text(&[]);
    one.post("x").header("Stream-Seq", "9").send().status(204);
    two.post("x").header("Stream-Seq", "1").send().status(204);
}

fn sequences_are_optional_in_between(t: &Target) {
    let stream = t.text(&[]);
    stream.post("1").header("Stream-Seq", "5").send().status(204);
    stream.append("2");
    assert_refused(&stream, stream.post("x").header("Stream-Seq", "5"), 409, "stream-seq-regression");
    stream.post("3").header("Stream-Seq", "6").send().status(204);
    stream.read("-1").body_is("123");
}

fn sequences_of_refused_appends_do_not_count(t: &Target) {
    let stream = t.json(&[]);
    stream.post("not json").header("Stream-Seq", "9").send().malformed();
    stream.post("[]").header("Stream-Seq", "9").send().malformed();
    stream
        .post("1")
        .content_type("text/plain")
        .header("Stream-Seq", "9")
        .send()
        .refused(409, "content-type-mismatch");
    stream.post("1").producer("p", 0, 1).header("Stream-Seq", "9").send().refused(409, "producer-gap");
    stream.post("1").header("Stream-Seq", "1").send().status(204);
    stream.read("-1").body_is("[1]");
}

fn malformed_sequences_are_400(t: &Target) {
    let stream = t.text(&["hello"]);
    assert_malformed(&stream, stream.post("x").header("Stream-Seq", ""));
    assert_malformed(&stream, stream.post("x").header("Stream-Seq", "a".repeat(257)));
    assert_malformed(&stream, stream.post("x").header("Stream-Seq", "1".repeat(5000)));
}

fn a_sequence_of_256_bytes_is_the_longest(t: &Target) {
    let stream = t.text(&[]);
    stream.post("1").header("Stream-Seq", "a".repeat(255)).send().status(204);
    stream.post("2").header("Stream-Seq", "a".repeat(256)).send().status(204);
    let request = stream.post("x").header("Stream-Seq", "a".repeat(255));
    assert_refused(&stream, request, 409, "stream-seq-regression");
}

fn a_sequence_works_with_a_final_append(t: &Target) {
    let stream = t.text(&[]);
    stream.post("1").header("Stream-Seq", "5").send().status(204);
    let request = stream.post("x").header("Stream-Seq", "5").closing();
    assert_refused(&stream, request, 409, "stream-seq-regression");
    stream.post("2").header("Stream-Seq", "6").closing().send().status(204).has("Stream-Closed", "true");
    stream.read("-1").body_is("12").has("Stream-Closed", "true");
}

fn one_of_many_writers_with_one_sequence_wins(t: &Target) {
    let stream = t.text(&[]);
    let responses =
        at_once(16, |writer| stream.post(format!("<{writer:02}>")).header("Stream-Seq", "1").send());
    let winners: Vec<usize> = (0..16).filter(|writer| responses[*writer].status == 204).collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    stream.read("-1").body_is(format!("<{:02}>", winners[0]));
    for (writer, response) in responses.iter().enumerate() {
        if writer != winners[0] {
            response.refused(409, "stream-seq-regression").has("Stream-Next-Offset", &stream.tail());
            // Clients tell it from other conflicts by this word.
            assert!(response.text().contains("Sequence conflict"), "{response}");
        }
    }
}
