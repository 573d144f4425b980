//! Webhook signing keys (sections 6.5 and 7.1): their ids, the key set that receivers read, signatures, rotation.
//!
//! A key is published before it signs, so that receivers with a cached set know it, and stays published until none of its
//! deliveries is within a receiver's replay window.

use std::sync::{Arc, OnceLock};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::response::{Response, ResponseHead, text_value};

/// How long before its first signature a key is published, in milliseconds: twice as long as the set may be cached.
pub const LEAD_MS: u64 = 600_000;
/// How long after its last signature a key is published, in milliseconds: many replay windows.
pub const KEEP_MS: u64 = 3_600_000;
/// The most keys of a set, however often they are rotated.
const KEYS_MAX: usize = 16;

/// A secret of 32 random bytes. It isn't shown, and it is erased from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Returns the secret of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// A signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The private key.
    pub seed: Secret,
    /// The time from which it signs, in milliseconds since 1970, until a later key does.
    pub from_ms: u64,
}

/// The published keys, in the order in which they sign.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: Vec<Key>,
    /// The key set as it is published, once somebody has asked. Copies of the ring share it.
    document: Arc<OnceLock<Bytes>>,
}

impl PartialEq for KeyRing {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl Eq for KeyRing {}

/// The signature of a delivery: the value of `Webhook-Signature`.
#[derive(Clone, Debug)]
pub struct Signature(HeaderValue);

impl Signature {
    /// Returns the header's value.
    #[must_use]
    pub fn into_value(self) -> HeaderValue {
        self.0
    }
}

impl Key {
    fn signing(&self) -> SigningKey {
        SigningKey::from_bytes(&self.seed.0)
    }

    /// Returns the public key, base64url.
    fn x(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.signing().verifying_key().as_bytes())
    }

    /// Returns the key's id: `ds_` and its thumbprint (RFC 7638).
    #[must_use]
    pub fn kid(&self) -> String {
        // RFC 7638 prescribes the order of the members.
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.x());
        format!("ds_{}", URL_SAFE_NO_PAD.encode(Sha256::digest(members.as_bytes())))
    }

    /// Signs a body that is sent at `now_ms`, in milliseconds since 1970.
    #[must_use]
    pub fn sign(&self, body: &[u8], now_ms: u64) -> Signature {
        let timestamp = now_ms / 1_000;
        let mut signed = format!("{timestamp}.").into_bytes();
        signed.extend_from_slice(body);
        let signature = URL_SAFE_NO_PAD.encode(self.signing().sign(&signed).to_bytes());
        Signature(text_value(&format!("t={timestamp},kid={},ed25519={signature}", self.kid())))
    }
}

impl KeyRing {
    /// Returns the ring of these keys, which must be in the order in which they sign.
    #[must_use]
    pub fn new(keys: Vec<Key>) -> Self {
        Self { keys, document: Arc::default() }
    }

    /// Returns all keys.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Returns the key that signs at `now_ms`.
    #[must_use]
    pub fn active(&self, now_ms: u64) -> Option<&Key> {
        // With a clock that was set back the first one signs.
        self.keys.iter().rev().find(|key| key.from_ms <= now_ms).or(self.keys.first())
    }

    /// Returns whether a new key is needed: there is none, or the newest one has nearly reached its age.
    #[must_use]
    pub fn wants_key(&self, lifetime_ms: Option<u64>, now_ms: u64) -> bool {
        let Some(newest) = self.keys.last() else { return true };
        let ends_ms = lifetime_ms.map(|lifetime_ms| newest.from_ms.saturating_add(lifetime_ms));
        ends_ms.is_some_and(|ends_ms| now_ms.saturating_add(LEAD_MS) >= ends_ms && self.keys.len() < KEYS_MAX)
    }

    /// Returns the ring with a new key, which signs at once if it is the first, and without the keys that nobody needs.
    #[must_use]
    pub fn with_key(&self, seed: Secret, now_ms: u64) -> Self {
        let after_last = self.keys.last().map(|last| last.from_ms.saturating_add(LEAD_MS));
        let from_ms = after_last.map_or(now_ms, |after_last| after_last.max(now_ms.saturating_add(LEAD_MS)));
        let mut keys = self.without_old(now_ms).keys;
        keys.push(Key { seed, from_ms });
        Self::new(keys)
    }

    /// Returns the ring without the keys whose last signature is long past.
    #[must_use]
    pub fn without_old(&self, now_ms: u64) -> Self {
        let successors = self.keys.iter().skip(1).map(|next| Some(next.from_ms)).chain([None]);
        let is_needed =
            |ends_ms: Option<u64>| ends_ms.is_none_or(|ends_ms| now_ms < ends_ms.saturating_add(KEEP_MS));
        let needed = self.keys.iter().zip(successors).filter(|(_, ends_ms)| is_needed(*ends_ms));
        Self::new(needed.map(|(key, _)| key.clone()).collect())
    }

    /// Returns the response with the key set (RFC 7517).
    #[must_use]
    pub fn respond(&self) -> Response {
        let mut head = ResponseHead::new(StatusCode::OK);
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
        head.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        // Its points of a curve are multiplied once, and anybody may ask.
        let document = self.document.get_or_init(|| {
            let keys = self.keys.iter().map(|key| {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": key.kid(), "use": "sig", "alg": "EdDSA", "x": key.x() })
            });
            json!({ "keys": keys.collect::<Vec<_>>() }).to_string().into()
        });
        Response { head, body: document.clone() }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::Verifier;
    use serde_json::Value;

    use super::*;

    /// The key of RFC 8037, appendix A.
    fn rfc_key() -> Key {
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        Key { seed: Secret(seed.try_into().unwrap()), from_ms: 0 }
    }

    fn ring(from_ms: &[u64]) -> KeyRing {
        KeyRing::new(
            from_ms.iter().zip(1..).map(|(&from_ms, n)| Key { seed: Secret([n; 32]), from_ms }).collect(),
        )
    }

    #[test]
    fn a_key_is_published_as_rfc_8037_writes_it() {
        let key = rfc_key();
        assert_eq!(key.x(), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(key.kid(), "ds_kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let Response { head, body } = KeyRing::new(vec![key]).respond();
        assert_eq!(head.headers[header::CONTENT_TYPE], "application/jwk-set+json");
        assert_eq!(head.headers[header::CACHE_CONTROL], "public, max-age=300");
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["keys"][0]["alg"], "EdDSA");
        assert_eq!(body["keys"][0]["d"], Value::Null);
    }

    #[test]
    fn a_signature_is_over_the_time_and_the_exact_bytes() {
        let key = rfc_key();
        let signature = key.sign(b"{\"a\": 1}", 1_778_324_210_999);
        let value = signature.into_value();
        let value = value.to_str().unwrap();
        let encoded = value.strip_prefix(&format!("t=1778324210,kid={},ed25519=", key.kid())).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(encoded).unwrap();
        let parsed = ed25519_dalek::Signature::from_slice(&bytes).unwrap();
        let public = key.signing().verifying_key();
        assert!(public.verify(b"1778324210.{\"a\": 1}", &parsed).is_ok());
        assert!(public.verify(b"1778324210.{\"a\":1}", &parsed).is_err());
    }

    #[test]
    fn the_first_key_signs_at_once_and_the_next_when_all_know_it() {
        let empty = KeyRing::default();
        assert!(empty.wants_key(None, 5) && empty.active(5).is_none());
        let first = empty.with_key(Secret([1; 32]), 1_000);
        assert_eq!(first.active(1_000).unwrap().from_ms, 1_000);
        assert!(!first.wants_key(None, u64::MAX));
        let lifetime_ms = Some(10 * LEAD_MS);
        assert!(!first.wants_key(lifetime_ms, 1_000 + 9 * LEAD_MS - 1));
        let now_ms = 1_000 + 9 * LEAD_MS;
        assert!(first.wants_key(lifetime_ms, now_ms));
        let both = first.with_key(Secret([2; 32]), now_ms);
        assert_eq!(both.keys().len(), 2);
        assert_eq!(both.active(now_ms).unwrap().seed, Secret([1; 32]));
        assert_eq!(both.active(now_ms + LEAD_MS).unwrap().seed, Secret([2; 32]));
        assert!(!both.wants_key(lifetime_ms, now_ms));
    }

    #[test]
    fn an_old_key_stays_until_its_deliveries_are_past() {
        let ring = ring(&[0, 1_000_000]);
        assert_eq!(ring.without_old(1_000_000 + KEEP_MS - 1), ring);
        assert_eq!(ring.without_old(1_000_000 + KEEP_MS).keys().len(), 1);
        assert_eq!(ring.active(10).unwrap().seed, Secret([1; 32]));
    }

    #[test]
    fn a_set_does_not_grow_however_often_it_is_rotated() {
        let mut ring = KeyRing::default();
        for minute in 0..1_000 {
            let now_ms = minute * 60_000;
            if ring.wants_key(Some(1), now_ms) {
                ring = ring.with_key(Secret([7; 32]), now_ms);
            }
            assert!(ring.keys().len() <= KEYS_MAX);
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", rfc_key()).contains("157"));
    }
}
