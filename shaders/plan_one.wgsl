// A few pairs: one invocation does everything. `counts` are the running counters of both walks.
@compute @workgroup_size(WIDTH)
fn main(@builtin(local_invocation_index) local: u32) {
    if (local > 0u) {
        return;
    }
    for (var expert = 0u; expert < params.experts; expert++) {
        counts[params.counts_offset + expert] = 0u;
    }
    var item = item_at(0u);
    for (var i = 0u; i < params.items; i++) {
        let bucket = bucket_of(item);
        if (bucket < params.experts) {
            counts[params.counts_offset + bucket]++;
        }
        item = item_after(item);
    }
    var base = 0u;
    for (var expert = 0u; expert < params.experts; expert++) {
        let count = total_of(expert);
        put_arguments(expert, count);
        put_expert(expert, 0u, base);
        base += padded(count);
    }
    put_expert(params.experts, 0u, base);
    item = item_at(0u);
    for (var i = 0u; i < params.items; i++) {
        let bucket = bucket_of(item);
        var position = 0u;
        if (bucket < params.experts) {
            let rank = total_of(bucket);
            counts[params.counts_offset + bucket] = rank + 1u;
            position = base_of(bucket) + rank;
        }
        put(item, bucket, position);
        item = item_after(item);
    }
    fill(0u, 1u);
    put_blocks(0u, params.blocks);
}
