//! What becomes of a source that is deleted while it has forks, and how long a fork lives (section 4.2).

use std::thread::sleep;
use std::time::Duration;

use headwater_testkit::Response;
use time::OffsetDateTime;

use super::forking::{await_404, await_end, await_unreferenced, fork_of, forking};
use crate::case::{cases, meanwhile};
use crate::client::{Stream, Target};
use crate::instant::{in_hours, parsed, spelled};
use crate::sse::Events;

cases! {
    a_deleted_source_is_410_for_every_verb: "section 4.2, soft-delete",
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
}

/// The TTL and the expiry of a fork with these headers, from HEAD.
#[track_caller]
fn lifetime_of(source: &Stream<'_>, headers: &[(&str, &str)]) -> (Option<String>, Option<OffsetDateTime>) {
    let fork = fork_of(source, headers);
    let head = fork.head();
    let ttl = head.status(200).header("Stream-TTL").map(str::to_owned);
    let expires_at = head.header("Stream-Expires-At").map(parsed);
    (ttl, expires_at)
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
    let refused: [Response; 3] =
        [source.put().send(), source.put().content_type("text/html").send(), forking(&source, &fork).send()];
    for response in refused {
        response.status(409).problem(409);
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
    let (response, ()) = meanwhile(
        || source.poll(&tail),
        || {
            sleep(t.facts.long_poll_timeout / 4);
            source.delete().status(204);
        },
    );
    response.status_in(&[204, 404, 410]);
    events.assert_ended();
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
