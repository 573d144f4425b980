//! Names of streams: which of them are one, which are none, and what lies outside of the base path.

use crate::case::cases;
use crate::client::{Stream, Target};

cases! {
    an_escaped_letter_is_the_letter: "section 12.2; RFC 3986, 6.2.2.2",
    an_escaped_slash_is_a_slash: "section 12.2; docs/ARCHITECTURE.md, choices",
    escapes_are_decoded_once: "section 12.2; RFC 3986, 2.4",
    case_matters: "RFC 3986, 6.2.2.1",
    segments_make_other_names: "RFC 3986, 3.3",
    a_name_and_its_folder_are_two_streams: "RFC 3986, 3.3",
    unusual_characters_make_good_names: "RFC 3986, 3.3",
    spellings_of_unicode_are_not_unified: "section 12.2: a name is its bytes",
    dots_that_are_no_steps_make_good_names: "RFC 3986, 3.3",
    malformed_names_are_400_for_every_verb: "section 12.2: path traversal",
    a_malformed_name_creates_nothing: "section 12.2: path traversal",
    steps_do_not_leave_the_base_path: "section 12.2",
    a_name_of_1024_bytes_is_the_longest: "docs/ARCHITECTURE.md, bounds",
    the_length_is_that_of_the_decoded_name: "docs/ARCHITECTURE.md, bounds",
    the_query_is_no_part_of_the_name: "section 5.6",
    the_control_prefix_is_reserved: "section 6",
    the_control_prefix_is_only_the_first_segment: "section 6: first stream-root-relative segment",
    outside_of_the_base_path_is_404: "docs/configuration.md: --base-path",
    the_root_of_the_streams_is_no_stream: "docs/configuration.md: --base-path",
    health_is_ok: "docs/ARCHITECTURE.md, extensions: /health",
    health_is_no_stream: "docs/ARCHITECTURE.md, extensions: /health",
    health_says_which_methods_it_knows: "RFC 9110, 15.5.6",
    test_endpoints_are_absent: "section 12.1",
    other_methods_are_405_with_allow: "RFC 9110, 15.5.6",
}

fn an_escaped_letter_is_the_letter(t: &Target) {
    let name = t.unused_name();
    let plain = t.named(&format!("{name}/Az09-._~"), "text/plain");
    plain.put().body("hello").send().status(201);
    for spelling in ["%41%7a%30%39%2d%2e%5f%7e", "%41z0%39%2D._~", "A%7A09-.%5F~"] {
        let same = t.named(&format!("{name}/{spelling}"), "text/plain");
        same.read("-1").status(200).body_is("hello").has("ETag", &plain.read("-1").etag());
        same.put().send().status(200);
    }
    t.named(&format!("{name}/%41z09-._~"), "text/plain").append("!");
    plain.read("-1").body_is("hello!");
}

fn an_escaped_slash_is_a_slash(t: &Target) {
    let name = t.unused_name();
    let plain = t.named(&format!("{name}/runs/a"), "text/plain");
    let escaped = t.named(&format!("{name}%2Fruns%2fa"), "text/plain");
    escaped.put().body("hello").send().status(201);
    plain.put().send().status(200);
    plain.append(", ");
    t.named(&format!("{name}%2fruns/a"), "text/plain").append("world");
    for stream in [&plain, &escaped] {
        stream.read("-1").status(200).body_is("hello, world").has("ETag", &plain.read("-1").etag());
    }
    // It is decoded once.
    t.named(&format!("{name}%252Fruns%252Fa"), "text/plain").head().refused(404, "not-found");
    let fork = t.missing("text/plain");
    fork.put().header("Stream-Forked-From", &escaped.path).send().status(201);
    fork.read("-1").body_is("hello, world");
    fork.delete().status(204);
    escaped.delete().status(204);
    plain.head().refused(404, "not-found");
}

fn escapes_are_decoded_once(t: &Target) {
    let name = t.unused_name();
    let letter = t.named(&format!("{name}A"), "text/plain");
    letter.put().body("letter").send().status(201);
    let escape = t.named(&format!("{name}%2541"), "text/plain");
    escape.head().refused(404, "not-found");
    escape.put().body("escape").send().status(201);
    letter.read("-1").body_is("letter");
    escape.read("-1").body_is("escape");
}

fn case_matters(t: &Target) {
    let name = t.unused_name();
    t.named(&format!("{name}a"), "text/plain").put().send().status(201);
    t.named(&format!("{name}A"), "text/plain").head().refused(404, "not-found");
    t.at(&t.text(&[]).path.to_uppercase()).head().status(404);
}

fn segments_make_other_names(t: &Target) {
    let name = t.unused_name();
    let names =
        [format!("{name}/a"), format!("{name}/b"), format!("{name}/a/b"), format!("{name}/a/b/c/d/e/f/g")];
    for name in &names {
        t.named(name, "text/plain").put().body(name).send().status(201);
    }
    for name in &names {
        t.named(name, "text/plain").read("-1").status(200).body_is(name);
    }
}

fn a_name_and_its_folder_are_two_streams(t: &Target) {
    let folder = t.text(&["folder"]);
    let inner = Stream { path: format!("{}/inner", folder.path), ..folder.clone() };
    inner.head().refused(404, "not-found");
    inner.put().body("inner").send().status(201);
    folder.delete().status(204);
    inner.read("-1").status(200).body_is("inner");
    folder.head().refused(404, "not-found");
}

fn unusual_characters_make_good_names(t: &Target) {
    let names = [
        "a%20b",
        "a+b",
        "a%2Bb",
        "a%25b",
        "a%3Fb",
        "a%23b",
        "a%26b=c",
        "a;b",
        "a,b",
        "a:b",
        "a@b",
        "a!b",
        "a$b",
        "a'b",
        "(a)",
        "a*b",
        "%C3%A9",
        "%E2%82%AC",
        "%F0%9F%8C%8A",
        "%22",
        "%3Cscript%3E",
        "%7B%7D",
        "a%7Cb",
        "%5E",
        "%60",
        "-1",
        "now",
        "null",
        "CON",
        "a.json",
        "%EF%BB%BF",
        "%E2%80%AE",
    ];
    for name in names {
        let stream = t.named(&format!("{}/{name}", t.unused_name()), "text/plain");
        let response = stream.put().body(name).send();
        if response.status != 201 {
            response.fail(format_args!("{name} is a good name"));
        }
        stream.read("-1").status(200).body_is(name);
        stream.append("!");
        stream.delete().status(204);
    }
    let name = t.unused_name();
    t.named(&format!("{name}a+b"), "text/plain").put().send().status(201);
    t.named(&format!("{name}a%20b"), "text/plain").head().refused(404, "not-found");
}

fn spellings_of_unicode_are_not_unified(t: &Target) {
    let name = t.unused_name();
    t.named(&format!("{name}%C3%A9"), "text/plain").put().send().status(201);
    t.named(&format!("{name}e%CC%81"), "text/plain").head().refused(404, "not-found");
}

fn dots_that_are_no_steps_make_good_names(t: &Target) {
    for name in ["...", "....", ".a", "a.", "..a", "a..", ".a.", "a..b", "%2e%2e%2e"] {
        let stream = t.named(&format!("{}/{name}", t.unused_name()), "text/plain");
        stream.put().body(name).send().status(201);
        stream.read("-1").status(200).body_is(name);
    }
}

/// Ends of paths that make every name malformed.
#[rustfmt::skip]
const MALFORMED: &[&str] = &[
    "/", "//", "//x", "/x//y", "/x/", "/.", "/..", "/./x", "/../x", "/x/..", "/x/.", "/%2e", "/%2E%2e",
    "/.%2e", "/%2e./x", "%2F", "/%2f", "%2F%2F", "%2F..", "%2f.%2fx", "/x%2F", "%5Cx", "/%5c", "/..%5cx", "%00", "/%00", "%00x", "%01",
    "%08", "%09", "%0A", "%0a%0d", "%0D", "%1B", "%1F", "%7F", "%", "%4", "%zz", "%4g", "%g4", "%%",
    "%u0041", "%-1", "%+41", "%ff", "%C3", "%C3%28", "%E2%82", "%ED%A0%80", "%C0%AF", "%C0%80",
    "%F5%80%80%80", "%80", "%FE%FF",
];

fn malformed_names_are_400_for_every_verb(t: &Target) {
    let name = t.unused_name();
    for end in MALFORMED {
        let stream = t.named(&format!("{name}{end}"), "text/plain");
        let mut connection = t.connect();
        let raw =
            |method: &str, query: &str, headers: &[(&str, &str)]| stream.raw_head(method, query, headers);
        let requests = [
            raw("GET", "offset=-1", &[]),
            raw("GET", "", &[]),
            raw("GET", "offset=-1&live=sse", &[]),
            raw("HEAD", "", &[]),
            raw("PUT", "", &[("Content-Length", "0"), ("Content-Type", "text/plain")]),
            raw("POST", "", &[("Content-Length", "0"), ("Stream-Closed", "true")]),
            raw("DELETE", "", &[]),
        ];
        for request in requests {
            let response = connection.send(&request).response();
            if response.status != 400 {
                response.fail(format_args!("{end} does not make a name malformed"));
            }
            response.malformed();
        }
    }
}

fn a_malformed_name_creates_nothing(t: &Target) {
    let name = t.unused_name();
    let stream = t.named(&name, "text/plain");
    for end in MALFORMED {
        let malformed = t.named(&format!("{name}{end}"), "text/plain");
        let headers = [("Content-Length", "0"), ("Content-Type", "text/plain")];
        t.connect().send(malformed.raw_head("PUT", "", &headers)).response().malformed();
        stream.head().refused(404, "not-found");
    }
}

fn steps_do_not_leave_the_base_path(t: &Target) {
    let stream = t.text(&["hello"]);
    let name = stream.path.rsplit('/').next().expect("a path has a last segment");
    for path in [
        format!("{}/x/../{name}", t.base_path),
        format!("{}/./{name}", t.base_path),
        format!("{}/x/%2e%2e/{name}", t.base_path),
        format!("{}/../../../../etc/passwd", t.base_path),
        format!("{}/%2e%2e/%2e%2e/etc/passwd", t.base_path),
        format!("{}/..%2f..%2fetc%2fpasswd", t.base_path),
        format!("{}/{name}/../../../health", t.base_path),
    ] {
        let response = t.connect().send(t.at(&path).raw_head("GET", "offset=-1", &[])).response();
        response.malformed();
    }
}

fn a_name_of_1024_bytes_is_the_longest(t: &Target) {
    let prefix = t.unused_name();
    let named = |length: usize| format!("{prefix}{}", "x".repeat(length - prefix.len()));
    for length in [1023, 1024] {
        let stream = t.named(&named(length), "text/plain");
        stream.put().body("long").send().status(201);
        stream.read("-1").status(200).body_is("long");
    }
    for length in [1025, 1026, 2000, 6000] {
        let stream = t.named(&named(length), "text/plain");
        stream.put().send().malformed();
        stream.read("-1").malformed();
        stream.head().malformed();
    }
}

fn the_length_is_that_of_the_decoded_name(t: &Target) {
    let prefix = t.unused_name();
    let escaped = |count: usize| format!("{prefix}{}", "%78".repeat(count - prefix.len()));
    let longest = t.named(&escaped(1024), "text/plain");
    longest.put().send().status(201);
    let plain = t.named(&format!("{prefix}{}", "x".repeat(1024 - prefix.len())), "text/plain");
    plain.head().status(200).has("Stream-Next-Offset", &longest.tail());
    t.named(&escaped(1025), "text/plain").put().send().malformed();
    let segments = format!("{prefix}{}", "/x".repeat((1026 - prefix.len()) / 2));
    t.named(&segments, "text/plain").put().send().malformed();
    let wide = format!("{prefix}{}", "%E2%82%AC".repeat(400));
    t.named(&wide, "text/plain").put().send().malformed();
}

fn the_query_is_no_part_of_the_name(t: &Target) {
    let stream = t.missing("text/plain");
    stream.put().query("x=1").send().status(201).has("Location", &stream.url());
    stream.head().status(200);
    stream.post("hello").query("offset=5&y").send().status(204);
    stream.read("-1").status(200).body_is("hello");
    stream.request("DELETE").query("z").send().status(204);
    stream.head().refused(404, "not-found");
}

#[track_caller]
fn assert_404_for_every_verb(stream: &Stream<'_>) {
    stream.read("-1").refused(404, "path-unknown");
    stream.head().refused(404, "path-unknown");
    stream.put().send().refused(404, "path-unknown");
    stream.post("hello").send().refused(404, "path-unknown");
    stream.delete().refused(404, "path-unknown");
}

fn the_control_prefix_is_reserved(t: &Target) {
    for name in [
        "__ds",
        "__ds/x",
        "%5F%5Fds/x",
        "_%5fd%73",
        "__ds/subscriptions",
        "__ds/jwks",
        "__ds/schedules/x",
        "__ds%2Fx",
        "__ds%2fjwks",
    ] {
        assert_404_for_every_verb(&t.named(name, "text/plain"));
    }
    let source = t.missing("text/plain");
    source
        .put()
        .header("Stream-Forked-From", format!("{}/__ds/x", t.base_path))
        .send()
        .status_in(&[400, 404]);
}

fn the_control_prefix_is_only_the_first_segment(t: &Target) {
    let name = t.unused_name();
    for good in [
        format!("{name}/__ds"),
        format!("{name}__ds"),
        format!("__ds{name}"),
        format!("__DS/{name}"),
        format!("__ds_/{name}"),
        format!("_ds/{name}"),
    ] {
        t.named(&good, "text/plain").put().send().status(201);
    }
}

fn outside_of_the_base_path_is_404(t: &Target) {
    let base = &t.base_path;
    let name = t.unused_name();
    let parent = base.rsplit_once('/').map_or("", |(parent, _)| parent);
    for path in [
        format!("/{name}"),
        format!("{base}s/{name}"),
        format!("{base}{name}"),
        format!("/x{base}/{name}"),
        format!("{parent}/other/{name}"),
        "/favicon.ico".to_owned(),
        "/index.html".to_owned(),
        "/healthy".to_owned(),
        "/health/x".to_owned(),
    ] {
        assert_404_for_every_verb(&t.at(&path));
    }
}

fn the_root_of_the_streams_is_no_stream(t: &Target) {
    let slash = t.at(&format!("{}/", t.base_path));
    slash.read("-1").malformed();
    slash.put().send().malformed();
    slash.delete().malformed();
    let bare = t.at(&t.base_path);
    bare.put().send().status_in(&[400, 404]);
    bare.read("-1").status_in(&[400, 404]);
}

fn health_is_ok(t: &Target) {
    let response = t.at("/health").get("");
    response.status(200).body_is(r#"{"status":"ok"}"#).has("Content-Type", "application/json");
    if response.expect_header("Cache-Control").contains("max-age") {
        response.fail("an edge would answer for a dead server");
    }
}

fn health_says_which_methods_it_knows(t: &Target) {
    let response = t.at("/health").request("PATCH").send();
    assert_eq!(response.status(405).list("Allow"), ["get", "head"]);
    let response = t.missing("text/plain").request("PATCH").send();
    assert_eq!(response.status(405).list("Allow"), ["get", "head", "put", "post", "delete", "options"]);
}

fn health_is_no_stream(t: &Target) {
    let health = t.at("/health");
    health.put().send().status_in(&[404, 405]);
    health.post("hello").send().status_in(&[404, 405]);
    health.delete().status_in(&[404, 405]);
    t.assert_alive();
}

fn test_endpoints_are_absent(t: &Target) {
    for path in ["/_test/inject-error", "/_test", "/debug", "/metrics/../_test"] {
        let response =
            t.connect().send(t.at(path).raw_head("POST", "", &[("Content-Length", "0")])).response();
        response.status_in(&[400, 404]);
    }
}

fn other_methods_are_405_with_allow(t: &Target) {
    let stream = t.text(&["hello"]);
    let missing = t.missing("text/plain");
    for method in ["PATCH", "TRACE", "PROPFIND", "LOCK", "FOO", "get", "Put", "M-SEARCH", "QUERY"] {
        for stream in [&stream, &missing] {
            let request = stream.raw_head(method, "", &[("Content-Length", "0")]);
            let response = t.connect().send(request).response();
            response.status(405).problem(405);
            let mut allowed = response.list("Allow");
            allowed.sort();
            assert_eq!(allowed, ["delete", "get", "head", "options", "post", "put"], "{response}");
        }
    }
    stream.read("-1").body_is("hello");
}
