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
    clear_counters(tile);
    let first = tile * params.tile;
    let end = min(first + params.tile, params.items);
    var item = item_at(first);
    for (var i = first; i < end; i++) {
        count(tile, bucket_of(item));
        item = item_after(item);
    }
    leave_counters(tile);
}
