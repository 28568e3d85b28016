// Scores as keys, a row for each expert. An invocation has an expert and `each` tokens: neighbours read neighbours, and each
// writes a run of words.

override WIDTH: u32 = 8;

@group(0) @binding(9) var<storage, read_write> scratch: array<u32>;

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = group.y * params.grid_width + group.x;
    clear(index * WIDTH + local);
    let across = (params.experts + WIDTH - 1u) / WIDTH;
    let expert = index % across * WIDTH + local;
    let first = index / across * params.each;
    let end = min(first + params.each, params.keys_stride);
    if (expert < params.experts) {
        let row = params.keys_offset + expert * params.keys_stride;
        for (var t = first; t < end; t += 4u) {
            let a = key_at(t, expert);
            let b = key_at(t + 1u, expert);
            let c = key_at(t + 2u, expert);
            let d = key_at(t + 3u, expert);
            scratch[row + t] = a;
            scratch[row + t + 1u] = b;
            scratch[row + t + 2u] = c;
            scratch[row + t + 3u] = d;
        }
    }
}
