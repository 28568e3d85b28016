// Scores as keys, a row for each expert, by way of workgroup memory: 32 experts by 32 tokens are read along experts and
// written along tokens, 32 words in a row both times.

override WIDTH: u32 = 256;

@group(0) @binding(9) var<storage, read_write> scratch: array<u32>;

// A column more than there are tokens, so that neither way all words are of one bank.
const PITCH = 33u;
var<workgroup> block: array<u32, 1056>;

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = group.y * params.grid_width + group.x;
    clear(index * WIDTH + local);
    let across = (params.experts + 31u) / 32u;
    let expert = index % across * 32u;
    let token = index / across * 32u;
    let column = local % 32u;
    for (var r = local / 32u; r < 32u; r += WIDTH / 32u) {
        block[column * PITCH + r] = key_at(token + r, expert + column);
    }
    workgroupBarrier();
    for (var r = local / 32u; r < 32u; r += WIDTH / 32u) {
        if (expert + r < params.experts && token < params.keys_stride) {
            scratch[params.keys_offset + (expert + r) * params.keys_stride + token + column] = block[r * PITCH + column];
        }
    }
}
