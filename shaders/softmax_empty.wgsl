// Rows without columns: nothing to normalise, and a log-sum-exp of -inf. One row per invocation.
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = (group.y * params.grid_width + group.x) * WIDTH + local;
    if (row < params.rows) {
        lse[params.lse_offset + row * params.lse_stride] = bitcast<f32>(params.excluded);
    }
}
