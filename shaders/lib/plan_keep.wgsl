// The first pairs of an expert, in order of priority, are kept; the others go to the bucket behind the last expert's.
fn put(item: Item, bucket: u32, position: u32) {
    let kept = select(params.experts, bucket, position < params.capacity);
    inverse[inverse_index(item.token, item.choice)] = select(NONE, kept, bucket < params.experts);
}

fn fill(part: u32, parts: u32) {}
