// How many items of each bucket a tile has: one tile per workgroup.
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
    workgroupBarrier();
    let first = tile * params.tile;
    let end = min(first + params.tile, params.items);
    for (var i = first + local; i < end; i += WIDTH) {
        let bucket = bucket_of(item_at(i));
        if (bucket < params.columns) {
            run_on(bucket);
        }
    }
    workgroupBarrier();
    let row = counters_of(tile);
    for (var column = local; column < params.columns; column += WIDTH) {
        scratch[row + column] = running_of(column);
    }
}
