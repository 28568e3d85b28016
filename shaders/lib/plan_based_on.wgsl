// Positions in a bucket count from its first slot. Only the experts' have slots.
fn first_of(bucket: u32) -> u32 {
    return select(0u, base_of(bucket), bucket < params.experts);
}

fn firsts_at(first: u32) -> vec4<u32> {
    let bucket = vec4(first) + vec4(0u, 1u, 2u, 3u);
    return select(vec4(0u), four_at(params.bases_offset + first), bucket < vec4(params.experts));
}
