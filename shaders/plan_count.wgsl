// How many items of each bucket a tile has: one tile per invocation, one item after the other.
@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = (group.y * params.grid_width + group.x) * WIDTH + local;
    if (tile >= params.tiles) {
        return;
    }
    let counters = counters_of(tile);
    for (var column = 0u; column < params.stride; column++) {
        scratch[counters + column] = 0u;
    }
    let first = tile * params.tile;
    let end = min(first + params.tile, params.items);
    var item = item_at(first);
    for (var i = first; i < end; i++) {
        // Items of no bucket have a counter of their own: a store is cheaper than a branch.
        scratch[counters + min(bucket_of(item), params.columns)]++;
        item = item_after(item);
    }
}
