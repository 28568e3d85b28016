// What is fixed when operands of the router are bound. `src/kernel/router.rs` has the same fields; a test compares the
// offsets. Offsets and strides count units of the binding: elements, or for the logits quads of four (see `load_*`).
struct Params {
    rows: u32,              // tokens
    cols: u32,              // experts
    quads: u32,             // experts / 4, rounded up
    grid_width: u32,        // workgroups along x: the dispatch grid is two-dimensional
    src_offset: u32,
    src_stride: u32,
    deviations_offset: u32,
    deviations_stride: u32,
    experts_offset: u32,
    experts_stride: u32,
    weights_offset: u32,
    weights_stride: u32,
    bias_offset: u32,
    map_offset: u32,
    valid_offset: u32,
    seeds_offset: u32,
    seeds_stride: u32,
    rows_each: u32,         // that one invocation routes
    shared_experts: u32,            // experts that every token has
    groups: u32,
    kept_groups: u32,
    group_cols: u32,
    index_mask: u32,        // a power of two less 1, at least experts - 1
    zero: u32,              // 0, but no compiler knows
    cap: f32,
    inverse_cap: f32,
    scale: f32,
    least: f32,             // least sum that weights are divided by
    shared_weight: f32,
    least_deviation: f32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
