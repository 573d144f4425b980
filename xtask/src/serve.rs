//! `cargo xtask serve`: build a server, say how to talk to it, become it.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::{process, setup, workspace};

/// Where a server listens if nobody says otherwise; named here so that the URL is known before it starts.
const LISTEN: &str = "127.0.0.1:4437";
const BASE_PATH: &str = "/v1/stream";

/// The command line of `cargo xtask serve`.
#[derive(Args)]
pub(crate) struct Options {
    /// Flags for the server itself; `-- --help` lists them
    #[arg(last = true)]
    flags: Vec<String>,
}

/// Builds the server and replaces this process by it, so that Ctrl-C and signals reach it and nothing else.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::libclang()?;
    let binary = workspace::build_binary("server-hyper")?;
    let mut command = Command::new(binary);
    if flag(&options.flags, "--listen").is_none() {
        command.args(["--listen", LISTEN]);
    }
    command.args(&options.flags);
    println!("Running {}", process::shown(&command));
    if !options.flags.iter().any(|flag| flag == "--help" || flag == "-h") {
        println!("{}", hint(&options.flags));
    }
    Err(command.exec()).context("cannot run the server")
}

/// Three commands to try, with the URL that these flags lead to.
fn hint(flags: &[String]) -> String {
    let listen = flag(flags, "--listen").unwrap_or(LISTEN);
    let base_path = flag(flags, "--base-path").unwrap_or(BASE_PATH);
    if listen.ends_with(":0") {
        return "Its first line will be the URL; streams are created below it with PUT".to_owned();
    }
    let url = format!("http://{listen}{}/hello", base_path.trim_end_matches('/'));
    format!(
        "Try, in another terminal:\n  \
         curl -X PUT  -H 'Content-Type: text/plain' {url}\n  \
         curl -X POST -H 'Content-Type: text/plain' -d 'first words' {url}\n  \
         curl -i '{url}?offset=-1'\n\
         Stop with Ctrl-C"
    )
}

/// The value of `--name value` or `--name=value`.
fn flag<'a>(flags: &'a [String], name: &str) -> Option<&'a str> {
    let at = flags.iter().position(|flag| flag.split('=').next() == Some(name))?;
    match flags[at].split_once('=') {
        Some((_, value)) => Some(value),
        None => flags.get(at + 1).map(String::as_str),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn a_flag_is_found_in_both_spellings() {
        assert_eq!(flag(&flags(&["--store", "mem", "--listen", "a:1"]), "--listen"), Some("a:1"));
        assert_eq!(flag(&flags(&["--listen=a:1"]), "--listen"), Some("a:1"));
        assert_eq!(flag(&flags(&["--store", "mem"]), "--listen"), None);
    }

    #[test]
    fn the_hint_follows_the_flags() {
        assert!(hint(&[]).contains("http://127.0.0.1:4437/v1/stream/hello"));
        let hint_elsewhere = hint(&flags(&["--listen", "localhost:80", "--base-path=/s"]));
        assert!(hint_elsewhere.contains("http://localhost:80/s/hello"));
        assert!(!hint(&flags(&["--listen", "127.0.0.1:0"])).contains("curl"));
    }
}
