// Rows without columns: nothing to choose from. One row per invocation.
@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = (group.y * params.grid_width + group.x) * WIDTH + local;
    if (row >= params.rows) {
        return;
    }
    put_logprob(row, 0u, bitcast<f32>(params.excluded));
    for (var n = 0u; n < params.draws; n++) {
        put_choice(row, n, no_mass());
        put_logprob(row, 1u + n, bitcast<f32>(params.nan));
    }
}
