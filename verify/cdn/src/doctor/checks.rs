//! The checks, one function each: what is tried, what would be wrong, and what to change then.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headwater_testkit::response::shown;
use headwater_testkit::{Request, Response};

use super::Verdict::{self, Fine, Unknown, Wrong};
use super::patient::{Patient, expect, header, next_offset, was_kept};

type Check = fn(&Patient) -> Result<Verdict>;

/// All of them, in the order of the table.
pub(crate) const ALL: [(&str, Check); 15] = [
    ("HEAD tells the tail of now", head),
    ("the query is in the key", query),
    ("the order of arguments doesn't matter", order),
    ("identical long-polls are one request", collapse),
    ("idle long-polls end together", release),
    ("event streams aren't held back", events),
    ("event streams resume by their URL", resume),
    ("an escaped slash arrives", escaped_slash),
    ("up to date is never old", fresh_tail),
    ("404 isn't kept", missing),
    ("a deleted stream is gone", recreate),
    ("If-None-Match is answered", validators),
    ("private responses aren't shared", private),
    ("credentials are in the key", credentials),
    ("pages of other sites can read the headers", cross_origin),
];

/// The number of simultaneous requests.
const CROWD: usize = 20;
/// The delay that a cache with ages in whole seconds may add to a response of `max-age=1`.
const LATE_MAX: Duration = Duration::from_millis(2_500);
const STEP: Duration = Duration::from_millis(100);

/// Checks that streams can be created and read at all.
pub(super) fn reads(patient: &Patient) -> Result<()> {
    let name = patient.name();
    patient.create(&name, &[])?;
    patient.append(&name, "hello")?;
    let response = patient.read(&name, "offset=-1", &[])?;
    anyhow::ensure!(response.body == b"hello", "not what was written, \"hello\": {response}");
    Ok(())
}

fn head(patient: &Patient) -> Result<Verdict> {
    let name = patient.name();
    patient.create(&name, &[])?;
    patient.append(&name, "one")?;
    for query in ["offset=-1", "", "offset=-1"] {
        patient.get(&name, query, &[])?;
    }
    patient.head(&name)?;
    let tail = patient.append(&name, "two")?;
    let told = next_offset(&patient.head(&name)?)?;
    Ok(if told == tail {
        Fine("after an append it did".into())
    } else {
        Wrong(
            format!("after an append it said {told}, the tail was {tail}"),
            "the edge answers HEAD from a kept GET. Pass HEAD on to the origin, or keep HEAD and GET apart (nginx: \
             proxy_cache_convert_head off, and the method in the key).",
        )
    })
}

fn query(patient: &Patient) -> Result<Verdict> {
    let name = patient.name();
    let beginning = patient.create(&name, &[])?;
    let middle = patient.append(&name, "one")?;
    patient.append(&name, "two")?;
    let first = patient.read(&name, &format!("offset={beginning}"), &[])?;
    let second = patient.read(&name, &format!("offset={middle}"), &[])?;
    Ok(if first.body == b"onetwo" && second.body == b"two" {
        Fine("two offsets, two responses".into())
    } else {
        Wrong(
            format!(
                "offsets of {:?} and {:?} were answered {} and {}",
                "onetwo",
                "two",
                shown(&first.body),
                shown(&second.body)
            ),
            "the edge leaves the query out of its key. The key needs offset, live and cursor.",
        )
    })
}

fn order(patient: &Patient) -> Result<Verdict> {
    let name = patient.name();
    let beginning = patient.create(&name, &[])?;
    patient.append(&name, "one")?;
    let before = patient.asked();
    patient.read(&name, &format!("offset={beginning}&live=long-poll&cursor=7"), &[])?;
    let second = patient.read(&name, &format!("cursor=7&live=long-poll&offset={beginning}"), &[])?;
    let asked = asked_since(patient, before);
    let change = "clients send the arguments in different orders. Sort them before they go into the key (Varnish: \
                  std.querysort; nginx: build the key from $arg_offset, $arg_live and $arg_cursor).";
    Ok(match (asked, was_kept(&second)) {
        (Some(1), _) => Fine("two orders, one request at the origin".into()),
        (Some(asked), _) => Wrong(format!("two orders, {asked} requests at the origin"), change),
        (None, Some(true)) => Fine("the second order was answered by a cache".into()),
        (None, Some(false)) => Wrong("the second order wasn't answered by a cache".into(), change),
        (None, None) => unsaid(),
    })
}

fn collapse(patient: &Patient) -> Result<Verdict> {
    let name = patient.name();
    patient.create(&name, &[])?;
    let tail = patient.append(&name, "one")?;
    let before = patient.asked();
    let query = format!("offset={tail}&live=long-poll&cursor=7");
    let (responses, appended) = crowd(patient, &name, &query, CROWD, || {
        thread::sleep(Duration::from_millis(1_500));
        patient.append(&name, "two")?;
        Ok(Instant::now())
    })?;
    let asked = asked_since(patient, before);
    let got = responses.iter().filter(|(response, _)| response.body == b"two").count();
    let last =
        responses.iter().map(|(_, at)| at.saturating_duration_since(appended)).max().unwrap_or_default();
    if got < CROWD || last > LATE_MAX {
        return Ok(Wrong(
            format!("{got} of {CROWD} got the append, the last one after {:.1} s", last.as_secs_f64()),
            "the edge ends waiting requests, or lets one go after the other. Its lock has to last longer than a \
             long-poll (nginx: proxy_cache_lock_timeout and proxy_cache_lock_age of 60s).",
        ));
    }
    let change = "the edge doesn't let requests for one URL wait for one response. Turn that on (nginx: proxy_cache_lock \
                  on; Fastly: request collapsing; Cloudflare: a cache rule instead of a Worker; CloudFront: a cache \
                  policy with a minimum of 0 s).";
    let misses = responses.iter().filter(|(response, _)| was_kept(response) == Some(false)).count();
    Ok(match asked {
        Some(asked) if asked <= 2 => Fine(format!("{CROWD} readers, {asked} at the origin")),
        Some(asked) => Wrong(format!("{CROWD} readers, {asked} at the origin"), change),
        None if responses.iter().all(|(response, _)| was_kept(response).is_none()) => unsaid(),
        None if misses <= 2 => Fine(format!("{CROWD} readers, {misses} of them not from a cache")),
        None => Wrong(format!("{CROWD} readers, {misses} of them not from a cache"), change),
    })
}

fn release(patient: &Patient) -> Result<Verdict> {
    let name = patient.name();
    let tail = patient.create(&name, &[])?;
    let begun = Instant::now();
    let query = format!("offset={tail}&live=long-poll&cursor=7");
    let (responses, _) = crowd(patient, &name, &query, 6, || Ok(begun))?;
    let ends: Vec<Duration> = responses.iter().map(|(_, at)| at.saturating_duration_since(begun)).collect();
    let (first, last) =
        (ends.iter().min().copied().unwrap_or_default(), ends.iter().max().copied().unwrap_or_default());
    if let Some((response, _)) = responses.iter().find(|(response, _)| response.status != 204) {
        return Ok(Wrong(
            format!("one ended with {} after {:.1} s", response.status, first.as_secs_f64()),
            "something on the way gives up sooner than a long-poll ends. Make its time-outs longer, or \
             --long-poll-timeout shorter.",
        ));
    }
    Ok(if last - first < LATE_MAX {
        Fine(format!("six ended after {:.1} to {:.1} s", first.as_secs_f64(), last.as_secs_f64()))
    } else {
        Wrong(
            format!(
                "six ended one after the other, {:.1} to {:.1} s",
                first.as_secs_f64(),
                last.as_secs_f64()
            ),
            "the 204 isn't kept, so that each who waits asks anew. Let the edge keep it for the second that its \
             Cache-Control says; --cache-long-poll-timeout must not be 0s.",
        )
    })
}

fn events(patient: &Patient) -> Result<Verdict> {
    let name = patient.name();
    let tail = patient.create(&name, &[])?;
    let mut body = patient.events(&name, &format!("offset={tail}&live=sse"))?;
    // The first event says that there is nothing yet.
    read_until(&mut body, "upToDate")?;
    thread::sleep(Duration::from_millis(500));
    let sent = Instant::now();
    patient.append(&name, "an event")?;
    read_until(&mut body, "an event")?;
    let after = sent.elapsed();
    Ok(if after < Duration::from_secs(1) {
        Fine(format!("an event came after {} ms", after.as_millis()))
    } else {
        Wrong(
            format!("an event came after {:.1} s", after.as_secs_f64()),
            "something on the way gathers the response before it passes it on. Turn that off for live=sse (nginx: \
             proxy_buffering off; HAProxy: option http-no-delay; no compression).",
        )
    })
}

fn resume(patient: &Patient) -> Result<Verdict> {
    let name = patient.name();
    patient.create(&name, &[])?;
    let middle = patient.append(&name, "before")?;
    patient.append(&name, "after")?;
    let mut body = patient.events(&name, &format!("offset=-1&live=sse&lastEventId={middle}"))?;
    let seen = read_until(&mut body, "upToDate")?;
    Ok(if seen.contains("after") && !seen.contains("before") {
        Fine("lastEventId in the URL was obeyed".into())
    } else {
        Wrong(
            "lastEventId in the URL made no difference".into(),
            "the edge drops arguments that it doesn't know. Let lastEventId through for live=sse, and into the key if event \
             streams are kept.",
        )
    })
}

fn escaped_slash(patient: &Patient) -> Result<Verdict> {
    let (folder, name) = (patient.name(), patient.name());
    patient.create(&format!("{folder}/{name}"), &[])?;
    patient.append(&format!("{folder}/{name}"), "one")?;
    let escaped = patient.get(&format!("{folder}%2F{name}"), "offset=-1", &[])?;
    patient.delete(&format!("{folder}/{name}"))?;
    Ok(if escaped.status == 200 && escaped.body == b"one" {
        Fine("a%2Fb is a/b".into())
    } else {
        Wrong(
            format!("a name with %2F was answered {}", escaped.status),
            "the edge refuses or changes escaped slashes, which some clients send in every name. Pass the path on as it was \
             sent, or give the origin --escaped-slashes refuse, so that nobody relies on them.",
        )
    })
}

fn fresh_tail(patient: &Patient) -> Result<Verdict> {
    let name = patient.name();
    patient.create(&name, &[])?;
    patient.append(&name, "one")?;
    patient.get(&name, "offset=-1", &[])?;
    patient.append(&name, "two")?;
    let appended = Instant::now();
    Ok(
        match until(|| Ok(patient.get(&name, "offset=-1", &[])?.body == b"onetwo"), Duration::from_secs(90))?
        {
            true if appended.elapsed() < LATE_MAX => {
                Fine(format!("an append was read after {:.1} s", appended.elapsed().as_secs_f64()))
            }
            _ => Wrong(
                format!("an append wasn't read for {:.1} s", appended.elapsed().as_secs_f64()),
                "the edge keeps responses for longer than their Cache-Control says. Take out what sets a time to live of its \
             own (nginx: proxy_cache_valid; a minimum TTL; an Edge TTL that overrides the origin).",
            ),
        },
    )
}

fn missing(patient: &Patient) -> Result<Verdict> {
    let name = patient.name();
    expect(patient.get(&name, "offset=-1", &[])?, 404)?;
    patient.create(&name, &[])?;
    let now = patient.get(&name, "offset=-1", &[])?.status;
    Ok(if now == 200 {
        Fine("a stream was there as soon as it was created".into())
    } else {
        Wrong(
            format!("after it was created: {now}"),
            "the edge keeps errors, which are no-store. Take out what gives them a time to live of its own \
             (CloudFront: error caching minimum TTL 0).",
        )
    })
}

fn recreate(patient: &Patient) -> Result<Verdict> {
    let name = patient.name();
    patient.create(&name, &[])?;
    let tail = patient.append(&name, "old")?;
    patient.get(&name, &format!("offset={tail}"), &[])?;
    patient.delete(&name)?;
    patient.create(&name, &[])?;
    patient.append(&name, "old and new")?;
    let query = format!("offset={tail}");
    let gone = until(|| Ok(patient.get(&name, &query, &[])?.status == 410), LATE_MAX)?;
    let foreign = patient.get(&name, &query, &[])?.body.windows(3).any(|word| word == b"new");
    Ok(if gone && !foreign {
        Fine("an offset of the old one is 410".into())
    } else {
        Wrong(
            "an offset of the old stream is still answered".into(),
            "the edge keeps responses for longer than their Cache-Control says, or without the query in the key.",
        )
    })
}

fn validators(patient: &Patient) -> Result<Verdict> {
    let name = patient.name();
    let beginning = patient.create(&name, &[])?;
    patient.append(&name, "one")?;
    let query = format!("offset={beginning}");
    let etag = header(&patient.get(&name, &query, &[])?, "etag").map(str::to_owned);
    let Some(etag) = etag else {
        return Ok(Wrong(
            "a response had no ETag".into(),
            "something on the way removes it. Turn off what changes bodies: compression, minifying.",
        ));
    };
    let again = patient.get(&name, &query, &[("If-None-Match", &etag)])?;
    Ok(if again.status == 304 && header(&again, "cache-control").is_some() {
        Fine("304, with its Cache-Control".into())
    } else {
        Wrong(
            format!("asked with {etag}: {}", again.status),
            "readers get bytes again that they have. Let If-None-Match through, and don't change ETags.",
        )
    })
}

fn private(patient: &Patient) -> Result<Verdict> {
    apart(
        patient,
        "private",
        &[("X-Doctor", "a"), ("X-Doctor", "b")],
        "the edge keeps what says private: one reader's bytes are given to others. Let it honour Cache-Control.",
    )
}

fn credentials(patient: &Patient) -> Result<Verdict> {
    apart(
        patient,
        "public",
        &[("Authorization", "Bearer doctor-a"), ("Authorization", "Bearer doctor-b")],
        "the response to one credential is given to another. Put Authorization into the key, or don't keep responses to \
         requests that have one.",
    )
}

/// Checks that two readers both reach the origin.
fn apart(
    patient: &Patient,
    visibility: &str,
    readers: &[(&str, &str); 2],
    change: &'static str,
) -> Result<Verdict> {
    let name = patient.name();
    let beginning = patient.create(&name, &[("Stream-Visibility", visibility)])?;
    patient.append(&name, "secret")?;
    let query = format!("offset={beginning}");
    let before = patient.asked();
    patient.read(&name, &query, &readers[..1])?;
    let second = patient.read(&name, &query, &readers[1..])?;
    Ok(match (asked_since(patient, before), was_kept(&second)) {
        (Some(asked), _) if asked >= 2 => Fine("two readers, two requests at the origin".into()),
        (Some(asked), _) => Wrong(format!("two readers, {asked} request at the origin"), change),
        (None, Some(false)) => Fine("the second reader wasn't answered by a cache".into()),
        (None, Some(true)) => Wrong("the second reader was answered by a cache".into(), change),
        (None, None) => unsaid(),
    })
}

fn cross_origin(patient: &Patient) -> Result<Verdict> {
    let name = patient.name();
    patient.create(&name, &[])?;
    let response = patient.get(&name, "offset=-1", &[("Origin", "https://example.com")])?;
    let exposed = header(&response, "access-control-expose-headers").unwrap_or_default().to_ascii_lowercase();
    Ok(match header(&response, "access-control-allow-origin") {
        Some(_) if exposed.contains("stream-next-offset") && exposed.contains("x-cache") => {
            Fine("Stream-Next-Offset and X-Cache are exposed".into())
        }
        Some(_) => Wrong(
            format!("exposed are: {exposed}"),
            "something on the way replaces Access-Control-Expose-Headers. Let the origin's through.",
        ),
        None => Unknown("the origin allows no page of https://example.com (--cors-origins)".into()),
    })
}

fn unsaid() -> Verdict {
    Unknown("no header says where responses come from; give --origin, whose metrics tell".into())
}

fn asked_since(patient: &Patient, before: Option<u64>) -> Option<u64> {
    Some(patient.asked()?.saturating_sub(before?))
}

/// Sends one request many times at once and does something meanwhile; each response comes with its time.
fn crowd<T>(
    patient: &Patient,
    name: &str,
    query: &str,
    size: usize,
    meanwhile: impl FnOnce() -> Result<T>,
) -> Result<(Vec<(Response, Instant)>, T)> {
    let request = Request::new("GET", format!("{name}?{query}"));
    let edge = patient.edge();
    let get = || Ok::<_, anyhow::Error>((edge.send(&request)?, Instant::now()));
    thread::scope(|scope| {
        let asking: Vec<_> = (0..size).map(|_| scope.spawn(get)).collect();
        let done = meanwhile();
        let responses: Result<Vec<_>> = asking
            .into_iter()
            .map(|asking| asking.join().map_err(|_| anyhow::anyhow!("a reader fell over"))?)
            .collect();
        Ok((responses?, done?))
    })
}

/// Repeats a check until it holds or `patience` has passed.
fn until(mut is_so: impl FnMut() -> Result<bool>, patience: Duration) -> Result<bool> {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if is_so()? {
            return Ok(true);
        }
        thread::sleep(STEP);
    }
    Ok(false)
}

/// Reads up to a text, and returns what came.
fn read_until(body: &mut impl Read, text: &str) -> Result<String> {
    let mut seen = Vec::new();
    let mut piece = [0; 1_024];
    while !String::from_utf8_lossy(&seen).contains(text) {
        let length = body.read(&mut piece).context("the event stream broke")?;
        anyhow::ensure!(length > 0, "the event stream ended without {text:?}");
        seen.extend_from_slice(piece.get(..length).unwrap_or_default());
    }
    Ok(String::from_utf8_lossy(&seen).into_owned())
}
