//! The server's origin as clients reach it: the scheme and the host of `Location` and of subscriptions' URLs.

use std::net::IpAddr;

use headwater_testkit::{
    Connection,
    http2::{END_STREAM, Http2, Kind},
};
use serde_json::json;

use crate::case::cases;
use crate::client::Target;
use crate::subscription::Subscription;

cases! {
    a_stranger_can_not_say_how_it_reaches_the_server: "docs/configuration.md: --trusted-proxies",
    a_trusted_proxy_says_the_scheme: "docs/configuration.md: --trusted-proxies",
    a_trusted_proxy_says_the_host: "docs/configuration.md: --trusted-proxies",
    the_first_element_of_forwarded_counts: "RFC 7239, 4",
    what_is_malformed_is_ignored: "docs/configuration.md: --trusted-proxies",
    the_scheme_of_an_absolute_target_counts: "RFC 9110, 7.1",
    the_scheme_of_http_2_counts: "RFC 9113, 8.3.1",
    subscriptions_are_reached_as_their_proxy_says: "section 6.2",
}

/// The `Location` of a creation with these header lines by a client at `address`.
#[track_caller]
fn location(t: &Target, address: IpAddr, headers: &[(&str, &str)]) -> String {
    let stream = t.missing("text/plain");
    let mut connection = Connection::open_from(address, &t.authority);
    let length = [("Content-Type", "text/plain"), ("Content-Length", "0")];
    connection.send(stream.raw_head("PUT", "", &[&length[..], headers].concat()));
    let location = connection.response().status(201).expect_header("Location").to_owned();
    location
        .strip_suffix(&stream.path)
        .unwrap_or_else(|| panic!("{location} is not that of {}", stream.path))
        .to_owned()
}

fn from_proxy(t: &Target, headers: &[(&str, &str)]) -> String {
    location(t, t.facts.trusted_proxy, headers)
}

fn a_stranger_can_not_say_how_it_reaches_the_server(t: &Target) {
    let itself = format!("http://{}", t.authority);
    for headers in [
        [("X-Forwarded-Proto", "https")],
        [("X-Forwarded-Host", "other.example")],
        [("Forwarded", "proto=https;host=other.example")],
    ] {
        assert_eq!(location(t, [127, 0, 0, 1].into(), &headers), itself, "{headers:?}");
    }
}

fn a_trusted_proxy_says_the_scheme(t: &Target) {
    let itself = |scheme: &str| format!("{scheme}://{}", t.authority);
    for (told, scheme) in [
        ("https", "https"),
        ("HTTPS", "https"),
        ("https, http", "https"),
        (", https", "https"),
        ("https,http", "https"),
        ("http, https", "http"),
        ("http", "http"),
    ] {
        assert_eq!(from_proxy(t, &[("X-Forwarded-Proto", told)]), itself(scheme), "{told}");
    }
    let twice = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")];
    assert_eq!(from_proxy(t, &twice), itself("https"));
    assert_eq!(from_proxy(t, &[]), itself("http"));
}

fn a_trusted_proxy_says_the_host(t: &Target) {
    for (told, host) in [
        ("a.example", "a.example"),
        ("a.example:8443", "a.example:8443"),
        ("a.example, b.example", "a.example"),
        ("[2001:db8::1]:8443", "[2001:db8::1]:8443"),
    ] {
        assert_eq!(from_proxy(t, &[("X-Forwarded-Host", told)]), format!("http://{host}"), "{told}");
    }
}

fn the_first_element_of_forwarded_counts(t: &Target) {
    for (told, expected) in [
        ("proto=https;host=a.example", "https://a.example"),
        ("for=192.0.2.60; Host=\"a.example:8443\"; PROTO=HTTPS", "https://a.example:8443"),
        ("host=a.example;proto=https, host=b.example;proto=http", "https://a.example"),
        ("for=\"a, b; proto=http\";host=a.example;proto=https", "https://a.example"),
    ] {
        // It says more than the older headers do.
        let headers =
            [("X-Forwarded-Host", "old.example"), ("X-Forwarded-Proto", "http"), ("Forwarded", told)];
        assert_eq!(from_proxy(t, &headers), expected, "{told}");
    }
}

fn what_is_malformed_is_ignored(t: &Target) {
    let itself = format!("http://{}", t.authority);
    let long = "x".repeat(20_000);
    for (name, told) in [
        ("X-Forwarded-Proto", ""),
        ("X-Forwarded-Proto", "ftp"),
        ("X-Forwarded-Proto", "https://"),
        ("X-Forwarded-Host", ""),
        ("X-Forwarded-Host", "a b"),
        ("X-Forwarded-Host", ":80"),
        ("X-Forwarded-Host", "a.example:99999"),
        ("X-Forwarded-Host", "a.example/path"),
        ("X-Forwarded-Host", "user@a.example"),
        ("X-Forwarded-Host", "\u{e9}"),
        ("Forwarded", "proto"),
        ("Forwarded", "proto=\"https"),
        ("Forwarded", "proto=\"https\"x"),
        ("Forwarded", "host=a/b;proto=ftp"),
        ("Forwarded", &long),
    ] {
        assert_eq!(from_proxy(t, &[(name, told)]), itself, "{name}: {told}");
    }
}

fn the_scheme_of_an_absolute_target_counts(t: &Target) {
    let stream = t.missing("text/plain");
    let (authority, path) = (&t.authority, &stream.path);
    let mut connection = t.connect();
    connection.send(format!(
        "PUT https://{authority}{path} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 0\r\n\r\n"
    ));
    connection.response().status(201).has("Location", &format!("https://{authority}{path}"));
}

fn the_scheme_of_http_2_counts(t: &Target) {
    let sub = Subscription::new(t);
    let body = sub.webhook_body("https://worker.example/hooks").to_string();
    let mut connection = Http2::open(&t.authority, None);
    let headers = [(":scheme", "https"), ("content-type", "application/json")];
    connection.request(1, "PUT", &sub.at("").path, &headers, 0);
    connection.frame(Kind::Data, END_STREAM, 1, body.as_bytes());
    connection.next_of(Kind::Headers, 1).expect("a response");
    let jwks_url = sub.get()["webhook"]["signing"]["jwks_url"].clone();
    assert_eq!(jwks_url, json!(format!("https://a{}/__ds/jwks.json", t.base_path)));
}

fn subscriptions_are_reached_as_their_proxy_says(t: &Target) {
    let sub = Subscription::new(t);
    let body = sub.webhook_body("https://worker.example/hooks").to_string();
    let mut connection = Connection::open_from(t.facts.trusted_proxy, &t.authority);
    let length = body.len().to_string();
    let headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", &*length),
        ("Forwarded", "proto=https;host=streams.example"),
    ];
    connection.send(sub.at("").raw_head("PUT", "", &headers)).send(body);
    connection.response().status(201);
    let jwks_url = sub.get()["webhook"]["signing"]["jwks_url"].clone();
    assert_eq!(jwks_url, json!(format!("https://streams.example{}/__ds/jwks.json", t.base_path)));
}
