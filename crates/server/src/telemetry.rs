//! Logs on standard error: text for people or JSON for machines.

use tracing_subscriber::{EnvFilter, fmt};

use crate::settings::{LogFormat, Settings};

/// Starts logging with `defaults`, the adapter's filter, and then `--log`, whose directives win.
///
/// A filter that can't be parsed is replaced by `info`.
pub(crate) fn start(settings: &Settings, defaults: &str) {
    let filter =
        EnvFilter::try_new(format!("{defaults},{}", settings.log)).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match settings.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    // It fails only if a subscriber is installed already, which then stays.
    drop(started);
}
