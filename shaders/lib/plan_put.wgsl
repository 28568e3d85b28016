@group(0) @binding(5) var<storage, read_write> sorted: array<u32>;

// A pair to its position. Its slot.
fn put_pair(pair: u32, bucket: u32, position: u32) -> u32 {
    if (bucket < params.experts) {
        sorted[params.sorted_offset + position] = pair;
        return position;
    }
    if (bucket == params.experts) {
        drop(pair, position);
    }
    return NONE;
}

fn fill(part: u32, parts: u32) {
    fill_holes(part, parts);
    fill_dropped(part, parts);
}
