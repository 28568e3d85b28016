// The other direction: for each token, who took it. A workgroup has a tile of tokens, an invocation `each` of them; what came
// before the tile is the sum of the tiles before.

override WIDTH: u32 = 256;

@group(0) @binding(4) var<storage, read_write> offsets: array<u32>;
@group(0) @binding(5) var<storage, read_write> choices: array<u32>;
@group(0) @binding(9) var<storage, read_write> scratch: array<u32>;

fn times_taken(token: u32) -> u32 {
    let row = params.marks_offset + token * params.marks_stride;
    var times = 0u;
    for (var w = 0u; w < params.marks_stride; w++) {
        times += countOneBits(scratch[row + w]);
    }
    return times;
}

// Writes a token's entries from `start` on; where the next ones go.
fn list(token: u32, start: u32) -> u32 {
    let row = params.marks_offset + token * params.marks_stride;
    var at = start;
    for (var w = 0u; w < params.marks_stride; w++) {
        var bits = scratch[row + w];
        while (bits != 0u) {
            let expert = w * 32u + firstTrailingBit(bits);
            let slot = scratch[params.keys_offset + expert * params.keys_stride + token];
            choices[params.choices_offset + at] = expert * params.capacity + slot;
            at += 1u;
            bits &= bits - 1u;
        }
    }
    return at;
}

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = group.y * params.grid_width + group.x;
    if (tile * params.tile >= params.tokens) {
        return;
    }
    var earlier = 0u;
    for (var i = local; i < tile; i += WIDTH) {
        earlier += scratch[params.sums_offset + i];
    }
    let first = tile * params.tile + local * params.each;
    let end = min(first + params.each, params.tokens);
    var mine = 0u;
    for (var t = first; t < end; t++) {
        mine += times_taken(t);
    }
    let start = share(local, earlier).all;
    var at = start + share(local, mine).before;
    for (var t = first; t < end; t++) {
        offsets[params.offsets_offset + t] = at;
        at = list(t, at);
        if (t + 1u == params.tokens) {
            offsets[params.offsets_offset + t + 1u] = at;
        }
    }
}
