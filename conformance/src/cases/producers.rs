//! Idempotent producers: exactly once, whatever is retried, reordered or raced (section 5.2.1).

use headwater_testkit::Response;

use crate::case::{at_once, cases};
use crate::client::{Stream, Target};

cases! {
    a_new_append_is_200_with_epoch_and_seq: "section 5.2.1",
    a_duplicate_is_204_and_appends_nothing: "section 5.2.1",
    a_duplicate_tells_the_highest_seq_and_the_tail: "section 5.2.1, response headers",
    a_duplicate_with_another_body_appends_nothing: "section 5.2.1",
    a_new_producer_begins_at_zero: "section 5.2.1: starts at 0",
    a_new_producer_may_begin_in_any_epoch: "section 5.2.1, auto-claim",
    a_gap_is_409_with_expected_and_received: "section 5.2.1",
    a_gap_can_be_filled: "section 5.2.1",
    a_new_epoch_begins_at_zero: "section 5.2.1",
    a_new_epoch_with_another_seq_is_400: "section 5.2.1",
    a_stale_epoch_is_403_with_the_current_one: "section 5.2.1, zombie fencing",
    a_stale_epoch_is_403_even_for_a_duplicate: "section 5.2.1, zombie fencing",
    producers_are_independent: "section 5.2.1",
    producer_ids_are_compared_byte_by_byte: "section 5.2.1",
    headers_come_together_or_not_at_all: "section 5.2.1",
    malformed_epochs_are_400: "section 5.2.1, request headers",
    malformed_seqs_are_400: "section 5.2.1, request headers",
    the_largest_epoch_is_2_53_minus_1: "section 5.2.1, request headers",
    an_empty_id_is_400: "section 5.2.1",
    an_id_of_256_bytes_is_the_longest: "docs/ARCHITECTURE.md, bounds",
    one_of_many_equal_appends_is_new: "section 5.2.1, concurrency requirements",
    retries_of_many_at_once_store_every_batch_once_in_order: "section 5.2.1, concurrency requirements",
    a_refused_body_does_not_advance_the_producer: "section 5.2.1, atomicity",
    another_type_does_not_advance_the_producer: "section 5.2.1, atomicity",
    a_sequence_regression_does_not_advance_the_producer: "section 5.2.1, atomicity",
    a_duplicate_is_found_before_a_sequence_regression: "section 5.2.1: producer check precedes Stream-Seq",
    a_gap_is_found_before_a_sequence_regression: "section 5.2.1: producer check precedes Stream-Seq",
    another_type_is_told_before_a_gap: "section 5.2, error precedence",
    a_closed_stream_is_told_before_a_gap: "section 5.2.1, closure",
    an_empty_append_is_400_and_does_not_count: "section 5.2",
    a_json_batch_is_one_seq: "section 5.2.1: per request, not per message",
}

#[track_caller]
pub(super) fn send(stream: &Stream<'_>, body: &str, epoch: u64, seq: u64) -> Response {
    stream.post(body).producer("p", epoch, seq).send()
}

fn a_new_append_is_200_with_epoch_and_seq(t: &Target) {
    let stream = t.text(&[]);
    for seq in 0..3 {
        let response = send(&stream, "x", 0, seq);
        response.status(200).has("Producer-Epoch", "0").has("Producer-Seq", &seq.to_string()).body_is("");
        response.has("Stream-Next-Offset", &stream.tail()).lacks("Stream-Closed");
    }
    stream.read("-1").body_is("xxx");
}

fn a_duplicate_is_204_and_appends_nothing(t: &Target) {
    let stream = t.text(&[]);
    send(&stream, "x", 0, 0).status(200);
    for _ in 0..3 {
        stream.assert_unchanged_by(|| {
            send(&stream, "x", 0, 0)
                .status(204)
                .has("Producer-Epoch", "0")
                .has("Producer-Seq", "0")
                .body_is("");
        });
    }
}

fn a_duplicate_tells_the_highest_seq_and_the_tail(t: &Target) {
    let stream = t.text(&[]);
    for seq in 0..4 {
        send(&stream, "x", 2, seq).status(200);
    }
    for seq in 0..4 {
        let response = send(&stream, "x", 2, seq);
        response.status(204).has("Producer-Epoch", "2").has("Producer-Seq", "3");
        response.has("Stream-Next-Offset", &stream.tail());
    }
}

fn a_duplicate_with_another_body_appends_nothing(t: &Target) {
    let stream = t.text(&[]);
    send(&stream, "first", 0, 0).status(200);
    send(&stream, "second", 0, 0).status(204);
    stream.read("-1").body_is("first");
}

fn a_new_producer_begins_at_zero(t: &Target) {
    let stream = t.text(&["hello"]);
    for seq in [1, 2, 1000, (1 << 53) - 1] {
        stream.assert_unchanged_by(|| {
            let response = send(&stream, "x", 0, seq);
            response.refused(409, "producer-gap").has("Producer-Expected-Seq", "0");
            response.has("Producer-Received-Seq", &seq.to_string());
        });
    }
    send(&stream, "x", 0, 0).status(200);
}

fn a_new_producer_may_begin_in_any_epoch(t: &Target) {
    for epoch in [0, 1, 7, 1 << 40] {
        let stream = t.text(&[]);
        send(&stream, "x", epoch, 0).status(200).has("Producer-Epoch", &epoch.to_string());
        send(&stream, "y", epoch, 1).status(200);
        stream.read("-1").body_is("xy");
    }
}

fn a_gap_is_409_with_expected_and_received(t: &Target) {
    let stream = t.text(&[]);
    send(&stream, "x", 0, 0).status(200);
    for seq in [2, 3, 100] {
        stream.assert_unchanged_by(|| {
            let response = send(&stream, "y", 0, seq);
            response.refused(409, "producer-gap").has("Producer-Expected-Seq", "1");
            response.has("Producer-Received-Seq", &seq.to_string()).lacks("Stream-Closed");
        });
    }
}

fn a_gap_can_be_filled(t: &Target) {
    let stream = t.text(&[]);
    send(&stream, "0", 0, 0).status(200);
    send(&stream, "2", 0, 2).refused(409, "producer-gap");
    send(&stream, "1", 0, 1).status(200);
    send(&stream, "2", 0, 2).status(200);
    stream.read("-1").body_is("012");
}

fn a_new_epoch_begins_at_zero(t: &Target) {
    let stream = t.text(&[]);
    send(&stream, "a", 0, 0).status(200);
    send(&stream, "b", 0, 1).status(200);
    send(&stream, "c", 1, 0).status(200).has("Producer-Epoch", "1").has("Producer-Seq", "0");
    send(&stream, "d", 9, 0).status(200).has("Producer-Epoch", "9").has("Producer-Seq", "0");
    send(&stream, "e", 9, 1).status(200);
    stream.read("-1").body_is("abcde");
}

fn a_new_epoch_with_another_seq_is_400(t: &Target) {
    let stream = t.text(&[]);
    send(&stream, "a", 0, 0).status(200);
    stream.assert_unchanged_by(|| send(&stream, "b", 1, 1).malformed().clone());
    stream.assert_unchanged_by(|| send(&stream, "b", 2, 5).malformed().clone());
    send(&stream, "b", 0, 1).status(200).has("Producer-Epoch", "0");
}

fn a_stale_epoch_is_403_with_the_current_one(t: &Target) {
    let stream = t.text(&[]);
    send(&stream, "a", 3, 0).status(200);
    for (epoch, seq) in [(2, 0), (2, 1), (0, 0), (0, 5)] {
        stream.assert_unchanged_by(|| {
            send(&stream, "b", epoch, seq).refused(403, "stale-epoch").has("Producer-Epoch", "3");
        });
    }
}

fn a_stale_epoch_is_403_even_for_a_duplicate(t: &Target) {
    let stream = t.text(&[]);
    send(&stream, "a", 0, 0).status(200);
    send(&stream, "b", 1, 0).status(200);
    send(&stream, "a", 0, 0).refused(403, "stale-epoch").has("Producer-Epoch", "1");
}

fn producers_are_independent(t: &Target) {
    let stream = t.text(&[]);
    stream.post("a").producer("one", 0, 0).send().status(200);
    stream.post("b").producer("two", 5, 0).send().status(200);
    stream.post("c").producer("one", 0, 1).send().status(200);
    stream.post("d").producer("two", 5, 1).send().status(200);
    stream.post("c").producer("one", 0, 1).send().status(204).has("Producer-Epoch", "0");
    stream.append("e");
    stream.read("-1").body_is("abcde");
    let other = t.text(&[]);
    other.post("x").producer("one", 0, 1).send().refused(409, "producer-gap");
}

fn producer_ids_are_compared_byte_by_byte(t: &Target) {
    let stream = t.text(&[]);
    let ids = ["p", "P", "p.", "p/1", "p 1", "pp", "0", "a=b;c", "%70", "-1", "null"];
    for id in ids {
        stream.post("x").producer(id, 0, 0).send().status(200);
    }
    stream.read("-1").body_is("x".repeat(ids.len()));
}

fn headers_come_together_or_not_at_all(t: &Target) {
    let stream = t.text(&["hello"]);
    let all = [("Producer-Id", "p"), ("Producer-Epoch", "0"), ("Producer-Seq", "0")];
    for chosen in 1..7 {
        let some: Vec<_> = (0..3).filter(|bit| chosen >> bit & 1 == 1).map(|bit| all[bit]).collect();
        stream.assert_unchanged_by(|| stream.post("x").headers(&some).send().malformed().clone());
        stream.assert_unchanged_by(|| stream.post_close().headers(&some).send().malformed().clone());
    }
}

/// Texts that are no epoch and no sequence number.
#[rustfmt::skip]
const MALFORMED: &[&str] = &[
    "", "-1", "-0", "+1", "01", "00", "1.0", "1.", ".1", "1e3", "0x1", "1 0", "one", "null", "NaN",
    "Infinity", "1,0", "1_0", "\u{661}", "\"0\"", "9007199254740992", "9223372036854775808",
    "18446744073709551615", "18446744073709551616", "340282366920938463463374607431768211456",
];

fn malformed_epochs_are_400(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.assert_unchanged_by(|| {
        for epoch in MALFORMED {
            let response = stream.post("x").producer("p", epoch, 0).send();
            if response.status != 400 {
                response.fail(format_args!("{epoch:?} was taken for an epoch"));
            }
            response.malformed();
        }
    });
    send(&stream, "x", 0, 0).status(200);
}

fn malformed_seqs_are_400(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.assert_unchanged_by(|| {
        for seq in MALFORMED {
            let response = stream.post("x").producer("p", 0, seq).send();
            if response.status != 400 {
                response.fail(format_args!("{seq:?} was taken for a seq"));
            }
            response.malformed();
        }
    });
    send(&stream, "x", 0, 0).status(200);
}

fn the_largest_epoch_is_2_53_minus_1(t: &Target) {
    let stream = t.text(&[]);
    let largest = (1 << 53) - 1;
    send(&stream, "x", largest, 0).status(200).has("Producer-Epoch", "9007199254740991");
    send(&stream, "y", largest - 1, 0).refused(403, "stale-epoch").has("Producer-Epoch", "9007199254740991");
    send(&stream, "y", largest, 1).status(200);
    let gap = send(&stream, "z", largest, largest);
    gap.refused(409, "producer-gap").has("Producer-Received-Seq", "9007199254740991");
}

fn an_empty_id_is_400(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.assert_unchanged_by(|| stream.post("x").producer("", 0, 0).send().malformed().clone());
    stream.assert_unchanged_by(|| stream.post("x").producer("   ", 0, 0).send().malformed().clone());
}

fn an_id_of_256_bytes_is_the_longest(t: &Target) {
    let stream = t.text(&[]);
    stream.post("x").producer(&"i".repeat(256), 0, 0).send().status(200);
    stream.post("x").producer(&"i".repeat(256), 0, 0).send().status(204);
    stream
        .assert_unchanged_by(|| stream.post("x").producer(&"i".repeat(257), 0, 0).send().malformed().clone());
    stream.assert_unchanged_by(|| {
        stream.post("x").producer(&"i".repeat(4000), 0, 0).send().malformed().clone()
    });
}

fn one_of_many_equal_appends_is_new(t: &Target) {
    let stream = t.text(&[]);
    let responses = at_once(16, |_| send(&stream, "once", 0, 0));
    let new = responses.iter().filter(|response| response.status == 200).count();
    assert_eq!(new, 1, "{:?}", responses.iter().map(|response| response.status).collect::<Vec<_>>());
    for response in &responses {
        response.status_in(&[200, 204]).has("Producer-Seq", "0").has("Stream-Next-Offset", &stream.tail());
    }
    stream.read("-1").body_is("once");
}

fn retries_of_many_at_once_store_every_batch_once_in_order(t: &Target) {
    // Four senders of the same ten batches, each repeating a batch until it is there.
    let stream = t.text(&[]);
    at_once(4, |_| {
        for seq in 0..10 {
            loop {
                let response = send(&stream, &format!("{seq};"), 0, seq);
                match response.status_in(&[200, 204, 409]).status {
                    409 => response.refused(409, "producer-gap"),
                    _ => break,
                };
            }
        }
    });
    stream.read("-1").body_is("0;1;2;3;4;5;6;7;8;9;");
}

fn a_refused_body_does_not_advance_the_producer(t: &Target) {
    let stream = t.json(&[]);
    for refused in ["not json", "[]", "[1,", "{\"a\"}"] {
        send(&stream, refused, 0, 0).malformed();
    }
    send(&stream, "1", 0, 0).status(200);
    send(&stream, "nope", 0, 1).malformed();
    send(&stream, "2", 0, 1).status(200);
    send(&stream, "nope", 1, 0).malformed();
    send(&stream, "3", 0, 2).status(200).has("Producer-Epoch", "0");
    stream.read("-1").body_is("[1,2,3]");
}

fn another_type_does_not_advance_the_producer(t: &Target) {
    let stream = t.text(&[]);
    let other = stream.post("x").content_type("text/html").producer("p", 0, 0).send();
    other.refused(409, "content-type-mismatch").lacks("Producer-Expected-Seq");
    send(&stream, "y", 0, 0).status(200);
    stream.read("-1").body_is("y");
}

fn a_sequence_regression_does_not_advance_the_producer(t: &Target) {
    let stream = t.text(&[]);
    stream.post("a").producer("p", 0, 0).header("Stream-Seq", "5").send().status(200);
    for (epoch, seq) in [(0, 1), (1, 0)] {
        let regression = stream.post("b").producer("p", epoch, seq).header("Stream-Seq", "4").send();
        regression.refused(409, "stream-seq-regression");
    }
    let next = stream.post("b").producer("p", 0, 1).header("Stream-Seq", "6").send();
    next.status(200).has("Producer-Epoch", "0");
    stream.read("-1").body_is("ab");
}

fn a_duplicate_is_found_before_a_sequence_regression(t: &Target) {
    let stream = t.text(&[]);
    stream.post("a").producer("p", 0, 0).header("Stream-Seq", "5").send().status(200);
    for seq in ["5", "4", "9"] {
        stream.post("a").producer("p", 0, 0).header("Stream-Seq", seq).send().status(204);
    }
    stream.post("b").producer("p", 0, 1).header("Stream-Seq", "6").send().status(200);
    stream.read("-1").body_is("ab");
}

fn a_gap_is_found_before_a_sequence_regression(t: &Target) {
    let stream = t.text(&[]);
    stream.post("a").producer("p", 0, 0).header("Stream-Seq", "5").send().status(200);
    stream.post("b").producer("p", 0, 2).header("Stream-Seq", "4").send().refused(409, "producer-gap");
}

fn another_type_is_told_before_a_gap(t: &Target) {
    let stream = t.text(&[]);
    let request = stream.post("x").content_type("text/html").producer("p", 0, 5);
    request.send().refused(409, "content-type-mismatch");
}

fn a_closed_stream_is_told_before_a_gap(t: &Target) {
    let stream = t.text(&[]);
    send(&stream, "x", 0, 0).status(200);
    let tail = stream.close();
    let response = send(&stream, "y", 0, 7);
    response.refused(409, "stream-closed").has("Stream-Closed", "true").has("Stream-Next-Offset", &tail);
}

fn an_empty_append_is_400_and_does_not_count(t: &Target) {
    let stream = t.text(&[]);
    send(&stream, "", 0, 0).malformed();
    send(&stream, "x", 0, 0).status(200);
}

fn a_json_batch_is_one_seq(t: &Target) {
    let stream = t.json(&[]);
    send(&stream, "[1,2,3]", 0, 0).status(200).has("Producer-Seq", "0");
    send(&stream, "[4]", 0, 1).status(200).has("Producer-Seq", "1");
    send(&stream, "[1,2,3]", 0, 0).status(204).has("Producer-Seq", "1");
    stream.read("-1").body_is("[1,2,3,4]");
}
