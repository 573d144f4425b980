//! The stored form of subscriptions: small JSON documents. `docs/storage-format.md` lists their keys.
//!
//! A link has a document of its own, so that an acknowledgement writes what it changes and not all cursors.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use headwater_protocol::{
    offset::{Offset, ReadFrom},
    path::StreamName,
    subscription::{
        Config, Delivery, Link, Pattern, Serial, Subscription, SubscriptionId, Wakes,
        config::ConfigHash,
        keys::{Key, KeyRing, Secret},
        target::{LocalTargets, WebhookUrl},
        wake::{Phase, Retry},
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The key of the document that all subscriptions share: [`Common`].
pub(crate) const COMMON_KEY: &str = "subscriptions";
/// The key of the document with the signing keys.
pub(crate) const KEYS_KEY: &str = "webhook-keys";
/// The prefix of the keys of subscriptions.
pub(crate) const SUBSCRIPTION_PREFIX: &str = "subscription/";
/// The prefix of the keys of links.
pub(crate) const LINK_PREFIX: &str = "subscription-link/";

/// A stored document or its key is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The state that all subscriptions share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Common {
    /// The secret that tokens and wake ids are made with.
    pub(crate) secret: Secret,
    /// The last serial that was issued: the tombstone of every deleted subscription.
    pub(crate) serial_last: u64,
}

#[derive(Serialize, Deserialize)]
struct CommonDocument {
    secret: String,
    serial_last: u64,
}

impl Common {
    /// Encodes the document.
    pub(crate) fn encode(&self) -> Bytes {
        encode(&CommonDocument { secret: encode_secret(&self.secret), serial_last: self.serial_last })
    }

    /// Decodes the document.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(crate) fn decode(document: &[u8]) -> Result<Self, Malformed> {
        let CommonDocument { secret, serial_last } = decode(document)?;
        Ok(Self { secret: decode_secret(&secret)?, serial_last })
    }
}

#[derive(Serialize, Deserialize)]
struct KeyDocument {
    seed: String,
    from_ms: u64,
}

/// Encodes a key ring.
pub(crate) fn encode_keys(ring: &KeyRing) -> Bytes {
    let document = |key: &Key| KeyDocument { seed: encode_secret(&key.seed), from_ms: key.from_ms };
    encode(&ring.keys().iter().map(document).collect::<Vec<_>>())
}

/// Decodes a key ring.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn decode_keys(document: &[u8]) -> Result<KeyRing, Malformed> {
    let documents: Vec<KeyDocument> = decode(document)?;
    let key = |KeyDocument { seed, from_ms }| Ok(Key { seed: decode_secret(&seed)?, from_ms });
    documents.into_iter().map(key).collect::<Result<_, _>>().map(KeyRing::new)
}

fn encode_secret(secret: &Secret) -> String {
    URL_SAFE_NO_PAD.encode(secret.as_bytes())
}

fn decode_secret(text: &str) -> Result<Secret, Malformed> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Malformed)?;
    bytes.try_into().map(Secret::new).map_err(|_| Malformed)
}

/// Returns the key of a subscription's document.
pub(crate) fn subscription_key(serial: Serial) -> Box<str> {
    format!("{SUBSCRIPTION_PREFIX}{:020}", serial.get()).into()
}

/// Decodes the serial in the key of a subscription's document.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn decode_subscription_key(key: &str) -> Result<Serial, Malformed> {
    let serial = key.strip_prefix(SUBSCRIPTION_PREFIX).ok_or(Malformed)?;
    serial.parse().map(Serial::new).map_err(|_| Malformed)
}

/// Returns the key of a link's document.
pub(crate) fn link_key(serial: Serial, name: &StreamName) -> Box<str> {
    format!("{}{name}", links_prefix(serial)).into()
}

/// Returns the prefix of the keys of one subscription's links.
pub(crate) fn links_prefix(serial: Serial) -> String {
    format!("{LINK_PREFIX}{:020}/", serial.get())
}

/// Decodes the serial and the stream in the key of a link's document.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn decode_link_key(key: &str) -> Result<(Serial, StreamName), Malformed> {
    let (serial, name) =
        key.strip_prefix(LINK_PREFIX).and_then(|rest| rest.split_once('/')).ok_or(Malformed)?;
    let serial = serial.parse().map_err(|_| Malformed)?;
    Ok((Serial::new(serial), StreamName::new(name).map_err(|_| Malformed)?))
}

#[derive(Serialize, Deserialize)]
struct SubscriptionDocument {
    id: String,
    serial: u64,
    created_ms: u64,
    root: String,
    pattern: Option<String>,
    webhook: Option<String>,
    wake_stream: Option<String>,
    lease_ttl_ms: u64,
    description: Option<String>,
    hash: String,
    generation: u64,
    phase: PhaseDocument,
    failures: u32,
    next_attempt_at: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
enum PhaseDocument {
    Idle,
    Waking { until_ms: Option<u64> },
    Leased { holder: Option<String>, until_ms: u64 },
}

/// Encodes a subscription.
pub(crate) fn encode_subscription(subscription: &Subscription) -> Bytes {
    let Config { pattern, delivery, lease_ttl_ms, description, hash } = &subscription.config;
    let (webhook, wake_stream) = match delivery {
        Delivery::Webhook(url) => (Some(url.as_str().to_owned()), None),
        Delivery::PullWake(name) => (None, Some(name.as_str().to_owned())),
    };
    encode(&SubscriptionDocument {
        id: subscription.id.as_str().to_owned(),
        serial: subscription.serial.get(),
        created_ms: subscription.created_ms,
        root: subscription.root.to_string(),
        pattern: pattern.as_ref().map(ToString::to_string),
        webhook,
        wake_stream,
        lease_ttl_ms: *lease_ttl_ms,
        description: description.as_ref().map(ToString::to_string),
        hash: hash.as_str().to_owned(),
        generation: subscription.wakes.generation,
        phase: match &subscription.wakes.phase {
            Phase::Idle => PhaseDocument::Idle,
            Phase::Waking { until_ms } => PhaseDocument::Waking { until_ms: *until_ms },
            Phase::Leased { holder, until_ms } => PhaseDocument::Leased {
                holder: holder.as_ref().map(ToString::to_string),
                until_ms: *until_ms,
            },
        },
        failures: subscription.wakes.retry.map_or(0, |retry| retry.failures),
        next_attempt_at: subscription.wakes.retry.map(|retry| retry.next_attempt_ms),
    })
}

/// Decodes a subscription.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn decode_subscription(document: &[u8]) -> Result<Subscription, Malformed> {
    let document: SubscriptionDocument = decode(document)?;
    let delivery = match (document.webhook, document.wake_stream) {
        // Whether this machine may be called is checked before each webhook.
        (Some(url), None) => {
            WebhookUrl::parse(&url, LocalTargets::Allowed).map(Delivery::Webhook).map_err(|_| Malformed)?
        }
        (None, Some(name)) => Delivery::PullWake(StreamName::new(&name).map_err(|_| Malformed)?),
        _ => return Err(Malformed),
    };
    let pattern = document.pattern.as_deref().map(Pattern::parse).transpose().map_err(|_| Malformed)?;
    let retry = |next_attempt_ms| Retry { failures: document.failures, next_attempt_ms };
    Ok(Subscription {
        serial: Serial::new(document.serial),
        id: SubscriptionId::new(&document.id).map_err(|_| Malformed)?,
        config: Config {
            pattern,
            delivery,
            lease_ttl_ms: document.lease_ttl_ms,
            description: document.description.map(Into::into),
            hash: ConfigHash::from_stored(&document.hash),
        },
        created_ms: document.created_ms,
        root: document.root.into(),
        wakes: Wakes {
            generation: document.generation,
            phase: match document.phase {
                PhaseDocument::Idle => Phase::Idle,
                PhaseDocument::Waking { until_ms } => Phase::Waking { until_ms },
                PhaseDocument::Leased { holder, until_ms } => {
                    Phase::Leased { holder: holder.map(Into::into), until_ms }
                }
            },
            retry: document.next_attempt_at.map(retry),
        },
    })
}

#[derive(Serialize, Deserialize)]
struct LinkDocument {
    acked: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    explicit: bool,
}

/// Encodes a link. Its tail isn't stored.
pub(crate) fn encode_link(link: &Link) -> Bytes {
    let acked = link.acked.map(|offset| offset.to_string());
    encode(&LinkDocument { acked, explicit: link.explicit })
}

/// Decodes a link, without a tail.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn decode_link(document: &[u8]) -> Result<Link, Malformed> {
    let LinkDocument { acked, explicit } = decode(document)?;
    let offset = |text: &str| -> Result<Offset, Malformed> {
        match ReadFrom::parse(text) {
            Ok(ReadFrom::At(offset)) => Ok(offset),
            _ => Err(Malformed),
        }
    };
    Ok(Link { explicit, acked: acked.as_deref().map(offset).transpose()?, tail: None })
}

#[expect(clippy::expect_used, reason = "texts and numbers always have a JSON form")]
fn encode(document: &impl Serialize) -> Bytes {
    serde_json::to_vec(document).map(Bytes::from).expect("texts and numbers")
}

fn decode<T: DeserializeOwned>(document: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(document).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use headwater_protocol::offset::Incarnation;
    use proptest::prelude::*;

    use super::*;

    fn subscription(body: &str) -> Subscription {
        Subscription {
            serial: Serial::new(7),
            id: SubscriptionId::new("sub-1").unwrap(),
            config: Config::parse(body.as_bytes(), LocalTargets::Allowed).unwrap().0,
            created_ms: 1_778_284_800_000,
            root: "http://streams.example/v1/stream".into(),
            wakes: Wakes::default(),
        }
    }

    #[test]
    fn subscriptions_come_back_in_every_state() {
        let webhook = subscription(
            r#"{"type":"webhook","pattern":"events/*","streams":["x"],"webhook":{"url":"http://localhost:1/x"},"description":"é"}"#,
        );
        let pulled = subscription(
            r#"{"type":"pull-wake","streams":["x"],"wake_stream":"wake/pool","lease_ttl_ms":1000}"#,
        );
        let retry = Some(Retry { failures: 3, next_attempt_ms: 9 });
        for wakes in [
            Wakes::default(),
            Wakes { generation: 7, phase: Phase::Waking { until_ms: Some(5) }, retry },
            Wakes { generation: 7, phase: Phase::Waking { until_ms: None }, retry: None },
            Wakes {
                generation: 7,
                phase: Phase::Leased { holder: Some("w".into()), until_ms: 5 },
                retry: None,
            },
        ] {
            for subscription in [&webhook, &pulled] {
                let subscription = Subscription { wakes: wakes.clone(), ..subscription.clone() };
                assert_eq!(decode_subscription(&encode_subscription(&subscription)), Ok(subscription));
            }
        }
    }

    #[test]
    fn secrets_and_keys_come_back() {
        let common = Common { secret: Secret::new([9; 32]), serial_last: 77 };
        assert_eq!(Common::decode(&common.encode()), Ok(common));
        let ring = KeyRing::new(vec![Key { seed: Secret::new([1; 32]), from_ms: 5 }]);
        assert_eq!(decode_keys(&encode_keys(&ring)), Ok(ring));
    }

    #[test]
    fn keys_of_links_name_both_ends_and_stand_together() {
        let name = StreamName::new("a/b c").unwrap();
        let key = link_key(Serial::new(7), &name);
        assert_eq!(decode_link_key(&key), Ok((Serial::new(7), name)));
        assert!(key.starts_with(&links_prefix(Serial::new(7))));
        assert!(!key.starts_with(SUBSCRIPTION_PREFIX), "they are listed apart");
        assert!(
            link_key(Serial::new(9), &StreamName::new("z").unwrap())
                < link_key(Serial::new(10), &StreamName::new("a").unwrap())
        );
    }

    proptest! {
        #[test]
        fn links_come_back(incarnation in 1..=Incarnation::MAX, position in 0..=Offset::POSITION_MAX, is_there: bool, explicit: bool) {
            let acked = is_there.then(|| Offset { incarnation: Incarnation::new(incarnation).unwrap(), position });
            let link = Link { explicit, acked, tail: None };
            prop_assert_eq!(decode_link(&encode_link(&link)), Ok(link));
        }

        #[test]
        fn garbage_is_malformed_at_worst(document: Vec<u8>, key: String) {
            let _ = (Common::decode(&document), decode_keys(&document), decode_subscription(&document), decode_link(&document));
            let _ = decode_link_key(&key);
        }
    }
}
