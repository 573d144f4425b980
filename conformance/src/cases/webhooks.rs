//! Webhooks: what is sent, how it is signed, and what its response means (sections 6.5, 7.1 and 7.3).
//!
//! The server under test must take webhooks to this machine (`--webhook-allow-localhost`).

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use serde_json::{Value, json};

use crate::case::{at_once, cases};
use crate::client::Target;
use crate::receiver::{Receiver, Webhook};
use crate::subscription::{Subscription, report, stream_of, tail_of};

cases! {
    an_append_sends_a_webhook_with_all_that_a_worker_needs: "section 7.1",
    a_webhook_is_signed_over_its_exact_bytes: "section 7.1: Webhook-Signature",
    the_key_set_is_public_and_cacheable: "section 6.5: MUST expose their webhook signing public keys",
    key_ids_are_unique_and_stable: "section 6.5: kid MUST be stable and MUST uniquely identify a key",
    done_acknowledges_what_the_wake_named: "section 7.1: MUST automatically ack the tail offsets",
    what_came_after_the_snapshot_wakes_again: "section 7.1: MUST be woken again with a new wake_id and generation",
    a_callback_acknowledges_and_ends_the_wake: "section 7.1",
    a_callback_without_done_moves_the_cursor_and_keeps_the_lease: "section 7.1, 7.3",
    a_stale_callback_is_fenced: "section 7.1: MUST return 409 FENCED",
    a_callback_must_match_token_generation_and_wake: "section 7.3: MUST reject unless all of the following match",
    acknowledgements_that_make_no_sense_are_refused_whole: "section 7.1",
    a_deleted_subscription_refuses_its_callbacks: "section 6.3: MUST fail and MUST NOT advance cursors",
    a_recreated_subscription_refuses_old_callbacks: "section 6.3: MUST fail and MUST NOT advance cursors",
    a_lease_that_ends_wakes_again: "section 7.3: MUST clear the holder and wake token",
    a_failed_delivery_is_tried_again_and_told: "section 7.1: Webhook delivery retries; 6.3: status",
    a_receiver_that_asks_for_a_pause_gets_it: "RFC 9110, 10.2.3: Retry-After",
    a_receiver_that_is_gone_is_left_alone: "docs/subscriptions.md: 410",
    a_redirect_is_a_failure_and_not_followed: "docs/subscriptions.md: redirects",
    one_wake_at_a_time: "section 7: unless the subscription already has a wake in flight",
    a_webhook_subscription_has_no_claims: "section 7.2",
}

#[track_caller]
fn wake(receiver: &Receiver, number: usize) -> Value {
    receiver.wait(number).json()
}

fn an_append_sends_a_webhook_with_all_that_a_worker_needs(t: &Target) {
    let receiver = Receiver::new();
    let sub = Subscription::webhook(t, &receiver.url());
    let stream = sub.stream("a b".replace(' ', "%20").as_str());
    stream.put().send().status(201);
    let before = stream.tail();
    let after = stream.append("[1]");
    let webhook = receiver.wait(0);
    assert_eq!(webhook.line, "POST /hook?a=1 HTTP/1.1");
    assert_eq!(webhook.header("content-type"), "application/json");
    assert_eq!(webhook.header("accept-encoding"), "identity");
    let wake = webhook.json();
    assert_eq!((&wake["subscription_id"], &wake["generation"]), (&json!(sub.id), &json!(1)));
    assert!(wake["wake_id"].as_str().is_some_and(|id| !id.is_empty()), "{wake}");
    let expected = json!({ "path": sub.name("a b"), "link_type": "glob", "acked_offset": before, "tail_offset": after, "has_pending": true });
    assert_eq!(stream_of(&wake, &sub.name("a b")), expected);
    assert_eq!(wake["callback_url"], json!(sub.at("/callback").url()));
    assert!(wake["callback_token"].as_str().is_some_and(|token| !token.is_empty()), "{wake}");
}

/// The parts of `Webhook-Signature`: time, key id, signature.
#[track_caller]
fn signature(webhook: &Webhook) -> (u64, String, Vec<u8>) {
    let value = webhook.header("webhook-signature");
    let parts: Vec<_> = value.split(',').collect();
    let [time, kid, signature] = parts[..] else { panic!("{value}") };
    let part =
        |text: &str, name: &str| text.strip_prefix(name).unwrap_or_else(|| panic!("{value}")).to_owned();
    let signature = URL_SAFE_NO_PAD.decode(part(signature, "ed25519=")).expect("unpadded base64url");
    (part(time, "t=").parse().expect("a decimal number"), part(kid, "kid="), signature)
}

fn keys(t: &Target) -> Vec<Value> {
    let keys = t.named("__ds/jwks.json", "").get("").status(200).json();
    keys["keys"].as_array().expect("a list").clone()
}

fn a_webhook_is_signed_over_its_exact_bytes(t: &Target) {
    let receiver = Receiver::new();
    let sub = Subscription::webhook(t, &receiver.url());
    sub.created("a");
    let webhook = receiver.wait(0);
    let (time, kid, bytes) = signature(&webhook);
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(now.abs_diff(time) < 60, "{time} is not about now");
    assert_eq!(sub.get()["webhook"]["signing"]["kid"], json!(kid));
    let key = keys(t).into_iter().find(|key| key["kid"] == json!(kid)).expect("the key is in the set");
    let x = URL_SAFE_NO_PAD.decode(key["x"].as_str().expect("a text")).expect("unpadded base64url");
    let public = VerifyingKey::from_bytes(&x.try_into().expect("32 bytes")).expect("a key");
    let bytes = Signature::from_slice(&bytes).expect("64 bytes");
    let signed = [format!("{time}.").as_bytes(), &webhook.body].concat();
    assert!(public.verify(&signed, &bytes).is_ok(), "the signature is of other bytes");
    assert!(public.verify(&[format!("{}.", time + 1).as_bytes(), &webhook.body].concat(), &bytes).is_err());
}

fn the_key_set_is_public_and_cacheable(t: &Target) {
    let sub = Subscription::webhook(t, "https://worker.example/x");
    let signing = sub.get()["webhook"]["signing"].clone();
    let set = t.named("__ds/jwks.json", "");
    assert_eq!((&signing["alg"], &signing["jwks_url"]), (&json!("ed25519"), &json!(set.url())));
    let response = set.get("");
    response
        .status(200)
        .has("Content-Type", "application/jwk-set+json")
        .has("Cache-Control", "public, max-age=300");
    set.head().status(200).body_is("");
    for key in keys(t) {
        assert_eq!((&key["kty"], &key["crv"]), (&json!("OKP"), &json!("Ed25519")));
        assert_eq!((&key["use"], &key["alg"]), (&json!("sig"), &json!("EdDSA")));
    }
}

fn key_ids_are_unique_and_stable(t: &Target) {
    Subscription::webhook(t, "https://worker.example/x");
    let ids = || keys(t).iter().map(|key| key["kid"].to_string()).collect::<Vec<_>>();
    let first = ids();
    assert!(
        !first.is_empty() && first.iter().all(|id| first.iter().filter(|other| *other == id).count() == 1)
    );
    Subscription::webhook(t, "https://worker.example/y");
    assert_eq!(ids(), first);
}

fn done_acknowledges_what_the_wake_named(t: &Target) {
    let receiver = Receiver::new();
    receiver.answer_next(200, r#"{"done":true}"#);
    let sub = Subscription::webhook(t, &receiver.url());
    sub.created("a");
    let first = wake(&receiver, 0);
    sub.wait_for_ack("a", &tail_of(&first, &sub.name("a")));
    assert_eq!(receiver.count(), 1);
    sub.report("callback", &first, &[], true).control_refused(409, "FENCED");
}

fn what_came_after_the_snapshot_wakes_again(t: &Target) {
    let receiver = Receiver::new();
    let sub = Subscription::webhook(t, &receiver.url());
    let stream = sub.created("a");
    let first = wake(&receiver, 0);
    let name = sub.name("a");
    let later = stream.append("[2]");
    let response = sub.report("callback", &first, &[(&name, &tail_of(&first, &name))], true);
    assert_eq!(response.status(200).json(), json!({ "ok": true, "next_wake": true }));
    let second = wake(&receiver, 1);
    assert_eq!((&first["generation"], &second["generation"]), (&json!(1), &json!(2)));
    assert_ne!(first["wake_id"], second["wake_id"]);
    assert_eq!(tail_of(&second, &name), later);
    assert_eq!(stream_of(&second, &name)["acked_offset"], json!(tail_of(&first, &name)));
}

fn a_callback_acknowledges_and_ends_the_wake(t: &Target) {
    let receiver = Receiver::new();
    let sub = Subscription::webhook(t, &receiver.url());
    sub.created("a");
    let first = wake(&receiver, 0);
    let name = sub.name("a");
    let tail = tail_of(&first, &name);
    let response = sub.report("callback", &first, &[(&name, &tail)], true);
    assert_eq!(
        response.status(200).has("Content-Type", "application/json").json(),
        json!({ "ok": true, "next_wake": false })
    );
    assert_eq!(sub.acked("a"), tail);
}

fn a_callback_without_done_moves_the_cursor_and_keeps_the_lease(t: &Target) {
    let receiver = Receiver::new();
    let sub = Subscription::webhook(t, &receiver.url());
    let stream = sub.created("a");
    let first = wake(&receiver, 0);
    let name = sub.name("a");
    let middle = tail_of(&first, &name);
    let last = stream.append("[2]");
    let response = sub.report("callback", &first, &[(&name, &middle)], false);
    assert_eq!(response.status(200).json(), json!({ "ok": true, "next_wake": false }));
    assert_eq!(sub.acked("a"), middle);
    // More than the wake named, as far as the stream goes.
    let response = sub.report("callback", &first, &[(&name, &last)], true);
    assert_eq!(response.status(200).json(), json!({ "ok": true, "next_wake": false }));
    assert_eq!((sub.acked("a"), receiver.count()), (last, 1));
}

fn a_stale_callback_is_fenced(t: &Target) {
    let receiver = Receiver::new();
    let sub = Subscription::webhook(t, &receiver.url());
    let stream = sub.created("a");
    let first = wake(&receiver, 0);
    let name = sub.name("a");
    let tail = tail_of(&first, &name);
    sub.report("callback", &first, &[(&name, &tail)], true).status(200);
    sub.report("callback", &first, &[(&name, &tail)], true).control_refused(409, "FENCED");
    let last = stream.append("[2]");
    wake(&receiver, 1);
    sub.report("callback", &first, &[(&name, &last)], true).control_refused(409, "FENCED");
    assert_eq!(sub.acked("a"), tail);
}

fn a_callback_must_match_token_generation_and_wake(t: &Target) {
    let receiver = Receiver::new();
    let sub = Subscription::webhook(t, &receiver.url());
    sub.created("a");
    let first = wake(&receiver, 0);
    let other_receiver = Receiver::new();
    let other = Subscription::webhook(t, &other_receiver.url());
    other.created("a");
    let foreign = wake(&other_receiver, 0);
    let name = sub.name("a");
    let before = sub.acked("a");
    let tail = tail_of(&first, &name);
    let body = report(&first, &[(&name, &tail)], true);
    let token = first["callback_token"].as_str().expect("a text");
    for bad in [
        foreign["callback_token"].as_str().expect("a text"),
        "",
        "x",
        "1.AAAA",
        &format!("{token}x"),
        &token[..token.len() - 4],
    ] {
        sub.report_as("callback", bad, &body)
            .control_refused(401, "TOKEN_INVALID")
            .has("WWW-Authenticate", "Bearer");
    }
    let unauthorized = sub.at("/callback").post(body.to_string()).send();
    unauthorized.control_refused(401, "TOKEN_INVALID");
    let basic =
        sub.at("/callback").post(body.to_string()).header("Authorization", format!("Basic {token}")).send();
    basic.control_refused(401, "TOKEN_INVALID");
    for (member, value) in [
        ("generation", json!(2)),
        ("generation", json!(0)),
        ("wake_id", json!("w_x")),
        ("wake_id", foreign["wake_id"].clone()),
    ] {
        let mut stale = body.clone();
        stale[member] = value;
        sub.report_as("callback", token, &stale).control_refused(409, "FENCED");
    }
    assert_eq!(sub.acked("a"), before);
    sub.report_as("callback", token, &body).status(200);
}

fn acknowledgements_that_make_no_sense_are_refused_whole(t: &Target) {
    let receiver = Receiver::new();
    let sub = Subscription::webhook(t, &receiver.url());
    let (a, b) = (sub.created("a"), sub.name("b"));
    let first = wake(&receiver, 0);
    sub.created("b");
    let name = sub.name("a");
    let before = sub.acked("a");
    let tail = tail_of(&first, &name);
    let beyond = crate::offset::advanced(&tail, 1);
    let foreign = t.json(&["1"]).tail();
    let stranger = t.unused_name();
    for (stream, offset) in [
        (&b, "-1"),
        (&b, "now"),
        (&b, "0000000000000000_0000000000000000"),
        (&b, ""),
        (&b, &*beyond),
        (&b, &*foreign),
        (&stranger, &*tail),
        (&"../x".to_owned(), &*tail),
        (&String::new(), &*tail),
    ] {
        let response = sub.report("callback", &first, &[(&name, &tail), (stream, offset)], true);
        response.control_refused(409, "INVALID_OFFSET");
        assert_eq!(sub.acked("a"), before, "all of it or nothing: {response}");
    }
    for body in
        ["", "{", "[]", "{}", r#"{"wake_id":1,"generation":1}"#, r#"{"wake_id":"w","generation":"1"}"#]
    {
        let token = first["callback_token"].as_str().expect("a text");
        let response =
            sub.at("/callback").post(body).header("Authorization", format!("Bearer {token}")).send();
        response.control_refused(400, "INVALID_REQUEST");
    }
    sub.report("callback", &first, &[(&name, &tail)], false).status(200);
    sub.report("callback", &first, &[(&name, &before)], false).control_refused(409, "INVALID_OFFSET");
    assert_eq!(sub.acked("a"), a.tail());
}

fn a_deleted_subscription_refuses_its_callbacks(t: &Target) {
    let receiver = Receiver::new();
    let sub = Subscription::webhook(t, &receiver.url());
    sub.created("a");
    let first = wake(&receiver, 0);
    sub.delete();
    let name = sub.name("a");
    let response = sub.report("callback", &first, &[(&name, &tail_of(&first, &name))], true);
    response.control_refused(404, "SUBSCRIPTION_NOT_FOUND");
}

fn a_recreated_subscription_refuses_old_callbacks(t: &Target) {
    let receiver = Receiver::new();
    let sub = Subscription::webhook(t, &receiver.url());
    let stream = sub.created("a");
    let first = wake(&receiver, 0);
    sub.delete();
    sub.put(&sub.webhook_body(&receiver.url())).status(201);
    let cursor = sub.acked("a");
    let last = stream.append("[2]");
    let second = wake(&receiver, 1);
    let name = sub.name("a");
    sub.report("callback", &first, &[(&name, &last)], true).control_refused(401, "TOKEN_INVALID");
    assert_eq!(sub.acked("a"), cursor);
    assert_ne!(first["wake_id"], second["wake_id"]);
}

fn a_lease_that_ends_wakes_again(t: &Target) {
    let receiver = Receiver::new();
    let sub = Subscription::new(t);
    let mut body = sub.webhook_body(&receiver.url());
    body["lease_ttl_ms"] = json!(1_000);
    sub.put(&body).status(201);
    sub.created("a");
    let first = wake(&receiver, 0);
    let second = wake(&receiver, 1);
    assert_eq!((&first["generation"], &second["generation"]), (&json!(1), &json!(2)));
    let name = sub.name("a");
    sub.report("callback", &first, &[(&name, &tail_of(&first, &name))], true).control_refused(409, "FENCED");
    sub.report("callback", &second, &[(&name, &tail_of(&second, &name))], true).status(200);
}

fn a_failed_delivery_is_tried_again_and_told(t: &Target) {
    let receiver = Receiver::new();
    receiver.answer_next(500, r#"{"done":true}"#);
    let sub = Subscription::webhook(t, &receiver.url());
    sub.created("a");
    let first = wake(&receiver, 0);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(1);
    while sub.get()["status"] != "failed" {
        assert!(std::time::Instant::now() < deadline, "the failure is not told");
    }
    let second = wake(&receiver, 1);
    assert_eq!(
        (&first["wake_id"], &first["generation"]),
        (&second["wake_id"], &second["generation"]),
        "it is the same wake"
    );
    let name = sub.name("a");
    sub.report("callback", &second, &[(&name, &tail_of(&second, &name))], true).status(200);
    assert_eq!(sub.get()["status"], "active");
}

/// The time between the first webhook, which is refused, and the second; `None` if that doesn't come.
fn pause_after(t: &Target, status: u16, retry_after: &str) -> Option<Duration> {
    let receiver = Receiver::new();
    receiver.refuse_next(status, retry_after);
    let sub = Subscription::webhook(t, &receiver.url());
    sub.created("a");
    wake(&receiver, 0);
    let begin = Instant::now();
    while receiver.count() < 2 {
        if begin.elapsed() > Duration::from_secs(4) {
            sub.delete();
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(begin.elapsed())
}

fn a_receiver_that_asks_for_a_pause_gets_it(t: &Target) {
    let pauses = at_once(3, |number| pause_after(t, [503, 429, 503][number], ["3", "100", "soon"][number]));
    assert!(pauses[0].is_some_and(|pause| pause >= Duration::from_millis(2_900)), "{pauses:?}");
    assert_eq!(pauses[1], None);
    assert!(pauses[2].is_some_and(|pause| pause < Duration::from_millis(2_500)), "{pauses:?}");
}

fn a_receiver_that_is_gone_is_left_alone(t: &Target) {
    assert_eq!(pause_after(t, 410, "1"), None);
}

fn a_redirect_is_a_failure_and_not_followed(t: &Target) {
    let receiver = Receiver::new();
    receiver.answer_next(307, r#"{"done":true}"#);
    let sub = Subscription::webhook(t, &receiver.url());
    sub.created("a");
    assert_eq!(receiver.wait(0).line, "POST /hook?a=1 HTTP/1.1");
    assert_eq!(
        receiver.wait(1).line,
        "POST /hook?a=1 HTTP/1.1",
        "a retry, not the place that it was sent to"
    );
    assert_ne!(sub.acked("a"), sub.stream("a").tail());
}

fn one_wake_at_a_time(t: &Target) {
    let receiver = Receiver::new();
    let sub = Subscription::webhook(t, &receiver.url());
    let stream = sub.created("a");
    let first = wake(&receiver, 0);
    for _ in 0..20 {
        stream.append("[2]");
    }
    sub.created("b");
    let name = sub.name("a");
    sub.report("callback", &first, &[(&name, &tail_of(&first, &name))], true).status(200);
    let second = wake(&receiver, 1);
    assert_eq!((&second["generation"], receiver.count()), (&json!(2), 2));
    assert_eq!(tail_of(&second, &name), stream.tail());
    assert_eq!(stream_of(&second, &sub.name("b"))["has_pending"], json!(true));
}

fn a_webhook_subscription_has_no_claims(t: &Target) {
    let receiver = Receiver::new();
    let sub = Subscription::webhook(t, &receiver.url());
    sub.created("a");
    let first = wake(&receiver, 0);
    sub.claim("w").control_refused(400, "INVALID_REQUEST");
    for action in ["ack", "release"] {
        sub.report(action, &first, &[], true).control_refused(400, "INVALID_REQUEST");
    }
}
