//! Settings: flags, then environment variables, then a TOML file, then defaults.
//!
//! Doc comments of fields are the texts of `--help`; a test generates `docs/configuration.md` from them.

mod subscriptions;
mod values;

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use anyhow::{Context, bail};
use bytesize::ByteSize;
use clap::{
    Args, Command, CommandFactory, FromArgMatches, Parser, ValueEnum,
    builder::{BoolishValueParser, Resettable},
};
use headwater_listener::Connections;
use headwater_protocol::{
    cache::Visibility, cross_origin::Origins, cursor::CursorMode, op::read::ReadPolicies, path::BasePath,
};
use headwater_service::config::Config;
use http::HeaderValue;
use humantime::Duration;
use ipnet::IpNet;

use subscriptions::Subscriptions;
use values::{
    Choice, address, base_path, cors_origin, count, folder, header_bytes, log_filter, mem_max, one_of,
    responses, seconds, some_bytes, some_time, store_memory, trusted_proxy,
};

/// The kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    /// On disk: acknowledged writes survive crashes and power cuts.
    Rocksdb,
    /// In memory: everything is lost when the process ends.
    Mem,
}

/// What `%2F` in the name of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EscapedSlashes {
    /// A slash between two segments.
    Accept,
    /// An error, 400.
    Refuse,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

const VISIBILITIES: &[Choice<Visibility>] = &[
    Choice { name: "public", help: "Any cache", value: Visibility::Public },
    Choice { name: "private", help: "Only the cache of the reader itself", value: Visibility::Private },
];

const CURSOR_MODES: &[Choice<CursorMode>] = &[
    Choice {
        name: "event",
        help: "From the time of the stream's last change: all readers of an event share the next cache key",
        value: CursorMode::Event,
    },
    Choice {
        name: "interval",
        help: "From time intervals, as section 10.1 of the protocol describes",
        value: CursorMode::Interval,
    },
];

/// A Durable Streams origin server.
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 110, next_line_help = true)]
pub(crate) struct Settings {
    /// TOML file with settings. Its keys are the names of the flags below, such as `chunk-size = "1MiB"`.
    #[arg(long, env = "HEADWATER_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Host and port to listen on, such as `127.0.0.1:4437`, `localhost:4437` or `[::1]:4437`; `:4437` is every address of this
    /// machine. Several are separated by commas, or given one by one. Each port serves HTTP/1.1 and HTTP/2 with prior
    /// knowledge; terminate TLS in front of it.
    #[arg(long, env = "HEADWATER_LISTEN", default_value = "127.0.0.1:4437", value_name = "ADDRESS", value_delimiter = ',', value_parser = address)]
    pub(crate) listen: Vec<String>,

    /// Path prefix of all streams.
    #[arg(long, env = "HEADWATER_BASE_PATH", default_value = "/v1/stream", value_name = "PATH", value_parser = base_path)]
    pub(crate) base_path: BasePath,

    /// What `%2F` in the name of a stream is: `accept` takes it for a slash, `refuse` answers 400. Refuse it if something in
    /// front of the server judges paths without decoding them.
    #[arg(long, env = "HEADWATER_ESCAPED_SLASHES", default_value = "accept", value_name = "WHAT")]
    pub(crate) escaped_slashes: EscapedSlashes,

    /// Proxies that may say how clients reach the server, separated by commas: addresses, and networks such as
    /// `10.0.0.0/8`. From them the first element of `Forwarded`, `X-Forwarded-Proto` and `X-Forwarded-Host` is the scheme
    /// and the host of `Location` and of callback URLs. From others these headers are ignored.
    #[arg(long, env = "HEADWATER_TRUSTED_PROXIES", value_name = "NETWORKS", value_delimiter = ',', value_parser = trusted_proxy)]
    pub(crate) trusted_proxies: Vec<IpNet>,

    /// Where streams are stored.
    #[arg(long, env = "HEADWATER_STORE", default_value = "rocksdb")]
    pub(crate) store: StoreKind,

    /// Directory of the store on disk, created if it doesn't exist. Only one process at a time can use it.
    #[arg(long, env = "HEADWATER_DATA_DIR", default_value = "./data", value_name = "FOLDER", value_parser = folder)]
    pub(crate) data_dir: PathBuf,

    /// Memory for the store on disk, in bytes, at least 192MiB: 160MiB hold data on its way to RocksDB, the rest is
    /// RocksDB's block cache.
    #[arg(long, env = "HEADWATER_STORE_MEMORY", default_value = "256MiB", value_name = "BYTES", value_parser = store_memory)]
    pub(crate) store_memory: ByteSize,

    /// Capacity of the store in memory, in bytes: of all that it takes, within a quarter. When it is full, requests are
    /// refused with 507.
    #[arg(long, env = "HEADWATER_MEM_MAX", default_value = "1GiB", value_name = "BYTES", value_parser = mem_max)]
    pub(crate) mem_max: ByteSize,

    /// Origins whose web pages may use the streams, separated by commas; `*` allows every origin.
    #[arg(
        long,
        env = "HEADWATER_CORS_ORIGINS",
        default_value = "*",
        value_name = "ORIGINS",
        value_delimiter = ',',
        value_parser = cors_origin
    )]
    pub(crate) cors_origins: Vec<String>,

    /// Log level, or a filter such as `info,headwater_service=debug`.
    #[arg(long, env = "HEADWATER_LOG", default_value = "info", value_name = "FILTER", value_parser = log_filter)]
    pub(crate) log: String,

    /// Format of log lines.
    #[arg(long, env = "HEADWATER_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,

    /// How long requests in progress may take to complete after SIGTERM or SIGINT.
    #[arg(long, env = "HEADWATER_SHUTDOWN_GRACE", default_value = "10s", value_name = "DURATION")]
    pub(crate) shutdown_grace: Duration,

    // Groups come last: the heading of a flattened group also applies to the fields after it.
    #[command(flatten)]
    pub(crate) reading: Reading,
    #[command(flatten)]
    pub(crate) caching: Caching,
    #[command(flatten)]
    pub(crate) bounds: Bounds,
    #[command(flatten)]
    pub(crate) subscriptions: Subscriptions,
}

/// Settings of reads.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Reading")]
pub(crate) struct Reading {
    /// Chunk size, in bytes: a catch-up response ends at the first append that ends at or after a multiple of it.
    #[arg(long, env = "HEADWATER_CHUNK_SIZE", default_value = "1MiB", value_name = "BYTES", value_parser = some_bytes)]
    pub(crate) chunk_size: ByteSize,

    /// Memory for the cache of chunks, in bytes.
    #[arg(long, env = "HEADWATER_CHUNK_CACHE", default_value = "128MiB", value_name = "BYTES")]
    pub(crate) chunk_cache: ByteSize,

    /// Memory for the cache of encoded server-sent events, in bytes.
    #[arg(long, env = "HEADWATER_EVENT_CACHE", default_value = "16MiB", value_name = "BYTES")]
    pub(crate) event_cache: ByteSize,

    /// How long a long-poll waits for data. Keep it below the response timeout of proxies in front of the server.
    #[arg(long, env = "HEADWATER_LONG_POLL_TIMEOUT", default_value = "20s", value_name = "DURATION", value_parser = some_time)]
    pub(crate) long_poll_timeout: Duration,

    /// Maximum lifetime of an event stream (SSE). Each one ends at a different point in the last sixth of it.
    #[arg(long, env = "HEADWATER_SSE_LIFETIME", default_value = "60s", value_name = "DURATION", value_parser = some_time)]
    pub(crate) sse_lifetime: Duration,

    /// Gives the events of JSON streams that follow the State Protocol (`headers.operation` or `headers.control`) the offset after
    /// their append, as `headers.offset`. Clients that point at single events need it. It is the one thing that makes a message
    /// other than it was sent. It needs a `--responses-max` of eleven times `--body-max` and `--chunk-size` together.
    #[arg(long, env = "HEADWATER_STATE_OFFSETS", value_parser = BoolishValueParser::new())]
    pub(crate) state_offsets: bool,

    /// How long an event stream may be silent before the server sends a comment as a heartbeat.
    #[arg(long, env = "HEADWATER_SSE_HEARTBEAT", default_value = "15s", value_name = "DURATION", value_parser = some_time)]
    pub(crate) sse_heartbeat: Duration,
}

/// Settings of `Cache-Control` and of cursors. `docs/ARCHITECTURE.md` has the table that these fill in.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Caching")]
pub(crate) struct Caching {
    /// Which caches may store a stream that was created without `Stream-Visibility`.
    #[arg(long, env = "HEADWATER_VISIBILITY", default_value = "public", value_parser = one_of(VISIBILITIES))]
    pub(crate) visibility: Visibility,

    /// `max-age` of a chunk, and of the tail of a closed stream.
    #[arg(long, env = "HEADWATER_CACHE_CHUNK", default_value = "60s", value_name = "DURATION", value_parser = seconds)]
    pub(crate) cache_chunk: Duration,

    /// `stale-while-revalidate` of a chunk, and of the tail of a closed stream.
    #[arg(long, env = "HEADWATER_CACHE_CHUNK_STALE", default_value = "300s", value_name = "DURATION", value_parser = seconds)]
    pub(crate) cache_chunk_stale: Duration,

    /// Sends chunks with a `max-age` of a year and `immutable` instead, if their URL contains the stream's
    /// incarnation.
    #[arg(long, env = "HEADWATER_CACHE_IMMUTABLE", value_parser = BoolishValueParser::new())]
    pub(crate) cache_immutable: bool,

    /// `max-age` of a response that ends at the tail of an open stream.
    #[arg(long, env = "HEADWATER_CACHE_TAIL", default_value = "1s", value_name = "DURATION", value_parser = seconds)]
    pub(crate) cache_tail: Duration,

    /// `max-age` of a long-poll response with data.
    #[arg(long, env = "HEADWATER_CACHE_LONG_POLL", default_value = "5s", value_name = "DURATION", value_parser = seconds)]
    pub(crate) cache_long_poll: Duration,

    /// `max-age` of a long-poll response without data (204); with `0s` it is `no-store`.
    #[arg(long, env = "HEADWATER_CACHE_LONG_POLL_TIMEOUT", default_value = "1s", value_name = "DURATION", value_parser = seconds)]
    pub(crate) cache_long_poll_timeout: Duration,

    /// `max-age` of an event stream, so that a cache that collapses requests can share one among readers. All of them
    /// then end together, at multiples of `--sse-lifetime` on the clock. With `0s` caches pass event streams through.
    #[arg(long, env = "HEADWATER_CACHE_SSE", default_value = "0s", value_name = "DURATION", value_parser = seconds)]
    pub(crate) cache_sse: Duration,

    /// How cursors are computed.
    #[arg(long, env = "HEADWATER_CURSOR", default_value = "event", value_parser = one_of(CURSOR_MODES))]
    pub(crate) cursor: CursorMode,

    /// Length of a cursor interval.
    #[arg(long, env = "HEADWATER_CURSOR_INTERVAL", default_value = "20s", value_name = "DURATION", value_parser = some_time)]
    pub(crate) cursor_interval: Duration,
}

/// Limits on what clients can make the server hold.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Bounds")]
pub(crate) struct Bounds {
    /// Largest request body, in bytes. Larger ones are refused with 413.
    #[arg(long, env = "HEADWATER_BODY_MAX", default_value = "16MiB", value_name = "BYTES", value_parser = some_bytes)]
    pub(crate) body_max: ByteSize,

    /// Memory for all request bodies, in bytes, at least twice `--body-max`: while they are received, and until what they
    /// ask for is durable. A JSON body counts twice while it is split. Beyond it, requests are refused with 503.
    #[arg(long, env = "HEADWATER_BODIES_MAX", default_value = "256MiB", value_name = "BYTES")]
    pub(crate) bodies_max: ByteSize,

    /// Longest pause within a request body. After it, the request is refused with 408.
    #[arg(long, env = "HEADWATER_BODY_TIMEOUT", default_value = "5m", value_name = "DURATION", value_parser = some_time)]
    pub(crate) body_timeout: Duration,

    /// Time that a request body may take; each 16 KiB received add a second. After it, the request is refused with 408.
    #[arg(long, env = "HEADWATER_BODY_TIME", default_value = "30m", value_name = "DURATION", value_parser = some_time)]
    pub(crate) body_time: Duration,

    /// Memory for response bodies on their way to clients, in bytes, besides the caches of chunks and events. A quarter of it
    /// is for events. Beyond it, reads are refused with 503, and those that have begun wait.
    #[arg(long, env = "HEADWATER_RESPONSES_MAX", default_value = "256MiB", value_name = "BYTES", value_parser = responses)]
    pub(crate) responses_max: ByteSize,

    /// Most long-polls and event streams at the same time. Further ones are refused with 503.
    #[arg(long, env = "HEADWATER_LIVE_MAX", default_value_t = 100_000, value_name = "READERS", value_parser = count)]
    pub(crate) live_max: usize,

    /// Most streams whose heads are in memory. Unused ones are evicted; if all are in use, requests for further streams
    /// are refused with 503.
    #[arg(long, env = "HEADWATER_OPEN_STREAMS_MAX", default_value_t = 1_000_000, value_name = "STREAMS", value_parser = count)]
    pub(crate) open_streams_max: usize,

    /// How long the head of an unused stream stays in memory.
    #[arg(long, env = "HEADWATER_IDLE_STREAM", default_value = "60s", value_name = "DURATION")]
    pub(crate) idle_stream: Duration,

    /// Most connections at the same time. Further ones wait to be accepted. Each needs a file descriptor; a low limit of
    /// those (`ulimit -n`) lowers it.
    #[arg(long, env = "HEADWATER_CONNECTIONS_MAX", default_value_t = 65_536, value_name = "CONNECTIONS", value_parser = count)]
    pub(crate) connections_max: usize,

    /// How long a client may take to send a request head, from its first byte on. After it, the connection is closed.
    #[arg(long, env = "HEADWATER_HEADER_TIMEOUT", default_value = "30s", value_name = "DURATION", value_parser = some_time)]
    pub(crate) header_timeout: Duration,

    /// How long a connection may be without a request, on HTTP/1.1 and HTTP/2. Keep it above the idle timeout of proxies in
    /// front of the server.
    #[arg(long, env = "HEADWATER_IDLE_TIMEOUT", default_value = "75s", value_name = "DURATION", value_parser = some_time)]
    pub(crate) idle_timeout: Duration,

    /// How long a client may take no byte of a response. After it, the connection is closed. It must be longer than
    /// `--sse-heartbeat`.
    #[arg(long, env = "HEADWATER_SEND_TIMEOUT", default_value = "2m", value_name = "DURATION", value_parser = some_time)]
    pub(crate) send_timeout: Duration,

    /// Largest request head, in bytes, at least 8KiB. Larger ones are refused with 431.
    #[arg(long, env = "HEADWATER_HEADER_MAX", default_value = "32KiB", value_name = "BYTES", value_parser = header_bytes)]
    pub(crate) header_max: ByteSize,

    /// Most header lines in a request. Requests with more are refused with 431.
    #[arg(long, env = "HEADWATER_HEADERS_MAX", default_value_t = 100, value_name = "LINES", value_parser = count)]
    pub(crate) headers_max: usize,

    /// Most concurrent requests on one HTTP/2 connection.
    #[arg(long, env = "HEADWATER_HTTP2_STREAMS_MAX", default_value_t = 256, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) http2_streams_max: u32,
}

/// An error that stops the program before it starts.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// A flag or an environment variable is invalid, or `--help` or `--version` was given.
    Usage(clap::Error),
    /// The configuration file can't be read or is invalid.
    File(anyhow::Error),
}

/// Reads the settings of this process.
///
/// # Errors
/// [`LoadError`].
pub(crate) fn load(program: &'static str) -> Result<Settings, LoadError> {
    load_from(program, &std::env::args_os().collect::<Vec<_>>())
}

fn load_from(program: &'static str, arguments: &[OsString]) -> Result<Settings, LoadError> {
    let parse = |command: Command| {
        let matches = command.try_get_matches_from(arguments).map_err(LoadError::Usage)?;
        Settings::from_arg_matches(&matches).map_err(LoadError::Usage)
    };
    // An empty variable is how compose files and shells write none.
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let command =
        Settings::command().name(program).mut_args(|argument| match argument.get_env().map(is_empty) {
            Some(true) => argument.env(Resettable::Reset),
            _ => argument,
        });
    let settings = parse(command.clone())?;
    let Some(path) = &settings.config else { return Ok(settings) };
    // The file's values become the defaults, so that one parser checks every value wherever it comes from.
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
                // Nothing is the default of those that may be empty.
                if items.is_empty() {
                    continue;
                }
                let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
                texts.with_context(|| format!("{key} is not a list of texts"))?.join(",")
            }
            other => anyhow::bail!("{key} can't be a {}", other.type_str()),
        };
        command = command.mut_arg(id, |argument| argument.default_value(value));
    }
    Ok(command)
}

impl Caching {
    fn policies(&self) -> ReadPolicies {
        let mut policies = ReadPolicies::default();
        let cache = &mut policies.cache;
        cache.visibility = self.visibility;
        cache.chunk_max_age_s = self.cache_chunk.as_secs();
        cache.chunk_stale_while_revalidate_s = self.cache_chunk_stale.as_secs();
        cache.chunk_immutable = self.cache_immutable;
        cache.tail_max_age_s = self.cache_tail.as_secs();
        cache.long_poll_max_age_s = self.cache_long_poll.as_secs();
        cache.long_poll_timeout_max_age_s = self.cache_long_poll_timeout.as_secs();
        cache.event_stream_max_age_s = Some(self.cache_sse.as_secs()).filter(|&age_s| age_s > 0);
        policies.cursor.mode = self.cursor;
        policies.cursor.interval_ms = milliseconds(self.cursor_interval);
        policies
    }
}

impl Settings {
    /// Returns the service's configuration.
    ///
    /// # Errors
    /// When an item of `--cors-origins` can't be a header value, or when two settings contradict each other.
    pub(crate) fn service(&self) -> anyhow::Result<Config> {
        let Self { reading, caching, bounds, .. } = self;
        let (body_max, bodies_max) = (bounds.body_max, bounds.bodies_max);
        if bodies_max.as_u64() / 2 < body_max.as_u64() {
            bail!("--bodies-max {bodies_max} must be at least twice --body-max {body_max}");
        }
        let (largest, responses_max) =
            (body_max.as_u64().saturating_add(reading.chunk_size.as_u64()), bounds.responses_max);
        if reading.state_offsets && responses_max.as_u64() / 11 < largest {
            bail!(
                "--responses-max {responses_max} must be at least eleven times --body-max and --chunk-size together, with \
                 --state-offsets"
            );
        }
        let (heartbeat, send_timeout) = (reading.sse_heartbeat, bounds.send_timeout);
        if *send_timeout <= *heartbeat {
            bail!("--send-timeout {send_timeout} must be longer than --sse-heartbeat {heartbeat}");
        }
        let mut config = Config::default();
        let refuses = self.escaped_slashes == EscapedSlashes::Refuse;
        config.base_path = self.base_path.clone().refusing_escaped_slashes(refuses);
        config.policies = caching.policies();
        config.policies.state_offsets = reading.state_offsets;
        config.origins = origins(&self.cors_origins)?;
        config.trusted_proxies = self.trusted_proxies.iter().copied().collect();
        config.body_bytes_max = bounds.body_max.as_u64();
        config.bodies_bytes_max = bounds.bodies_max.as_u64();
        config.pace.pause_ms = milliseconds(bounds.body_timeout);
        config.pace.time_ms = milliseconds(bounds.body_time);
        config.responses_bytes_max = bounds.responses_max.as_u64();
        config.chunk_bytes = reading.chunk_size.as_u64();
        config.chunk_cache_bytes = reading.chunk_cache.as_u64();
        config.event_cache_bytes = reading.event_cache.as_u64();
        config.long_poll_timeout_ms = milliseconds(reading.long_poll_timeout);
        config.sse_lifetime_ms = milliseconds(reading.sse_lifetime);
        config.sse_heartbeat_ms = milliseconds(reading.sse_heartbeat);
        config.live_readers_max = bounds.live_max;
        config.open_streams_max = bounds.open_streams_max;
        config.idle_stream_ms = milliseconds(bounds.idle_stream);
        config.subscriptions = self.subscriptions.service();
        Ok(config)
    }

    /// The size of RocksDB's block cache, in bytes.
    pub(crate) fn rocksdb_cache_bytes(&self) -> usize {
        usize::try_from(self.store_memory.as_u64().saturating_sub(IN_FLIGHT.as_u64())).unwrap_or(usize::MAX)
    }

    /// Returns the limits that the adapter enforces.
    pub(crate) fn connections(&self) -> Connections {
        let bounds = &self.bounds;
        let mut connections = Connections::default();
        connections.connections_max = bounds.connections_max;
        connections.header_timeout_ms = milliseconds(bounds.header_timeout);
        connections.idle_timeout_ms = milliseconds(bounds.idle_timeout);
        connections.send_timeout_ms = milliseconds(bounds.send_timeout);
        connections.header_bytes_max = usize::try_from(bounds.header_max.as_u64()).unwrap_or(usize::MAX);
        connections.headers_max = bounds.headers_max;
        connections.http2_streams_max = bounds.http2_streams_max;
        connections.drain_ms = milliseconds(self.shutdown_grace);
        connections
    }
}

/// Memory that the store on disk takes besides the block cache: four memtables of one commit-log slot each, and two
/// more copies of the one that is being written to RocksDB.
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
        assert_eq!(settings.listen, ["127.0.0.1:4437"]);
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
            &["--connections-max", "0"],
            &["--http2-streams-max", "0"],
            &["--headers-max", "0"],
            &["--open-streams-max", "0"],
            &["--responses-max", "1KiB"],
            &["--idle-timeout", "0s"],
            &["--store", "paper"],
            &["--store-memory", "64MiB"],
            &["--long-poll-timeout", "soon"],
            &["--webhook-timeout", "0s"],
            &["--listen", "4437"],
            &["--listen", "127.0.0.1"],
            &["--listen", "127.0.0.1:70000"],
            &["--listen", "::1:4437"],
            &["--listen", ""],
            &["--data-dir", ""],
            &["--log", "headwater=loud"],
            &["--mem-max", "0"],
            &["--body-max", "0"],
            &["--live-max", "0"],
            &["--long-poll-timeout", "0s"],
            &["--long-poll-timeout", "1us"],
            &["--sse-lifetime", "0s"],
            &["--cache-tail", "500ms"],
            &["--cache-sse", "1500ms"],
            &["--cors-origins", "app.example"],
            &["--cors-origins", "https://app.example/"],
            &["--cors-origins", "https://app.example,x"],
            &["--cors-origins", "https://app.example:443"],
            &["--cors-origins", "https://APP.example"],
            &["--listen", "*:4437"],
            &["--listen", ":+4437"],
            &["--cors-origins", ""],
            &["--webhooks-max", "0"],
            &["--webhooks-per-target-max", "0"],
            &["--webhook-key-lifetime", "1s"],
            &["--trusted-proxies", "proxy.example"],
            &["--trusted-proxies", "10.0.0.0/33"],
            &["--trusted-proxies", "10.0.0.1,"],
            &["--public-url", "streams.example"],
            &["--public-url", "https://streams.example/v1"],
        ] {
            assert!(matches!(loaded(arguments), Err(LoadError::Usage(_))), "{arguments:?}");
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        for (arguments, named) in [
            (&["--body-max", "200MiB"][..], "--bodies-max"),
            (&["--send-timeout", "10s"], "--sse-heartbeat"),
            (&["--state-offsets", "--responses-max", "128MiB"], "--responses-max"),
        ] {
            let error = loaded(arguments).unwrap().service().unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    /// `HEADWATER_UPDATE_DOCS=1 cargo test -p headwater-server` generates the page.
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
             A flag overrides a variable, a variable the file, the file the default. Sizes are written like `64KiB` or\n\
             `1MiB`, durations like `600ms`, `20s` or `5m`. This page is generated from `--help`.\n\n\
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
                "| `--{flag}` | `{}` | {} | {}.{takes} |",
                argument.get_env().unwrap_or_default().to_string_lossy(),
                if defaults.is_empty() { "–".to_owned() } else { format!("`{}`", defaults.join(",")) },
                argument.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|"),
            )
            .unwrap();
        }
        page
    }
}
