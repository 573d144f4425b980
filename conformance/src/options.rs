//! The command line: the server under test, what is known about its settings, and the harness's own options.

use std::net::IpAddr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Parser;

/// Headwater's conformance suite.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Base URL of the server under test, with the base path of its streams. Its webhooks must be allowed to go to this
    /// machine (`--webhook-allow-localhost`), and it must trust a proxy (`--trusted-proxies 127.0.0.2`).
    #[arg(long, default_value = "http://127.0.0.1:4437/v1/stream")]
    pub(crate) url: String,

    /// First part of every case's name.
    #[arg(long, default_value = "server")]
    pub(crate) target: String,

    /// The duration of a long-poll on the server under test.
    #[arg(long, default_value = "600ms", value_parser = humantime::parse_duration)]
    pub(crate) long_poll_timeout: Duration,

    /// The chunk size of the server under test.
    #[arg(long, default_value = "64KiB", value_parser = parse_size)]
    pub(crate) chunk_size: usize,

    /// The largest request body that the server under test takes.
    #[arg(long, default_value = "16MiB", value_parser = parse_size)]
    pub(crate) body_max: usize,

    /// The header timeout of the server under test.
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    pub(crate) header_timeout: Duration,

    /// The idle timeout of the server under test.
    #[arg(long, default_value = "6s", value_parser = humantime::parse_duration)]
    pub(crate) idle_timeout: Duration,

    /// An address of this machine that the server under test trusts as a proxy.
    #[arg(long, default_value = "127.0.0.2")]
    pub(crate) trusted_proxy: IpAddr,

    /// List the cases with the place that each rule comes from, and run none.
    #[arg(long)]
    pub(crate) sources: bool,

    /// The options of `libtest-mimic`.
    #[command(flatten)]
    pub(crate) harness: libtest_mimic::Arguments,
}

/// `64KiB`, `16MiB`, or a number of bytes.
fn parse_size(text: &str) -> Result<usize, String> {
    let size: ByteSize = text.parse()?;
    usize::try_from(size.as_u64()).map_err(|error| error.to_string())
}
