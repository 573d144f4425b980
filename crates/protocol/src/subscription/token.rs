//! Wake ids and bearer tokens (section 7.3): functions of a secret, of the subscription's serial and of the generation, so
//! that none of them has to be stored.

use std::fmt::Write as _;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    decimal,
    request::head::{RequestHead, single},
    subscription::{Serial, SubscriptionRefusal, keys::Secret},
};

/// The longest token that is accepted, in bytes.
const TOKEN_BYTES_MAX: usize = 256;

/// Returns the id of a wake.
#[must_use]
pub fn wake_id(secret: &Secret, serial: Serial, generation: u64) -> String {
    let bytes = mac(secret, "wake", serial, generation).finalize().into_bytes();
    let mut id = "w_".to_owned();
    for byte in bytes.iter().take(12) {
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// Returns the token of a wake: its generation, and a code that only this server can make.
#[must_use]
pub fn token(secret: &Secret, serial: Serial, generation: u64) -> String {
    let code = mac(secret, "token", serial, generation).finalize().into_bytes();
    format!("{generation}.{}", URL_SAFE_NO_PAD.encode(code))
}

/// Returns the generation that a token was made for.
///
/// # Errors
/// [`SubscriptionRefusal::TokenInvalid`] for one that this server didn't make for this subscription.
pub fn verify(secret: &Secret, serial: Serial, token: &str) -> Result<u64, SubscriptionRefusal> {
    let invalid = SubscriptionRefusal::TokenInvalid;
    let Some((generation, code)) = token.split_once('.') else { return Err(invalid) };
    let (Some(generation), Ok(code)) = (decimal::parse(generation), URL_SAFE_NO_PAD.decode(code)) else {
        return Err(invalid);
    };
    // Takes the same time wherever the code is wrong.
    let is_ours = mac(secret, "token", serial, generation).verify_slice(&code).is_ok();
    if is_ours { Ok(generation) } else { Err(invalid) }
}

/// Returns the bearer token of a request (RFC 6750, 2.1).
pub(crate) fn bearer(head: &impl RequestHead) -> Result<Box<str>, SubscriptionRefusal> {
    let value = single(head, &http::header::AUTHORIZATION).ok().flatten().unwrap_or_default();
    let token = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match token.map(|(_, token)| token.trim()) {
        Some(token) if !token.is_empty() && token.len() <= TOKEN_BYTES_MAX => Ok(token.into()),
        _ => Err(SubscriptionRefusal::TokenInvalid),
    }
}

#[expect(clippy::expect_used, reason = "a code can be made with a key of any length")]
fn mac(secret: &Secret, purpose: &str, serial: Serial, generation: u64) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(purpose.as_bytes());
    mac.update(&serial.get().to_be_bytes());
    mac.update(&generation.to_be_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::TestHead;

    const SECRET: Secret = Secret::new([5; 32]);

    #[test]
    fn a_token_is_of_one_subscription_and_one_generation() {
        let seven = token(&SECRET, Serial::new(1), 7);
        assert_eq!(verify(&SECRET, Serial::new(1), &seven), Ok(7));
        let eight = seven.replacen('7', "8", 1);
        for (secret, serial, token) in [
            (SECRET, Serial::new(2), &*seven),
            (Secret::new([6; 32]), Serial::new(1), &seven),
            (SECRET, Serial::new(1), &eight),
            (SECRET, Serial::new(1), "7."),
            (SECRET, Serial::new(1), "7"),
            (SECRET, Serial::new(1), ""),
            (SECRET, Serial::new(1), "."),
            (SECRET, Serial::new(1), &seven[..seven.len() - 2]),
            (SECRET, Serial::new(1), &format!("0{seven}")),
        ] {
            assert_eq!(verify(&secret, serial, token), Err(SubscriptionRefusal::TokenInvalid), "{token}");
        }
    }

    #[test]
    fn wake_ids_differ_and_are_no_part_of_tokens() {
        let ids: Vec<_> = (1..100).map(|generation| wake_id(&SECRET, Serial::new(1), generation)).collect();
        assert!(ids.iter().all(|id| id.len() == 26 && ids.iter().filter(|other| *other == id).count() == 1));
        assert_ne!(wake_id(&SECRET, Serial::new(2), 1), wake_id(&SECRET, Serial::new(1), 1));
    }

    #[test]
    fn the_bearer_scheme_is_read_without_regard_to_case() {
        let read = |value| {
            let headers = vec![("authorization", value)];
            bearer(&TestHead { headers, ..TestHead::default() })
        };
        assert_eq!(read("Bearer 1.x"), Ok("1.x".into()));
        assert_eq!(read("bearer  1.x "), Ok("1.x".into()));
        for value in ["", "Bearer", "Bearer ", "Basic 1.x", "1.x"] {
            assert!(read(value).is_err(), "{value}");
        }
        assert!(bearer(&TestHead::default()).is_err());
    }
}
