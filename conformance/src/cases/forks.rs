//! Forks: what they inherit, where they part, and what becomes of a source that is deleted (section 4.2).

use std::thread::sleep;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use crate::answer::Answer;
use crate::case::{cases, meanwhile};
use crate::client::{Request, Stream, Target};
use crate::instant::{in_hours, parsed, spelled};
use crate::offset::{BEGINNING, advanced, incarnation, position};
use crate::sse::Events;

cases! {
    a_fork_begins_with_all_of_its_source: "section 4.2: defaults to the tail",
    a_fork_at_an_offset_begins_with_what_is_before_it: "section 4.2",
    a_fork_at_the_zero_offset_begins_empty: "section 4.2; contract, read",
    a_fork_of_an_empty_stream_is_empty: "section 4.2",
    a_fork_shares_the_offsets_of_its_source: "section 8, forked streams; DESIGN.md, offsets",
    a_fork_goes_on_with_offsets_of_its_own: "DESIGN.md, offsets: sorts after",
    a_fork_and_its_source_go_different_ways: "section 4.2",
    a_fork_can_be_read_across_its_border: "section 9.1, forked streams",
    a_fork_does_not_know_offsets_of_its_source_past_the_border: "section 8: unique",
    a_fork_may_have_content_of_its_own_at_once: "section 5.1: initial content",
    a_fork_with_invalid_content_takes_no_reference: "trap 20",
    a_fork_inherits_the_content_type: "trap 24",
    a_fork_with_another_type_is_409_and_takes_no_reference: "trap 20: fork rejected must not leak",
    a_fork_of_a_closed_stream_is_open: "section 4.2, closed stream forking",
    a_fork_may_be_created_closed: "section 5.1",
    a_fork_does_not_inherit_producers: "section 4.2, producer state",
    a_fork_does_not_inherit_sequences: "section 4.2, producer state",
    a_fork_is_not_told_from_other_streams: "section 4.2: an independent stream",
    a_fork_of_nothing_is_404: "section 4.2, errors",
    a_fork_of_an_expired_stream_is_404: "section 4.2, errors",
    a_fork_past_the_tail_is_400: "section 4.2, errors",
    malformed_fork_offsets_are_400: "section 4.2, errors",
    malformed_sources_are_400: "contract, create: a path under the base path",
    a_fork_offset_of_another_incarnation_is_refused: "DESIGN.md, offsets",
    fork_headers_without_a_source_are_400: "contract, create",
    sub_offsets_count_bytes: "section 4.2, sub-offset",
    sub_offsets_count_messages_of_json: "section 4.2, sub-offset",
    a_sub_offset_of_zero_is_none: "section 4.2, sub-offset",
    a_sub_offset_without_an_offset_is_400: "contract, create",
    a_sub_offset_past_the_data_is_400: "section 4.2, errors",
    malformed_sub_offsets_are_400: "section 4.2, errors",
    a_repeated_fork_is_200: "section 4.2, idempotent creation",
    a_fork_that_differs_is_409: "section 4.2, idempotent creation",
    a_repeated_fork_takes_no_second_reference: "section 4.2, lifecycle",
    a_name_in_use_is_409: "section 4.2, errors",
    forks_of_forks_read_through_all_of_them: "section 4.2: fork chain",
    a_fork_chain_may_be_64_deep: "contract, create: deeper than 64 is 409",
    long_polls_answer_inherited_data_at_once: "section 5.7, forked streams",
    long_polls_wait_for_the_fork_alone: "section 5.7, forked streams",
    live_readers_see_the_fork_alone: "section 5.8, forked streams",
    a_deleted_source_is_410_for_every_verb: "section 4.2, soft-delete; trap 21",
    a_deleted_source_blocks_its_name: "section 4.2, soft-delete",
    a_deleted_source_cannot_be_forked: "section 4.2, errors",
    a_deleted_source_still_serves_its_forks: "section 4.2, soft-delete",
    a_deleted_source_goes_with_its_last_fork: "section 4.2, lifecycle",
    a_source_that_was_not_deleted_stays: "section 4.2, lifecycle",
    a_chain_is_cleaned_up_from_its_end: "section 4.2, cascades",
    the_middle_of_a_chain_may_be_deleted: "section 4.2, cascades",
    a_waiting_reader_of_a_deleted_source_is_let_go: "section 4.2: 410 for all",
    no_lifetime_is_inherited_where_there_is_none: "section 4.2, table rows 1 to 3",
    a_ttl_is_inherited_unless_the_fork_has_its_own: "section 4.2, table rows 4 to 6",
    an_expiry_is_inherited_unless_the_fork_has_its_own: "section 4.2, table rows 7 to 9",
    a_fork_outlives_the_ttl_of_its_source: "section 4.2: independent lifetimes",
    reading_a_fork_does_not_need_its_source: "section 4.2: refreshed independently",
    etags_of_a_fork_and_its_recreated_namesake_differ: "trap 9",
}

/// Creates a fork of all of `source`.
#[track_caller]
fn fork_of<'t>(source: &Stream<'t>, headers: &[(&str, &str)]) -> Stream<'t> {
    let fork = source.target.missing(source.content_type);
    forking(&fork, source).headers(headers).send().status(201);
    fork
}

/// A creation of `fork` with the header that names its source, and no content type.
fn forking<'t>(fork: &Stream<'t>, source: &Stream<'t>) -> Request<'t> {
    fork.put().without_content_type().header("Stream-Forked-From", &source.path)
}

/// Waits until what may be cleaned up asynchronously is gone.
#[track_caller]
fn await_404(stream: &Stream<'_>) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let answer = stream.head();
        if answer.status == 404 {
            return;
        }
        answer.status(410);
        assert!(Instant::now() < deadline, "{} was never cleaned up", stream.path);
        sleep(Duration::from_millis(20));
    }
}

/// Nothing refers to `source`: a deletion is a whole one.
#[track_caller]
fn assert_unreferenced(source: &Stream<'_>) {
    source.delete().status(204);
    source.head().refused(404, "not-found");
    source.put().send().status(201);
}

fn a_fork_begins_with_all_of_its_source(t: &Target) {
    for source in [t.text(&["hello", "world"]), t.json(&["[1,2]", "3"]), t.bytes()] {
        let fork = t.missing(source.content_type);
        let answer = forking(&fork, &source).send();
        answer.status(201).has("Location", &fork.url()).has("Stream-Next-Offset", &source.tail());
        answer.has("Content-Type", source.content_type).lacks("Stream-Closed");
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
    let from = source.offset_at(2);
    let fork = fork_of(&source, &[]);
    fork.append("[4,5]");
    fork.read("-1").status(200).body_is("[1,2,3,4,5]");
    fork.read(&from).status(200).body_is("[2,3,4,5]");
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
    let answer = fork.put().header("Stream-Forked-From", &source.path).body(" world").send();
    assert_eq!(position(&answer.status(201).next_offset()), 11);
    fork.read("-1").status(200).body_is("hello world");
    source.read("-1").body_is("hello");
}

fn a_fork_with_invalid_content_takes_no_reference(t: &Target) {
    let source = t.json(&["1"]);
    let fork = t.missing("application/json");
    fork.put().header("Stream-Forked-From", &source.path).body("nope").send().malformed();
    fork.head().refused(404, "not-found");
    assert_unreferenced(&source);
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

fn a_fork_with_another_type_is_409_and_takes_no_reference(t: &Target) {
    let source = t.text(&["hello"]);
    let fork = t.missing("text/plain");
    let request = forking(&fork, &source).content_type("application/json");
    let answer = request.send();
    answer.status(409).problem(409);
    fork.head().refused(404, "not-found");
    assert_unreferenced(&source);
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
    let answers = [forking(&fork, &source).send(), fork.head(), fork.read("-1"), fork.post("x").send()];
    for answer in answers {
        answer.status_in(&[200, 201, 204]);
        answer.lacks("Stream-Forked-From").lacks("Stream-Fork-Offset").lacks("Stream-Fork-Sub-Offset");
    }
}

fn a_fork_of_nothing_is_404(t: &Target) {
    let fork = t.missing("text/plain");
    forking(&fork, &t.missing("text/plain")).send().refused(404, "not-found");
    forking(&fork, &fork).send().refused(404, "not-found");
    fork.head().refused(404, "not-found");
}

fn a_fork_of_an_expired_stream_is_404(t: &Target) {
    let source = t.created("text/plain", &[("Stream-TTL", "1")], &["hello"]);
    await_end(&source);
    forking(&t.missing("text/plain"), &source).send().refused(404, "not-found");
}

/// Waits until the stream is no longer answered with 200.
#[track_caller]
fn await_end(stream: &Stream<'_>) {
    let deadline = Instant::now() + Duration::from_secs(6);
    while stream.head().status == 200 {
        assert!(Instant::now() < deadline, "{} is immortal", stream.path);
        sleep(Duration::from_millis(50));
    }
}

/// A fork that must be refused with 400, makes nothing and takes no reference.
#[track_caller]
fn assert_no_fork(source: &Stream<'_>, headers: &[(&str, &str)]) {
    let fork = source.target.missing(source.content_type);
    let answer = forking(&fork, source).headers(headers).send();
    if answer.status != 400 {
        answer.fail(format_args!("{headers:?} was accepted"));
    }
    answer.malformed();
    fork.head().refused(404, "not-found");
}

fn a_fork_past_the_tail_is_400(t: &Target) {
    let source = t.text(&["hello"]);
    for past in [1, 1000] {
        assert_no_fork(&source, &[("Stream-Fork-Offset", &advanced(&source.tail(), past))]);
    }
    assert_unreferenced(&source);
}

fn malformed_fork_offsets_are_400(t: &Target) {
    let source = t.text(&["hello"]);
    for offset in [
        "",
        "0",
        "5",
        "0_0",
        "-2",
        "nonsense",
        "a,b",
        "0000000000000000-0000000000000000",
        "0000000000000000_000000000000000",
        "0000000000000000_00000000000000000",
        "../x",
    ] {
        assert_no_fork(&source, &[("Stream-Fork-Offset", offset)]);
    }
    assert_no_fork(&source, &[("Stream-Fork-Offset", BEGINNING), ("Stream-Fork-Offset", BEGINNING)]);
    assert_unreferenced(&source);
}

fn malformed_sources_are_400(t: &Target) {
    let source = t.text(&["hello"]);
    let name = source.path.trim_start_matches(&t.base_path).trim_start_matches('/');
    let base = &t.base_path;
    let malformed = [
        String::new(),
        "/".to_owned(),
        name.to_owned(),
        format!("{name}/"),
        source.path[1..].to_owned(),
        source.url(),
        format!("//{}{}", t.authority, source.path),
        format!("/elsewhere/{name}"),
        format!("{base}/"),
        base.clone(),
        format!("{base}/../stream/{name}"),
        format!("{base}/a//b"),
        format!("{base}/%2e%2e/{name}"),
        format!("{base}/{name}%2Fx"),
        format!("{base}/{name}%"),
        format!("{base}/{name}%00"),
        format!("{base}/%ff"),
        format!("{base}x/{name}"),
        format!("{base}/{}", "x".repeat(1025)),
        format!("{base}/{name}/."),
    ];
    for path in malformed {
        let fork = t.missing("text/plain");
        let answer = fork.put().header("Stream-Forked-From", &path).send();
        if answer.status != 400 {
            answer.fail(format_args!("{path:?} was taken for a path under {base}"));
        }
        answer.malformed();
        fork.head().refused(404, "not-found");
    }
    assert_unreferenced(&source);
}

fn a_fork_offset_of_another_incarnation_is_refused(t: &Target) {
    let source = t.text(&["hello"]);
    let old = source.tail();
    source.delete().status(204);
    source.put().body("hello").send().status(201);
    let fork = t.missing("text/plain");
    forking(&fork, &source).header("Stream-Fork-Offset", &old).send().status_in(&[400, 410]);
    fork.head().refused(404, "not-found");
    assert_unreferenced(&source);
}

fn fork_headers_without_a_source_are_400(t: &Target) {
    let source = t.text(&["hello"]);
    let tail = source.tail();
    for headers in [
        &[("Stream-Fork-Offset", tail.as_str())][..],
        &[("Stream-Fork-Sub-Offset", "0")],
        &[("Stream-Fork-Sub-Offset", "1")],
        &[("Stream-Fork-Offset", &tail), ("Stream-Fork-Sub-Offset", "0")],
    ] {
        let stream = t.missing("text/plain");
        stream.put().headers(headers).send().malformed();
        stream.head().refused(404, "not-found");
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

fn a_sub_offset_without_an_offset_is_400(t: &Target) {
    let source = t.text(&["hello"]);
    assert_no_fork(&source, &[("Stream-Fork-Sub-Offset", "1")]);
    assert_unreferenced(&source);
}

fn a_sub_offset_past_the_data_is_400(t: &Target) {
    let source = t.text(&["hello"]);
    for sub_offset in ["6", "1000", "9007199254740991"] {
        assert_no_fork(&source, &[("Stream-Fork-Offset", BEGINNING), ("Stream-Fork-Sub-Offset", sub_offset)]);
    }
    assert_no_fork(&source, &[("Stream-Fork-Offset", &source.tail()), ("Stream-Fork-Sub-Offset", "1")]);
    let json = t.json(&["[1,2]"]);
    assert_no_fork(&json, &[("Stream-Fork-Offset", BEGINNING), ("Stream-Fork-Sub-Offset", "3")]);
    let empty = t.text(&[]);
    assert_no_fork(&empty, &[("Stream-Fork-Offset", BEGINNING), ("Stream-Fork-Sub-Offset", "1")]);
    assert_unreferenced(&source);
    assert_unreferenced(&json);
}

fn malformed_sub_offsets_are_400(t: &Target) {
    let source = t.text(&["hello"]);
    for sub_offset in [
        "",
        "-1",
        "-0",
        "+1",
        "01",
        "00",
        "1.0",
        "1e0",
        "0x1",
        "one",
        "1 ,2",
        "\u{661}",
        "9223372036854775808",
        "18446744073709551616",
        "99999999999999999999999999",
    ] {
        assert_no_fork(&source, &[("Stream-Fork-Offset", BEGINNING), ("Stream-Fork-Sub-Offset", sub_offset)]);
    }
    let twice =
        [("Stream-Fork-Offset", BEGINNING), ("Stream-Fork-Sub-Offset", "1"), ("Stream-Fork-Sub-Offset", "1")];
    assert_no_fork(&source, &twice);
    assert_unreferenced(&source);
}

fn a_repeated_fork_is_200(t: &Target) {
    let source = t.text(&["hello", "world"]);
    let middle = source.offset_at(5);
    let headers = [("Stream-Fork-Offset", middle.as_str()), ("Stream-Fork-Sub-Offset", "2")];
    let fork = fork_of(&source, &headers);
    fork.append("!");
    source.append("more");
    let answer = forking(&fork, &source).headers(&headers).send();
    answer.status(200).lacks("Location").has("Stream-Next-Offset", &fork.tail());
    let at_the_tail = fork_of(&source, &[]);
    source.append("and more");
    forking(&at_the_tail, &source).send().status(200);
    at_the_tail.read("-1").body_is("helloworldmore");
}

fn a_fork_that_differs_is_409(t: &Target) {
    let source = t.text(&["hello", "world"]);
    let namesake = t.text(&["hello", "world"]);
    let middle = source.offset_at(5);
    let fork = fork_of(&source, &[("Stream-Fork-Offset", &middle), ("Stream-Fork-Sub-Offset", "2")]);
    let refused = [
        forking(&fork, &source).header("Stream-Fork-Offset", BEGINNING).header("Stream-Fork-Sub-Offset", 2),
        forking(&fork, &source).header("Stream-Fork-Offset", &middle).header("Stream-Fork-Sub-Offset", 3),
        forking(&fork, &source).header("Stream-Fork-Offset", &middle),
        forking(&fork, &namesake)
            .header("Stream-Fork-Offset", namesake.offset_at(5))
            .header("Stream-Fork-Sub-Offset", 2),
        fork.put(),
    ];
    for request in refused {
        fork.assert_unchanged_by(|| request.send().refused(409, "config-mismatch").clone());
    }
    assert_unreferenced(&namesake);
}

fn a_repeated_fork_takes_no_second_reference(t: &Target) {
    let source = t.text(&["hello"]);
    let fork = fork_of(&source, &[]);
    forking(&fork, &source).send().status(200);
    fork.delete().status(204);
    await_unreferenced(&source);
}

/// Deletes `source`, which nothing should refer to any more once the server has cleaned up.
#[track_caller]
fn await_unreferenced(source: &Stream<'_>) {
    source.delete().status(204);
    await_404(source);
}

fn a_name_in_use_is_409(t: &Target) {
    let source = t.text(&["hello"]);
    let used = t.text(&["mine"]);
    used.assert_unchanged_by(|| forking(&used, &source).send().refused(409, "config-mismatch").clone());
    source.assert_unchanged_by(|| forking(&source, &source).send().refused(409, "config-mismatch").clone());
    assert_unreferenced(&source);
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

fn a_fork_chain_may_be_64_deep(t: &Target) {
    let mut last = t.text(&["0"]);
    for depth in 1..=64 {
        let fork = t.missing("text/plain");
        let answer = forking(&fork, &last).send();
        if answer.status != 201 {
            answer.fail(format_args!("at depth {depth}"));
        }
        fork.append("+");
        last = fork;
    }
    last.read("-1").status(200).body_is(format!("0{}", "+".repeat(64)));
    let deeper = t.missing("text/plain");
    forking(&deeper, &last).send().refused(409, "fork-too-deep");
    deeper.head().refused(404, "not-found");
    assert_unreferenced(&last);
}

fn long_polls_answer_inherited_data_at_once(t: &Target) {
    let source = t.text(&["hello"]);
    let fork = fork_of(&source, &[]);
    let answer = fork.poll("-1");
    answer.status(200).body_is("hello").has("Stream-Next-Offset", &fork.tail());
}

fn long_polls_wait_for_the_fork_alone(t: &Target) {
    let source = t.text(&["hello"]);
    let fork = fork_of(&source, &[]);
    let tail = fork.tail();
    let (answer, ()) = meanwhile(
        || fork.poll(&tail),
        || {
            sleep(t.facts.long_poll_timeout / 4);
            source.append("not for the fork");
            source.close();
        },
    );
    answer.status(204).has("Stream-Next-Offset", &tail).lacks("Stream-Closed");
    let (answer, ()) = meanwhile(
        || fork.poll(&tail),
        || {
            sleep(t.facts.long_poll_timeout / 4);
            fork.append("for the fork");
        },
    );
    answer.status(200).body_is("for the fork");
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

fn a_deleted_source_is_410_for_every_verb(t: &Target) {
    let source = t.text(&["hello"]);
    let tail = source.tail();
    let _fork = fork_of(&source, &[]);
    source.delete().status(204);
    source.head().refused(410, "gone");
    for from in ["-1", "now", &tail] {
        for live in ["", "&live=long-poll", "&live=sse"] {
            source.get(&format!("offset={from}{live}")).refused(410, "gone");
        }
    }
    source.get("").refused(410, "gone");
    source.post("more").send().refused(410, "gone");
    source.post_close().send().refused(410, "gone");
    source.post("more").producer("p", 0, 0).send().refused(410, "gone");
    source.delete().refused(410, "gone");
    source.delete().refused(410, "gone");
}

fn a_deleted_source_blocks_its_name(t: &Target) {
    let source = t.text(&["hello"]);
    let fork = fork_of(&source, &[]);
    source.delete().status(204);
    let refused: [Answer; 3] =
        [source.put().send(), source.put().content_type("text/html").send(), forking(&source, &fork).send()];
    for answer in refused {
        answer.status(409).problem(409);
    }
    source.head().refused(410, "gone");
}

fn a_deleted_source_cannot_be_forked(t: &Target) {
    let source = t.text(&["hello"]);
    let _fork = fork_of(&source, &[]);
    source.delete().status(204);
    let another = t.missing("text/plain");
    forking(&another, &source).send().status(409).problem(409);
    another.head().refused(404, "not-found");
}

fn a_deleted_source_still_serves_its_forks(t: &Target) {
    let source = t.text(&["hello", " world"]);
    let from = source.offset_at(5);
    let fork = fork_of(&source, &[]);
    source.delete().status(204);
    fork.read("-1").status(200).body_is("hello world");
    fork.append("!");
    fork.read(&from).status(200).body_is(" world!");
    fork.poll("-1").status(200).body_is("hello world!");
    let mut events = Events::open(&fork, "-1");
    assert_eq!(events.collect(|collected| collected.len() >= 12), "hello world!");
    let fork_of_fork = fork_of(&fork, &[("Stream-Fork-Offset", &from)]);
    fork_of_fork.read("-1").status(200).body_is("hello");
}

fn a_deleted_source_goes_with_its_last_fork(t: &Target) {
    let source = t.text(&["hello"]);
    let forks = [fork_of(&source, &[]), fork_of(&source, &[])];
    source.delete().status(204);
    forks[0].delete().status(204);
    forks[1].read("-1").status(200).body_is("hello");
    source.head().refused(410, "gone");
    forks[1].delete().status(204);
    await_404(&source);
    source.put().send().status(201);
    source.read("-1").status(200).body_is("");
}

fn a_source_that_was_not_deleted_stays(t: &Target) {
    let source = t.text(&["hello"]);
    let fork = fork_of(&source, &[]);
    fork.append("own");
    fork.delete().status(204);
    fork.head().refused(404, "not-found");
    source.append(" world");
    source.read("-1").status(200).body_is("hello world");
}

fn a_chain_is_cleaned_up_from_its_end(t: &Target) {
    let one = t.text(&["1"]);
    let two = fork_of(&one, &[]);
    two.append("2");
    let three = fork_of(&two, &[]);
    three.append("3");
    one.delete().status(204);
    two.delete().status(204);
    three.read("-1").status(200).body_is("123");
    one.head().refused(410, "gone");
    two.head().refused(410, "gone");
    three.delete().status(204);
    await_404(&two);
    await_404(&one);
}

fn the_middle_of_a_chain_may_be_deleted(t: &Target) {
    let one = t.text(&["1"]);
    let two = fork_of(&one, &[]);
    two.append("2");
    let three = fork_of(&two, &[]);
    three.append("3");
    two.delete().status(204);
    three.read("-1").status(200).body_is("123");
    one.append("!");
    one.read("-1").status(200).body_is("1!");
    three.delete().status(204);
    await_404(&two);
    one.read("-1").status(200).body_is("1!");
    await_unreferenced(&one);
}

fn a_waiting_reader_of_a_deleted_source_is_let_go(t: &Target) {
    let source = t.text(&["hello"]);
    let _fork = fork_of(&source, &[]);
    let tail = source.tail();
    let mut events = Events::open(&source, &tail);
    events.control();
    let (answer, ()) = meanwhile(
        || source.poll(&tail),
        || {
            sleep(t.facts.long_poll_timeout / 4);
            source.delete().status(204);
        },
    );
    answer.status_in(&[204, 404, 410]);
    events.assert_ended();
}

/// What HEAD tells about the lifetime of a fork with these headers: the TTL and the expiry.
#[track_caller]
fn lifetime_of(source: &Stream<'_>, headers: &[(&str, &str)]) -> (Option<String>, Option<OffsetDateTime>) {
    let fork = fork_of(source, headers);
    let head = fork.head();
    let ttl = head.status(200).header("Stream-TTL").map(str::to_owned);
    let expires_at = head.header("Stream-Expires-At").map(parsed);
    (ttl, expires_at)
}

fn no_lifetime_is_inherited_where_there_is_none(t: &Target) {
    let source = t.text(&["hello"]);
    let instant = in_hours(1);
    let spelling = spelled(instant);
    assert_eq!(lifetime_of(&source, &[]), (None, None));
    assert_eq!(lifetime_of(&source, &[("Stream-TTL", "600")]), (Some("600".to_owned()), None));
    assert_eq!(lifetime_of(&source, &[("Stream-Expires-At", &spelling)]), (None, Some(instant)));
}

fn a_ttl_is_inherited_unless_the_fork_has_its_own(t: &Target) {
    let source = t.created("text/plain", &[("Stream-TTL", "700")], &["hello"]);
    let instant = in_hours(1);
    let spelling = spelled(instant);
    assert_eq!(lifetime_of(&source, &[]), (Some("700".to_owned()), None));
    assert_eq!(lifetime_of(&source, &[("Stream-TTL", "600")]), (Some("600".to_owned()), None));
    assert_eq!(lifetime_of(&source, &[("Stream-TTL", "800")]), (Some("800".to_owned()), None));
    assert_eq!(lifetime_of(&source, &[("Stream-Expires-At", &spelling)]), (None, Some(instant)));
}

fn an_expiry_is_inherited_unless_the_fork_has_its_own(t: &Target) {
    let source_instant = in_hours(2);
    let source_spelling = spelled(source_instant);
    let source = t.created("text/plain", &[("Stream-Expires-At", &source_spelling)], &["hello"]);
    assert_eq!(lifetime_of(&source, &[]), (None, Some(source_instant)));
    assert_eq!(lifetime_of(&source, &[("Stream-TTL", "600")]), (Some("600".to_owned()), None));
    for hours in [1, 3] {
        let instant = in_hours(hours);
        let spelling = spelled(instant);
        assert_eq!(lifetime_of(&source, &[("Stream-Expires-At", &spelling)]), (None, Some(instant)));
    }
}

fn a_fork_outlives_the_ttl_of_its_source(t: &Target) {
    let source = t.created("text/plain", &[("Stream-TTL", "1")], &["hello"]);
    let fork = fork_of(&source, &[("Stream-TTL", "600")]);
    await_end(&source);
    fork.read("-1").status(200).body_is("hello");
    fork.append("!");
    fork.read("-1").body_is("hello!");
}

fn reading_a_fork_does_not_need_its_source(t: &Target) {
    let source = t.created("text/plain", &[("Stream-TTL", "2")], &["hello"]);
    let fork = fork_of(&source, &[]);
    for _ in 0..3 {
        sleep(Duration::from_millis(1200));
        fork.read("-1").status(200).body_is("hello");
    }
    source.head().status_in(&[404, 410]);
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
