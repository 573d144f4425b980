//! `GET /`: who answers here, and where the streams are. People who open the server's URL in a browser get a page.

use http::{HeaderValue, StatusCode, header};

use crate::{
    bad_request::BadRequest,
    path::BasePath,
    request::{check_probe, forwarded::origin, head::RequestHead},
    response::{Response, ResponseHead},
};

/// The path of the page.
pub const PATH: &str = "/";

/// A request for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The URL that stream names are added to.
    streams: String,
    wants_html: bool,
}

impl Welcome {
    /// Reads a request.
    ///
    /// # Errors
    /// A [`BadRequest`] for a request without a host, or with another method than GET and HEAD.
    pub fn parse(head: &impl RequestHead, base_path: &BasePath) -> Result<Self, BadRequest> {
        check_probe(head)?;
        let streams = format!("{}{}/", origin(head), base_path.as_str().trim_end_matches('/'));
        Ok(Self { streams, wants_html: head.header(&header::ACCEPT).any(names_html) })
    }

    /// Returns the response: HTML to those who ask for it, as browsers do, and JSON to all others.
    #[must_use]
    pub fn respond(&self) -> Response {
        let mut response = if self.wants_html { self.page() } else { self.document() };
        response.head.headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        response
    }

    fn document(&self) -> Response {
        let document = serde_json::json!({
            "server": "headwater",
            "version": env!("CARGO_PKG_VERSION"),
            "protocol": "Durable Streams 1.0",
            "streams": self.streams,
        });
        Response::json(StatusCode::OK, document.to_string())
    }

    fn page(&self) -> Response {
        let (version, streams) = (env!("CARGO_PKG_VERSION"), escaped(&self.streams));
        let body = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Headwater</title>\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem }}\n\
             pre {{ background: #8882; padding: 1rem; overflow: auto }}\n:root {{ color-scheme: light dark }}</style>\n\
             <h1>Headwater {version}</h1>\n\
             <p>An origin server for Durable Streams. Its streams are below <code>{streams}</code>.\n\
             <p>Create one, append to it, and follow it:\n\
             <pre>curl -X PUT -H 'Content-Type: text/plain' {streams}hello\n\
             curl -X POST -H 'Content-Type: text/plain' -d 'Hello, streams!' {streams}hello\n\
             curl -N '{streams}hello?offset=-1&amp;live=sse'</pre>\n\
             <p>For machines: <a href=\"/readyz\">/readyz</a>, <a href=\"/livez\">/livez</a>, <a href=\"/metrics\">/metrics</a>.\n"
        );
        let mut head = ResponseHead::new(StatusCode::OK);
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        // Nothing runs here, whatever stands in the host.
        let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
        head.headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        Response { head, body: body.into() }
    }
}

/// Returns whether a line of `Accept` has `text/html`, and doesn't refuse it (RFC 9110, 12.5.1).
fn names_html(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line).to_ascii_lowercase();
    line.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next() == Some("text/html");
        let is_refused = parts.any(|part| {
            part.strip_prefix("q=")
                .is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0))
        });
        is_html && !is_refused
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::TestHead;

    fn response(accept: &'static str, base_path: &str) -> Response {
        let head =
            TestHead { method: "GET", path: "/", headers: vec![("accept", accept)], ..TestHead::default() };
        Welcome::parse(&head, &BasePath::parse(base_path).unwrap()).unwrap().respond()
    }

    #[test]
    fn html_is_for_those_who_ask_for_it() {
        for (accept, is_html) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("TEXT/HTML", true),
            ("application/json, text/html;q=0.5", true),
            ("text/html;q=0", false),
            ("text/html; level=1; q=0.0", false),
            ("text/html5", false),
            ("*/*", false),
            ("application/json", false),
            ("", false),
        ] {
            let content_type = response(accept, "/v1/stream").head.headers[header::CONTENT_TYPE].clone();
            assert_eq!(content_type == "text/html; charset=utf-8", is_html, "{accept}");
        }
    }

    #[test]
    fn the_document_says_where_the_streams_are() {
        for (base_path, streams) in
            [("/v1/stream", "http://streams.example/v1/stream/"), ("/", "http://streams.example/")]
        {
            let document: serde_json::Value =
                serde_json::from_slice(&response("*/*", base_path).body).unwrap();
            assert_eq!((&document["server"], &document["streams"]), (&"headwater".into(), &streams.into()));
            assert!(String::from_utf8_lossy(&response("text/html", base_path).body).contains(streams));
        }
    }

    #[test]
    fn hosts_are_escaped() {
        assert_eq!(escaped("http://a'&\"<b>"), "http://a&#39;&amp;&quot;&lt;b&gt;");
    }

    #[test]
    fn nothing_else_is_there() {
        for method in ["PUT", "POST", "DELETE", "PATCH"] {
            let head = TestHead { method, path: "/", ..TestHead::default() };
            let refused = Welcome::parse(&head, &BasePath::parse("/v1/stream").unwrap());
            assert!(matches!(refused, Err(BadRequest::MethodNotAllowed { .. })), "{method}");
        }
    }
}
