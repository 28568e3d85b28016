// What is fixed when operands are bound. `src/kernel/expert_choice.rs` has the same fields; a test compares the offsets.
// Offsets and strides count elements of the binding; those of scratch memory, words.
struct Params {
    tokens: u32,
    experts: u32,
    capacity: u32,          // tokens that an expert takes
    grid_width: u32,        // workgroups along x: the dispatch grid is two-dimensional
    scores_offset: u32,
    scores_stride: u32,
    chosen_offset: u32,
    chosen_stride: u32,
    weights_offset: u32,
    weights_stride: u32,
    offsets_offset: u32,
    choices_offset: u32,
    valid_offset: u32,
    keys_offset: u32,       // a row of keys for each expert, a key for each token
    keys_stride: u32,       // a multiple of 32; keys past the last token are those of padding
    marks_offset: u32,      // a row of bits for each token, a bit for each expert that took it
    marks_stride: u32,
    sums_offset: u32,       // for each tile of tokens, how often they were taken
    tile: u32,              // tokens of a tile
    each: u32,              // what one invocation, or one workgroup, has to do: the stage says of what
    cleared: u32,           // words of marks and sums, which follow each other
    threads: u32,           // invocations that clear them
    slots: u32,             // experts * capacity
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

// No token.
const NONE = 0xffffffffu;
