//! The servers that are compared: what each is, and how it is started durably on a port and a directory.
//!
//! Every server has its default settings, but for limits that a workload would run into, and logs nothing it is not
//! asked to. All serve streams below [`BASE_PATH`].

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

/// The base path of streams, on every server.
pub(crate) const BASE_PATH: &str = "/v1/stream";

/// A server and the way it is configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) source: Source,
    /// Whether streams outlive the process.
    pub(crate) durable: bool,
    configure: fn(&mut Command, &Place<'_>),
}

/// The source of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A binary of this workspace.
    Workspace(&'static str),
    /// A binary that `cargo install` makes of a package.
    Crate { package: &'static str, version: &'static str, binary: &'static str },
    /// The script in `bench/node`, run by Node.
    Node,
    /// The binary that `--before` names.
    Given,
}

/// The port and directory of a server.
pub(crate) struct Place<'a> {
    pub(crate) port: u16,
    pub(crate) data_dir: &'a Path,
}

const CONTENDERS: [Contender; 8] = [
    Contender {
        name: "headwater",
        what: "server-hyper on RocksDB",
        source: Source::Workspace("server-hyper"),
        durable: true,
        configure: |command, place| headwater(command, place, "rocksdb"),
    },
    Contender {
        name: "headwater-actix",
        what: "server-actix on RocksDB",
        source: Source::Workspace("server-actix"),
        durable: true,
        configure: |command, place| headwater(command, place, "rocksdb"),
    },
    Contender {
        name: "headwater-mem",
        what: "server-hyper in memory: what HTTP alone costs",
        source: Source::Workspace("server-hyper"),
        durable: false,
        configure: |command, place| {
            headwater(command, place, "mem");
            command.args(["--mem-max", "8GiB"]);
        },
    },
    Contender {
        name: "ds-wal",
        what: "crate durable-streams 0.1.5, upstream's Rust server, with its log",
        source: Source::Crate {
            package: "durable-streams",
            version: "0.1.5",
            binary: "durable-streams-server",
        },
        durable: true,
        configure: |command, place| {
            command.args(["--host", "127.0.0.1", "--port", &place.port.to_string(), "--durability", "wal"]);
            command.arg("--data-dir").arg(place.data_dir);
        },
    },
    Contender {
        name: "dss-acid",
        what: "crate durable-streams-server 0.3.0 on redb",
        source: DSS,
        durable: true,
        configure: |command, place| dss(command, place, "acid"),
    },
    Contender {
        name: "dss-durable",
        what: "crate durable-streams-server 0.3.0 on synced files",
        source: DSS,
        durable: true,
        configure: |command, place| dss(command, place, "file-durable"),
    },
    Contender {
        name: "node",
        what: "npm @durable-streams/server 0.3.7, the reference, with a data directory",
        source: Source::Node,
        durable: true,
        configure: |command, place| {
            command.arg(place.port.to_string()).arg(place.data_dir);
        },
    },
    Contender {
        name: EARLIER,
        what: "an earlier build of server-hyper on RocksDB; --before names its binary",
        source: Source::Given,
        durable: true,
        configure: |command, place| headwater(command, place, "rocksdb"),
    },
];

/// The peer that `--before` adds, so that a change is measured in one run with what was there before it.
pub(crate) const EARLIER: &str = "earlier";

const DSS: Source =
    Source::Crate { package: "durable-streams-server", version: "0.3.0", binary: "durable-streams-server" };

impl Contender {
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        CONTENDERS.iter()
    }

    /// Whether this is a server of this repository.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.source, Source::Workspace(_))
    }

    /// Ours, or the peers, by their names; `all` and `none` stand for each or none of them.
    pub(crate) fn select(names: &[String], ours: bool) -> Result<Vec<&'static Self>> {
        let candidates: Vec<&'static Self> =
            Self::all().filter(|contender| contender.is_ours() == ours).collect();
        let mut selected = Vec::new();
        for name in names {
            match name.as_str() {
                "none" => {}
                "all" => selected.extend(candidates.iter().filter(|found| found.source != Source::Given)),
                _ => match candidates.iter().copied().find(|contender| contender.name == name) {
                    Some(contender) => selected.push(contender),
                    None => bail!(
                        "there is no `{name}` here; choose among {}",
                        candidates.iter().map(|contender| contender.name).collect::<Vec<_>>().join(", ")
                    ),
                },
            }
        }
        Ok(selected)
    }

    /// The command that runs the contender's program, in its own directory and with nothing inherited that could
    /// configure it.
    pub(crate) fn command(&self, program: &[std::ffi::OsString], place: &Place<'_>) -> Result<Command> {
        let Some((program, arguments)) = program.split_first() else {
            bail!("{} has no program", self.name);
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(place.data_dir)
            .env_remove("RUST_LOG")
            .env("NODE_ENV", "production");
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("HEADWATER_") || name.starts_with("DS_")) {
                command.env_remove(name);
            }
        }
        (self.configure)(&mut command, place);
        Ok(command)
    }
}

/// Streams are idle after five seconds, so that a workload can see what idle ones take; everything else as it comes.
fn headwater(command: &mut Command, place: &Place<'_>, store: &str) {
    command.args(["--listen", &format!("127.0.0.1:{}", place.port), "--log", "warn", "--store", store]);
    command.args(["--idle-stream", "5s"]);
    if store != "mem" {
        command.arg("--data-dir").arg(place.data_dir);
    }
}

/// Its limits of 10 MiB a stream and 100 MiB in all are below what the workloads write.
fn dss(command: &mut Command, place: &Place<'_>, mode: &str) {
    const LIMIT: &str = "68719476736";
    command
        .env("DS_SERVER__BIND_ADDRESS", format!("127.0.0.1:{}", place.port))
        .env("DS_OBSERVABILITY__RUST_LOG", "error")
        .env("DS_STORAGE__MODE", mode)
        .env("DS_STORAGE__DATA_DIR", place.data_dir)
        .env("DS_LIMITS__MAX_MEMORY_BYTES", LIMIT)
        .env("DS_LIMITS__MAX_STREAM_BYTES", LIMIT);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(selected: &[&'static Contender]) -> Vec<&'static str> {
        selected.iter().map(|contender| contender.name).collect()
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn contenders_are_chosen_by_name() {
        let peers = Contender::select(&words(&["dss-acid", "ds-wal"]), false).unwrap();
        assert_eq!(names(&peers), ["dss-acid", "ds-wal"]);
        assert_eq!(Contender::select(&words(&["all"]), false).unwrap().len(), 4);
        assert!(Contender::select(&words(&["none"]), true).unwrap().is_empty());
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_right_ones() {
        let error = Contender::select(&words(&["ds-wall"]), false).unwrap_err().to_string();
        assert!(error.contains("ds-wall") && error.contains("ds-wal, dss-acid"), "{error}");
        assert!(Contender::select(&words(&["headwater"]), false).is_err());
    }

    #[test]
    fn a_server_is_told_its_port_and_directory() {
        let place = Place { port: 4711, data_dir: Path::new("data") };
        for contender in Contender::all() {
            let command = contender.command(&["program".into()], &place).unwrap();
            let told = format!("{command:?}");
            assert!(told.contains("4711"), "{told}");
            assert!(told.contains("data") || !contender.durable, "{told}");
        }
    }
}
