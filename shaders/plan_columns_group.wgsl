// The scan of the counters: four columns per workgroup, some tiles per invocation.
var<workgroup> sums: array<vec4<u32>, WIDTH>;

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let share = (params.tiles + WIDTH - 1u) / WIDTH;
    let first = min(local * share, params.tiles);
    let end = min(first + share, params.tiles);
    var sum = vec4(0u);
    for (var tile = first; tile < end; tile++) {
        sum += scratch[counters_of(tile) + group.x];
    }
    sums[local] = sum;
    for (var distance = 1u; distance < WIDTH; distance *= 2u) {
        workgroupBarrier();
        var below = vec4(0u);
        if (local >= distance) {
            below = sums[local - distance];
        }
        workgroupBarrier();
        sums[local] += below;
    }
    if (local == WIDTH - 1u) {
        scratch[params.totals_offset / 4u + group.x] = sums[local];
    }
    var before = sums[local] - sum;
    for (var tile = first; tile < end; tile++) {
        let i = counters_of(tile) + group.x;
        let count = scratch[i];
        scratch[i] = before;
        before += count;
    }
}
