// What is fixed when operands are bound. `src/kernel/stats.rs` has the same fields; a test compares the offsets. Offsets and
// strides of `src` count units of its binding: elements, or quads of four (see `load_quad`).
struct Params {
    rows: u32,          // tokens
    cols: u32,          // experts
    quads: u32,         // experts / 4, rounded up
    grid_width: u32,    // workgroups along x: the dispatch grid is two-dimensional
    choices: u32,       // of one token
    tile: u32,          // tokens of one workgroup: TILE or fewer
    words: u32,         // of a state
    state_offset: u32,
    src_offset: u32,
    src_stride: u32,
    experts_offset: u32,
    experts_stride: u32,
    weights_offset: u32,
    weights_stride: u32,
    zero: u32,          // 0, but no compiler knows
    excluded: u32,      // the bits of -inf: WGSL has no constant infinity
}

@group(0) @binding(0) var<uniform> params: Params;
