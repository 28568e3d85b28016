// Scratch memory, four columns at a time.
@group(0) @binding(2) var<storage, read_write> scratch: array<vec4<u32>>;

fn counters_of(tile: u32) -> u32 {
    return params.counters_offset + tile * params.stride;
}

fn four_at(i: u32) -> vec4<u32> {
    return scratch[i / 4u];
}

fn put_four(i: u32, four: vec4<u32>) {
    scratch[i / 4u] = four;
}

fn total_of(expert: u32) -> u32 {
    let i = params.totals_offset + expert;
    return scratch[i / 4u][i % 4u];
}

fn base_of(expert: u32) -> u32 {
    let i = params.bases_offset + expert;
    return scratch[i / 4u][i % 4u];
}
