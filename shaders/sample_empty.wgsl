// Rows without columns: nothing to choose from. One row per invocation.
@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = (group.y * params.grid_width + group.x) * WIDTH + local;
    if (row < params.rows) {
        put_choice(row, no_mass());
    }
}
