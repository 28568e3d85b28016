@group(0) @binding(2) var<storage, read_write> scratch: array<u32>;

// The counters of a tile: how many items of each bucket it has, or, after the scan, how many are in the tiles before.
fn counters_of(tile: u32) -> u32 {
    return params.counters_offset + tile * params.stride;
}

// Four columns, from one that is a multiple of four.
fn four_at(i: u32) -> vec4<u32> {
    return vec4(scratch[i], scratch[i + 1u], scratch[i + 2u], scratch[i + 3u]);
}

fn put_four(i: u32, four: vec4<u32>) {
    scratch[i] = four.x;
    scratch[i + 1u] = four.y;
    scratch[i + 2u] = four.z;
    scratch[i + 3u] = four.w;
}

// The pairs of an expert that are kept. Of bucket `experts`, where there is one: the pairs that are not.
fn total_of(expert: u32) -> u32 {
    return scratch[params.totals_offset + expert];
}

// The first slot of an expert; of `experts`, the end of all slots in use.
fn base_of(expert: u32) -> u32 {
    return scratch[params.bases_offset + expert];
}
