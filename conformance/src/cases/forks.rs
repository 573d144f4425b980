//! Forks: what they inherit, where they part from their source, and who sees what (section 4.2).

use std::thread::sleep;
use std::time::Duration;

use super::forking::{fork_of, forking};
use crate::case::{cases, meanwhile};
use crate::client::Target;
use crate::offset::{BEGINNING, incarnation, position};
use crate::sse::Events;

cases! {
    a_fork_begins_with_all_of_its_source: "section 4.2: defaults to the tail",
    a_fork_at_an_offset_begins_with_what_is_before_it: "section 4.2",
    a_fork_at_the_zero_offset_begins_empty: "section 4.2; docs/adr/0002-offsets-with-incarnations.md",
    a_fork_of_an_empty_stream_is_empty: "section 4.2",
    a_fork_shares_the_offsets_of_its_source: "section 8, forked streams; docs/adr/0002-offsets-with-incarnations.md",
    a_fork_goes_on_with_offsets_of_its_own: "docs/adr/0002-offsets-with-incarnations.md: sorts after",
    a_fork_and_its_source_go_different_ways: "section 4.2",
    a_fork_can_be_read_across_its_border: "section 9.1, forked streams",
    a_fork_does_not_know_offsets_of_its_source_past_the_border: "section 8: unique",
    a_fork_may_have_content_of_its_own_at_once: "section 5.1: initial content",
    a_fork_inherits_the_content_type: "section 4.2: Content-Type is optional",
    a_fork_of_a_closed_stream_is_open: "section 4.2, closed stream forking",
    a_fork_may_be_created_closed: "section 5.1",
    a_fork_does_not_inherit_producers: "section 4.2, producer state",
    a_fork_does_not_inherit_sequences: "section 4.2, producer state",
    a_fork_is_not_told_from_other_streams: "section 4.2: an independent stream",
    sub_offsets_count_bytes: "section 4.2, sub-offset",
    sub_offsets_count_messages_of_json: "section 4.2, sub-offset",
    a_sub_offset_of_zero_is_none: "section 4.2, sub-offset",
    forks_of_forks_read_through_all_of_them: "section 4.2: fork chain",
    long_polls_answer_inherited_data_at_once: "section 5.7, forked streams",
    long_polls_wait_for_the_fork_alone: "section 5.7, forked streams",
    live_readers_see_the_fork_alone: "section 5.8, forked streams",
    etags_of_a_fork_and_its_recreated_namesake_differ: "docs/adr/0002-offsets-with-incarnations.md: entity tags",
}

fn a_fork_begins_with_all_of_its_source(t: &Target) {
    for source in [t.text(&["hello", "world"]), t.json(&["[1,2]", "3"]), t.bytes()] {
        let fork = t.missing(source.content_type);
        let response = forking(&fork, &source).send();
        response.status(201).has("Location", &fork.url()).has("Stream-Next-Offset", &source.tail());
        response.has("Content-Type", source.content_type).lacks("Stream-Closed");
        fork.read("-1")
            .status(200)
            .body_is(&source.read("-1").body)
            .has("Stream-Next-Offset", &source.tail());
    }
}

fn a_fork_at_an_offset_begins_with_what_is_before_it(t: &Target) {
    let source = t.text(&["one", "two", "three"]);
    for (end, expected) in [(0, ""), (3, "one"), (6, "onetwo"), (11, "onetwothree")] {
        let border = source.offset_at(end);
        let fork = fork_of(&source, &[("Stream-Fork-Offset", &border)]);
        fork.read("-1").status(200).body_is(expected).has("Stream-Up-To-Date", "true");
        assert_eq!(position(&fork.tail()), end as u64);
    }
}

fn a_fork_at_the_zero_offset_begins_empty(t: &Target) {
    let source = t.text(&["hello"]);
    let fork = fork_of(&source, &[("Stream-Fork-Offset", BEGINNING)]);
    fork.read("-1").status(200).body_is("");
    fork.append("own");
    fork.read("-1").status(200).body_is("own");
    source.read("-1").body_is("hello");
}

fn a_fork_of_an_empty_stream_is_empty(t: &Target) {
    let source = t.json(&[]);
    let fork = fork_of(&source, &[]);
    fork.read("-1").status(200).body_is("[]");
    fork.append("1");
    fork.read("-1").body_is("[1]");
    source.read("-1").body_is("[]");
}

fn a_fork_shares_the_offsets_of_its_source(t: &Target) {
    let source = t.text(&[]);
    let offsets = [source.tail(), source.append("one"), source.append("two"), source.append("three")];
    let fork = fork_of(&source, &[]);
    fork.append("own");
    let all = "onetwothreeown";
    for (offset, begin) in offsets.iter().zip([0, 3, 6, 11]) {
        fork.read(offset).status(200).body_is(&all[begin..]).has("Stream-Next-Offset", &fork.tail());
    }
}

fn a_fork_goes_on_with_offsets_of_its_own(t: &Target) {
    let source = t.text(&["hello"]);
    let border = source.tail();
    let fork = fork_of(&source, &[]);
    assert_eq!(fork.tail(), border, "the position at the border keeps the source's token");
    let first = fork.append("own");
    assert!(incarnation(&first) > incarnation(&border), "{first} sorts after {border}");
    assert_eq!(position(&first), 8);
    let second = fork.append("more");
    assert_eq!(incarnation(&second), incarnation(&first));
    fork.read(&first).status(200).body_is("more");
    fork.read(&border).status(200).body_is("ownmore");
}

fn a_fork_and_its_source_go_different_ways(t: &Target) {
    let source = t.text(&["common;"]);
    let fork = fork_of(&source, &[]);
    source.append("source;");
    fork.append("fork;");
    source.close();
    fork.append("still open");
    source.read("-1").body_is("common;source;").has("Stream-Closed", "true");
    fork.read("-1").body_is("common;fork;still open").lacks("Stream-Closed");
}

fn a_fork_can_be_read_across_its_border(t: &Target) {
    let source = t.json(&["[1,2]", "3"]);
    let from = source.offset_at(4);
    let fork = fork_of(&source, &[]);
    fork.append("[4,5]");
    fork.read("-1").status(200).body_is("[1,2,3,4,5]");
    fork.read(&from).status(200).body_is("[3,4,5]");
    fork.read(&source.tail()).status(200).body_is("[4,5]");
}

fn a_fork_does_not_know_offsets_of_its_source_past_the_border(t: &Target) {
    let source = t.text(&["hello"]);
    let fork = fork_of(&source, &[]);
    let past = source.append("of the source");
    fork.append("of the fork, and longer than that of the source");
    fork.read(&past).status_in(&[400, 410]).has("Cache-Control", "no-store");
    source.read(&fork.tail()).status_in(&[400, 410]).has("Cache-Control", "no-store");
}

fn a_fork_may_have_content_of_its_own_at_once(t: &Target) {
    let source = t.text(&["hello"]);
    let fork = t.missing("text/plain");
    let response = fork.put().header("Stream-Forked-From", &source.path).body(" world").send();
    assert_eq!(position(&response.status(201).next_offset()), 11);
    fork.read("-1").status(200).body_is("hello world");
    source.read("-1").body_is("hello");
}

fn a_fork_inherits_the_content_type(t: &Target) {
    for content_type in ["text/plain; charset=utf-8", "application/json", "application/x-protobuf"] {
        let source = t.created(content_type, &[], &["[1]"]);
        let fork = t.missing(content_type);
        forking(&fork, &source).send().status(201).has("Content-Type", content_type);
        fork.head().status(200).has("Content-Type", content_type);
        forking(&fork, &source).send().status(200);
    }
}

fn a_fork_of_a_closed_stream_is_open(t: &Target) {
    let source = t.text(&["hello"]);
    source.close();
    let fork = fork_of(&source, &[]);
    fork.head().status(200).lacks("Stream-Closed");
    fork.read("-1").status(200).body_is("hello").lacks("Stream-Closed");
    fork.append(" again");
    fork.read("-1").body_is("hello again");
    source.head().has("Stream-Closed", "true");
}

fn a_fork_may_be_created_closed(t: &Target) {
    let source = t.text(&["hello"]);
    let fork = fork_of(&source, &[("Stream-Closed", "true")]);
    fork.read("-1").status(200).body_is("hello").has("Stream-Closed", "true");
    source.head().lacks("Stream-Closed");
    forking(&fork, &source).closing().send().status(200).has("Stream-Closed", "true");
}

fn a_fork_does_not_inherit_producers(t: &Target) {
    let source = t.text(&[]);
    source.post("a").producer("p", 3, 0).send().status(200);
    source.post("b").producer("p", 3, 1).send().status(200);
    let fork = fork_of(&source, &[]);
    fork.post("x").producer("p", 3, 2).send().refused(409, "producer-gap").has("Producer-Expected-Seq", "0");
    fork.post("c").producer("p", 0, 0).send().status(200);
    source.post("c").producer("p", 3, 2).send().status(200);
    fork.read("-1").body_is("abc");
}

fn a_fork_does_not_inherit_sequences(t: &Target) {
    let source = t.text(&[]);
    source.post("a").header("Stream-Seq", "9").send().status(204);
    let fork = fork_of(&source, &[]);
    fork.post("b").header("Stream-Seq", "1").send().status(204);
    source.post("x").header("Stream-Seq", "5").send().refused(409, "stream-seq-regression");
}

fn a_fork_is_not_told_from_other_streams(t: &Target) {
    let source = t.text(&["hello"]);
    let fork = t.missing("text/plain");
    let responses = [forking(&fork, &source).send(), fork.head(), fork.read("-1"), fork.post("x").send()];
    for response in responses {
        response.status_in(&[200, 201, 204]);
        response.lacks("Stream-Forked-From").lacks("Stream-Fork-Offset").lacks("Stream-Fork-Sub-Offset");
    }
}

fn sub_offsets_count_bytes(t: &Target) {
    let source = t.text(&["hello", "world"]);
    let middle = source.offset_at(5);
    for (anchor, sub_offset, expected) in [
        (BEGINNING, "1", "h"),
        (BEGINNING, "5", "hello"),
        (middle.as_str(), "3", "hellowor"),
        (middle.as_str(), "5", "helloworld"),
    ] {
        let fork =
            fork_of(&source, &[("Stream-Fork-Offset", anchor), ("Stream-Fork-Sub-Offset", sub_offset)]);
        fork.read("-1").status(200).body_is(expected).has("Stream-Up-To-Date", "true");
        let tail = fork.tail();
        assert_eq!(position(&tail), expected.len() as u64);
        fork.append("!");
        fork.read(&tail).status(200).body_is("!");
        fork.read("-1").body_is(format!("{expected}!"));
    }
}

fn sub_offsets_count_messages_of_json(t: &Target) {
    let source = t.json(&[r#"[{"a":1},[2,2],"three"]"#, "4"]);
    for (sub_offset, expected) in
        [("1", r#"[{"a":1}]"#), ("2", r#"[{"a":1},[2,2]]"#), ("3", r#"[{"a":1},[2,2],"three"]"#)]
    {
        let fork =
            fork_of(&source, &[("Stream-Fork-Offset", BEGINNING), ("Stream-Fork-Sub-Offset", sub_offset)]);
        fork.read("-1").status(200).body_is(expected);
        let tail = fork.tail();
        fork.append("5");
        fork.read(&tail).status(200).body_is("[5]");
    }
}

fn a_sub_offset_of_zero_is_none(t: &Target) {
    let source = t.text(&["hello", "world"]);
    let middle = source.offset_at(5);
    let fork = fork_of(&source, &[("Stream-Fork-Offset", &middle), ("Stream-Fork-Sub-Offset", "0")]);
    fork.read("-1").status(200).body_is("hello");
    forking(&fork, &source).header("Stream-Fork-Offset", &middle).send().status(200);
    let other = fork_of(&source, &[("Stream-Fork-Sub-Offset", "0")]);
    other.read("-1").status(200).body_is("helloworld");
    forking(&other, &source).send().status(200);
}

fn forks_of_forks_read_through_all_of_them(t: &Target) {
    let one = t.json(&["1"]);
    let two = fork_of(&one, &[]);
    two.append("[2,2]");
    let inside = two.tail();
    two.append("22");
    let three = fork_of(&two, &[("Stream-Fork-Offset", &inside)]);
    three.append("3");
    let back = fork_of(&three, &[("Stream-Fork-Offset", &one.tail())]);
    back.append("4");
    one.append("11");
    one.read("-1").body_is("[1,11]");
    two.read("-1").body_is("[1,2,2,22]");
    three.read("-1").body_is("[1,2,2,3]");
    back.read("-1").body_is("[1,4]");
    three.read(&inside).body_is("[3]");
}

fn long_polls_answer_inherited_data_at_once(t: &Target) {
    let source = t.text(&["hello"]);
    let fork = fork_of(&source, &[]);
    let response = fork.poll("-1");
    response.status(200).body_is("hello").has("Stream-Next-Offset", &fork.tail());
}

fn long_polls_wait_for_the_fork_alone(t: &Target) {
    let source = t.text(&["hello"]);
    let fork = fork_of(&source, &[]);
    let tail = fork.tail();
    let (response, ()) = meanwhile(
        || fork.poll(&tail),
        || {
            sleep(t.facts.long_poll_timeout / 4);
            source.append("not for the fork");
            source.close();
        },
    );
    response.status(204).has("Stream-Next-Offset", &tail).lacks("Stream-Closed");
    let (response, ()) = meanwhile(
        || fork.poll(&tail),
        || {
            sleep(t.facts.long_poll_timeout / 4);
            fork.append("for the fork");
        },
    );
    response.status(200).body_is("for the fork");
}

fn live_readers_see_the_fork_alone(t: &Target) {
    let source = t.text(&["hello "]);
    let fork = fork_of(&source, &[]);
    fork.append("fork");
    let mut events = Events::open(&fork, "-1");
    assert_eq!(events.collect(|collected| collected.len() >= 10), "hello fork");
    assert!(events.control().up_to_date);
    source.append("not for the fork");
    events.assert_quiet(Duration::from_millis(200));
    let tail = fork.append("more");
    assert_eq!(events.data().id, Some(tail));
}

fn etags_of_a_fork_and_its_recreated_namesake_differ(t: &Target) {
    let source = t.text(&["hello"]);
    let fork = fork_of(&source, &[]);
    fork.append("one");
    let etag = fork.read("-1").etag();
    fork.delete().status(204);
    forking(&fork, &source).send().status(201);
    fork.append("two");
    assert_ne!(fork.read("-1").etag(), etag);
    fork.get_with("offset=-1", &[("If-None-Match", &etag)]).status(200).body_is("hellotwo");
}
