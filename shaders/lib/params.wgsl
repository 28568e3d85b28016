// What is fixed when operands are bound. `src/kernel/softmax.rs` has the same fields; a test compares
// the offsets. Offsets and strides count units of the binding: elements, or quads of four (see `load_*`).

// How a row finds its entry in an operand that several rows share:
// entry = row / divide % modulo + row / group * modulo.
struct RowMap {
    divide: u32,
    modulo: u32,
    group: u32,
    offset: u32,
    stride: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

struct Params {
    rows: u32,
    cols: u32,
    quads: u32,         // columns / 4, rounded up
    grid_width: u32,    // workgroups along x: the dispatch grid is two-dimensional
    src_offset: u32,
    src_stride: u32,
    dst_offset: u32,
    dst_stride: u32,
    lse_offset: u32,
    lse_stride: u32,
    partials_offset: u32,
    partials_stride: u32,
    parts: u32,         // partial sums of one row
    part_quads: u32,    // quads that one of them covers
    merged: u32,        // partial sums to merge per row
    first_column: u32,  // of this operand in the whole row, where the caller has split rows
    zero: u32,          // 0, but no compiler knows
    excluded: u32,      // the bits of -inf: WGSL has no constant infinity
    nan: u32,           // the bits of a quiet NaN
    infinite: u32,      // the bits of +inf
    empty: u32,         // the bits of what a row without mass becomes
    scale: f32,
    cap: f32,
    inverse_cap: f32,
    queries: u32,       // rows of one sequence: row % queries is the query's index
    diagonal: i32,      // the key that query 0 stands at
    draws: u32,         // choices of one row
    pad1: u32,
    mask: RowMap,
    temperature: RowMap,
    slopes: RowMap,
    sinks: RowMap,
    lengths: RowMap,
    seeds: RowMap,
    bits: RowMap,
}

@group(0) @binding(0) var<uniform> params: Params;

fn entry(map: RowMap, row: u32) -> u32 {
    return map.offset + (row / map.divide % map.modulo + row / map.group * map.modulo) * map.stride;
}
