@group(0) @binding(5) var<storage, read_write> sorted: array<u32>;

fn put(item: Item, bucket: u32, rank: u32) {
    let pair = item.token * params.choices + item.choice;
    var slot = NONE;
    if (bucket < params.experts) {
        slot = base_of(bucket) + rank;
        sorted[params.sorted_offset + slot] = pair;
    } else if (bucket == params.experts) {
        drop(pair, rank);
    }
    inverse[inverse_index(item.token, item.choice)] = slot;
}

fn fill(part: u32, parts: u32) {
    fill_holes(part, parts);
    fill_dropped(part, parts);
}
