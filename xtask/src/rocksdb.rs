//! RocksDB, compiled once for a checkout, in a third of the time that `librocksdb-sys` takes.
//!
//! That crate compiles RocksDB's 343 C++ files one by one, and most of the time goes into reading the same headers again.
//! Here the same files are compiled with the same defines, includes and flags as its `build.rs` uses, but in
//! [`PARTS`] parts, each of which includes many of them: a "unity build", which RocksDB's own Makefile and CI know too.
//!
//! The library lands in a folder of `target/rocksdb`, beside a `config.toml` that names it and that
//! `.cargo/config.toml` includes. So every cargo command in the checkout links it, not only ours, and `cargo clean`
//! removes both together. Without it, or with `ROCKSDB_COMPILE=1`, cargo compiles RocksDB file by file. A library that
//! the user names by `ROCKSDB_LIB_DIR` is used as it is.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::{process, workspace};

/// The version of `librocksdb-sys` whose `build.rs` [`flags`] follows.
const VERSION: &str = "0.19.0+11.8.1";

/// How many parts the files are put into. Fewer read fewer headers, more keep every core busy to the end.
const PARTS: u64 = 21;

/// Where the crate looks for a library that is there already, and how it links that.
const LIB_DIR: &str = "ROCKSDB_LIB_DIR";
const STATIC: &str = "ROCKSDB_STATIC";
/// Makes the crate compile RocksDB itself, whatever [`LIB_DIR`] says.
const COMPILE: &str = "ROCKSDB_COMPILE";

/// Has cargo link the library of this checkout, which is compiled first if it is missing.
pub(crate) fn link_with(cargo: &mut Command) {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| match prepare() {
        Ok(library) => library,
        Err(error) => {
            eprintln!(
                "RocksDB can't be compiled in parts here: {error:#}\nCargo compiles it file by file instead, \
                 which takes 15 minutes on two cores"
            );
            None
        }
    });
    if let Some(library) = library {
        cargo.env(LIB_DIR, library).env(STATIC, "1");
    }
}

/// The folder with the library; `None` if the user has decided where RocksDB comes from.
fn prepare() -> Result<Option<PathBuf>> {
    // Cargo runs this program with the variables of our own config file.
    let is_ours = |dir: &str| Path::new(dir).starts_with(folder());
    if env::var(LIB_DIR).is_ok_and(|dir| !is_ours(&dir)) || env::var_os(COMPILE).is_some() {
        return Ok(None);
    }
    let Some(crate_dir) = crate_dir()? else { return Ok(None) };
    fs::create_dir_all(folder())?;
    let build = flags()?;
    let compiler = build.try_get_compiler().context("there is no C++ compiler")?;
    ensure!(
        compiler.is_like_gnu() || compiler.is_like_clang(),
        "it is known to work with GCC and Clang only"
    );
    let key = key(&compiler)?;
    let library = folder().join(&key);
    if !library.exists() {
        let lock = File::create(folder().join("lock"))?;
        if lock.try_lock().is_err() {
            println!("RocksDB: another cargo xtask compiles it; waiting");
            lock.lock().context("cannot lock target/rocksdb")?;
        }
        // The other one may have compiled the same.
        if !library.exists() {
            let scratch = folder().join(format!("{key}.unfinished"));
            compile(&compiler, &crate_dir, &scratch)?;
            fs::rename(scratch, &library).context("cannot move the library to its place")?;
        }
    }
    write_config(&key)?;
    Ok(Some(library))
}

/// Spelled as cargo spells it when it reads the config file: a different spelling would make the crate build again.
fn folder() -> PathBuf {
    workspace::root().join(".cargo/../target/rocksdb")
}

/// Tells cargo of the library.
fn write_config(key: &str) -> Result<()> {
    let config = format!(
        "# Written by `cargo xtask`, included by .cargo/config.toml, removed by `cargo clean`.\n\
         # Set {COMPILE}=1 to have RocksDB compiled by cargo: for another target, or with a target-cpu.\n\n\
         [env]\n{LIB_DIR} = {{ value = \"rocksdb/{key}\", relative = true }}\n{STATIC} = \"1\"\n"
    );
    let path = folder().join("config.toml");
    if fs::read_to_string(&path).is_ok_and(|written| written == config) {
        return Ok(());
    }
    let fresh = folder().join("config.toml.new");
    fs::write(&fresh, config)?;
    fs::rename(&fresh, &path).context("cannot write target/rocksdb/config.toml")
}

/// Where cargo has unpacked the crate; `None` if nothing here depends on it.
fn crate_dir() -> Result<Option<PathBuf>> {
    let metadata = workspace::metadata()?;
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(package) = packages.iter().find(|package| package["name"] == "librocksdb-sys") else {
        return Ok(None);
    };
    let version = package["version"].as_str().unwrap_or_default();
    ensure!(
        version == VERSION,
        "librocksdb-sys is {version} now, and the flags in xtask/src/rocksdb.rs are those of {VERSION}: compare \
         build.rs of both and correct them"
    );
    let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
    Ok(manifest.parent().map(Path::to_path_buf))
}

/// The defines, includes and flags of the crate's `build.rs` in a release build, except those for warnings and debug
/// information. Paths are relative to the folder of the crate.
fn flags() -> Result<cc::Build> {
    let target = workspace::host()?;
    let target = target.as_str();
    let cfg =
        process::output(Command::new("rustc").args(["--print", "cfg"])).context("rustc does not run")?;
    let has = |feature: &str| cfg.lines().any(|line| line == format!("target_feature=\"{feature}\""));

    let mut build = outside_of_cargo(target, &folder());
    build.cpp(true).warnings(false).flag("-w");
    build.includes(["rocksdb/include/", "rocksdb/", "rocksdb/third-party/gtest-1.8.1/fused-src/", "."]);
    build.define("NDEBUG", "1").define("HAVE_ALIGNED_NEW", None).define("HAVE_UINT128_EXTENSION", None);
    if target.starts_with("x86_64") {
        for (feature, flag) in [
            ("sse2", "-msse2"),
            ("sse4.1", "-msse4.1"),
            ("sse4.2", "-msse4.2"),
            ("avx2", "-mavx2"),
            ("bmi1", "-mbmi"),
            ("lzcnt", "-mlzcnt"),
            ("pclmulqdq", "-mpclmul"),
        ] {
            if has(feature) {
                build.flag_if_supported(flag);
            }
        }
    } else if target.starts_with("aarch64") {
        if has("crc") && has("aes") {
            build.flag_if_supported("-march=armv8-a+crc+aes+crypto");
        }
    } else {
        bail!("its flags for {target} are known to cargo only");
    }
    build.define("ROCKSDB_PLATFORM_POSIX", None).define("ROCKSDB_LIB_IO_POSIX", None);
    if target.contains("-linux-") && !target.contains("android") {
        build.define("OS_LINUX", None);
        build.define("ROCKSDB_SCHED_GETCPU_PRESENT", None).define("ROCKSDB_AUXV_GETAUXVAL_PRESENT", None);
        build.define("ROCKSDB_FALLOCATE_PRESENT", None).define("ROCKSDB_RANGESYNC_PRESENT", None);
    } else if target.ends_with("-apple-darwin") {
        build.define("OS_MACOSX", None);
    } else {
        bail!("its flags for {target} are known to cargo only");
    }
    build.flag("-std=c++20").flag("-include").flag("cstdint");
    Ok(build)
}

/// What a build script's environment tells [`cc`] otherwise.
fn outside_of_cargo(target: &str, out_dir: &Path) -> cc::Build {
    let mut build = cc::Build::new();
    build.target(target).host(target).opt_level(3).debug(false).out_dir(out_dir);
    build.cargo_metadata(false).cargo_output(false).inherit_rustflags(false);
    build
}

/// What the library depends on, as the name of its folder.
fn key(compiler: &cc::Tool) -> Result<String> {
    let version = process::output(compiler.to_command().arg("--version")).with_context(|| {
        format!("{} does not run", compiler.path().file_name().unwrap_or_default().display())
    })?;
    let mut hasher = DefaultHasher::new();
    (VERSION, PARTS, version, compiler.path(), compiler.args()).hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

/// Makes the library in `scratch`. Objects that an interrupted call has left there are not compiled again.
fn compile(compiler: &cc::Tool, crate_dir: &Path, scratch: &Path) -> Result<()> {
    fs::create_dir_all(scratch)?;
    let list = fs::read_to_string(crate_dir.join("rocksdb_lib_sources.txt"))?;
    let mut sources = Vec::new();
    // The crate has a `build_version.cc` of its own.
    for name in list.lines().map(str::trim).filter(|name| !["", "util/build_version.cc"].contains(name)) {
        let bytes =
            fs::metadata(crate_dir.join("rocksdb").join(name)).with_context(|| format!("no {name}"))?.len();
        sources.push(Source { name: name.to_owned(), bytes });
    }
    let mut parts = parts(&sources);
    parts.push(vec![Source { name: "build_version.cc".to_owned(), bytes: 0 }]);
    // The longest first, so that no core is left with one at the end.
    let mut jobs: Vec<(usize, u64)> = parts
        .iter()
        .enumerate()
        .map(|(at, part)| (at, part.iter().map(|source| source.bytes).sum()))
        .collect();
    jobs.sort_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));

    let cores = thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    println!("RocksDB: compiling {} files in {} parts, {cores} at a time", sources.len() + 1, parts.len());
    let started = Instant::now();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failure = Mutex::new(None);
    let work = || {
        while let Some(&(at, _)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = compile_part(compiler, crate_dir, scratch, at, &parts[at]) {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                next.store(jobs.len(), Ordering::Relaxed);
                return;
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            println!("RocksDB: {done} of {} parts, {}", jobs.len(), shown(started.elapsed().as_secs()));
        }
    };
    thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let object = |at| scratch.join(format!("part{at:02}.o"));
    let mut archive = outside_of_cargo(&workspace::host()?, scratch);
    archive
        .objects((0..parts.len()).map(object))
        .try_compile("rocksdb")
        .context("cannot make the library")?;
    for at in 0..parts.len() {
        fs::remove_file(object(at))?;
        fs::remove_file(object(at).with_extension("cc"))?;
    }
    Ok(())
}

/// A C++ file, by its path in the folder `rocksdb` of the crate.
#[derive(Clone, Debug, PartialEq)]
struct Source {
    name: String,
    bytes: u64,
}

/// Cuts the list into parts of about the same size. Files of one folder, which share headers, stay together.
fn parts(sources: &[Source]) -> Vec<Vec<Source>> {
    let total: u64 = sources.iter().map(|source| source.bytes).sum();
    let mut parts: Vec<Vec<Source>> = Vec::new();
    let mut before = 0;
    let mut last = None;
    for source in sources {
        // The part that the middle of the file falls into.
        let part = (before + source.bytes / 2) * (PARTS - 1) / total.max(1);
        if last != Some(part) {
            parts.push(Vec::new());
            last = Some(part);
        }
        parts.last_mut().expect("pushed for the first source").push(source.clone());
        before += source.bytes;
    }
    parts
}

/// Compiles one part, unless its object is there.
fn compile_part(
    compiler: &cc::Tool,
    crate_dir: &Path,
    scratch: &Path,
    at: usize,
    part: &[Source],
) -> Result<()> {
    let object = scratch.join(format!("part{at:02}.o"));
    if object.exists() {
        return Ok(());
    }
    let unity = object.with_extension("cc");
    let lines: Vec<String> = part.iter().map(|source| format!("#include \"{}\"\n", source.name)).collect();
    fs::write(&unity, lines.concat())?;
    let unfinished = object.with_extension("unfinished");
    let mut command = compiler.to_command();
    command.arg("-c").arg(&unity).arg("-o").arg(&unfinished).current_dir(crate_dir);
    let output = command.output().context("cannot run the C++ compiler")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let first: Vec<&str> = errors.lines().take(12).collect();
        bail!("a part of it does not compile ({}):\n  {}", output.status, first.join("\n  "));
    }
    fs::rename(unfinished, object).map_err(Into::into)
}

/// `1 min 10 s`, `9 s`.
fn shown(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_in_one_part_and_no_part_is_much_larger() {
        let sizes = [5_u64, 400, 7, 30, 30, 90].repeat(60);
        let sources: Vec<Source> = (sizes.iter().enumerate())
            .map(|(at, &bytes)| Source { name: format!("{at}.cc"), bytes })
            .collect();
        let parts = parts(&sources);
        assert_eq!(parts.concat(), sources);
        assert!(parts.len() as u64 <= PARTS);
        let size = |part: &Vec<Source>| part.iter().map(|source| source.bytes).sum::<u64>();
        let fair = sizes.iter().sum::<u64>() / PARTS;
        assert!(parts.iter().all(|part| size(part) < 2 * fair));
    }

    #[test]
    fn times_are_shown_in_minutes() {
        assert_eq!(shown(9), "9 s");
        assert_eq!(shown(70), "1 min 10 s");
    }
}
