@group(0) @binding(2) var<storage, read_write> scratch: array<u32>;

// The counters of a tile: how many items of each bucket it has, or, after the scan, how many are in the tiles before.
fn counters_of(tile: u32) -> u32 {
    return params.counters_offset + tile * params.stride;
}

// The pairs of an expert that are kept. Of bucket `experts`, where there is one: the pairs that are not.
fn total_of(expert: u32) -> u32 {
    return scratch[params.totals_offset + expert];
}

// The first slot of an expert; of `experts`, the end of all slots in use.
fn base_of(expert: u32) -> u32 {
    return scratch[params.bases_offset + expert];
}
