//! How much address space the engine reserves for what policies run in.
//!
//! Where there is no limit, each memory gets the 4 GiB that 32 bits can address, and a guard behind
//! them: whatever address a policy computes, the kernel notices, and compiled code need not check it.
//! Nothing but addresses is used up. Under a limit (`ulimit -v`, systemd's `LimitAS`) that is too
//! much: then each memory gets only what the limits of policies allow it, and the code checks each
//! access; and when that is too much for all instances together, each reserves its own when it starts.

use std::fs;

use rustix::process::{Resource, getrlimit};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::{Limits, RuntimeError};

/// What the rest of dbmedic may yet need: threads, code being compiled, pages of databases. Bytes.
const REST_BYTES: u64 = 256 << 20;
/// What 32 bits address, and what the engine keeps free behind it by default. Bytes.
const WIDE_MEMORY_BYTES: u64 = 4 << 30;
const WIDE_GUARD_BYTES: u64 = 32 << 20;
/// The least guard, bytes: one page of WebAssembly.
const NARROW_GUARD_BYTES: u64 = 64 << 10;
/// Of a memory or a table, what stays in the process between two instances, bytes.
const RESIDENT_BYTES: usize = 1 << 17;
/// A reference in a table, bytes.
const TABLE_ELEMENT_BYTES: u64 = 8;

/// How memories are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// A pool, and no access that code has to check.
    Wide,
    /// A pool of memories that are as large as they may grow.
    Narrow,
    /// No pool.
    OnDemand,
}

/// Starts the engine with the fastest layout that there is room for. `config` has everything else.
///
/// # Errors
/// When there is no room for a single policy, or the engine refuses.
pub(super) fn engine(config: &Config, limits: &Limits) -> Result<Engine, RuntimeError> {
    engine_in(room(), config, limits)
}

/// The same with so much room, bytes; none: as much as there is.
fn engine_in(room: Option<u64>, config: &Config, limits: &Limits) -> Result<Engine, RuntimeError> {
    let mut refused = None;
    for layout in [Layout::Wide, Layout::Narrow, Layout::OnDemand] {
        if room.is_some_and(|room| layout.bytes(limits) + REST_BYTES > room) {
            continue;
        }
        let mut config = config.clone();
        layout.set(&mut config, limits);
        match Engine::new(&config) {
            Ok(engine) => {
                tracing::debug!(?layout, "the engine of the policies has started");
                return Ok(engine);
            }
            // The kernel may count in its own way.
            Err(error) => drop(refused.get_or_insert(error)),
        }
    }
    Err(match refused {
        Some(error) => RuntimeError::Engine(error.into()),
        None => RuntimeError::AddressSpace {
            needed_mib: mib(Layout::OnDemand.bytes(limits) + REST_BYTES),
            fastest_mib: mib(Layout::Wide.bytes(limits) + REST_BYTES),
            free_mib: mib(room.unwrap_or(0)),
        },
    })
}

/// Address space that this process may still take, bytes; none when nothing limits it.
fn room() -> Option<u64> {
    let most = getrlimit(Resource::As).current?;
    // The first number is the size of the process in pages.
    let taken = fs::read_to_string("/proc/self/statm").ok();
    let pages = taken.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let bytes = pages.unwrap_or(0) * rustix::param::page_size() as u64;
    Some(most.saturating_sub(bytes))
}

impl Layout {
    /// Address space that it takes, bytes: at once, or for one instance without a pool.
    fn bytes(self, limits: &Limits) -> u64 {
        let memory = (limits.memory_mib as u64) << 20;
        let memories = u64::from(limits.memories);
        let tables = u64::from(limits.tables) * limits.table_elements as u64 * TABLE_ELEMENT_BYTES;
        let instances = u64::from(limits.max_instances);
        match self {
            Self::Wide => {
                let slot = WIDE_MEMORY_BYTES.max(memory) + WIDE_GUARD_BYTES;
                instances * (memories * slot + tables)
            }
            Self::Narrow => instances * (memories * (memory + NARROW_GUARD_BYTES) + tables),
            // All memories of an instance together are bounded by `memory_mib`.
            Self::OnDemand => memory + memories * NARROW_GUARD_BYTES + tables,
        }
    }

    fn set(self, config: &mut Config, limits: &Limits) {
        let memory_bytes = limits.memory_mib << 20;
        if self != Self::OnDemand {
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits)));
        }
        match self {
            Self::Wide => {}
            Self::Narrow => {
                config
                    .memory_reservation(memory_bytes as u64)
                    .memory_guard_size(NARROW_GUARD_BYTES)
                    .guard_before_linear_memory(false);
            }
            Self::OnDemand => {
                // It grows by moving: nothing is reserved that is not used.
                config
                    .memory_reservation(0)
                    .memory_reservation_for_growth(0)
                    .memory_guard_size(NARROW_GUARD_BYTES)
                    .guard_before_linear_memory(false);
            }
        }
    }
}

fn pool(limits: &Limits) -> PoolingAllocationConfig {
    let memory_bytes = limits.memory_mib << 20;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(limits.max_instances)
        .total_core_instances(limits.max_instances.saturating_mul(limits.core_instances))
        .total_memories(limits.max_instances.saturating_mul(limits.memories))
        .total_tables(limits.max_instances.saturating_mul(limits.tables))
        .max_core_instances_per_component(limits.core_instances)
        .max_memories_per_component(limits.memories)
        .max_tables_per_component(limits.tables)
        .max_tables_per_module(limits.tables)
        .table_elements(limits.table_elements)
        .max_memory_size(memory_bytes)
        // What an ordinary decision dirties is set back by copying, which is cheaper than to give
        // the pages up and fault them in again. The kernel says which pages those are.
        .linear_memory_keep_resident(RESIDENT_BYTES.min(memory_bytes))
        .table_keep_resident(RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests;
