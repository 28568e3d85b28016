@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    run(group.y * params.grid_width + group.x, Lane(local, 0u, 1u, local % LANES, LANES, false), 1u);
}
