//! A read-only origin: serves a file that another program appends to as a stream, with the rules of the protocol and
//! nothing else of Headwater.
//!
//! The bytes and the state come from the file; offsets, chunks, ETags, Cache-Control and refusals from
//! `headwater-protocol`. Another file of the same name is a new incarnation of the stream: old offsets are 410.
//!
//! `cargo run -p headwater-protocol --example read_only_origin -- /var/log/syslog`, then
//! `curl -i 'http://127.0.0.1:4437/v1/stream/log?offset=-1'`.

#![expect(clippy::disallowed_methods, reason = "a program reads files and clocks")]

use std::{
    convert::Infallible,
    env,
    fs::File,
    io::{self, Read as _, Seek, SeekFrom},
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use headwater_protocol::{
    BadRequest, BasePath, ContentType, Incarnation, Missing, ParseContext, Refusal, Request, Response,
    StreamHead, Unavailable,
    cross_origin::Origins,
    op::read::{Mode, Read, ReadContext, ReadPolicies},
    progress::chunk_target,
};
use http::request::Parts;
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task};

const STREAM: &str = "log";
const CHUNK_BYTES: u64 = 1 << 20;

#[tokio::main]
async fn main() -> io::Result<()> {
    let file = env::args_os().nth(1).ok_or_else(|| io::Error::other("which file?"))?;
    let origin = Arc::new(Origin { file: file.into() });
    let listener = TcpListener::bind("127.0.0.1:4437").await?;
    loop {
        let (socket, _) = listener.accept().await?;
        let origin = origin.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: http::Request<_>| {
                let origin = origin.clone();
                let (head, _) = request.into_parts();
                async move {
                    // Files block.
                    let response = task::spawn_blocking(move || origin.respond(&head)).await;
                    let failed = |_| convert(Refusal::from(Unavailable::StorageFailed).respond());
                    Ok::<_, Infallible>(response.unwrap_or_else(failed).map(Full::new))
                }
            });
            // How a connection ends is the client's business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

struct Origin {
    file: PathBuf,
}

impl Origin {
    fn respond(&self, head: &Parts) -> http::Response<Bytes> {
        convert(self.read(head).unwrap_or_else(|refusal| refusal.respond()))
    }

    fn read(&self, head: &Parts) -> Result<Response, Refusal> {
        let base_path = BasePath::parse("/v1/stream").ok_or(Missing::NotFound)?;
        let now_ms = milliseconds(SystemTime::now());
        let context = ParseContext { base_path: &base_path, body_bytes_max: 0, now_ms };
        match Request::parse(head, &context)? {
            Request::Read(read) if read.name.as_str() == STREAM => self.catch_up(&read, now_ms),
            Request::Head(head) if head.name.as_str() == STREAM => {
                let (_, stream) = self.open()?;
                Ok(head.respond(&stream))
            }
            Request::Read(_) | Request::Head(_) => Err(Missing::NotFound.into()),
            _ => Err(BadRequest::MethodNotAllowed { allowed: &["GET", "HEAD"] }.into()),
        }
    }

    fn catch_up(&self, read: &Read, now_ms: u64) -> Result<Response, Refusal> {
        if read.mode != Mode::CatchUp {
            // Waiting takes more than a file: see `headwater_protocol::live`.
            return Err(BadRequest::LiveMalformed.into());
        }
        let (mut file, stream) = self.open()?;
        let start = stream.position(read.from)?;
        // Any byte of a file may end a response.
        let end = chunk_target(start, stream.tail, CHUNK_BYTES);
        let context = ReadContext { stream: &stream, policies: &ReadPolicies::default(), now_ms };
        let head = read.respond(&context, start, end);
        if head.is_not_modified() {
            return Ok(head.into());
        }
        let body = read_range(&mut file, start, end).map_err(|_| Unavailable::StorageFailed)?;
        Ok(Response { head, body: body.into() })
    }

    /// The file as it is now, and the state of a stream with its bytes.
    fn open(&self) -> Result<(File, StreamHead), Refusal> {
        let file = File::open(&self.file).map_err(|_| Missing::NotFound)?;
        let metadata = file.metadata().map_err(|_| Unavailable::StorageFailed)?;
        let (Ok(created), Ok(changed)) = (metadata.created(), metadata.modified()) else {
            // A file system that doesn't know when a file was created can't distinguish incarnations.
            return Err(Unavailable::StorageFailed.into());
        };
        let incarnation = Incarnation::next(0, microseconds(created)).ok_or(Unavailable::StorageFailed)?;
        let mut stream = StreamHead::new(incarnation, ContentType::parse("text/plain")?);
        stream.tail = metadata.len();
        stream.changed_ms = milliseconds(changed);
        Ok((file, stream))
    }
}

fn read_range(file: &mut File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(end - start).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn convert(Response { mut head, body }: Response) -> http::Response<Bytes> {
    Origins::Any.decorate(&mut head.headers, None);
    let mut response = http::Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

fn microseconds(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}

fn milliseconds(time: SystemTime) -> u64 {
    microseconds(time) / 1_000
}

#[cfg(test)]
mod tests {
    use std::fs;

    use http::{HeaderValue, Method, StatusCode, header};

    use super::*;

    fn ask(origin: &Origin, method: Method, query: &str, tag: Option<&HeaderValue>) -> http::Response<Bytes> {
        let mut request = http::Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = format!("/v1/stream/log?{query}").parse().unwrap();
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
        request.headers_mut().extend(tag.map(|tag| (header::IF_NONE_MATCH, tag.clone())));
        origin.respond(&request.into_parts().0)
    }

    fn next_offset(answer: &http::Response<Bytes>) -> String {
        format!("offset={}", answer.headers()["stream-next-offset"].to_str().unwrap())
    }

    #[test]
    fn readers_follow_a_file_that_grows() {
        let file = env::temp_dir().join(format!("read_only_origin-{}", std::process::id()));
        let origin = Origin { file };
        let chunk = usize::try_from(CHUNK_BYTES).unwrap();
        assert_eq!(ask(&origin, Method::GET, "offset=-1", None).status(), StatusCode::NOT_FOUND);

        fs::write(&origin.file, vec![b'a'; chunk + 5]).unwrap();
        let first = ask(&origin, Method::GET, "offset=-1", None);
        assert_eq!((first.status(), first.body().len()), (StatusCode::OK, chunk));
        assert!(!first.headers().contains_key("stream-up-to-date"), "a chunk ends at its place");

        let rest = ask(&origin, Method::GET, &next_offset(&first), None);
        assert_eq!(&rest.body()[..], b"aaaaa");
        assert_eq!(rest.headers()["stream-up-to-date"], "true");
        assert_eq!(rest.headers()[header::CACHE_CONTROL], "public, max-age=1");
        let tag = rest.headers()[header::ETAG].clone();
        let same = ask(&origin, Method::GET, &next_offset(&first), Some(&tag));
        assert_eq!((same.status(), same.body().len()), (StatusCode::NOT_MODIFIED, 0));

        io::Write::write_all(&mut File::options().append(true).open(&origin.file).unwrap(), b"b").unwrap();
        let grown = ask(&origin, Method::GET, &next_offset(&rest), Some(&tag));
        assert_eq!((grown.status(), &grown.body()[..]), (StatusCode::OK, &b"b"[..]));
        let head = ask(&origin, Method::HEAD, "", None);
        assert_eq!(next_offset(&head), next_offset(&grown));

        let delete = ask(&origin, Method::DELETE, "", None);
        assert_eq!(delete.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(delete.headers()[header::ALLOW], "GET, HEAD");
        fs::remove_file(&origin.file).unwrap();
    }
}
