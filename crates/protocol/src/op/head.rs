//! HEAD: the state of a stream, without its bytes (section 5.5). It doesn't count as use.

use http::{HeaderValue, StatusCode, header};

use crate::{
    expiry::{Lifetime, format_rfc3339},
    names,
    path::StreamName,
    response::{Response, ResponseHead, offset_value, text_value},
    stream::StreamHead,
};

/// A HEAD whose head was read.
#[derive(Clone, Debug)]
pub struct Head {
    /// The stream to describe.
    pub name: StreamName,
}

impl Head {
    /// Returns the response for a stream that is [usable](StreamHead::usable).
    #[must_use]
    pub fn respond(&self, stream: &StreamHead) -> Response {
        let mut head = ResponseHead::new(StatusCode::OK);
        head.headers.insert(header::CONTENT_TYPE, text_value(stream.content_type.as_str()));
        head.headers.insert(names::STREAM_NEXT_OFFSET, offset_value(stream.tail_offset()));
        head.closed(stream.closed.is_some());
        match stream.lifetime {
            Lifetime::Unlimited => {}
            Lifetime::Sliding { ttl_s } => {
                head.headers.insert(names::STREAM_TTL, HeaderValue::from(ttl_s));
            }
            Lifetime::Until { expires_at_ms } => {
                if let Some(text) = format_rfc3339(expires_at_ms) {
                    head.headers.insert(names::STREAM_EXPIRES_AT, text_value(&text));
                }
            }
        }
        head.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Closure, tests::head};

    fn answer(stream: &StreamHead) -> Vec<(String, String)> {
        let head = Head { name: StreamName::new("a").unwrap() }.respond(stream).head;
        let mut headers: Vec<_> = (head.headers.iter())
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        headers.sort();
        headers
    }

    #[test]
    fn the_answer_holds_what_is_set_and_nothing_else() {
        let expected = [
            ("cache-control", "no-store"),
            ("content-type", "text/plain"),
            ("stream-next-offset", "0000000000000001_0000000000000000"),
        ];
        assert_eq!(answer(&head(1)), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn lifetime_and_closure_are_told() {
        let sliding = StreamHead {
            lifetime: Lifetime::Sliding { ttl_s: 60 },
            closed: Some(Closure::default()),
            ..head(1)
        };
        let headers = answer(&sliding);
        assert!(headers.contains(&("stream-ttl".to_owned(), "60".to_owned())));
        assert!(headers.contains(&("stream-closed".to_owned(), "true".to_owned())));
        let until = StreamHead { lifetime: Lifetime::Until { expires_at_ms: 2_000_000_000_000 }, ..head(1) };
        assert!(
            answer(&until).contains(&("stream-expires-at".to_owned(), "2033-05-18T03:33:20Z".to_owned()))
        );
    }
}
