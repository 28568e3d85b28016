// Where each item goes: one tile per invocation. Its counters begin with the items of the tiles before.
@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = (group.y * params.grid_width + group.x) * WIDTH + local;
    if (tile >= params.tiles) {
        return;
    }
    take_counters(tile);
    let first = tile * params.tile;
    let end = min(first + params.tile, params.items);
    var item = item_at(first);
    for (var i = first; i < end; i++) {
        let bucket = bucket_of(item);
        put(item, bucket, count(tile, bucket));
        item = item_after(item);
    }
    fill(tile, params.tiles);
}
