// Scratch memory, four columns at a time.
@group(0) @binding(2) var<storage, read_write> scratch: array<vec4<u32>>;

fn counters_of(tile: u32) -> u32 {
    return (params.counters_offset + tile * params.stride) / 4u;
}
