// The scan of the counters: four columns per invocation.
@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = (group.x * WIDTH + local) * 4u;
    if (first < params.stride) {
        scan_columns(first);
    }
}
