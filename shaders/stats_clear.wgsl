// A state without tokens.
@group(0) @binding(4) var<storage, read_write> state: array<u32>;

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let word = (group.y * params.grid_width + group.x) * WIDTH + local;
    if (word < params.words) {
        state[params.state_offset + word] = 0u;
    }
}
