// Where each item goes: one tile per workgroup, one item per invocation at a time. A tile's counters are the items of the
// tiles before.
@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = group.y * params.grid_width + group.x;
    if (tile >= params.tiles) {
        return;
    }
    clear_running(local);
    let row = counters_of(tile);
    let first = tile * params.tile;
    let end = min(first + params.tile, params.items);
    for (var start = first; start < end; start += WIDTH) {
        let i = start + local;
        let item = item_at(min(i, params.items - 1u));
        var bucket = NONE;
        if (i < end) {
            bucket = bucket_of(item);
        }
        // Behind the barrier, what was counted before is there for all.
        var position = rank_among(local, bucket);
        let counts = bucket < params.columns;
        if (counts) {
            position += scratch[row + bucket] + first_of(bucket) + running_of(bucket);
        }
        workgroupBarrier();
        if (counts) {
            run_on(bucket);
        }
        if (i < end) {
            put(item, bucket, position);
        }
    }
    fill(tile * WIDTH + local, params.tiles * WIDTH);
}
