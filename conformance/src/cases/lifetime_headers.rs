//! `Stream-TTL` and `Stream-Expires-At` of a creation: what they may be, what HEAD tells of them, and how they are
//! compared (section 5.1).

use std::time::Duration;

use time::{OffsetDateTime, UtcOffset};

use super::create::assert_creates_nothing;
use crate::case::cases;
use crate::client::Target;
use crate::instant::{in_hours, parsed, spelled};

cases! {
    a_ttl_is_told_by_head: "section 5.5",
    malformed_ttls_are_400_and_create_nothing: "section 5.1, Stream-TTL",
    a_ttl_of_2_53_minus_1_is_the_largest: "section 5.1, Stream-TTL; docs/ARCHITECTURE.md, bounds",
    ttls_are_part_of_the_configuration: "section 5.1",
    an_expiry_is_told_by_head_as_rfc_3339: "section 5.5, Stream-Expires-At",
    an_expiry_is_compared_as_an_instant: "section 5.1, Stream-Expires-At",
    another_expiry_is_409: "section 5.1",
    malformed_expiries_are_400_and_create_nothing: "section 5.1, Stream-Expires-At: RFC 3339",
    an_expiry_in_the_past_is_400: "section 5.1: invalid headers",
    ttl_and_expiry_together_are_400: "section 5.1",
}

fn a_ttl_is_told_by_head(t: &Target) {
    for ttl in ["60", "3600", "86400"] {
        let stream = t.created("text/plain", &[("Stream-TTL", ttl)], &[]);
        stream.head().status(200).has("Stream-TTL", ttl).lacks("Stream-Expires-At");
    }
    t.text(&[]).head().status(200).lacks("Stream-TTL").lacks("Stream-Expires-At");
}

fn malformed_ttls_are_400_and_create_nothing(t: &Target) {
    let malformed = [
        "",
        "-1",
        "-0",
        "+60",
        "060",
        "00",
        "60.0",
        "60.",
        ".5",
        "6e1",
        "6E1",
        "0x3c",
        "60s",
        "60 s",
        "1h",
        "6 0",
        "1_000",
        "1,000",
        "sixty",
        "NaN",
        "Infinity",
        "null",
        "true",
        "60;",
        "\u{666}\u{660}",
        "60,60",
        "9007199254740992",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999999999999",
    ];
    for ttl in malformed {
        let stream = t.missing("text/plain");
        assert_creates_nothing(
            &stream,
            stream.put().header("Stream-TTL", ttl),
            &format!("Stream-TTL: {ttl:?}"),
        );
    }
}

fn a_ttl_of_2_53_minus_1_is_the_largest(t: &Target) {
    let stream = t.created("text/plain", &[("Stream-TTL", "9007199254740991")], &["hello"]);
    stream.head().status(200).has("Stream-TTL", "9007199254740991");
    stream.read("-1").status(200).body_is("hello");
    stream.poll(&stream.tail()).status(204);
    stream.close();
    stream.read("-1").status(200).has("Stream-Closed", "true");
}

fn ttls_are_part_of_the_configuration(t: &Target) {
    let with = t.created("text/plain", &[("Stream-TTL", "3600")], &[]);
    with.put().header("Stream-TTL", 3600).send().status(200);
    with.put().header("Stream-TTL", 3601).send().refused(409, "config-mismatch");
    with.put().send().refused(409, "config-mismatch");
    with.put().header("Stream-Expires-At", spelled(in_hours(1))).send().refused(409, "config-mismatch");
    with.head().has("Stream-TTL", "3600").lacks("Stream-Expires-At");
    let without = t.text(&[]);
    without.put().header("Stream-TTL", 3600).send().refused(409, "config-mismatch");
    without.head().lacks("Stream-TTL");
}

fn an_expiry_is_told_by_head_as_rfc_3339(t: &Target) {
    let instant = in_hours(1);
    let local = instant.to_offset(UtcOffset::from_hms(5, 30, 0).expect("a real offset"));
    let fractional = instant + Duration::from_millis(250);
    for sent in [instant, local, fractional] {
        let stream = t.missing("text/plain");
        stream.put().header("Stream-Expires-At", spelled(sent)).send().status(201);
        let head = stream.head();
        let told = head.status(200).lacks("Stream-TTL").expect_header("Stream-Expires-At");
        assert_eq!(parsed(told), sent, "{head}");
    }
}

fn an_expiry_is_compared_as_an_instant(t: &Target) {
    let instant = in_hours(1);
    let stream = t.missing("text/plain");
    stream.put().header("Stream-Expires-At", spelled(instant)).send().status(201);
    let zulu = spelled(instant);
    let west = spelled(instant.to_offset(UtcOffset::from_hms(-7, 0, 0).expect("a real offset")));
    let spellings = [zulu.clone(), west, zulu.replace('Z', "+00:00"), zulu.replace('Z', ".000Z")];
    for spelling in spellings {
        stream.put().header("Stream-Expires-At", spelling).send().status(200);
    }
}

fn another_expiry_is_409(t: &Target) {
    let instant = in_hours(1);
    let stream = t.missing("text/plain");
    stream.put().header("Stream-Expires-At", spelled(instant)).send().status(201);
    let other = spelled(instant + Duration::from_secs(1));
    stream.put().header("Stream-Expires-At", other).send().refused(409, "config-mismatch");
    stream.put().send().refused(409, "config-mismatch");
    stream.put().header("Stream-TTL", 3600).send().refused(409, "config-mismatch");
    let without = t.text(&[]);
    without.put().header("Stream-Expires-At", spelled(instant)).send().refused(409, "config-mismatch");
}

fn malformed_expiries_are_400_and_create_nothing(t: &Target) {
    let malformed = [
        "",
        "tomorrow",
        "2099",
        "2099-01-01",
        "2099-01-01T00:00:00",
        "2099-01-01T00:00Z",
        "2099-1-1T0:0:0Z",
        "2099-13-01T00:00:00Z",
        "2099-00-01T00:00:00Z",
        "2099-02-30T00:00:00Z",
        "2099-01-01T24:00:00Z",
        "2099-01-01T00:60:00Z",
        "2099-01-01T00:00:00+25:00",
        "2099-01-01T00:00:00+0100",
        "2099-01-01T00:00:00 Z",
        "2099-01-01T00:00:00ZZ",
        "2099-01-01T00:00:00.Z",
        "20990101T000000Z",
        "99-01-01T00:00:00Z",
        "+2099-01-01T00:00:00Z",
        "-2099-01-01T00:00:00Z",
        "4070908800",
        "4070908800000",
        "Thu, 01 Jan 2099 00:00:00 GMT",
        "2099-01-01T00:00:00Z, 2099-01-01T00:00:00Z",
        "2099/01/01T00:00:00Z",
        "2099-W01-1T00:00:00Z",
        "\"2099-01-01T00:00:00Z\"",
        "2099-01-01T00:00:00[UTC]",
    ];
    for expiry in malformed {
        let stream = t.missing("text/plain");
        let request = stream.put().header("Stream-Expires-At", expiry);
        assert_creates_nothing(&stream, request, &format!("Stream-Expires-At: {expiry:?}"));
    }
}

fn an_expiry_in_the_past_is_400(t: &Target) {
    let minute_ago = spelled(OffsetDateTime::now_utc() - Duration::from_secs(60));
    for expiry in [
        minute_ago.as_str(),
        "2020-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "1900-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
    ] {
        let stream = t.missing("text/plain");
        assert_creates_nothing(&stream, stream.put().header("Stream-Expires-At", expiry), expiry);
    }
}

fn ttl_and_expiry_together_are_400(t: &Target) {
    let stream = t.missing("text/plain");
    let request = stream.put().header("Stream-TTL", 3600).header("Stream-Expires-At", spelled(in_hours(1)));
    assert_creates_nothing(&stream, request, "TTL and expiry");
}
