// A few pairs: one invocation does everything.
@compute @workgroup_size(WIDTH)
fn main(@builtin(local_invocation_index) local: u32) {
    if (local > 0u) {
        return;
    }
    var item = item_at(0u);
    for (var i = 0u; i < params.items; i++) {
        count(0u, bucket_of(item));
        item = item_after(item);
    }
    var base = 0u;
    for (var expert = 0u; expert < params.experts; expert++) {
        let total = counters[expert];
        put_expert(expert, total, base);
        put_arguments(expert, total);
        counters[expert] = base;
        base += padded(total);
    }
    put_expert(params.experts, 0u, base);
    item = item_at(0u);
    for (var i = 0u; i < params.items; i++) {
        let bucket = bucket_of(item);
        put(item, bucket, count(0u, bucket));
        item = item_after(item);
    }
    fill(0u, 1u);
    put_blocks(0u, params.blocks);
}
