//! What RocksDB's numbers do: the same load with one of them changed at a time, as a table.
//!
//! `cargo bench -p headwater-store-rocksdb --features tuning -- [MIB] [ROUNDS]`; a folder of `TMPDIR` is written, which should be a disk.

use std::{env, error::Error, fs, path::Path, time::Instant};

use bytes::Bytes;
use headwater_protocol::{path::StreamName, stream::Change};
use headwater_store::{Commit, Edit, ReadRange, Store, contract};
use headwater_store_rocksdb::{RocksStore, Tuning};
use tokio::runtime::{Builder, Runtime};

type Outcome<T> = Result<T, Box<dyn Error>>;

const STREAMS: u64 = 1_000;
const APPEND_BYTES: usize = 256;
/// Appends that are committed at a time.
const GROUP: usize = 64;
/// Less than is stored, so that reads go to tables.
const CACHE_BYTES: usize = 16 << 20;
const LOOKUPS: u64 = 50_000;

/// What is measured of one setting.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    appends_per_s: f64,
    longest_ms: f64,
    cpu_us: f64,
    written_per_byte: f64,
    scan_mib_per_s: f64,
    small_reads_per_s: f64,
    absent_per_s: f64,
}

fn main() -> Outcome<()> {
    let numbers: Vec<u64> = env::args().filter_map(|argument| argument.parse().ok()).collect();
    let mib = numbers.first().copied().unwrap_or(128);
    let rounds = numbers.get(1).copied().unwrap_or(3);
    let default = Tuning::default;
    let settings = [
        ("as it is", default()),
        ("1 background job", Tuning { background_jobs: 1, ..default() }),
        ("4 background jobs", Tuning { background_jobs: 4, ..default() }),
        ("no step by step sync", Tuning { sync_step_bytes: 0, ..default() }),
        ("no filter", Tuning { filter_bits: 0.0, ..default() }),
        ("blocks of 4 KiB", Tuning { block_bytes: 4 << 10, ..default() }),
        ("blocks of 16 KiB", Tuning { block_bytes: 16 << 10, ..default() }),
        ("blobs from 256 bytes", Tuning { blob_bytes_min: 256, ..default() }),
        ("blobs from 16 KiB", Tuning { blob_bytes_min: 16 << 10, ..default() }),
        ("no blobs", Tuning { blob_bytes_min: u64::MAX, ..default() }),
        ("clean all blobs", Tuning { blob_gc_age_cutoff: 1.0, ..default() }),
        ("clean the older half", Tuning { blob_gc_age_cutoff: 0.5, ..default() }),
        ("clean the oldest quarter", Tuning { blob_gc_age_cutoff: 0.25, ..default() }),
        ("tables of 16 MiB", Tuning { write_buffer_bytes: 16 << 20, ..default() }),
    ];
    let runtime = Builder::new_current_thread().build()?;
    let mut measured: Vec<Vec<Figures>> = vec![Vec::new(); settings.len()];
    for round in 1..=rounds {
        for ((name, tuning), measured) in settings.iter().zip(&mut measured) {
            eprintln!("round {round} of {rounds}: {name}");
            let folder = tempfile::tempdir()?;
            measured.push(measure(&runtime, folder.path(), tuning, mib << 20)?);
        }
    }
    println!(
        "{mib} MiB in appends of {APPEND_BYTES} bytes to {STREAMS} streams, {rounds} rounds, medians\n\n\
         | setting | appends/s | longest, ms | CPU us | written per byte | scan MiB/s | reads of 1 KiB/s | absent names/s |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|"
    );
    for ((name, _), measured) in settings.iter().zip(&measured) {
        let median = |of: fn(&Figures) -> f64| {
            let mut values: Vec<f64> = measured.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        println!(
            "| {name} | {:.0} | {:.0} | {:.1} | {:.2} | {:.0} | {:.0} | {:.0} |",
            median(|figures| figures.appends_per_s),
            median(|figures| figures.longest_ms),
            median(|figures| figures.cpu_us),
            median(|figures| figures.written_per_byte),
            median(|figures| figures.scan_mib_per_s),
            median(|figures| figures.small_reads_per_s),
            median(|figures| figures.absent_per_s),
        );
    }
    Ok(())
}

fn measure(runtime: &Runtime, folder: &Path, tuning: &Tuning, bytes: u64) -> Outcome<Figures> {
    let mut figures = Figures::default();
    let appends = bytes / APPEND_BYTES as u64;
    let (cpu, written) = (cpu_us()?, written_bytes()?);
    let begun = Instant::now();
    let store = RocksStore::open_tuned(folder, CACHE_BYTES, tuning)?;
    runtime.block_on(async {
        // All of a group in one frame, so that frames are alike in every setting.
        for first in (0..appends).step_by(GROUP) {
            let begun = Instant::now();
            let group = first..appends.min(first + GROUP as u64);
            let tickets: Vec<_> =
                group.map(|number| store.commit(append(number % STREAMS, number / STREAMS + 1))).collect();
            for ticket in tickets {
                ticket.await?;
            }
            figures.longest_ms = figures.longest_ms.max(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        Ok::<_, Box<dyn Error>>(())
    })?;
    figures.appends_per_s = appends as f64 / begun.elapsed().as_secs_f64();
    drop(store);
    // The end included: what was put off counts too.
    figures.cpu_us = (cpu_us()? - cpu) / appends as f64;
    figures.written_per_byte = (written_bytes()? - written) / bytes as f64;

    let store = RocksStore::open_tuned(folder, CACHE_BYTES, tuning)?;
    let tail = appends / STREAMS * APPEND_BYTES as u64;
    let begun = Instant::now();
    for stream in 0..STREAMS {
        let range = ReadRange::new(0, tail);
        runtime.block_on(store.read(contract::head(stream + 1, 1, 0).incarnation, range))?;
    }
    figures.scan_mib_per_s = (tail * STREAMS) as f64 / f64::from(1 << 20) / begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    for number in 0..LOOKUPS {
        // Scattered, as a hash would.
        let from = number.wrapping_mul(0x9e37_79b9) % (tail / 1_024) * 1_024;
        let range = ReadRange::new(from, from + 1_024).up_to(tail);
        runtime.block_on(store.read(contract::head(number % STREAMS + 1, 1, 0).incarnation, range))?;
    }
    figures.small_reads_per_s = LOOKUPS as f64 / begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    for number in 0..LOOKUPS {
        let absent = name(number.wrapping_mul(0x9e37_79b9) % STREAMS, "absent");
        runtime.block_on(store.load(&absent))?;
    }
    figures.absent_per_s = LOOKUPS as f64 / begun.elapsed().as_secs_f64();
    Ok(figures)
}

fn name(stream: u64, kind: &str) -> StreamName {
    contract::name(&format!("{kind}/{stream:04}"))
}

fn append(stream: u64, version: u64) -> Commit {
    // No two appends are alike.
    let mut bytes = vec![0; APPEND_BYTES];
    let mut mixed = stream << 32 | version;
    for place in bytes.chunks_exact_mut(8) {
        mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        place.copy_from_slice(&mixed.to_le_bytes());
    }
    let head = contract::head(stream + 1, version, version * APPEND_BYTES as u64);
    let change = Change { head, bytes: Bytes::from(bytes), producer: None };
    Commit::new(vec![Edit::Put { name: name(stream, "stream"), expected: version - 1, change }])
}

/// What this process has used, in all its threads, also those that are gone.
fn cpu_us() -> Outcome<f64> {
    const TICK_US: f64 = 10_000.0;
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).map_or(Ok(0.0), |ticks| ticks.parse::<f64>());
    Ok((ticks(11)? + ticks(12)?) * TICK_US)
}

/// What all disks have written: nothing else should use them.
fn written_bytes() -> Outcome<f64> {
    rustix::fs::sync();
    let mut bytes = 0.0;
    for line in fs::read_to_string("/proc/diskstats")?.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_whole = fields.get(2).is_some_and(|name| Path::new("/sys/block").join(name).exists());
        if is_whole {
            bytes += fields.get(9).map_or(Ok(0.0), |sectors| sectors.parse::<f64>())? * 512.0;
        }
    }
    Ok(bytes)
}
