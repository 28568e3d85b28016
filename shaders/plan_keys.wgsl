// A token's top gate as a word that sorts the greatest first, NaN last, -0 and +0 together: one token per invocation.
@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let token = (group.y * params.grid_width + group.x) * WIDTH + local;
    if (token >= params.tokens) {
        return;
    }
    var key = NONE;
    for (var choice = 0u; choice < params.choices; choice++) {
        key = min(key, key_of(weights[params.weights_offset + token * params.weights_stride + choice]));
    }
    scratch[params.keys_offset + token] = key;
}
