//! The configuration of a subscription (section 6.2): read, brought into one form, and hashed, so that a repeated request
//! can be distinguished from another one.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    bad_request::BadRequest,
    path::StreamName,
    subscription::{
        LINKS_MAX, Pattern, SubscriptionRefusal,
        target::{LocalTargets, WebhookUrl},
    },
};

/// The shortest lease, in milliseconds.
pub const LEASE_TTL_MS_MIN: u64 = 1_000;
/// The longest lease, in milliseconds.
pub const LEASE_TTL_MS_MAX: u64 = 600_000;
/// The lease of a subscription whose request names none, in milliseconds.
pub const LEASE_TTL_MS_DEFAULT: u64 = 30_000;
/// The longest description, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 4_096;

/// The part of a subscription that never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The names of the streams that are linked without being named.
    pub pattern: Option<Pattern>,
    /// The way in which workers are woken.
    pub delivery: Delivery,
    /// How long a worker may be silent, in milliseconds.
    pub lease_ttl_ms: u64,
    /// A text for people.
    pub description: Option<Box<str>>,
    /// The hash of everything that was asked for, the first streams included.
    pub hash: ConfigHash,
}

/// The way in which workers are woken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A request to this URL.
    Webhook(WebhookUrl),
    /// An event in this stream, which the application has created.
    PullWake(StreamName),
}

/// The SHA-256 of a configuration in its one form, base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigHash(Box<str>);

impl ConfigHash {
    /// Returns a hash that was computed before and comes back from a store.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text of the hash.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Deserialize)]
struct Body {
    r#type: Type,
    pattern: Option<String>,
    streams: Option<Vec<String>>,
    webhook: Option<Webhook>,
    wake_stream: Option<String>,
    filter: Option<Value>,
    lease_ttl_ms: Option<u64>,
    description: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
enum Type {
    #[serde(rename = "webhook")]
    Webhook,
    #[serde(rename = "pull-wake")]
    PullWake,
}

#[derive(Deserialize)]
struct Webhook {
    url: String,
}

impl Config {
    /// Reads a body: the configuration, and the streams to link at first.
    ///
    /// # Errors
    /// [`SubscriptionRefusal::Invalid`] or [`SubscriptionRefusal::UrlRejected`].
    pub fn parse(
        body: &[u8],
        local: LocalTargets,
    ) -> Result<(Self, BTreeSet<StreamName>), SubscriptionRefusal> {
        let body: Body = read(body)?;
        if body.filter.is_some() {
            return Err(SubscriptionRefusal::invalid("filters are not supported"));
        }
        let pattern = body.pattern.as_deref().map(Pattern::parse).transpose()?;
        let streams = stream_names(&body.streams.unwrap_or_default())?;
        if pattern.is_none() && streams.is_empty() {
            return Err(SubscriptionRefusal::invalid("pattern or streams is required"));
        }
        let lease_ttl_ms = body.lease_ttl_ms.unwrap_or(LEASE_TTL_MS_DEFAULT);
        if !(LEASE_TTL_MS_MIN..=LEASE_TTL_MS_MAX).contains(&lease_ttl_ms) {
            return Err(SubscriptionRefusal::invalid("lease_ttl_ms must be from 1000 to 600000"));
        }
        if body.description.as_ref().is_some_and(|text| text.len() > DESCRIPTION_BYTES_MAX) {
            return Err(SubscriptionRefusal::invalid("description is longer than 4,096 bytes"));
        }
        let delivery = match body.r#type {
            Type::Webhook => {
                let Some(webhook) = body.webhook else {
                    return Err(SubscriptionRefusal::invalid("a webhook subscription needs webhook.url"));
                };
                Delivery::Webhook(WebhookUrl::parse(&webhook.url, local)?)
            }
            Type::PullWake => {
                let Some(wake_stream) = body.wake_stream else {
                    return Err(SubscriptionRefusal::invalid("a pull-wake subscription needs wake_stream"));
                };
                let wake_stream = stream_name(&wake_stream)?;
                if streams.contains(&wake_stream) {
                    return Err(SubscriptionRefusal::invalid("wake_stream would wake for its own wakes"));
                }
                Delivery::PullWake(wake_stream)
            }
        };
        let description = body.description.map(Into::into);
        let hash = hash(pattern.as_ref(), &streams, &delivery, lease_ttl_ms, description.as_deref());
        Ok((Self { pattern, delivery, lease_ttl_ms, description, hash }, streams))
    }

    /// Returns whether the pattern links this stream. It never links the subscription's own wake stream, whose events would cause
    /// more events.
    #[must_use]
    pub fn discovers(&self, name: &StreamName) -> bool {
        let is_wake_stream = matches!(&self.delivery, Delivery::PullWake(wake_stream) if wake_stream == name);
        !is_wake_stream && self.pattern.as_ref().is_some_and(|pattern| pattern.matches(name))
    }
}

/// Hashes everything in one order and one form; a list, so that no map's order matters.
fn hash(
    pattern: Option<&Pattern>,
    streams: &BTreeSet<StreamName>,
    delivery: &Delivery,
    lease_ttl_ms: u64,
    description: Option<&str>,
) -> ConfigHash {
    let streams: Vec<&str> = streams.iter().map(StreamName::as_str).collect();
    let (kind, target) = match delivery {
        Delivery::Webhook(url) => ("webhook", url.as_str()),
        Delivery::PullWake(name) => ("pull-wake", name.as_str()),
    };
    let filter: Option<&str> = None;
    let pattern = pattern.map(ToString::to_string);
    let canonical = json!([kind, pattern, streams, target, filter, lease_ttl_ms, description]).to_string();
    ConfigHash(URL_SAFE_NO_PAD.encode(Sha256::digest(canonical.as_bytes())).into())
}

/// Reads a body as JSON.
pub(crate) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, SubscriptionRefusal> {
    serde_json::from_slice(body).map_err(|error| SubscriptionRefusal::invalid(format!("the body: {error}")))
}

/// Reads the stream names of a body, each once.
pub(crate) fn stream_names(texts: &[String]) -> Result<BTreeSet<StreamName>, SubscriptionRefusal> {
    if texts.len() > LINKS_MAX {
        return Err(SubscriptionRefusal::LimitReached("streams of one subscription"));
    }
    texts.iter().map(|text| stream_name(text)).collect()
}

fn stream_name(text: &str) -> Result<StreamName, SubscriptionRefusal> {
    plain_name(text).map_err(|error| {
        let rule = if let BadRequest::NameMalformed { rule } = error { rule } else { "it is malformed" };
        SubscriptionRefusal::invalid(format!("{text:?} is not a valid stream name: {rule}"))
    })
}

/// Reads a stream name of a body: not encoded, and slashes at its ends don't count (section 6).
pub(crate) fn plain_name(text: &str) -> Result<StreamName, BadRequest> {
    StreamName::new(text.trim_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &Value) -> Result<(Config, BTreeSet<StreamName>), SubscriptionRefusal> {
        Config::parse(body.to_string().as_bytes(), LocalTargets::Allowed)
    }

    fn webhook() -> Value {
        json!({ "type": "webhook", "pattern": "events/*", "streams": ["b", "a"],
                "webhook": { "url": "https://worker.example/hooks" }, "description": "x" })
    }

    fn with(member: &str, value: Value) -> Value {
        let mut body = webhook();
        body[member] = value;
        body
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let (config, streams) = parse(&webhook()).unwrap();
        assert_eq!(config.lease_ttl_ms, 30_000);
        assert_eq!(streams.iter().map(StreamName::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert!(matches!(config.delivery, Delivery::Webhook(_)));
        let (config, _) =
            parse(&json!({ "type": "pull-wake", "streams": ["a"], "wake_stream": "wake/pool" })).unwrap();
        assert_eq!(
            (config.pattern, config.delivery),
            (None, Delivery::PullWake(StreamName::new("wake/pool").unwrap()))
        );
    }

    #[test]
    fn the_hash_is_of_the_meaning_and_not_of_the_spelling() {
        let hash = |body: &Value| parse(body).unwrap().0.hash;
        let first = hash(&webhook());
        for same in [
            with("streams", json!(["/a/", "b", "a"])),
            with("pattern", json!("/events/*")),
            with("lease_ttl_ms", json!(30_000)),
            with("filter", Value::Null),
            with("wake_stream", json!("not/used")),
            with("unknown", json!(1)),
        ] {
            assert_eq!(hash(&same), first, "{same}");
        }
        for other in [
            with("streams", json!(["a"])),
            with("pattern", json!("events/**")),
            with("pattern", Value::Null),
            with("lease_ttl_ms", json!(30_001)),
            with("description", Value::Null),
            with("description", json!("y")),
            with("webhook", json!({ "url": "https://worker.example/hook" })),
            json!({ "type": "pull-wake", "pattern": "events/*", "streams": ["b", "a"], "wake_stream": "w", "description": "x" }),
        ] {
            assert_ne!(hash(&other), first, "{other}");
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let mut bodies = vec![json!([]), json!("x"), json!({}), json!({ "type": "email" })];
        bodies.extend([
            with("type", Value::Null),
            with("webhook", Value::Null),
            with("webhook", json!({})),
            with("webhook", json!("https://worker.example")),
            with("type", json!("pull-wake")),
            with("pattern", json!(7)),
            with("pattern", json!("")),
            with("pattern", json!("a*")),
            with("streams", json!("a")),
            with("streams", json!([1])),
            with("streams", json!([""])),
            with("streams", json!(["../x"])),
            with("streams", json!(["__ds/x"])),
            with("lease_ttl_ms", json!(999)),
            with("lease_ttl_ms", json!(600_001)),
            with("lease_ttl_ms", json!("30000")),
            with("lease_ttl_ms", json!(-1)),
            with("description", json!(1)),
            with("description", json!("x".repeat(4_097))),
            with("filter", json!({ "language": "cel", "expression": "true" })),
            json!({ "type": "webhook", "webhook": { "url": "https://worker.example" } }),
            json!({ "type": "webhook", "streams": [], "webhook": { "url": "https://worker.example" } }),
            json!({ "type": "pull-wake", "streams": ["a"], "wake_stream": "__ds" }),
            json!({ "type": "pull-wake", "streams": ["w"], "wake_stream": "w" }),
        ]);
        for body in bodies {
            assert!(matches!(parse(&body), Err(SubscriptionRefusal::Invalid(_))), "{body}");
        }
        assert!(Config::parse(b"{", LocalTargets::Refused).is_err());
        let unsafe_url = with("webhook", json!({ "url": "http://10.0.0.1/" }));
        assert!(matches!(parse(&unsafe_url), Err(SubscriptionRefusal::UrlRejected(_))));
    }

    #[test]
    fn a_wake_stream_does_not_wake_its_own_subscription() {
        let (config, _) =
            parse(&json!({ "type": "pull-wake", "pattern": "**", "wake_stream": "wake" })).unwrap();
        assert!(config.discovers(&StreamName::new("a").unwrap()));
        assert!(!config.discovers(&StreamName::new("wake").unwrap()));
    }
}
