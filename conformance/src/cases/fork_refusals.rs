//! Forks that are refused, and that a refusal leaves nothing behind; creation repeated (section 4.2).

use super::forking::{assert_unreferenced, await_end, await_unreferenced, fork_of, forking};
use crate::case::cases;
use crate::client::{Stream, Target};
use crate::offset::{BEGINNING, advanced};

cases! {
    a_fork_with_invalid_content_takes_no_reference: "section 4.2, lifecycle: a refusal changes nothing",
    a_fork_with_another_type_is_409_and_takes_no_reference: "section 4.2, errors",
    a_fork_of_nothing_is_404: "section 4.2, errors",
    a_fork_of_an_expired_stream_is_404: "section 4.2, errors",
    a_fork_past_the_tail_is_400: "section 4.2, errors",
    malformed_fork_offsets_are_400: "section 4.2, errors",
    malformed_sources_are_400: "section 4.2: a path on the same server",
    a_fork_offset_of_another_incarnation_is_refused: "docs/adr/0002-offsets-with-incarnations.md",
    fork_headers_without_a_source_are_400: "section 5.1: requires Stream-Forked-From",
    a_sub_offset_without_an_offset_is_400: "section 4.2, sub-offset: nothing follows the tail",
    a_sub_offset_past_the_data_is_400: "section 4.2, errors",
    malformed_sub_offsets_are_400: "section 4.2, errors",
    a_repeated_fork_is_200: "section 4.2, idempotent creation",
    a_fork_that_differs_is_409: "section 4.2, idempotent creation",
    a_repeated_fork_takes_no_second_reference: "section 4.2, lifecycle",
    a_name_in_use_is_409: "section 4.2, errors",
    a_fork_chain_may_be_64_deep: "docs/ARCHITECTURE.md, bounds",
}

/// A fork that must be refused with 400, makes nothing and takes no reference.
#[track_caller]
fn assert_no_fork(source: &Stream<'_>, headers: &[(&str, &str)]) {
    let fork = source.target.missing(source.content_type);
    let response = forking(&fork, source).headers(headers).send();
    if response.status != 400 {
        response.fail(format_args!("{headers:?} was accepted"));
    }
    response.malformed();
    fork.head().refused(404, "not-found");
}

fn a_fork_with_invalid_content_takes_no_reference(t: &Target) {
    let source = t.json(&["1"]);
    let fork = t.missing("application/json");
    fork.put().header("Stream-Forked-From", &source.path).body("nope").send().malformed();
    fork.head().refused(404, "not-found");
    assert_unreferenced(&source);
}

fn a_fork_with_another_type_is_409_and_takes_no_reference(t: &Target) {
    let source = t.text(&["hello"]);
    let fork = t.missing("text/plain");
    let request = forking(&fork, &source).content_type("application/json");
    let response = request.send();
    response.status(409).problem(409);
    fork.head().refused(404, "not-found");
    assert_unreferenced(&source);
}

fn a_fork_of_nothing_is_404(t: &Target) {
    let fork = t.missing("text/plain");
    forking(&fork, &t.missing("text/plain")).send().refused(404, "fork-source-not-found");
    forking(&fork, &fork).send().refused(404, "fork-source-not-found");
    fork.head().refused(404, "not-found");
}

fn a_fork_of_an_expired_stream_is_404(t: &Target) {
    let source = t.created("text/plain", &[("Stream-TTL", "1")], &["hello"]);
    await_end(&source);
    forking(&t.missing("text/plain"), &source).send().refused(404, "fork-source-not-found");
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
        format!("{base}/{name}%2F"),
        format!("{base}/{name}%"),
        format!("{base}/{name}%00"),
        format!("{base}/%ff"),
        format!("{base}x/{name}"),
        format!("{base}/{}", "x".repeat(1025)),
        format!("{base}/{name}/."),
    ];
    for path in malformed {
        let fork = t.missing("text/plain");
        let response = fork.put().header("Stream-Forked-From", &path).send();
        if response.status != 400 {
            response.fail(format_args!("{path:?} was taken for a path under {base}"));
        }
        response.malformed();
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
    let response = forking(&fork, &source).headers(&headers).send();
    response.status(200).lacks("Location").has("Stream-Next-Offset", &fork.tail());
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

fn a_name_in_use_is_409(t: &Target) {
    let source = t.text(&["hello"]);
    let used = t.text(&["mine"]);
    used.assert_unchanged_by(|| forking(&used, &source).send().refused(409, "config-mismatch").clone());
    source.assert_unchanged_by(|| forking(&source, &source).send().refused(409, "config-mismatch").clone());
    assert_unreferenced(&source);
}

fn a_fork_chain_may_be_64_deep(t: &Target) {
    let mut last = t.text(&["0"]);
    for depth in 1..=64 {
        let fork = t.missing("text/plain");
        let response = forking(&fork, &last).send();
        if response.status != 201 {
            response.fail(format_args!("at depth {depth}"));
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
