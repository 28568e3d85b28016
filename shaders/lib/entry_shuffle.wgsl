// LANES neighbours share a row and exchange by shuffles alone, if the device has put them into one subgroup in
// their order: WebGPU does not promise that, so it is looked at. Where it has not, the first of them does all the
// work, which is slow and right.
@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_invocation_id) id: u32,
) {
    let count = subgroupAdd(1u);
    let base = local - id;
    let least = subgroupMin(base);
    let last = subgroupMax(id);
    let in_order = least == base && last == count - 1u;
    let together = subgroupAll(in_order && base % LANES == 0u && count % LANES == 0u);
    let lane = local % LANES;
    let first = select(select(NOWHERE, 0u, lane == 0u), lane, together);
    let step = select(1u, LANES, together);
    run(group.y * params.grid_width + group.x, Lane(local, id, count, first, step, !together), LANES);
}
