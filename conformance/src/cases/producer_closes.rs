//! Closing with an idempotent producer: once, whatever is retried (section 5.2.1, closure).

use super::producers::send;
use crate::case::{at_once, cases};
use crate::client::Target;

cases! {
    a_final_append_is_200_closed: "section 5.2.1, closure",
    a_final_append_repeated_is_204_closed: "section 5.2.1: a retried closing append is a 204",
    a_final_append_repeated_with_another_body_is_204: "section 5.2.1, duplicate close",
    a_final_append_of_another_tuple_is_409: "section 5.2.1, closure",
    an_earlier_append_repeated_after_the_close_is_409: "section 5.2.1, closure: otherwise 409",
    a_close_without_data_is_204_and_counts: "section 5.2.1, close without append",
    a_close_without_data_repeated_is_204: "section 5.2.1, duplicate close",
    a_close_with_a_gap_closes_nothing: "section 5.2.1",
    a_close_with_a_stale_epoch_closes_nothing: "section 5.2.1, zombie fencing",
    one_of_many_equal_closes_is_new: "section 5.2.1, concurrency requirements",
}

fn a_final_append_is_200_closed(t: &Target) {
    let stream = t.text(&[]);
    let response = stream.post("the end").producer("p", 0, 0).closing().send();
    response.status(200).has("Stream-Closed", "true").has("Producer-Epoch", "0").has("Producer-Seq", "0");
    stream
        .read("-1")
        .body_is("the end")
        .has("Stream-Closed", "true")
        .has("Stream-Next-Offset", &response.next_offset());
}

fn a_final_append_repeated_is_204_closed(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.post("the end").producer("p", 4, 0).closing().send().status(200);
    let tail = stream.tail();
    for _ in 0..3 {
        let response = stream.post("the end").producer("p", 4, 0).closing().send();
        response.status(204).has("Stream-Closed", "true").has("Stream-Next-Offset", &tail);
        response.has("Producer-Epoch", "4").has("Producer-Seq", "0");
    }
    stream.read("-1").body_is("hellothe end");
}

fn a_final_append_repeated_with_another_body_is_204(t: &Target) {
    let stream = t.text(&[]);
    stream.post("the end").producer("p", 0, 0).closing().send().status(200);
    stream.post("another end").producer("p", 0, 0).closing().send().status(204).has("Stream-Closed", "true");
    stream.read("-1").body_is("the end");
}

fn a_final_append_of_another_tuple_is_409(t: &Target) {
    let stream = t.text(&[]);
    stream.post("the end").producer("p", 1, 0).closing().send().status(200);
    for (id, epoch, seq) in [("q", 1, 0), ("p", 1, 1), ("p", 2, 0)] {
        stream.assert_unchanged_by(|| {
            let response = stream.post("x").producer(id, epoch, seq).closing().send();
            response.refused(409, "stream-closed").has("Stream-Closed", "true");
            response.has("Stream-Next-Offset", &stream.tail());
        });
    }
}

fn an_earlier_append_repeated_after_the_close_is_409(t: &Target) {
    let stream = t.text(&[]);
    send(&stream, "a", 0, 0).status(200);
    stream.post("b").producer("p", 0, 1).closing().send().status(200);
    send(&stream, "a", 0, 0).refused(409, "stream-closed");
    stream.post("b").producer("p", 0, 1).closing().send().status(204);
    stream.read("-1").body_is("ab");
}

fn a_close_without_data_is_204_and_counts(t: &Target) {
    let stream = t.text(&[]);
    send(&stream, "x", 0, 0).status(200);
    let tail = stream.tail();
    let response = stream.post_close().producer("p", 0, 1).send();
    response.status(204).has("Stream-Closed", "true").has("Stream-Next-Offset", &tail);
    response.has("Producer-Epoch", "0").has("Producer-Seq", "1");
}

fn a_close_without_data_repeated_is_204(t: &Target) {
    let stream = t.text(&[]);
    stream.post_close().producer("p", 0, 0).send().status(204).has("Stream-Closed", "true");
    stream.post_close().producer("p", 0, 0).send().status(204).has("Stream-Closed", "true");
    stream.post_close().send().status(204).has("Stream-Closed", "true");
    stream.post("x").producer("p", 0, 1).send().refused(409, "stream-closed");
}

fn a_close_with_a_gap_closes_nothing(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.assert_unchanged_by(|| {
        stream.post_close().producer("p", 0, 3).send().refused(409, "producer-gap");
        stream.post("x").producer("p", 0, 3).closing().send().refused(409, "producer-gap");
    });
    stream.append("still open");
}

fn a_close_with_a_stale_epoch_closes_nothing(t: &Target) {
    let stream = t.text(&[]);
    send(&stream, "x", 2, 0).status(200);
    stream.assert_unchanged_by(|| {
        stream.post_close().producer("p", 1, 0).send().refused(403, "stale-epoch").has("Producer-Epoch", "2");
        stream.post("x").producer("p", 1, 0).closing().send().refused(403, "stale-epoch");
    });
}

fn one_of_many_equal_closes_is_new(t: &Target) {
    let stream = t.text(&[]);
    let responses = at_once(16, |_| stream.post("the end").producer("p", 0, 0).closing().send());
    let new = responses.iter().filter(|response| response.status == 200).count();
    assert_eq!(new, 1, "{:?}", responses.iter().map(|response| response.status).collect::<Vec<_>>());
    for response in &responses {
        response
            .status_in(&[200, 204])
            .has("Stream-Closed", "true")
            .has("Stream-Next-Offset", &stream.tail());
    }
    stream.read("-1").body_is("the end");
}
