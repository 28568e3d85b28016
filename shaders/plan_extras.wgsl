// What is made of the experts' slots: blocks, arguments of dispatches, the number of dropped pairs.
@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = (group.y * params.grid_width + group.x) * WIDTH + local;
    let first = index * params.share;
    let end = first + params.share;
    if (first < params.blocks) {
        put_blocks(first, end);
    }
    for (var expert = first; expert < min(end, params.experts); expert++) {
        put_arguments(expert, total_of(expert));
    }
    if (index == 0u) {
        put_dropped_count(total_of(params.experts));
    }
}
