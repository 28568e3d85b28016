// The scan of the counters: four columns per workgroup, some tiles per invocation.
var<workgroup> sums: array<vec4<u32>, WIDTH>;

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let column = group.x * 4u;
    let share = (params.tiles + WIDTH - 1u) / WIDTH;
    let first = min(local * share, params.tiles);
    let end = min(first + share, params.tiles);
    var sum = vec4(0u);
    for (var tile = first; tile < end; tile++) {
        sum += four_at(counters_of(tile) + column);
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
    var before = sums[local] - sum;
    if (local == WIDTH - 1u) {
        put_four(params.totals_offset + column, before + sum);
    }
    for (var tile = first; tile < end; tile++) {
        let i = counters_of(tile) + column;
        let count = four_at(i);
        put_four(i, before);
        before += count;
    }
}
