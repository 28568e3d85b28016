// How many pairs of each bucket a tile has: one tile per invocation, four pairs of it at a time.
@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = (group.y * params.grid_width + group.x) * WIDTH + local;
    if (tile >= params.tiles) {
        return;
    }
    clear_counters(tile);
    let first = tile * params.tile;
    let end = min(first + params.tile, params.items);
    for (var pair = first; pair < end; pair += 4u) {
        let buckets = buckets_at(pair);
        count(tile, buckets.x);
        count(tile, buckets.y);
        count(tile, buckets.z);
        count(tile, buckets.w);
    }
    leave_counters(tile);
}
