//! Subscriptions as clients see them: the bodies of responses, of webhooks and of wake events (sections 6.3, 7.1 and 7.2).

use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    decimal,
    expiry::format_rfc3339,
    names,
    offset::Offset,
    path::{RESERVED_SEGMENT, StreamName},
    response::{Response, ResponseHead},
    subscription::{
        Config, Delivery, Link, Subscription,
        keys::{Key, Secret, Signature},
        token,
        wake::RETRY_ASKED_MAX_MS,
    },
};

/// One stream of a subscription, as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamView {
    path: Box<str>,
    link_type: &'static str,
    acked_offset: Box<str>,
    #[serde(flatten)]
    progress: Option<LinkProgress>,
}

/// The characters of an id that are escaped in a URL: all that could mean something there.
const NOT_IN_SEGMENTS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct LinkProgress {
    tail_offset: Box<str>,
    has_pending: bool,
}

impl StreamView {
    /// Returns the stream with its cursor alone.
    #[must_use]
    pub fn cursor(name: &StreamName, link: &Link) -> Self {
        let link_type = if link.explicit { "explicit" } else { "glob" };
        Self { path: name.as_str().into(), link_type, acked_offset: text(link.acked), progress: None }
    }

    /// Returns the stream with its pending work.
    #[must_use]
    pub fn progress(name: &StreamName, link: &Link) -> Self {
        let tail_offset = text(link.tail.or(link.acked));
        let progress = Some(LinkProgress { tail_offset, has_pending: link.is_pending() });
        Self { progress, ..Self::cursor(name, link) }
    }
}

fn text(offset: Option<Offset>) -> Box<str> {
    offset.map_or_else(|| Offset::BEGINNING.into(), |offset| offset.to_string().into())
}

impl Subscription {
    fn kind(&self) -> &'static str {
        match self.config.delivery {
            Delivery::Webhook(_) => "webhook",
            Delivery::PullWake(_) => "pull-wake",
        }
    }

    /// Returns the URL of an action of the subscription.
    fn url(&self, action: &str) -> String {
        let id = utf8_percent_encode(self.id.as_str(), NOT_IN_SEGMENTS);
        format!("{}/{RESERVED_SEGMENT}/subscriptions/{id}/{action}", self.root)
    }

    /// Returns the response to a creation or a read, with a page of its streams. `next` is the last one of the page, after
    /// which the next page begins; `None` if there is no other page. `key` is the one that signs.
    #[must_use]
    pub fn respond(
        &self,
        is_new: bool,
        streams: &[StreamView],
        next: Option<&StreamName>,
        key: Option<&Key>,
    ) -> Response {
        let Config { pattern, delivery, lease_ttl_ms, description, .. } = &self.config;
        let signing = key.map(|key| {
            let jwks_url = format!("{}/{RESERVED_SEGMENT}/jwks.json", self.root);
            json!({ "alg": "ed25519", "kid": key.kid(), "jwks_url": jwks_url })
        });
        let (webhook, wake_stream) = match delivery {
            Delivery::Webhook(url) => (json!({ "url": url.as_str(), "signing": signing }), Value::Null),
            Delivery::PullWake(name) => (Value::Null, json!(name.as_str())),
        };
        let mut body = json!({
            "id": self.id.as_str(),
            "subscription_id": self.id.as_str(),
            "type": self.kind(),
            "pattern": pattern.as_ref().map(ToString::to_string),
            "streams": streams,
            "webhook": webhook,
            "wake_stream": wake_stream,
            "filter": null,
            "lease_ttl_ms": lease_ttl_ms,
            "created_at": format_rfc3339(self.created_ms),
            "status": if self.wakes.is_failing() { "failed" } else { "active" },
            "description": description,
        });
        if let (Some(next), Some(members)) = (next, body.as_object_mut()) {
            members.insert("streams_after".to_owned(), json!(next.as_str()));
        }
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        Response::json(status, body.to_string())
    }

    /// Returns the body of a webhook.
    #[must_use]
    pub fn webhook_body(&self, secret: &Secret, streams: &[StreamView]) -> Bytes {
        let generation = self.wakes.generation;
        let body = json!({
            "subscription_id": self.id.as_str(),
            "wake_id": token::wake_id(secret, self.serial, generation),
            "generation": generation,
            "streams": streams,
            "callback_url": self.url("callback"),
            "callback_token": token::token(secret, self.serial, generation),
        });
        Bytes::from(body.to_string())
    }

    /// Returns the event that announces a wake to workers.
    #[must_use]
    pub fn wake_event(&self, stream: &StreamName, now_ms: u64) -> Bytes {
        let event = json!({
            "type": "wake",
            "subscription_id": self.id.as_str(),
            "stream": stream.as_str(),
            "generation": self.wakes.generation,
            "ts": now_ms,
        });
        Bytes::from(event.to_string())
    }

    /// Returns the response to a worker that has claimed the work.
    #[must_use]
    pub fn respond_to_claim(&self, secret: &Secret, streams: &[StreamView]) -> Response {
        let generation = self.wakes.generation;
        let body = json!({
            "wake_id": token::wake_id(secret, self.serial, generation),
            "generation": generation,
            "token": token::token(secret, self.serial, generation),
            "streams": streams,
            "lease_ttl_ms": self.config.lease_ttl_ms,
        });
        Response::json(StatusCode::OK, body.to_string())
    }
}

/// Returns the response to a callback or an ack.
#[must_use]
pub fn respond_to_ack(wakes_again: bool) -> Response {
    Response::json(StatusCode::OK, json!({ "ok": true, "next_wake": wakes_again }).to_string())
}

/// Returns 204 No Content.
#[must_use]
pub fn respond_done() -> Response {
    ResponseHead::new(StatusCode::NO_CONTENT).into()
}

/// Returns the headers of a webhook.
#[must_use]
pub fn webhook_headers(signature: Signature) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::USER_AGENT, HeaderValue::from_static("headwater-webhook"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // The response is read as it comes.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(names::WEBHOOK_SIGNATURE, signature.into_value());
    headers
}

/// The outcome of a webhook's delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The webhook wasn't received and has to be sent again.
    Refused {
        /// The pause that the receiver asks for, in milliseconds; 0 if it asks for none.
        pause_ms: u64,
    },
    /// The webhook was received; a callback will follow.
    Accepted,
    /// The webhook was received, and its work is done.
    Done,
}

/// Reads the response to a webhook. A 2xx with anything but `{"done": true}` means that it was received. Any other asks for a
/// pause by `Retry-After` (RFC 9110, 10.2.3); 410 for the longest one. `wall_ms` is the wall time, in milliseconds since 1970.
#[must_use]
pub fn read_webhook_response(status: u16, headers: &HeaderMap, body: &[u8], wall_ms: u64) -> Received {
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        done: bool,
    }
    match status {
        200..=299 if serde_json::from_slice(body).is_ok_and(|document: Document| document.done) => {
            Received::Done
        }
        200..=299 => Received::Accepted,
        410 => Received::Refused { pause_ms: RETRY_ASKED_MAX_MS },
        _ => Received::Refused {
            pause_ms: retry_after_ms(headers, wall_ms).unwrap_or(0).min(RETRY_ASKED_MAX_MS),
        },
    }
}

/// Returns the pause that `Retry-After` asks for, in seconds or until a date.
fn retry_after_ms(headers: &HeaderMap, wall_ms: u64) -> Option<u64> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Some(seconds) = decimal::parse(text) {
        return Some(seconds.saturating_mul(1_000));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(u64::try_from(date.as_millis()).ok()?.saturating_sub(wall_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        stream::{StreamHead, tests},
        subscription::{SubscriptionId, tests::subscription},
    };

    const SECRET: Secret = Secret::new([5; 32]);

    const REFUSED: Received = Received::Refused { pause_ms: 0 };

    fn json(body: &Bytes) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    fn webhook() -> Subscription {
        subscription(r#"{"type":"webhook","pattern":"events/*","webhook":{"url":"http://localhost:1/x"}}"#)
    }

    fn link() -> Link {
        let head = StreamHead { tail: 5, ..tests::head(1) };
        Link::at_tail(false, Some(&head)).observed(Some(&StreamHead { tail: 9, ..tests::head(1) }))
    }

    #[test]
    fn a_subscription_is_told_with_cursors_and_without_secrets() {
        let key = Key { seed: Secret::new([1; 32]), from_ms: 0 };
        let streams = [StreamView::cursor(&StreamName::new("events/a").unwrap(), &link())];
        let Response { head, body } = webhook().respond(true, &streams, None, Some(&key));
        assert_eq!(head.status, StatusCode::CREATED);
        let body = json(&body);
        assert_eq!(
            (&body["id"], &body["subscription_id"], &body["type"]),
            (&json!("sub-1"), &json!("sub-1"), &json!("webhook"))
        );
        let expected = json!({ "path": "events/a", "link_type": "glob", "acked_offset": "0000000000000001_0000000000000005" });
        assert_eq!(body["streams"], json!([expected]));
        assert_eq!(body["webhook"]["signing"]["jwks_url"], "http://streams.example/v1/stream/__ds/jwks.json");
        assert_eq!(
            (&body["wake_stream"], &body["filter"], &body["status"]),
            (&Value::Null, &Value::Null, &json!("active"))
        );
        assert_eq!(body["created_at"], "2026-05-09T00:00:00Z");
        assert_eq!(body.get("webhook_secret"), None);
        let failing = Subscription { wakes: webhook().wakes.on_failure(0, 0, 0), ..webhook() };
        assert_eq!(json(&failing.respond(false, &[], None, None).body)["status"], "failed");
    }

    #[test]
    fn a_webhook_names_the_wake_and_where_to_call_back() {
        let id = SubscriptionId::new("a b?+\u{e9}").unwrap();
        let streams = [StreamView::progress(&StreamName::new("events/a").unwrap(), &link())];
        let body = json(&Subscription { id, ..webhook() }.webhook_body(&SECRET, &streams));
        assert_eq!(
            body["callback_url"],
            "http://streams.example/v1/stream/__ds/subscriptions/a%20b%3F%2B%C3%A9/callback"
        );
        assert_eq!(body["streams"][0]["tail_offset"], "0000000000000001_0000000000000009");
        assert_eq!(body["streams"][0]["has_pending"], true);
        assert_eq!(token::verify(&SECRET, webhook().serial, body["callback_token"].as_str().unwrap()), Ok(0));
    }

    #[test]
    fn a_claim_and_a_wake_event_have_what_workers_need() {
        let pulled = subscription(r#"{"type":"pull-wake","pattern":"events/*","wake_stream":"wake/pool"}"#);
        let event = json(&pulled.wake_event(&StreamName::new("events/a").unwrap(), 1_778_324_210_000));
        let expected = json!({ "type": "wake", "subscription_id": "sub-1", "stream": "events/a", "generation": 0, "ts": 1_778_324_210_000_u64 });
        assert_eq!(event, expected);
        let claim = json(&pulled.respond_to_claim(&SECRET, &[]).body);
        assert_eq!((&claim["generation"], &claim["lease_ttl_ms"]), (&json!(0), &json!(30_000)));
        assert!(claim["wake_id"].as_str().unwrap().starts_with("w_"));
        assert_eq!(json(&respond_to_ack(true).body), json!({ "ok": true, "next_wake": true }));
    }

    #[test]
    fn only_done_true_of_a_success_is_done() {
        for (status, body, expected) in [
            (200, r#"{"done":true}"#, Received::Done),
            (202, r#"{"done":true,"more":[1]}"#, Received::Done),
            (200, r#"{"done":false}"#, Received::Accepted),
            (200, r#"{"done":"true"}"#, Received::Accepted),
            (200, "", Received::Accepted),
            (204, "", Received::Accepted),
            (200, "not json", Received::Accepted),
            (301, r#"{"done":true}"#, REFUSED),
            (404, "", REFUSED),
            (500, r#"{"done":true}"#, REFUSED),
            (101, "", REFUSED),
        ] {
            let received = read_webhook_response(status, &HeaderMap::new(), body.as_bytes(), 0);
            assert_eq!(received, expected, "{status} {body}");
        }
    }

    #[test]
    fn a_receiver_may_ask_for_a_pause_within_bounds() {
        // 2015-10-21T07:28:00Z is 1,445,412,480.
        let wall_ms = 1_445_412_470_500;
        for (status, retry_after, pause_ms) in [
            (503, "7", 7_000),
            (429, " 120 ", 120_000),
            (302, "7", 7_000),
            (503, "0", 0),
            (503, "3600", 3_600_000),
            (503, "3601", 3_600_000),
            (503, "18446744073709551615", 3_600_000),
            (503, "Wed, 21 Oct 2015 07:28:00 GMT", 9_500),
            (503, "Wed, 21 Oct 2015 07:27:00 GMT", 0),
            (503, "Wed, 21 Oct 2026 07:28:00 GMT", 3_600_000),
            (503, "Thu, 01 Jan 1970 00:00:00 GMT", 0),
            (503, "-1", 0),
            (503, "7.5", 0),
            (503, "soon", 0),
            (503, "", 0),
            (503, "7, 9", 0),
            (410, "7", 3_600_000),
        ] {
            let headers =
                [(header::RETRY_AFTER, HeaderValue::from_static(retry_after))].into_iter().collect();
            let received = read_webhook_response(status, &headers, b"", wall_ms);
            assert_eq!(received, Received::Refused { pause_ms }, "{status} {retry_after}");
        }
        let headers = [(header::RETRY_AFTER, HeaderValue::from_static("7"))].into_iter().collect();
        assert_eq!(read_webhook_response(204, &headers, b"", wall_ms), Received::Accepted);
        let gone = read_webhook_response(410, &HeaderMap::new(), b"", wall_ms);
        assert_eq!(gone, Received::Refused { pause_ms: 3_600_000 });
    }
}
