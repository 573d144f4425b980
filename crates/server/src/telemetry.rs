//! Logs on standard error: text for people or JSON for machines.
//!
//! A thread of its own writes them. Whoever reads standard error may be slow, stop or go away: lines that find no room in
//! the queue are lost and counted, and nothing else happens.

use std::io::{self, IsTerminal};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, fmt};

use crate::settings::{LogFormat, Settings};

/// The number of lines that wait to be written at most.
const LINES_MAX: usize = 8_192;

/// The log, which is written until this is dropped.
pub(crate) struct Log {
    /// Counts the lines that were lost.
    pub(crate) lost: ErrorCounter,
    _writer: WorkerGuard,
}

/// Starts logging with `defaults`, the adapter's filter, and then `--log`, whose directives win.
///
/// A filter that can't be parsed together with `defaults` is replaced by `info`.
pub(crate) fn start(settings: &Settings, defaults: &str) -> Log {
    let filter =
        EnvFilter::try_new(format!("{defaults},{}", settings.log)).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX);
    let (writer, guard) = builder.thread_name("log").finish(io::stderr());
    let log = Log { lost: writer.error_counter(), _writer: guard };
    // People who read a file don't want codes for colours, and some don't want them on a terminal (no-color.org).
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let builder =
        fmt().with_env_filter(filter).with_ansi(io::stderr().is_terminal() && !is_plain).with_writer(writer);
    let started = match settings.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    // It fails only if a subscriber is installed already, which then stays.
    drop(started);
    log
}
