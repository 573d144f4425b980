//! The command line: the server under test, what is known about its settings, and the harness's own options.

use std::time::Duration;

use clap::Parser;

/// Headwater's conformance suite.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Base URL of the server under test, with the base path of its streams. Its webhooks must be allowed to go to this
    /// machine (`--webhook-allow-localhost`).
    #[arg(long, default_value = "http://127.0.0.1:4437/v1/stream")]
    pub(crate) url: String,

    /// First part of every case's name.
    #[arg(long, default_value = "server")]
    pub(crate) target: String,

    /// How long the server under test holds a long-poll.
    #[arg(long, default_value = "600ms", value_parser = parse_duration)]
    pub(crate) long_poll_timeout: Duration,

    /// The chunk size of the server under test.
    #[arg(long, default_value = "64KiB", value_parser = parse_size)]
    pub(crate) chunk_size: usize,

    /// The largest request body that the server under test takes.
    #[arg(long, default_value = "16MiB", value_parser = parse_size)]
    pub(crate) body_max: usize,

    /// How long the server under test waits for the head of a request.
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    pub(crate) header_timeout: Duration,

    /// List the cases with the place that each rule comes from, and run none.
    #[arg(long)]
    pub(crate) sources: bool,

    /// What `libtest-mimic` understands.
    #[command(flatten)]
    pub(crate) harness: libtest_mimic::Arguments,
}

/// `600ms` or `2s`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = number_and_unit(text)?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err(format!("{text:?} has neither the unit ms nor s")),
    }
}

/// `64KiB`, `16MiB`, or a number of bytes.
fn parse_size(text: &str) -> Result<usize, String> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return Err(format!("{text:?} has none of the units B, KiB and MiB")),
    };
    number
        .checked_mul(factor)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| format!("{text:?} is too large"))
}

fn number_and_unit(text: &str) -> Result<(u64, &str), String> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..end].parse().map_err(|_| format!("{text:?} does not begin with a number"))?;
    Ok((number, &text[end..]))
}
