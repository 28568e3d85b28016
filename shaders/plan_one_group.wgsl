// Some pairs: one workgroup does everything.
fn share_of(local: u32) -> vec2<u32> {
    let share = (params.experts + WIDTH) / WIDTH;
    return min(vec2(local * share, local * share + share), vec2(params.experts + 1u));
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(local_invocation_index) local: u32) {
    clear_running(local);
    workgroupBarrier();
    for (var i = local; i < params.items; i += WIDTH) {
        let bucket = bucket_of(item_at(i));
        if (bucket < params.experts) {
            run_on(bucket);
        }
    }
    workgroupBarrier();
    let mine = share_of(local);
    var part = 0u;
    for (var expert = mine.x; expert < min(mine.y, params.experts); expert++) {
        part += padded(running_of(expert));
    }
    var base = before(local, part);
    for (var expert = mine.x; expert < mine.y; expert++) {
        let count = running_of(expert);
        put_expert(expert, count, base);
        if (expert < params.experts) {
            put_arguments(expert, count);
        }
        base += padded(count);
    }
    storageBarrier();
    workgroupBarrier();
    clear_running(local);
    for (var start = 0u; start < params.items; start += WIDTH) {
        let i = start + local;
        let item = item_at(min(i, params.items - 1u));
        var bucket = NONE;
        if (i < params.items) {
            bucket = bucket_of(item);
        }
        var position = rank_among(local, bucket);
        if (bucket < params.experts) {
            position += base_of(bucket) + running_of(bucket);
        }
        workgroupBarrier();
        if (bucket < params.experts) {
            run_on(bucket);
        }
        if (i < params.items) {
            put(item, bucket, position);
        }
    }
    fill(local, WIDTH);
    let share = (params.blocks + WIDTH - 1u) / WIDTH;
    if (local * share < params.blocks) {
        put_blocks(local * share, local * share + share);
    }
}
