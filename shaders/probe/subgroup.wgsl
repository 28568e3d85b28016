// What each invocation sees of its subgroup: the size that it is told, its lane, how many lanes are active, and the place
// in the workgroup of the first of them.

override WIDTH: u32;

@group(0) @binding(0) var<storage, read_write> seen: array<vec4<u32>>;

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_size) size: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let lanes = countOneBits(subgroupBallot(true));
    let first = subgroupBroadcastFirst(local);
    seen[group.x * WIDTH + local] = vec4(size, lane, lanes.x + lanes.y + lanes.z + lanes.w, first);
}
