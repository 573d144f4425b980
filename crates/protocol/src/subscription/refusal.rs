//! Refusals of control requests, with their statuses and their document: `{"error": {"code": …}}` (section 7).
//!
//! Codes that the protocol's text doesn't name are those of its reference implementation.

use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::response::Response;

/// The reason for which a control request is refused. It has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscriptionRefusal {
    /// The body isn't what the request needs; the text says why.
    #[error("{0}")]
    Invalid(Box<str>),
    /// The server doesn't call the webhook's URL; the text is the rule that it breaks.
    #[error("webhook.url {0}")]
    UrlRejected(&'static str),
    /// There is no such subscription, or it was deleted.
    #[error("there is no such subscription")]
    NotFound,
    /// A subscription with another configuration exists under this id.
    #[error("a subscription with a different configuration exists here")]
    Exists,
    /// The bearer token is missing, or isn't one of this subscription.
    #[error("the bearer token is missing or does not belong to this subscription")]
    TokenInvalid,
    /// The request belongs to an earlier wake (section 7.3).
    #[error("this wake has ended")]
    Fenced,
    /// Another worker holds the lease.
    #[error("another worker holds the lease")]
    AlreadyClaimed {
        /// The worker that holds it.
        holder: Box<str>,
        /// The generation of the wake.
        generation: u64,
    },
    /// There is no pending work.
    #[error("there is no pending work")]
    NothingPending,
    /// An acknowledgement names an offset that can't be acknowledged.
    #[error("{stream}: {rule}")]
    OffsetInvalid {
        /// The stream as the request names it.
        stream: Box<str>,
        /// The rule that the offset breaks.
        rule: &'static str,
    },
    /// A bound of the server is reached; the text names it as a plural noun.
    #[error("the server has reached its limit of {0}")]
    LimitReached(&'static str),
}

impl SubscriptionRefusal {
    /// Returns a refusal of a body.
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

    /// Returns the response: status, headers and document.
    pub(crate) fn respond(&self) -> Response {
        let (status, code) = self.kind();
        let mut error = json!({ "code": code, "message": self.to_string() });
        if let (Self::AlreadyClaimed { holder, generation }, Value::Object(error)) = (self, &mut error) {
            error.insert("current_holder".into(), json!(holder));
            error.insert("generation".into(), json!(generation));
        }
        let mut response = Response::json(status, json!({ "error": error }).to_string());
        if status == StatusCode::UNAUTHORIZED {
            response.head.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_json_with_a_code() {
        let Response { head, body } = SubscriptionRefusal::Fenced.respond();
        assert_eq!(
            (head.status, &head.headers[header::CONTENT_TYPE]),
            (StatusCode::CONFLICT, &"application/json".parse().unwrap())
        );
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "FENCED");
    }

    #[test]
    fn who_holds_the_lease_is_told() {
        let body =
            SubscriptionRefusal::AlreadyClaimed { holder: "w\"2".into(), generation: 7 }.respond().body;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&body["error"]["current_holder"], &body["error"]["generation"]),
            (&json!("w\"2"), &json!(7))
        );
    }

    #[test]
    fn who_has_no_token_learns_which_kind() {
        let head = SubscriptionRefusal::TokenInvalid.respond().head;
        assert_eq!(head.headers[header::WWW_AUTHENTICATE], "Bearer");
    }
}
