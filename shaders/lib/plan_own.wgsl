// Without scratch memory: what it would hold stands in the outputs.
fn total_of(expert: u32) -> u32 {
    return counts[params.counts_offset + expert];
}

fn base_of(expert: u32) -> u32 {
    return offsets[params.offsets_offset + expert];
}
