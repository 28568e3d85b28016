// The subgroup's size is counted, since drivers are known to report one size and run another. Where a subgroup is larger than
// reported, or not a run of invocations in their order at a multiple of its size, each of them counts as a subgroup of one.
@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_invocation_id) id: u32,
    @builtin(subgroup_size) reported: u32,
) {
    let count = subgroupAdd(1u);
    let base = local - id;
    let least = subgroupMin(base);
    let last = subgroupMax(id);
    let in_order = least == base && last == count - 1u;
    let is_size = count <= reported && (count & (count - 1u)) == 0u;
    let usable = subgroupAll(in_order && is_size && base % count == 0u);
    let rank = select(0u, id, usable);
    let size = select(1u, count, usable);
    run(group.y * params.grid_width + group.x, Lane(local, rank, size, local % LANES, LANES, false), reported);
}
