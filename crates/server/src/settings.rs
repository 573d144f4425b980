//! Settings: flags, then environment, then a TOML file, then defaults. `docs/configuration.md` is made from here.

mod subscriptions;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use anyhow::Context;
use bytesize::ByteSize;
use clap::{Args, Command, CommandFactory, FromArgMatches, Parser, ValueEnum};
use headwater_protocol::{
    cache::{CachePolicy, Visibility},
    cross_origin::Origins,
    cursor::{CursorMode, CursorPolicy},
    op::read::ReadPolicies,
    path::BasePath,
};
use headwater_service::config::{Config, Connections};
use http::HeaderValue;
use humantime::Duration;

pub use subscriptions::Subscriptions;

/// Where streams are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// On disk: what was acknowledged survives crashes and power cuts.
    Rocksdb,
    /// In memory: gone with the process.
    Mem,
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What a cursor counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CursorKind {
    /// Milliseconds of the stream's last change: all readers of an event share one next key.
    Event,
    /// Intervals, as section 10.1 of the protocol spells it.
    Interval,
}

/// Which caches may keep streams that don't say it themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VisibilityKind {
    /// All.
    Public,
    /// Only the reader's own.
    Private,
}

/// A Durable Streams origin server.
#[derive(Clone, Debug, Parser)]
#[command(version, about, max_term_width = 110, next_line_help = true)]
pub struct Settings {
    /// A TOML file with the same names as the flags below, such as `chunk-size = "1MiB"`.
    #[arg(long, env = "HEADWATER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The address to listen on. HTTP/1.1, and HTTP/2 with prior knowledge, on one port; TLS is the edge's.
    #[arg(long, env = "HEADWATER_LISTEN", default_value = "127.0.0.1:4437", value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// The path that all streams live below.
    #[arg(long, env = "HEADWATER_BASE_PATH", default_value = "/v1/stream", value_name = "PATH", value_parser = base_path)]
    pub base_path: BasePath,

    /// Where streams are kept.
    #[arg(long, env = "HEADWATER_STORE", default_value = "rocksdb")]
    pub store: StoreKind,

    /// The folder of the store on disk; made if it doesn't exist. One process at a time.
    #[arg(long, env = "HEADWATER_DATA_DIR", default_value = "./data", value_name = "FOLDER")]
    pub data_dir: PathBuf,

    /// How much memory the store on disk takes: 160MiB for what is on its way to RocksDB, the rest for its blocks.
    #[arg(long, env = "HEADWATER_STORE_MEMORY", default_value = "256MiB", value_name = "BYTES", value_parser = store_memory)]
    pub store_memory: ByteSize,

    /// How much a store in memory holds: bytes of streams and 512 for each stream and producer. Beyond it: 507.
    #[arg(long, env = "HEADWATER_MEM_MAX", default_value = "1GiB", value_name = "BYTES")]
    pub mem_max: ByteSize,

    #[command(flatten)]
    #[expect(missing_docs, reason = "flattened")]
    pub reading: Reading,

    #[command(flatten)]
    #[expect(missing_docs, reason = "flattened")]
    pub caching: Caching,

    #[command(flatten)]
    #[expect(missing_docs, reason = "flattened")]
    pub bounds: Bounds,

    #[command(flatten)]
    #[expect(missing_docs, reason = "flattened")]
    pub subscriptions: Subscriptions,

    /// Sites whose pages may use the streams, separated by commas; `*` for all.
    #[arg(
        long,
        env = "HEADWATER_CORS_ORIGINS",
        default_value = "*",
        value_name = "ORIGINS",
        value_delimiter = ','
    )]
    pub cors_origins: Vec<String>,

    /// What to log: a level, or a filter such as `info,headwater_service=debug`.
    #[arg(long, env = "HEADWATER_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,

    /// How logs look.
    #[arg(long, env = "HEADWATER_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// How long what was begun may take after SIGTERM.
    #[arg(long, env = "HEADWATER_SHUTDOWN_GRACE", default_value = "10s", value_name = "DURATION")]
    pub shutdown_grace: Duration,
}

/// How reads are answered.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Reading")]
pub struct Reading {
    /// Catch-up answers end at the first append at or after a multiple of this.
    #[arg(long, env = "HEADWATER_CHUNK_SIZE", default_value = "1MiB", value_name = "BYTES", value_parser = some_bytes)]
    pub chunk_size: ByteSize,

    /// Memory for chunks that were read.
    #[arg(long, env = "HEADWATER_CHUNK_CACHE", default_value = "128MiB", value_name = "BYTES")]
    pub chunk_cache: ByteSize,

    /// Memory for events that were encoded.
    #[arg(long, env = "HEADWATER_EVENT_CACHE", default_value = "16MiB", value_name = "BYTES")]
    pub event_cache: ByteSize,

    /// How long a long-poll waits; shorter than what proxies on the way allow.
    #[arg(long, env = "HEADWATER_LONG_POLL_TIMEOUT", default_value = "20s", value_name = "DURATION")]
    pub long_poll_timeout: Duration,

    /// How long an event stream lasts at most; it lasts at least five sixths of it.
    #[arg(long, env = "HEADWATER_SSE_LIFETIME", default_value = "60s", value_name = "DURATION")]
    pub sse_lifetime: Duration,

    /// How long an event stream may be silent before it gets a comment.
    #[arg(long, env = "HEADWATER_SSE_HEARTBEAT", default_value = "15s", value_name = "DURATION", value_parser = some_time)]
    pub sse_heartbeat: Duration,
}

/// What caches are told. `docs/ARCHITECTURE.md` has the table that these fill in.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Caching")]
pub struct Caching {
    /// Which caches may keep streams that don't say it themselves (`Stream-Visibility` at creation).
    #[arg(long, env = "HEADWATER_VISIBILITY", default_value = "public")]
    pub visibility: VisibilityKind,

    /// How long a chunk is fresh, and the tail of a closed stream.
    #[arg(long, env = "HEADWATER_CACHE_CHUNK", default_value = "60s", value_name = "DURATION")]
    pub cache_chunk: Duration,

    /// How long after that a cache may give it out while it asks again.
    #[arg(long, env = "HEADWATER_CACHE_CHUNK_STALE", default_value = "300s", value_name = "DURATION")]
    pub cache_chunk_stale: Duration,

    /// Gives chunks a year and `immutable` instead, where their URL names the stream's life.
    #[arg(long, env = "HEADWATER_CACHE_IMMUTABLE")]
    pub cache_immutable: bool,

    /// How long "this is the tail" is fresh.
    #[arg(long, env = "HEADWATER_CACHE_TAIL", default_value = "1s", value_name = "DURATION")]
    pub cache_tail: Duration,

    /// How long a long-poll's data is fresh.
    #[arg(long, env = "HEADWATER_CACHE_LONG_POLL", default_value = "5s", value_name = "DURATION")]
    pub cache_long_poll: Duration,

    /// How long a long-poll's 204 is fresh; `0s` makes it `no-store`.
    #[arg(long, env = "HEADWATER_CACHE_LONG_POLL_TIMEOUT", default_value = "1s", value_name = "DURATION")]
    pub cache_long_poll_timeout: Duration,

    /// Lets a cache that collapses requests share one event stream among readers, for so long at most; all of them
    /// then end together, at multiples of `--sse-lifetime` on the clock. `0s`: caches pass event streams on.
    #[arg(long, env = "HEADWATER_CACHE_SSE", default_value = "0s", value_name = "DURATION")]
    pub cache_sse: Duration,

    /// What a cursor counts.
    #[arg(long, env = "HEADWATER_CURSOR", default_value = "event")]
    pub cursor: CursorKind,

    /// The step of the cursor's coarse clock.
    #[arg(long, env = "HEADWATER_CURSOR_INTERVAL", default_value = "20s", value_name = "DURATION", value_parser = some_time)]
    pub cursor_interval: Duration,
}

/// What the server bounds. Beyond a bound: a clear refusal.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Bounds")]
pub struct Bounds {
    /// The largest request body. Beyond it: 413.
    #[arg(long, env = "HEADWATER_BODY_MAX", default_value = "16MiB", value_name = "BYTES")]
    pub body_max: ByteSize,

    /// All request bodies that are being received together. Beyond it: 503.
    #[arg(long, env = "HEADWATER_BODIES_MAX", default_value = "256MiB", value_name = "BYTES")]
    pub bodies_max: ByteSize,

    /// The longest pause in a request body. Beyond it: 408.
    #[arg(long, env = "HEADWATER_BODY_TIMEOUT", default_value = "30s", value_name = "DURATION")]
    pub body_timeout: Duration,

    /// Long-polls and event streams at a time. Beyond it: 503.
    #[arg(long, env = "HEADWATER_LIVE_MAX", default_value_t = 100_000, value_name = "READERS")]
    pub live_max: usize,

    /// Streams whose heads are in memory. Unused ones leave; if all are in use: 503.
    #[arg(long, env = "HEADWATER_OPEN_STREAMS_MAX", default_value_t = 1_000_000, value_name = "STREAMS")]
    pub open_streams_max: usize,

    /// How long an unused stream's head stays in memory.
    #[arg(long, env = "HEADWATER_IDLE_STREAM", default_value = "60s", value_name = "DURATION")]
    pub idle_stream: Duration,

    /// Connections at a time; the next one waits.
    #[arg(long, env = "HEADWATER_CONNECTIONS_MAX", default_value_t = 65_536, value_name = "CONNECTIONS")]
    pub connections_max: usize,

    /// How long a connection may take to send a request head, idle time included: longer than proxies keep idle
    /// connections.
    #[arg(long, env = "HEADWATER_HEADER_TIMEOUT", default_value = "75s", value_name = "DURATION")]
    pub header_timeout: Duration,

    /// The largest request head. Beyond it: 431.
    #[arg(long, env = "HEADWATER_HEADER_MAX", default_value = "32KiB", value_name = "BYTES", value_parser = header_bytes)]
    pub header_max: ByteSize,

    /// The most header lines in a request. Beyond it: 431.
    #[arg(long, env = "HEADWATER_HEADERS_MAX", default_value_t = 100, value_name = "LINES")]
    pub headers_max: usize,

    /// Requests at a time on one HTTP/2 connection.
    #[arg(long, env = "HEADWATER_HTTP2_STREAMS_MAX", default_value_t = 256, value_name = "REQUESTS")]
    pub http2_streams_max: u32,
}

/// Why there are no settings.
#[derive(Debug)]
pub enum LoadError {
    /// A flag or variable is wrong, or help was asked for.
    Usage(clap::Error),
    /// The file is wrong.
    File(anyhow::Error),
}

/// Reads the settings of this process.
///
/// # Errors
/// [`LoadError`].
pub fn load(program: &'static str) -> Result<Settings, LoadError> {
    load_from(program, &std::env::args_os().collect::<Vec<_>>())
}

fn load_from(program: &'static str, arguments: &[OsString]) -> Result<Settings, LoadError> {
    let parse = |command: Command| {
        let matches = command.try_get_matches_from(arguments).map_err(LoadError::Usage)?;
        Settings::from_arg_matches(&matches).map_err(LoadError::Usage)
    };
    let command = Settings::command().name(program);
    let settings = parse(command.clone())?;
    let Some(path) = &settings.config else { return Ok(settings) };
    // What the file says becomes the defaults, so that one parser checks every value wherever it comes from.
    let text = std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()));
    let command = text
        .and_then(|text| with_defaults(command, &text).with_context(|| format!("in {}", path.display())))
        .map_err(LoadError::File)?;
    parse(command)
}

fn with_defaults(mut command: Command, text: &str) -> anyhow::Result<Command> {
    let table: toml::Table = text.parse().context("it is not TOML")?;
    for (key, value) in table {
        let known = command.get_arguments().find(|argument| argument.get_long() == Some(&key));
        let Some(id) = known.map(|argument| argument.get_id().clone()).filter(|id| id.as_str() != "config")
        else {
            anyhow::bail!("there is no setting named {key}; see --help");
        };
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            toml::Value::Array(items) => {
                let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
                texts.with_context(|| format!("{key} is not a list of texts"))?.join(",")
            }
            other => anyhow::bail!("{key} can't be a {}", other.type_str()),
        };
        command = command.mut_arg(id, |argument| argument.default_value(value));
    }
    Ok(command)
}

impl Settings {
    /// The settings as the service needs them.
    ///
    /// # Errors
    /// When an origin isn't a header value.
    pub fn service(&self) -> anyhow::Result<Config> {
        let Self { reading, caching, bounds, .. } = self;
        Ok(Config {
            base_path: self.base_path.clone(),
            policies: ReadPolicies {
                cache: CachePolicy {
                    visibility: match caching.visibility {
                        VisibilityKind::Public => Visibility::Public,
                        VisibilityKind::Private => Visibility::Private,
                    },
                    chunk_max_age_s: caching.cache_chunk.as_secs(),
                    chunk_stale_while_revalidate_s: caching.cache_chunk_stale.as_secs(),
                    chunk_immutable: caching.cache_immutable,
                    tail_max_age_s: caching.cache_tail.as_secs(),
                    long_poll_max_age_s: caching.cache_long_poll.as_secs(),
                    long_poll_timeout_max_age_s: caching.cache_long_poll_timeout.as_secs(),
                    event_stream_max_age_s: Some(caching.cache_sse.as_secs()).filter(|&age_s| age_s > 0),
                },
                cursor: CursorPolicy {
                    mode: match caching.cursor {
                        CursorKind::Event => CursorMode::Event,
                        CursorKind::Interval => CursorMode::Interval,
                    },
                    interval_ms: milliseconds(caching.cursor_interval),
                },
            },
            origins: origins(&self.cors_origins)?,
            body_bytes_max: bounds.body_max.as_u64(),
            bodies_bytes_max: bounds.bodies_max.as_u64(),
            body_timeout_ms: milliseconds(bounds.body_timeout),
            chunk_bytes: reading.chunk_size.as_u64(),
            chunk_cache_bytes: reading.chunk_cache.as_u64(),
            event_cache_bytes: reading.event_cache.as_u64(),
            long_poll_timeout_ms: milliseconds(reading.long_poll_timeout),
            sse_lifetime_ms: milliseconds(reading.sse_lifetime),
            sse_heartbeat_ms: milliseconds(reading.sse_heartbeat),
            live_readers_max: bounds.live_max,
            open_streams_max: bounds.open_streams_max,
            idle_stream_ms: milliseconds(bounds.idle_stream),
            subscriptions: self.subscriptions.service(),
        })
    }

    /// Memory for blocks of RocksDB, in bytes.
    #[must_use]
    pub fn rocksdb_cache_bytes(&self) -> usize {
        usize::try_from(self.store_memory.as_u64().saturating_sub(IN_FLIGHT.as_u64())).unwrap_or(usize::MAX)
    }

    /// The settings as an adapter needs them.
    #[must_use]
    pub fn connections(&self) -> Connections {
        let bounds = &self.bounds;
        Connections {
            connections_max: bounds.connections_max,
            header_timeout_ms: milliseconds(bounds.header_timeout),
            header_bytes_max: usize::try_from(bounds.header_max.as_u64()).unwrap_or(usize::MAX),
            headers_max: bounds.headers_max,
            http2_streams_max: bounds.http2_streams_max,
            drain_ms: milliseconds(self.shutdown_grace),
        }
    }
}

/// What the store on disk takes besides its blocks: four slots of the commit log in memory with what belongs to them,
/// and the one that is being written to RocksDB twice more.
const IN_FLIGHT: ByteSize = ByteSize::mib(160);

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn origins(texts: &[String]) -> anyhow::Result<Origins> {
    if texts.iter().any(|text| text == "*") {
        return Ok(Origins::Any);
    }
    let values = texts.iter().map(|text| {
        HeaderValue::from_str(text.trim())
            .with_context(|| format!("--cors-origins: {text:?} is not an origin"))
    });
    Ok(Origins::Only(values.collect::<anyhow::Result<_>>()?))
}

fn base_path(text: &str) -> Result<BasePath, String> {
    BasePath::parse(text)
        .ok_or_else(|| "a path such as /v1/stream, of letters, digits, -, ., _ and ~".to_owned())
}

fn some_bytes(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    if size.as_u64() == 0 { Err("it must be more than 0".to_owned()) } else { Ok(size) }
}

fn store_memory(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    if size < ByteSize::mib(192) { Err("it must be at least 192MiB".to_owned()) } else { Ok(size) }
}

fn header_bytes(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    if size < ByteSize::kib(8) { Err("it must be at least 8KiB".to_owned()) } else { Ok(size) }
}

fn some_time(text: &str) -> Result<Duration, String> {
    let time: Duration = text.parse().map_err(|error: humantime::DurationError| error.to_string())?;
    if time.is_zero() { Err("it must be more than 0s".to_owned()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn loaded(arguments: &[&str]) -> Result<Settings, LoadError> {
        let arguments = std::iter::once("server").chain(arguments.iter().copied()).map(OsString::from);
        load_from("server", &arguments.collect::<Vec<_>>())
    }

    fn parsed(text: &str, arguments: &[&str]) -> anyhow::Result<Settings> {
        let command = with_defaults(Settings::command(), text)?;
        let matches = command.try_get_matches_from(std::iter::once(&"server").chain(arguments))?;
        Ok(Settings::from_arg_matches(&matches)?)
    }

    #[test]
    fn the_defaults_are_those_of_the_crates_below() {
        let settings = loaded(&[]).unwrap();
        assert_eq!(format!("{:?}", settings.service().unwrap()), format!("{:?}", Config::default()));
        assert_eq!(format!("{:?}", settings.connections()), format!("{:?}", Connections::default()));
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = "chunk-size = \"2MiB\"\nlive-max = 7\ncache-immutable = true\ncors-origins = [\"https://a.example\", \"https://b.example\"]";
        let settings = parsed(file, &["--live-max", "9"]).unwrap();
        assert_eq!(settings.reading.chunk_size, ByteSize::mib(2));
        assert_eq!(settings.bounds.live_max, 9);
        assert!(settings.caching.cache_immutable);
        assert_eq!(settings.cors_origins.len(), 2);
        assert_eq!(settings.listen.port(), 4437);
    }

    #[test]
    fn what_is_wrong_in_the_file_is_named() {
        for (file, named) in [
            ("chunksize = 1", "chunksize"),
            ("config = \"x\"", "config"),
            ("live-max = \"many\"", "live-max"),
            ("listen = { a = 1 }", "listen"),
            ("chunk-size = \"0\"", "chunk-size"),
            ("not toml", "TOML"),
        ] {
            let error = parsed(file, &[]).unwrap_err();
            assert!(format!("{error:#}").contains(named), "{file}: {error:#}");
        }
        let missing = loaded(&["--config", "/nowhere/at/all.toml"]).unwrap_err();
        assert!(
            matches!(missing, LoadError::File(error) if error.to_string().contains("/nowhere/at/all.toml"))
        );
    }

    #[test]
    fn bad_flags_are_refused() {
        for arguments in [
            &["--chunk-size", "0"][..],
            &["--cursor-interval", "0s"],
            &["--sse-heartbeat", "0s"],
            &["--base-path", "v1"],
            &["--header-max", "1KiB"],
            &["--store", "paper"],
            &["--store-memory", "64MiB"],
            &["--long-poll-timeout", "soon"],
            &["--webhook-timeout", "0s"],
            &["--public-url", "streams.example"],
            &["--public-url", "https://streams.example/v1"],
        ] {
            assert!(matches!(loaded(arguments), Err(LoadError::Usage(_))), "{arguments:?}");
        }
    }

    /// `HEADWATER_UPDATE_DOCS=1 cargo test -p headwater-server` writes the page anew.
    #[test]
    fn the_configuration_page_is_what_help_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let page = reference();
        if std::env::var_os("HEADWATER_UPDATE_DOCS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            written, page,
            "docs/configuration.md is out of date: HEADWATER_UPDATE_DOCS=1 cargo test -p headwater-server"
        );
    }

    fn reference() -> String {
        let mut page = String::from(
            "# Configuration\n\nEvery setting is a flag, an environment variable and a key of the TOML file that `--config` names.\n\
             A flag wins over a variable, a variable over the file, the file over the default. This page is made from\n\
             `--help`; sizes are such as `64KiB` or `1MiB`, durations such as `600ms`, `20s` or `5m`.\n\n\
             ```toml\n# headwater.toml\nlisten = \"0.0.0.0:4437\"\nlong-poll-timeout = \"15s\"\nbody-max = \"4MiB\"\n\
             cors-origins = [\"https://app.example\"]\n```\n",
        );
        let mut heading = "";
        let command = Settings::command();
        let mut arguments: Vec<_> = command.get_arguments().collect();
        arguments.sort_by_key(|argument| argument.get_help_heading().is_some());
        for argument in arguments {
            let group = argument.get_help_heading().unwrap_or("Server");
            if group != heading {
                heading = group;
                write!(page, "\n## {heading}\n\n| flag and key | variable | default | meaning |\n| --- | --- | --- | --- |\n").unwrap();
            }
            let defaults: Vec<_> =
                argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            let choices: Vec<_> = argument
                .get_possible_values()
                .iter()
                .map(|value| format!("`{}`", value.get_name()))
                .collect();
            let flag = argument.get_long().unwrap_or_default();
            let takes = match choices.as_slice() {
                [_, ..] if argument.get_action().takes_values() => format!(" One of {}.", choices.join(", ")),
                _ => String::new(),
            };
            writeln!(
                page,
                "| `--{flag}` | `{}` | {} | {}{takes} |",
                argument.get_env().unwrap_or_default().to_string_lossy(),
                if defaults.is_empty() { "–".to_owned() } else { format!("`{}`", defaults.join(",")) },
                argument.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|"),
            )
            .unwrap();
        }
        page
    }
}
