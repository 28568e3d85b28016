// What is fixed when operands are bound. `src/kernel/permute/params.rs` has the same fields; a test compares the offsets.
// Offsets and strides of `src` and `dst` count units of the binding: elements, or quads of four (see `load_quad`).
struct Params {
    rows: u32,          // of the output
    cols: u32,
    quads: u32,         // columns / 4, rounded up
    grid_width: u32,    // workgroups along x: the dispatch grid is two-dimensional
    rows_each: u32,     // rows that LANES invocations work on, one after the other
    parts: u32,         // a row is the work of so many times LANES invocations,
    part_quads: u32,    // each of which has so many quads
    choices: u32,       // of a token
    count: u32,         // rows of what the table points into: an entry that is not below points nowhere
    zero: u32,          // 0, but no compiler knows
    src_offset: u32,
    src_stride: u32,
    dst_offset: u32,
    dst_stride: u32,
    table_offset: u32,
    table_stride: u32,
    weights_offset: u32,
    weights_stride: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

// The same number, but no compiler knows: keeps a product from being fused with the sum it goes into, and sums in their order.
fn fenced(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x) | vec4(params.zero));
}

// What LANES invocations work on: rows, and of each the quads from `first` on, every LANES-th, up to `end`.
struct Work {
    row: u32,
    rows: u32,
    first: u32,
    end: u32,
}

fn work_of(index: u32, at: Lane) -> Work {
    let task = index * (WIDTH / LANES) + at.local / LANES;
    let row = task / params.parts * params.rows_each;
    let rows = select(0u, min(params.rows_each, params.rows - row), row < params.rows);
    let begin = task % params.parts * params.part_quads;
    return Work(row, rows, begin + at.first, min(begin + params.part_quads, params.quads));
}
