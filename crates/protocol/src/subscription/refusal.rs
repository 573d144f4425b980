//! Every reason to refuse a control request, with its status and its document: `{"error": {"code": …}}` (section 7).
//!
//! The codes beyond those of the protocol's text are those that its reference implementation gives.

use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::response::ResponseHead;

/// Why a control request is refused. It has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionRefusal {
    /// The body isn't what the request needs.
    #[error("{0}")]
    Invalid(Box<str>),
    /// The webhook's URL isn't one that this server may call.
    #[error("webhook.url {0}")]
    UrlRejected(&'static str),
    /// No such subscription, or a deleted one.
    #[error("there is no such subscription")]
    NotFound,
    /// Another configuration under this id.
    #[error("a subscription with another configuration exists here")]
    Exists,
    /// No bearer token, or not one of this subscription.
    #[error("the bearer token is missing, or not one of this subscription")]
    TokenInvalid,
    /// The wake is over.
    #[error("this wake is over")]
    Fenced,
    /// Somebody else holds the lease.
    #[error("another worker holds the lease")]
    AlreadyClaimed {
        /// Who.
        holder: Box<str>,
        /// In which generation.
        generation: u64,
    },
    /// Nothing to do.
    #[error("nothing is pending")]
    NothingPending,
    /// An acknowledgement of what can't be acknowledged.
    #[error("{stream}: {rule}")]
    OffsetInvalid {
        /// The stream as the request names it.
        stream: Box<str>,
        /// What is wrong.
        rule: &'static str,
    },
    /// A bound of the server.
    #[error("the server is at its limit of {0}")]
    LimitReached(&'static str),
}

impl SubscriptionRefusal {
    /// One for a body that isn't what it should be.
    pub(crate) fn invalid(what: impl Into<Box<str>>) -> Self {
        Self::Invalid(what.into())
    }

    const fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "INVALID_REQUEST"),
            Self::UrlRejected(_) => (StatusCode::BAD_REQUEST, "WEBHOOK_URL_REJECTED"),
            Self::NotFound => (StatusCode::NOT_FOUND, "SUBSCRIPTION_NOT_FOUND"),
            Self::Exists => (StatusCode::CONFLICT, "SUBSCRIPTION_ALREADY_EXISTS"),
            Self::TokenInvalid => (StatusCode::UNAUTHORIZED, "TOKEN_INVALID"),
            Self::Fenced => (StatusCode::CONFLICT, "FENCED"),
            Self::AlreadyClaimed { .. } => (StatusCode::CONFLICT, "ALREADY_CLAIMED"),
            Self::NothingPending => (StatusCode::CONFLICT, "NO_PENDING_WORK"),
            Self::OffsetInvalid { .. } => (StatusCode::CONFLICT, "INVALID_OFFSET"),
            Self::LimitReached(_) => (StatusCode::CONFLICT, "LIMIT_REACHED"),
        }
    }

    /// The status alone.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.kind().0
    }

    /// The answer: head and document.
    #[must_use]
    pub fn respond(&self) -> (ResponseHead, String) {
        let (status, code) = self.kind();
        let mut head = ResponseHead::new(status);
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if status == StatusCode::UNAUTHORIZED {
            head.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let mut error = json!({ "code": code, "message": self.to_string() });
        if let (Self::AlreadyClaimed { holder, generation }, Value::Object(error)) = (self, &mut error) {
            error.insert("current_holder".into(), json!(holder));
            error.insert("generation".into(), json!(generation));
        }
        (head, json!({ "error": error }).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_json_with_a_code() {
        let (head, body) = SubscriptionRefusal::Fenced.respond();
        assert_eq!(
            (head.status, &head.headers[header::CONTENT_TYPE]),
            (StatusCode::CONFLICT, &"application/json".parse().unwrap())
        );
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["error"]["code"], "FENCED");
    }

    #[test]
    fn who_holds_the_lease_is_told() {
        let (_, body) =
            SubscriptionRefusal::AlreadyClaimed { holder: "w\"2".into(), generation: 7 }.respond();
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&body["error"]["current_holder"], &body["error"]["generation"]),
            (&json!("w\"2"), &json!(7))
        );
    }

    #[test]
    fn who_has_no_token_learns_which_kind() {
        let (head, _) = SubscriptionRefusal::TokenInvalid.respond();
        assert_eq!(head.headers[header::WWW_AUTHENTICATE], "Bearer");
    }
}
