// Where each pair goes: one tile per invocation, four pairs of it at a time.
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
    for (var pair = first; pair < end; pair += 4u) {
        let buckets = buckets_at(pair);
        let slots = vec4(
            put_pair(pair, buckets.x, count(tile, buckets.x)),
            put_pair(pair + 1u, buckets.y, count(tile, buckets.y)),
            put_pair(pair + 2u, buckets.z, count(tile, buckets.z)),
            put_pair(pair + 3u, buckets.w, count(tile, buckets.w)),
        );
        inverse[(params.inverse_offset + pair) / 4u] = slots;
    }
    fill(tile, params.tiles);
}
