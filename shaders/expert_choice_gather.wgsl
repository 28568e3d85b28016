// The scores of what was chosen, as they are. An invocation has `each` slots, WIDTH apart.

override WIDTH: u32 = 256;

@group(0) @binding(2) var<storage, read_write> chosen: array<u32>;
@group(0) @binding(3) var<storage, read_write> weights: array<u32>;

fn gather(i: u32) {
    let expert = i / params.capacity;
    let slot = i % params.capacity;
    let token = chosen[params.chosen_offset + expert * params.chosen_stride + slot];
    var bits = 0u;
    if (token < params.tokens) {
        bits = score_bits(params.scores_offset + token * params.scores_stride + expert);
        mark(expert, slot, token);
    }
    weights[params.weights_offset + expert * params.weights_stride + slot] = bits;
}

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = (group.y * params.grid_width + group.x) * WIDTH * params.each + local;
    for (var n = 0u; n < params.each; n++) {
        let i = first + n * WIDTH;
        if (i < params.slots) {
            gather(i);
        }
    }
}
