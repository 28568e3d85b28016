// What is fixed when operands are bound. `src/kernel/plan.rs` has the same fields; a test compares the offsets. Offsets and
// strides count words.
struct Params {
    tokens: u32,
    choices: u32,           // of a token: pair = token * choices + choice
    experts: u32,           // of a sort of tokens: digits
    columns: u32,           // buckets: the experts, and one more for what a capacity drops
    stride: u32,            // words of a tile's row of counters: more than columns, a multiple of 4
    items: u32,             // what is sorted: pairs, or tokens
    tile: u32,              // items of a tile
    tiles: u32,
    grid_width: u32,        // workgroups along x: the dispatch grid is two-dimensional
    slots: u32,
    block: u32,             // slots of an expert are a multiple of it
    blocks: u32,
    capacity: u32,          // pairs that an expert keeps
    rows_per_group: u32,    // rows of one workgroup of the indirect dispatches
    groups_y: u32,
    share: u32,             // blocks and experts that one invocation looks after
    shift: u32,             // of the digit that tokens are sorted by
    first_digit: u32,       // 1: tokens are in their own order yet
    counters_offset: u32,   // in scratch: [tiles, stride]
    totals_offset: u32,     // in scratch: [stride]
    bases_offset: u32,      // in scratch: [stride]
    keys_offset: u32,       // in scratch: [tokens]
    order_offset: u32,      // in scratch: [tokens], read
    sorted_order_offset: u32,   // in scratch: [tokens], written
    experts_offset: u32,
    experts_stride: u32,
    weights_offset: u32,
    weights_stride: u32,
    counts_offset: u32,
    offsets_offset: u32,
    sorted_offset: u32,
    inverse_offset: u32,
    inverse_stride: u32,
    blocks_offset: u32,
    dropped_offset: u32,
    dropped_count_offset: u32,
    arguments_offset: u32,
    arguments_stride: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

override WIDTH: u32 = 256;      // invocations of a workgroup

// No expert, no pair, no slot.
const NONE = 0xffffffffu;

// The end of an expert's slots that begin at 0.
fn padded(count: u32) -> u32 {
    return (count + params.block - 1u) / params.block * params.block;
}
