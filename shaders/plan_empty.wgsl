// No pairs: every expert has none.
@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let expert = group.x * WIDTH + local;
    put_expert(expert, 0u, 0u);
    if (expert < params.experts) {
        put_arguments(expert, 0u);
    }
    if (expert == 0u) {
        put_dropped_count(0u);
    }
}
