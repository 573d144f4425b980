//! Parsers of values: each refuses what the server would be useless with, in words that say what is right.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use headwater_protocol::{path::BasePath, request::network};
use http::{Uri, uri::Authority};
use humantime::Duration;
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use super::milliseconds;

pub(super) fn base_path(text: &str) -> Result<BasePath, String> {
    BasePath::parse(text)
        .ok_or_else(|| "a path such as /v1/stream, of letters, digits, -, ., _ and ~".to_owned())
}

/// One value of a setting that has few.
pub(super) struct Choice<T: 'static> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) value: T,
}

/// Parses one of `choices` by its name. It does for types of other crates what [`ValueEnum`] does for our own.
pub(super) fn one_of<T: Copy + Send + Sync + 'static>(
    choices: &'static [Choice<T>],
) -> impl TypedValueParser<Value = T> {
    let names = choices.iter().map(|choice| PossibleValue::new(choice.name).help(choice.help));
    PossibleValuesParser::new(names).try_map(|name| {
        let choice = choices.iter().find(|choice| choice.name == name);
        choice.map(|choice| choice.value).ok_or("it is none of the possible values")
    })
}

/// Checks the form of an address; whether its host has one is known when it is bound.
pub(super) fn address(text: &str) -> Result<String, String> {
    let is_address = text.trim().rsplit_once(':').is_some_and(|(host, port)| {
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
        is_port && host != "*" && (!host.contains(':') || host.starts_with('[') && host.ends_with(']'))
    });
    if is_address {
        Ok(text.trim().to_owned())
    } else {
        Err("a host and a port, such as 127.0.0.1:4437".to_owned())
    }
}

pub(super) fn trusted_proxy(text: &str) -> Result<IpNet, String> {
    network(text.trim()).ok_or_else(|| "an address, or a network such as 10.0.0.0/8".to_owned())
}

pub(super) fn some_bytes(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    if size.as_u64() == 0 { Err("it must be more than 0".to_owned()) } else { Ok(size) }
}

pub(super) fn store_memory(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    if size < ByteSize::mib(192) { Err("it must be at least 192MiB".to_owned()) } else { Ok(size) }
}

pub(super) fn header_bytes(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    if size < ByteSize::kib(8) { Err("it must be at least 8KiB".to_owned()) } else { Ok(size) }
}

/// A duration that is sent in whole seconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let time: Duration = text.parse().map_err(|error: humantime::DurationError| error.to_string())?;
    if time.subsec_nanos() > 0 { Err("it must be a number of whole seconds".to_owned()) } else { Ok(time) }
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn folder(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("it must not be empty".to_owned()) } else { Ok(text.into()) }
}

pub(super) fn mem_max(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    if size < ByteSize::mib(1) { Err("it must be at least 1MiB".to_owned()) } else { Ok(size) }
}

/// `*`, or what browsers send in `Origin`.
pub(super) fn cors_origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_origin = text.parse::<Uri>().is_ok_and(|uri| {
        let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
        let scheme = uri.scheme_str().unwrap_or_default();
        // Browsers write it in lower case, and leave out the scheme's own port.
        let has_default_port = matches!((scheme, uri.port_u16()), ("http", Some(80)) | ("https", Some(443)));
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        text == format!("{scheme}://{authority}") && !authority.contains('@') && is_lower && !has_default_port
    });
    if is_origin || matches!(text, "*" | "null") {
        Ok(text.to_owned())
    } else {
        Err("* or an origin such as https://app.example, without a path".to_owned())
    }
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        parsed => parsed.map_err(|error: std::num::ParseIntError| error.to_string()),
    }
}

pub(super) fn responses(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    if size < ByteSize::mib(32) { Err("it must be at least 32MiB".to_owned()) } else { Ok(size) }
}

pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    let time: Duration = text.parse().map_err(|error: humantime::DurationError| error.to_string())?;
    if milliseconds(time) == 0 { Err("it must be at least 1ms".to_owned()) } else { Ok(time) }
}
