// The best of a split row's candidates: one row per invocation.
@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = (group.y * params.grid_width + group.x) * WIDTH + local;
    if (row >= params.rows) {
        return;
    }
    var best = no_mass();
    for (var i = 0u; i < params.merged; i++) {
        best = merge(best, partial_at(first_partial(row) + i), true);
    }
    put_choice(row, 0u, best);
}
