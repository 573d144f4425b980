//! RocksDB's options, each number with its reason.
//!
//! `cargo bench -p headwater-store-rocksdb --features tuning` measures what other numbers do; `docs/tuning.md` has its table. A server uses
//! the defaults.

use rocksdb::{BlockBasedOptions, Cache, Env, LogLevel, Options};

/// The options of RocksDB that were chosen by measuring.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// The number of flushes and compactions at a time.
    pub background_jobs: i32,
    /// The number of bytes of a table after which the disk is asked to begin writing them; 0: all of them.
    pub sync_step_bytes: u64,
    /// The bits per name of the Bloom filter of names; 0: no filter.
    pub filter_bits: f64,
    /// The size of a block of streams' bytes, which is read and checked at once.
    pub block_bytes: usize,
    /// The size from which on entries of streams' bytes stay where they were written first, in blob files; `u64::MAX`: none.
    pub blob_bytes_min: u64,
    /// The part of the blob files, the oldest first, that compactions rewrite without what was deleted.
    pub blob_gc_age_cutoff: f64,
    /// The size of a memory table.
    pub write_buffer_bytes: usize,
    /// The time after which entries are compacted to the lowest level, in seconds (RocksDB's ttl).
    pub ttl_s: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            background_jobs: 2,
            sync_step_bytes: 1 << 20,
            filter_bits: 10.0,
            block_bytes: 64 << 10,
            blob_bytes_min: 1 << 10,
            // Not while nearly all of them are in use: `wants_cleaning` turns it on.
            blob_gc_age_cutoff: 0.0,
            // A checkpoint is one batch and is flushed at once: it must never be cut by a full table.
            write_buffer_bytes: 64 << 20,
            // The tombstones of a deleted stream free its space only down there, and without more writes nothing else
            // moves them there.
            ttl_s: 600,
        }
    }
}

impl Tuning {
    pub(crate) fn database(&self) -> Options {
        let mut options = Options::default();
        // The cores are the requests' first: the slots of the commit log give background work time.
        if let Ok(mut env) = Env::new() {
            env.lower_thread_pool_cpu_priority();
            env.lower_high_priority_thread_pool_cpu_priority();
            options.set_env(&env);
        }
        // A checkpoint is in all families or in none, also after a crash.
        options.set_atomic_flush(true);
        options.set_max_background_jobs(self.background_jobs);
        // Open tables are descriptors; a server may be allowed few, and its connections need them.
        options.set_max_open_files(64);
        // Opening must not touch every table.
        options.set_skip_stats_update_on_db_open(true);
        // RocksDB's own log of messages: short, bounded, and only what an operator would want.
        options.set_log_level(LogLevel::Warn);
        options.set_max_log_file_size(1 << 20);
        options.set_keep_log_file_num(2);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options.set_bytes_per_sync(self.sync_step_bytes);
        // A manifest is read whole at each start.
        options.set_max_manifest_file_size(4 << 20);
        options
    }

    /// Returns the options of the families of small entries.
    pub(crate) fn family(&self, cache: &Cache) -> Options {
        let mut options = self.any_family();
        let mut table = table(cache);
        if self.filter_bits > 0.0 {
            table.set_bloom_filter(self.filter_bits, false);
        }
        options.set_block_based_table_factory(&table);
        options
    }

    /// Returns the options of the family of streams' bytes.
    pub(crate) fn log_family(&self, cache: &Cache) -> Options {
        let mut options = self.any_family();
        let mut table = table(cache);
        table.set_block_size(self.block_bytes);
        options.set_block_based_table_factory(&table);
        if self.blob_bytes_min < u64::MAX {
            // Bytes are written once and never change: compactions sort their keys and leave them where they are.
            options.set_enable_blob_files(true);
            options.set_min_blob_size(self.blob_bytes_min);
            options.set_blob_file_size(64 << 20);
            // When they are cleaned: those of which half is unused, without waiting for a compaction.
            options.set_enable_blob_gc(true);
            options.set_blob_gc_age_cutoff(self.blob_gc_age_cutoff);
            options.set_blob_gc_force_threshold(0.5);
        }
        options
    }

    fn any_family(&self) -> Options {
        let mut options = Options::default();
        options.set_write_buffer_size(self.write_buffer_bytes);
        options.set_ttl(self.ttl_s);
        // One that is filled, and others that are being flushed: checkpoints come one after the other, so that is enough.
        options.set_max_write_buffer_number(4);
        options
    }
}

/// The option that [`Tuning::blob_gc_age_cutoff`] sets, to be changed while RocksDB runs.
pub(crate) const AGE_CUTOFF: &str = "blob_garbage_collection_age_cutoff";

/// Returns whether blob files should be rewritten without what was deleted: from when half of their bytes is unused, until
/// a quarter is. Compactions that clean all the time write nearly everything several times.
pub(crate) const fn wants_cleaning(bytes: u64, unused_bytes: u64, is_cleaning: bool) -> bool {
    let part = if is_cleaning { 4 } else { 2 };
    // A few files aren't worth it.
    const WORTH_BYTES: u64 = if cfg!(test) { 1 << 20 } else { 64 << 20 };
    unused_bytes > WORTH_BYTES && unused_bytes > bytes / part
}

fn table(cache: &Cache) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    // Filters and indexes count against the budget too.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(6);
    table
}

#[cfg(test)]
mod tests {
    use super::wants_cleaning;

    #[test]
    fn cleaning_begins_at_a_half_and_ends_at_a_quarter() {
        const GIB: u64 = 1 << 30;
        let cases = [
            (GIB, 0, false, false),
            (GIB, GIB / 2, false, false),
            (GIB, GIB / 2 + 1, false, true),
            (GIB, GIB / 4 + 1, true, true),
            (GIB, GIB / 4, true, false),
            (1 << 20, 1 << 20, false, false),
        ];
        for (bytes, unused_bytes, is_cleaning, expected) in cases {
            let wants = wants_cleaning(bytes, unused_bytes, is_cleaning);
            assert_eq!(wants, expected, "{unused_bytes} of {bytes}, {is_cleaning}");
        }
    }
}
