//! What the cases about forks share: making one, and finding out what still refers to its source.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::client::{Request, Stream};

/// Creates a fork of all of `source`.
#[track_caller]
pub(super) fn fork_of<'t>(source: &Stream<'t>, headers: &[(&str, &str)]) -> Stream<'t> {
    let fork = source.target.missing(source.content_type);
    forking(&fork, source).headers(headers).send().status(201);
    fork
}

/// A creation of `fork` with the header that names its source, and no content type.
pub(super) fn forking<'t>(fork: &Stream<'t>, source: &Stream<'t>) -> Request<'t> {
    fork.put().without_content_type().header("Stream-Forked-From", &source.path)
}

/// Waits until what may be cleaned up asynchronously is gone.
#[track_caller]
pub(super) fn await_404(stream: &Stream<'_>) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let response = stream.head();
        if response.status == 404 {
            return;
        }
        response.status(410);
        assert!(Instant::now() < deadline, "{} was never cleaned up", stream.path);
        sleep(Duration::from_millis(20));
    }
}

/// Checks that nothing refers to `source`: deleting it removes it.
#[track_caller]
pub(super) fn assert_unreferenced(source: &Stream<'_>) {
    source.delete().status(204);
    source.head().refused(404, "not-found");
    source.put().send().status(201);
}

/// Waits until the stream is no longer answered with 200.
#[track_caller]
pub(super) fn await_end(stream: &Stream<'_>) {
    let deadline = Instant::now() + Duration::from_secs(6);
    while stream.head().status == 200 {
        assert!(Instant::now() < deadline, "{} is immortal", stream.path);
        sleep(Duration::from_millis(50));
    }
}

/// Deletes `source`, which nothing should refer to any more once the server has cleaned up.
#[track_caller]
pub(super) fn await_unreferenced(source: &Stream<'_>) {
    source.delete().status(204);
    await_404(source);
}
