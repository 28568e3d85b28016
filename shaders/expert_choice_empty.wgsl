// No experts: no token is taken. One offset per invocation.

override WIDTH: u32 = 64;

@group(0) @binding(4) var<storage, read_write> offsets: array<u32>;

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.y * params.grid_width + group.x) * WIDTH + local;
    if (i <= params.tokens) {
        offsets[params.offsets_offset + i] = 0u;
    }
}
