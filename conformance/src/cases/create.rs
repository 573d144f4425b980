//! Creation: what a PUT makes, what it repeats, what it refuses, and that refusals leave nothing behind
//! (section 5.1).

use headwater_testkit::{Connection, Response};

use crate::case::{at_once, cases};
use crate::client::{Request, Stream, Target};
use crate::instant::{in_hours, spelled};
use crate::offset::position;

cases! {
    a_new_stream_is_201_with_location_type_and_tail: "section 5.1, response headers",
    the_location_is_built_from_the_host: "section 5.1: Location",
    the_location_escapes_what_came_as_it_is: "RFC 9110, 10.2.2: a URI reference",
    a_repetition_is_200_without_location: "section 5.1: Location on 201",
    a_repetition_changes_nothing: "section 5.1: idempotent success",
    a_repetition_tells_the_current_tail: "section 5.1: the tail offset",
    the_default_type_is_octet_stream: "section 5.1: Content-Type",
    the_type_is_kept_as_it_was_sent: "section 5.5",
    types_are_compared_by_type_and_subtype_alone: "section 9; RFC 9110, 8.3.1",
    another_type_is_409: "section 5.1",
    malformed_types_are_400: "section 5.1: invalid headers",
    a_body_is_the_first_content: "section 5.1",
    a_json_body_is_flattened: "section 9.1.2",
    an_empty_json_array_creates_an_empty_stream: "section 9.1.3",
    an_invalid_json_body_is_400_and_creates_nothing: "section 9.1.4",
    a_stream_may_be_created_closed: "section 5.1",
    a_stream_may_be_created_closed_with_its_content: "section 5.1",
    closure_is_part_of_the_configuration: "section 5.1, closure status matching",
    closed_means_true_in_any_case_and_nothing_else: "section 4.1, Stream-Closed header value",
    visibility_is_part_of_the_configuration: "docs/ARCHITECTURE.md, extensions: Stream-Visibility",
    malformed_visibilities_are_400: "docs/ARCHITECTURE.md, extensions: Stream-Visibility",
    repeated_headers_are_400: "docs/ARCHITECTURE.md, extensions: repeated headers and parameters",
    a_deleted_name_may_be_created_anew: "section 5.4",
    creations_at_once_make_one_stream: "section 5.1: create or ensure exists",
    different_creations_at_once_make_one_stream: "section 5.1: create or ensure exists",
    a_chunked_body_creates_too: "section 5.2: chunked",
    a_refused_creation_does_not_take_the_name: "section 5.1",
    a_creation_has_an_empty_body: "section 5.1, response codes",
}

/// Sends a creation that must be refused as malformed, and shows that it made nothing.
#[track_caller]
pub(super) fn assert_creates_nothing(stream: &Stream<'_>, request: Request<'_>, what: &str) -> Response {
    let response = request.send();
    if response.status != 400 {
        response.fail(format_args!("{what} was accepted"));
    }
    response.malformed();
    stream.head().status(404);
    response
}

fn a_new_stream_is_201_with_location_type_and_tail(t: &Target) {
    let stream = t.missing("text/plain");
    let response = stream.put().send();
    response.status(201).has("Location", &stream.url()).has("Content-Type", "text/plain");
    assert_eq!(position(&response.next_offset()), 0);
    response.lacks("Stream-Closed");
}

fn the_location_is_built_from_the_host(t: &Target) {
    for host in ["streams.example", "streams.example:8080", "[::1]:4437"] {
        let stream = t.missing("text/plain");
        let mut connection = Connection::open(&t.authority);
        connection.send(format!(
            "PUT {} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n",
            stream.path
        ));
        connection.response().status(201).has("Location", &format!("http://{host}{}", stream.path));
    }
}

fn the_location_escapes_what_came_as_it_is(t: &Target) {
    let stream = t.named(&format!("{}/caf\u{e9}", t.unused_name()), "text/plain");
    let head = stream.raw_head("PUT", "", &[("Content-Type", "text/plain"), ("Content-Length", "0")]);
    let response = t.connect().send(head).response();
    // A server may also refuse a target that is not escaped (RFC 9112, 3.2).
    if response.status_in(&[201, 400]).status == 201 {
        response.has("Location", &stream.url().replace('\u{e9}', "%C3%A9"));
    }
}

fn a_repetition_is_200_without_location(t: &Target) {
    let stream = t.missing("text/plain");
    let created = stream.put().send().status(201).next_offset();
    let response = stream.put().send();
    response
        .status(200)
        .lacks("Location")
        .has("Content-Type", "text/plain")
        .has("Stream-Next-Offset", &created);
    response.lacks("Stream-Closed").body_is("");
}

fn a_repetition_changes_nothing(t: &Target) {
    for stream in [t.text(&["hello"]), t.json(&["[1]"])] {
        stream.assert_unchanged_by(|| stream.put().body("[2]").send().status(200).next_offset());
    }
    let closed = t.created("text/plain", &[("Stream-Closed", "true")], &[]);
    closed.assert_unchanged_by(|| closed.put().closing().body("more").send().status(200).next_offset());
}

fn a_repetition_tells_the_current_tail(t: &Target) {
    let stream = t.text(&[]);
    let tail = stream.append("hello");
    stream.put().send().status(200).has("Stream-Next-Offset", &tail);
    stream.close();
    stream.put().closing().send().status(200).has("Stream-Closed", "true").has("Stream-Next-Offset", &tail);
}

fn the_default_type_is_octet_stream(t: &Target) {
    let stream = t.missing("application/octet-stream");
    stream.put().without_content_type().send().status(201).has("Content-Type", "application/octet-stream");
    stream.head().status(200).has("Content-Type", "application/octet-stream");
    stream.put().send().status(200);
    stream.append([0, 255, 0]);
    stream.read("-1").status(200).has("Content-Type", "application/octet-stream").body_is([0, 255, 0]);
}

fn the_type_is_kept_as_it_was_sent(t: &Target) {
    for content_type in
        ["text/plain; charset=utf-8", "application/vnd.example+json", "application/json;v=\"1\""]
    {
        let stream = t.created(content_type, &[], &[]);
        stream.head().status(200).has("Content-Type", content_type);
        stream.read("-1").status(200).has("Content-Type", content_type);
        stream.put().send().status(200).has("Content-Type", content_type);
    }
}

fn types_are_compared_by_type_and_subtype_alone(t: &Target) {
    let stream = t.created("text/plain; charset=utf-8", &[], &[]);
    for same in ["text/plain", "TEXT/PLAIN", "text/plain;charset=utf-16", "Text/Plain ; x=y"] {
        stream.put().content_type(same).send().status(200);
        stream.post("x").content_type(same).send().status(204);
    }
    stream.head().has("Content-Type", "text/plain; charset=utf-8");
}

fn another_type_is_409(t: &Target) {
    let stream = t.text(&["hello"]);
    for other in ["text/html", "text/plainer", "text/plai", "application/json", "application/octet-stream"] {
        stream.assert_unchanged_by(|| {
            stream.put().content_type(other).send().refused(409, "config-mismatch");
        });
    }
}

fn malformed_types_are_400(t: &Target) {
    for content_type in [
        "text",
        "/plain",
        "text/",
        "text/plain/x",
        "text plain",
        "/",
        "text/plain, text/html",
        "te(xt/plain",
        "text/pl ain",
    ] {
        let stream = t.missing("text/plain");
        assert_creates_nothing(&stream, stream.put().content_type(content_type), content_type);
    }
}

fn a_body_is_the_first_content(t: &Target) {
    let stream = t.missing("text/plain");
    let response = stream.put().body("hello").send();
    assert_eq!(position(&response.status(201).next_offset()), 5);
    stream.read("-1").status(200).body_is("hello").has("Stream-Next-Offset", &response.next_offset());
}

fn a_json_body_is_flattened(t: &Target) {
    for (body, stored) in
        [("[1,2]", "[1,2]"), ("3", "[3]"), ("[[4],5]", "[[4],5]"), (r#"{"a":[]}"#, r#"[{"a":[]}]"#)]
    {
        let stream = t.missing("application/json");
        stream.put().body(body).send().status(201);
        stream.read("-1").status(200).body_is(stored);
    }
}

fn an_empty_json_array_creates_an_empty_stream(t: &Target) {
    for body in ["[]", " [ ] ", "[\n]", ""] {
        let stream = t.missing("application/json");
        let tail = stream.put().body(body).send().status(201).next_offset();
        assert_eq!(position(&tail), 0, "{body:?}");
        stream.read("-1").status(200).body_is("[]");
    }
}

fn an_invalid_json_body_is_400_and_creates_nothing(t: &Target) {
    for body in ["{", "[1,]", "nope", "1 2", "[1", "\u{feff}1", "'a'"] {
        let stream = t.missing("application/json");
        assert_creates_nothing(&stream, stream.put().body(body), body);
    }
}

fn a_stream_may_be_created_closed(t: &Target) {
    let stream = t.missing("text/plain");
    let response = stream.put().closing().send();
    response.status(201).has("Stream-Closed", "true");
    stream.head().status(200).has("Stream-Closed", "true");
    stream.post("more").send().refused(409, "stream-closed");
    stream.read("-1").status(200).body_is("").has("Stream-Closed", "true").has("Stream-Up-To-Date", "true");
}

fn a_stream_may_be_created_closed_with_its_content(t: &Target) {
    let stream = t.missing("text/plain");
    let response = stream.put().closing().body("all of it").send();
    response.status(201).has("Stream-Closed", "true");
    let read = stream.read("-1");
    read.status(200).body_is("all of it").has("Stream-Closed", "true");
    read.has("Stream-Next-Offset", &response.next_offset());
}

fn closure_is_part_of_the_configuration(t: &Target) {
    let open = t.text(&[]);
    open.put().send().status(200);
    open.assert_unchanged_by(|| open.put().closing().send().refused(409, "config-mismatch").clone());
    let closed = t.created("text/plain", &[("Stream-Closed", "true")], &[]);
    closed.put().closing().send().status(200);
    closed.put().send().refused(409, "config-mismatch");
    let closed_later = t.text(&["hello"]);
    closed_later.close();
    closed_later.put().send().refused(409, "config-mismatch");
    closed_later.put().closing().send().status(200);
}

fn closed_means_true_in_any_case_and_nothing_else(t: &Target) {
    for value in ["true", "TRUE", "True", "tRuE"] {
        let stream = t.missing("text/plain");
        stream.put().header("Stream-Closed", value).send().status(201).has("Stream-Closed", "true");
    }
    for value in
        ["false", "FALSE", "yes", "1", "", "on", "true;", "true, true", "true false", "truee", "\"true\""]
    {
        let stream = t.missing("text/plain");
        let response = stream.put().header("Stream-Closed", value).send();
        response.status(201).lacks("Stream-Closed");
        stream.post("open").header("Stream-Closed", value).send().status(204).lacks("Stream-Closed");
        stream.head().lacks("Stream-Closed");
    }
}

fn visibility_is_part_of_the_configuration(t: &Target) {
    let public = t.created("text/plain", &[("Stream-Visibility", "public")], &[]);
    public.put().header("Stream-Visibility", "public").send().status(200);
    public.put().header("Stream-Visibility", "private").send().refused(409, "config-mismatch");
    let private = t.created("text/plain", &[("Stream-Visibility", "private")], &[]);
    private.put().header("Stream-Visibility", "private").send().status(200);
    private.put().header("Stream-Visibility", "public").send().refused(409, "config-mismatch");
    private.read("-1").has("Cache-Control", "private, max-age=1");
}

fn malformed_visibilities_are_400(t: &Target) {
    for visibility in ["", "secret", "publicly", "public, private", "true", "no-store", "public,max-age=9"] {
        let stream = t.missing("text/plain");
        assert_creates_nothing(&stream, stream.put().header("Stream-Visibility", visibility), visibility);
    }
}

fn repeated_headers_are_400(t: &Target) {
    let expiry = spelled(in_hours(1));
    let repeated = [
        ("Stream-TTL", "60", "60"),
        ("Stream-TTL", "60", "61"),
        ("Stream-Expires-At", expiry.as_str(), expiry.as_str()),
        ("Stream-Closed", "true", "true"),
        ("Stream-Closed", "false", "true"),
        ("Stream-Visibility", "public", "private"),
        ("Stream-Forked-From", "/v1/stream/a", "/v1/stream/b"),
    ];
    for (name, first, second) in repeated {
        let stream = t.missing("text/plain");
        assert_creates_nothing(&stream, stream.put().header(name, first).header(name, second), name);
    }
    let stream = t.missing("text/plain");
    assert_creates_nothing(&stream, stream.put().header("Content-Type", "text/html"), "two content types");
}

fn a_deleted_name_may_be_created_anew(t: &Target) {
    let stream = t.text(&["hello"]);
    stream.delete().status(204);
    stream.put().send().status(201).has("Location", &stream.url());
    stream.read("-1").status(200).body_is("");
}

fn creations_at_once_make_one_stream(t: &Target) {
    let stream = t.missing("text/plain");
    let responses = at_once(16, |_| stream.put().body("once").send());
    let created = responses.iter().filter(|response| response.status == 201).count();
    assert_eq!(created, 1, "{:?}", responses.iter().map(|response| response.status).collect::<Vec<_>>());
    for response in &responses {
        response.status_in(&[200, 201]).has("Stream-Next-Offset", &stream.tail());
    }
    stream.read("-1").body_is("once");
}

fn different_creations_at_once_make_one_stream(t: &Target) {
    let stream = t.missing("text/plain");
    let ttl = |index: usize| (1000 + index).to_string();
    let responses = at_once(16, |index| stream.put().header("Stream-TTL", ttl(index)).send());
    let created: Vec<usize> = (0..16).filter(|index| responses[*index].status == 201).collect();
    assert_eq!(
        created.len(),
        1,
        "{:?}",
        responses.iter().map(|response| response.status).collect::<Vec<_>>()
    );
    stream.head().has("Stream-TTL", &ttl(created[0]));
    for (index, response) in responses.iter().enumerate() {
        if index != created[0] {
            response.refused(409, "config-mismatch");
        }
    }
}

fn a_chunked_body_creates_too(t: &Target) {
    let stream = t.missing("text/plain");
    let mut connection = t.connect();
    let headers = [("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked")];
    connection.send(stream.raw_head("PUT", "", &headers)).send("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n");
    connection.response().status(201);
    stream.read("-1").status(200).body_is("hello!");
}

fn a_refused_creation_does_not_take_the_name(t: &Target) {
    let stream = t.missing("application/json");
    stream.put().body("not json").send().malformed();
    stream.put().header("Stream-TTL", "no").send().malformed();
    stream.put().header("Stream-Forked-From", "/elsewhere").send().malformed();
    stream.put().content_type("text/plain").body("hello").send().status(201);
    stream.read("-1").status(200).body_is("hello");
}

fn a_creation_has_an_empty_body(t: &Target) {
    let stream = t.missing("text/plain");
    stream.put().body("hello").send().status(201).body_is("");
    stream.put().send().status(200).body_is("");
}
