//! The limit of file descriptors, which connections share with the store.

use anyhow::bail;

/// The descriptors that connections must not take: 64 tables of RocksDB, its other files while it compacts, the commit
/// log, the runtime, and webhooks.
const RESERVED: u64 = 192;
/// The fewest connections that a server is good for.
const CONNECTIONS_MIN: u64 = 16;

/// Raises the limit of this process as far as it may, and returns it.
pub(crate) fn raise_limit() -> u64 {
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        tracing::warn!(%error, "can't raise the limit of open files");
        rlimit::Resource::NOFILE.get_soft().unwrap_or(u64::MAX)
    })
}

/// Returns how many connections there may be if `wanted` are configured and there are `limit` descriptors.
///
/// # Errors
/// There are too few descriptors.
pub(crate) fn connections_max(limit: u64, wanted: usize) -> anyhow::Result<usize> {
    let left = limit.saturating_sub(RESERVED);
    if left < CONNECTIONS_MIN {
        let least = RESERVED + CONNECTIONS_MIN;
        bail!(
            "the limit of open files is {limit}, and at least {least} are needed; raise it with `ulimit -n`"
        );
    }
    let possible = usize::try_from(left).unwrap_or(usize::MAX);
    if possible < wanted {
        tracing::warn!(
            limit,
            wanted,
            connections = possible,
            "the limit of open files lowers --connections-max"
        );
    }
    Ok(wanted.min(possible))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_descriptors_come_first() {
        for (limit, wanted, expected) in [
            (1_048_576, 65_536, Some(65_536)),
            (1_024, 65_536, Some(832)),
            (1_024, 100, Some(100)),
            (208, 65_536, Some(16)),
            (207, 10, None),
            (120, 65_536, None),
        ] {
            assert_eq!(connections_max(limit, wanted).ok(), expected, "{limit} {wanted}");
        }
    }
}
