//! Logs: lines for people or JSON for machines, on standard error.

use tracing_subscriber::{EnvFilter, fmt};

use crate::settings::{LogFormat, Settings};

/// Starts logging; a filter that can't be parsed becomes `info`. Of two directives for one target the later counts.
pub(crate) fn start(settings: &Settings, defaults: &str) {
    let filter =
        EnvFilter::try_new(format!("{defaults},{}", settings.log)).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match settings.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    // Only an embedding program could have started it already, and then its choice stands.
    drop(started);
}
